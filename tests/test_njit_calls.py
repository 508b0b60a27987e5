"""Gradients that compiled code calls, what they leave behind when they raise, and the cache on disk."""

import math
import os
import pathlib
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

import fasttape as ft

ROOT = pathlib.Path(ft.__file__).parents[1]
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="they are Python functions then")


@numba.njit
def rosenbrock(x):
    s = 0.0
    for i in range(x.shape[0] - 1):
        s += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return s


def test_gradients_inside_compiled_code():
    value_and_grad = ft.njit_value_and_grad(rosenbrock)
    both = ft.njit_value_and_grad(numba.njit(lambda x, y, k: math.sin(x) * np.sum(y) ** k), (1, 0))

    @numba.njit
    def descend(x, steps):
        for _ in range(steps):
            _, gradient = value_and_grad(x)
            x = x - 1e-3 * gradient
        return x

    x = np.array([0.3, -0.4, 0.2])
    expected = x
    for _ in range(20):
        expected = expected - 1e-3 * ft.grad(rosenbrock)(expected)
    np.testing.assert_array_equal(descend(x, 20), expected)
    value, (by_y, by_x) = both(0.5, np.array([1.0, 2.0]), 2)
    np.testing.assert_allclose(value, 9.0 * math.sin(0.5))
    np.testing.assert_allclose(by_y, [6.0 * math.sin(0.5)] * 2)
    np.testing.assert_allclose(by_x, 9.0 * math.cos(0.5))


def test_errors_of_gradients_inside_compiled_code():
    with pytest.raises(ft.errors.ArgumentError, match=r"numba\.njit"):
        ft.njit_value_and_grad(math.sin)
    with pytest.raises(ft.errors.ArgnumsError, match="positions"):
        ft.njit_value_and_grad(rosenbrock, (0, 0))


@compiled_only
def test_exceptions_caught_in_compiled_code_leave_the_tape_clean():
    from fasttape.compiler.linear_memory import CAPACITY, LENGTH, THREAD

    @numba.njit
    def f(x):
        s = x[0]
        for _ in range(100):
            s = s * x[1] + x[0]
        if s > 1.0:
            raise ValueError("outside")
        return s

    value_and_grad = ft.njit_value_and_grad(f)

    @numba.njit
    def count(x, times):
        caught = 0
        for _ in range(times):
            try:
                value_and_grad(x)
            except Exception:
                caught += 1
        return caught

    count(np.ones(2), 1)
    capacity = THREAD.header[CAPACITY]
    assert count(np.ones(2), 10_000) == 10_000
    assert THREAD.header[LENGTH] == 1
    assert THREAD.header[CAPACITY] == capacity


@compiled_only
def test_a_gradient_inside_of_a_recorded_function_takes_its_own_part_of_the_tape():
    inner = ft.njit_value_and_grad(numba.njit(lambda x: x * x * x))

    @numba.njit
    def f(x, a):
        y = x * a * x
        _, slope = inner(a)
        return y * slope * x

    np.testing.assert_allclose(ft.grad(f)(2.0, 3.0), 3.0 * 2.0**2 * 3.0 * 27.0)


MODULE = """
    import numba
    import numpy as np
    from other_module import helper

    RATE = {rate}

    @numba.njit(cache=True)
    def f(x):
        s = 0.0
        for i in range(x.size):
            s += RATE * helper(x[i])
        return s
"""
HELPER = """
    import numba

    @numba.njit(cache=True)
    def helper(x):
        return x ** {power}
"""
PROGRAM = """
    import numba, numpy as np
    import fasttape as ft
    from user_code import f
    from fasttape.compiler.compiled_gradient import MADE
    g = ft.grad(f)(np.array([2.0]))
    (run,) = MADE[f].values()
    print(g[0], sum(run.compiled.stats.cache_hits.values()))
"""


@compiled_only
@pytest.mark.slow
def test_the_cache_on_disk_knows_callees_in_other_files_and_globals(tmp_path):
    def run(rate, power):
        (tmp_path / "user_code.py").write_text(textwrap.dedent(MODULE.format(rate=rate)))
        (tmp_path / "other_module.py").write_text(textwrap.dedent(HELPER.format(power=power)))
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
        path = f"{tmp_path}{os.pathsep}{ROOT}"
        kept = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)
        gradient, hits = done.stdout.split()
        return float(gradient), int(hits)

    assert run(1.0, 2) == (4.0, 0)
    assert run(1.0, 2) == (4.0, 1)
    assert run(1.0, 3) == (12.0, 0)
    assert run(2.0, 3) == (24.0, 0)
    assert run(2.0, 3) == (24.0, 1)
