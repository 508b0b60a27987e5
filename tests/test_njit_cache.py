"""Gradients of compiled functions on disk: a second process compiles nothing, and whatever changes compiles again."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numba
import pytest

import fasttape

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled with the JIT disabled"),
]
USER = """
    import numba
    import numpy as np
    from helpers import helper

    RATE = 1.0
    TABLE = np.array([1.0, 2.0])

    def scaled(scale):
        @numba.njit(cache=True)
        def f(x):
            s = 0.5 * np.sum(x) + np.dot(x, x)
            for i in range(x.size):
                s += RATE * TABLE[i % 2] * scale * helper(x[i])
            return s

        return f

    f = scaled(1.0)
"""
HELPERS = """
    import numba
    from deeper import power

    @numba.njit(cache=True)
    def helper(x):
        return power(x) + 3.0 * x
"""
DEEPER = """
    import numba

    @numba.njit(cache=True)
    def power(x, n=2):
        return x**n
"""
PROGRAM = """
import numba, numpy as np
from numba.core import event
import fasttape as ft
import deeper, helpers, user

class Compilations(event.Listener):
    count = 0

    def on_start(self, event):
        self.count += 1

    def on_end(self, event):
        pass

compilations = Compilations()
event.register("numba:compile", compilations)
x = np.array([2.0, 1.0])
gradient, count = ft.grad(user.f)(x), compilations.count
helpers.power, user.helper = deeper.power.py_func, helpers.helper.py_func  # Numba's cache would not see all edits
h, plain = np.array([1e-6, 0.0]), user.f.py_func
print(gradient[0], (plain(x + h) - plain(x - h)) / 2e-6, count)
"""
EDITS = {
    "the code of the function": ("user.py", "s += RATE", "s += x[i] + RATE"),
    "a constant in the code": ("user.py", "0.5", "0.25"),
    "a global": ("user.py", "RATE = 1.0", "RATE = 2.0"),
    "a global array": ("user.py", "[1.0, 2.0]", "[3.0, 2.0]"),
    "a closure value": ("user.py", "scaled(1.0)", "scaled(4.0)"),
    "a callee in another file": ("helpers.py", "3.0", "5.0"),
    "a callee of that in a third file": ("deeper.py", "x**n", "2.0 * x**n"),
    "a default of that": ("deeper.py", "n=2", "n=3"),
    "fasttape itself": ("fasttape/special.py", '"""', '"""Edited. '),
}


class Project:
    """A user's modules and an installation of the package, which processes import."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in (("user.py", USER), ("helpers.py", HELPERS), ("deeper.py", DEEPER)):
            (folder / name).write_text(textwrap.dedent(text))
        source = pathlib.Path(fasttape.__file__).parent
        shutil.copytree(source, folder / "fasttape", ignore=shutil.ignore_patterns("__pycache__"))

    def edit(self, name, old, new):
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def compilations(self):
        """How many functions a new process compiles for a gradient, which it compares with differences."""
        cache = {"NUMBA_CACHE_DIR": str(self.folder / "cache"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        environment = os.environ | cache | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-W", "error", "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        gradient, expected, count = done.stdout.split()
        assert float(gradient) == pytest.approx(float(expected), rel=1e-6)
        return int(count)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("project"))
    assert made.compilations() > 0
    assert made.compilations() == 0
    return made


@pytest.mark.parametrize("edited", EDITS)
def test_a_second_process_loads_and_an_edit_compiles_again(project, edited):
    project.edit(*EDITS[edited])
    assert project.compilations() > 0
    assert project.compilations() == 0
