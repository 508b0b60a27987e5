"""The cache of compiled code: a second process never compiles, wherever the package lies and whatever changed."""

import os
import pathlib
import shutil
import subprocess
import sys

import numba
import pytest

import fasttape

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled with the JIT disabled")

PROGRAM = """
import math, sys
import fasttape as ft
print(ft.grad(lambda x: math.exp(x) * x)(1.0))
print("numba" in sys.modules)
"""


@pytest.fixture
def installed(tmp_path):
    """A copy of the package, as an installation of its own."""
    site = tmp_path / "site"
    source = pathlib.Path(fasttape.__file__).parent
    shutil.copytree(source, site / "fasttape", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def run(site, home, program=PROGRAM):
    """What a new process prints, line by line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FASTTAPE_"))}
    environment |= {"PYTHONPATH": str(site), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def compiles(site, home):
    """Whether a new process that takes one gradient has to compile."""
    gradient, numba_is_there = run(site, home)
    assert float(gradient) == pytest.approx(2 * 2.718281828459045, rel=1e-15)
    return numba_is_there == "True"


def test_second_process_loads_and_an_edit_compiles_again(installed, tmp_path):
    assert compiles(installed, tmp_path)
    assert not compiles(installed, tmp_path)
    with open(installed / "fasttape" / "special.py", "a") as file:
        file.write("\n# edited\n")
    assert compiles(installed, tmp_path)
    assert not compiles(installed, tmp_path)


def test_an_installation_that_cannot_be_written_uses_the_folder_of_the_user(installed, tmp_path):
    # A file in place of the folder stops everybody, the administrator too.
    (installed / "fasttape" / "execute" / "__pycache__").write_text("")
    assert compiles(installed, tmp_path)
    assert not compiles(installed, tmp_path)


def test_two_versions_do_not_share(installed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(installed, other)
    with open(other / "fasttape" / "ops.py", "a") as file:
        file.write("\n# another version\n")
    assert compiles(installed, tmp_path)
    assert compiles(other, tmp_path)
    assert not compiles(installed, tmp_path)
    assert not compiles(other, tmp_path)


@pytest.mark.parametrize(
    "name", ["layout.py", "decode.py", "compiler/switch.py", "execute/blocks.py", "execute/sweep.py"]
)
def test_the_text_of_all_that_kernels_reach_is_part_of_the_key(installed, tmp_path, name):
    program = "from fasttape.compiler.jit import digest; print(digest())"
    before = run(installed, tmp_path, program)
    assert run(installed, tmp_path, program) == before
    with open(installed / "fasttape" / name, "a") as file:
        file.write("\n# edited\n")
    assert run(installed, tmp_path, program) != before


WARM = """
import math, sys
import numpy as np
import fasttape as ft

def loaded():
    return " ".join(x for x in ("numba", "scipy") if x in sys.modules) or "nothing"

def scalar(x):
    return math.exp(x) * x if x > 0.0 else x

def array(x):
    return np.sum(np.tanh(x) ** 2 / (1.0 + x[::-1]))

x = np.arange(1.0, 4.0)
first = ft.grad(scalar)(1.0)
print(loaded())
ft.grad(array)(x), ft.value_and_grad(array)(x), ft.jvp(array, (x,), (x,)), ft.hessian(array)(x), ft.jacobian(np.tanh)(x)
print(loaded())
for f, point in ((scalar, 1.0), (array, x)):
    tape, compiled = ft.record(f, point), ft.compile(ft.value_and_grad(f))
    for _ in range(3):
        tape.value_and_grad(2 * point), tape(point), compiled(2 * point)
    tape.optimize().grad(point)
print(loaded())
ft.vmap(ft.grad(scalar))(x), ft.vmap(ft.grad(array))(np.stack([x] * 9))
print(loaded())
ft.grad(lambda a: np.sum((a @ x) ** 2))(np.outer(x, x))
print(loaded())
import numba
assert ft.grad(numba.njit(scalar))(1.0) == first
"""


@pytest.mark.slow
def test_a_warm_process_loads_neither_numba_nor_scipy(tmp_path):
    """Matrix products call the BLAS that SciPy brings; functions of Numba may come in later."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(pathlib.Path(fasttape.__file__).parents[1])}
    command = [sys.executable, "-c", WARM]
    for _ in range(2):  # the first fills the cache, where that is to be done
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["nothing"] * 4 + ["scipy"]
