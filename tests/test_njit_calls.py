"""Gradients that compiled code calls, and what they leave behind when they raise."""

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import fasttape as ft
from benchmarks.programs.memory import resident

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

    count(np.ones(2000), 1)
    capacity, before = THREAD.header[CAPACITY], resident()
    assert count(np.ones(2000), 10_000) == 10_000
    assert resident() - before < 50 << 20, "480 MB were held"
    assert THREAD.header[LENGTH] == 1
    assert THREAD.header[CAPACITY] == capacity


@compiled_only
@pytest.mark.parametrize("call", [ft.grad, lambda f: lambda x: ft.vjp(f, x), lambda f: lambda x: ft.record(f, x)])
def test_exceptions_of_the_function_leave_nothing_behind(call):
    from fasttape.compiler.linear_memory import CAPACITY, LENGTH, THREAD

    @numba.njit
    def f(x):
        s = x[0]
        for k in range(100):
            s = s * x[1] + x[k]
        if s > 1.0:
            raise ValueError("outside")
        return s

    def count(x, times):
        caught = 0
        for _ in range(times):
            try:
                call(f)(x)
            except ValueError:
                caught += 1
        return caught

    count(np.ones(2000), 1)
    capacity, before = THREAD.header[CAPACITY], resident()
    assert count(np.ones(2000), 10_000) == 10_000
    assert THREAD.header[LENGTH] == 1
    assert THREAD.header[CAPACITY] == capacity
    assert resident() - before < 50 << 20, "480 MB were held"


@compiled_only
def test_threads_call_gradients_in_compiled_code_at_once():
    value_and_grad = ft.njit_value_and_grad(rosenbrock)

    @numba.njit(nogil=True)
    def descend(x, steps):
        for _ in range(steps):
            x = x - 1e-4 * value_and_grad(x)[1]
        return x

    points = [np.linspace(-1.0, 1.0, 200) * k for k in (0.5, 1.0)]
    expected = [descend(x, 500) for x in points]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(descend, points, [500, 500]))
    np.testing.assert_array_equal(found, expected)


@compiled_only
def test_a_tape_has_no_more_slots_than_its_numbers_can_name():
    from fasttape.compiler.linear_memory import LIMIT, THREAD

    assert 1 << 20 < THREAD.header[LIMIT] < 1 << 32


@compiled_only
def test_a_gradient_inside_of_a_recorded_function_takes_its_own_part_of_the_tape():
    inner = ft.njit_value_and_grad(numba.njit(lambda x: x * x * x))

    @numba.njit
    def f(x, a):
        y = x * a * x
        _, slope = inner(a)
        return y * slope * x

    np.testing.assert_allclose(ft.grad(f)(2.0, 3.0), 3.0 * 2.0**2 * 3.0 * 27.0)
