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
import math
import fasttape as ft
from fasttape.execute import sweep
print(ft.grad(lambda x: math.exp(x) * x)(1.0))
stats = [s.now.stats for s in (sweep.forward, sweep.reverse)]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""


@pytest.fixture
def installed(tmp_path):
    """A copy of the package, as an installation of its own."""
    site = tmp_path / "site"
    source = pathlib.Path(fasttape.__file__).parent
    shutil.copytree(source, site / "fasttape", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def run(site, home):
    """(loaded from disk, compiled) of a new process that takes one gradient."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(site), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=home, capture_output=True, text=True, check=True
    )
    gradient, counts = done.stdout.splitlines()
    assert float(gradient) == pytest.approx(2 * 2.718281828459045, rel=1e-15)
    return tuple(map(int, counts.split()))


def test_second_process_loads_and_an_edit_compiles_again(installed, tmp_path):
    assert run(installed, tmp_path) == (0, 2)
    assert run(installed, tmp_path) == (2, 0)
    with open(installed / "fasttape" / "special.py", "a") as file:
        file.write("\n# edited\n")
    assert run(installed, tmp_path) == (0, 2)
    assert run(installed, tmp_path) == (2, 0)


def test_an_installation_that_cannot_be_written_uses_the_folder_of_the_user(installed, tmp_path):
    # A file in place of the folder stops everybody, the administrator too.
    (installed / "fasttape" / "execute" / "__pycache__").write_text("")
    assert run(installed, tmp_path) == (0, 2)
    assert run(installed, tmp_path) == (2, 0)


def test_two_versions_do_not_share(installed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(installed, other)
    with open(other / "fasttape" / "ops.py", "a") as file:
        file.write("\n# another version\n")
    assert run(installed, tmp_path) == (0, 2)
    assert run(other, tmp_path) == (0, 2)
    assert run(installed, tmp_path) == (2, 0)
    assert run(other, tmp_path) == (2, 0)
