"""Tapes of functions compiled by Numba: recorded inside of the compiled code, they are those of the Python recorder."""

import math
import threading
from typing import NamedTuple

import numba
import numpy as np
import pytest
from agree import same
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="they are Python functions then")


@numba.njit
def apply(op, p, q):
    """One operation of many; all keep to numbers near 1."""
    if op < 8:
        if op == 0:
            return p + q
        if op == 1:
            return p - q
        if op == 2:
            return p * q
        if op == 3:
            return p / (q * q + 1.0)
        if op == 4:
            return math.sin(p) + np.cos(q)
        if op == 5:
            return np.exp(-p * p)
        if op == 6:
            return math.log(1.0 + p * p) - np.log1p(q * q)
        return math.sqrt(p * p + 1.0)
    if op < 16:
        if op == 8:
            return math.tanh(p) * np.arctan(q)
        if op == 9:
            return np.hypot(p, q) / (1.0 + np.abs(q))
        if op == 10:
            return np.maximum(p, q) - 0.5 * np.minimum(p, -q)
        if op == 11:
            return max(p, q, 0.1) + min(p, 0.2)
        if op == 12:
            return 0.1 * p**3 - 0.2 * q**2
        if op == 13:
            return (2.0 + p * p) ** -2 + (1.0 + q * q) ** 0.5
        if op == 14:
            return np.floor(p * 3.0) * 0.1 + np.sign(q) * p
        return p % (1.0 + q * q) - np.fmod(q, 2.0 + p * p)
    if op == 16:
        return math.copysign(p, q) if p > q else -p
    if op == 17:
        return int(p * 3.0) * q * 0.1 + math.floor(q)
    if op == 18:
        return 2.0 if p == q or not bool(q) else p
    if op == 19:
        return (1.0 + p * p) ** (np.tanh(q) + 1.0) * 0.1
    if op == 20:
        return math.atan2(p, q) + math.erf(p)
    return (p > 0.0) * q + round(p) * 0.25 + 0.5


OPERATIONS = 22


@numba.njit
def run(x, ops, a, b):
    """The value of a program, as an interpreter finds it."""
    values = np.empty(x.size + ops.size)
    values[: x.size] = x
    for k in range(ops.size):
        made = apply(ops[k], values[a[k]], values[b[k]])
        values[x.size + k] = 2.0 * np.tanh(made / 2.0)
    return values[-1]


def run_in_python(x, ops, a, b):
    """The same with a list, which holds traced numbers."""
    values = list(x)
    for op, i, j in zip(ops.tolist(), a.tolist(), b.tolist(), strict=True):
        values.append(2.0 * np.tanh(getattr(apply, "py_func", apply)(op, values[i], values[j]) / 2.0))
    return values[-1]


@st.composite
def interpreted(draw):
    """Operations and the places of their operands among three inputs and the results before."""
    size = draw(st.integers(1, 12))
    ops = draw(st.lists(st.integers(0, OPERATIONS - 1), min_size=size, max_size=size))
    places = [[draw(st.integers(0, 2 + k)) for k in range(size)] for _ in range(2)]
    return tuple(np.array(column) for column in (ops, *places))


def recorded_inside(f):
    """Whether the tapes of a compiled function were all recorded in compiled code."""
    from fasttape.compiler.compiled_gradient import MADE

    found = [made for (use, *_), made in MADE.get(f, {}).items() if use == "program"]
    return bool(found) and not any(made.refused for made in found)


@compiled_only
@settings(max_examples=25, deadline=None)
@given(interpreted(), st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_both_recorders_make_the_same_tape(program, point):
    x, v = np.array(point), np.array([0.3, -1.0, 0.5])
    tape, other = ft.record(run, x, *program), ft.record(run_in_python, x, *program)
    assert recorded_inside(run)
    same(tape(x, *program), run(x, *program), rtol=1e-13)
    same(tape(x, *program), other(x, *program), rtol=1e-13)
    same(tape.grad(x, *program), other.grad(x, *program), rtol=1e-12)
    same(tape.optimize()(x, *program), tape(x, *program), rtol=0.0)
    if np.all(x != 0.0):
        seed = (v, *(np.zeros(c.shape, c.dtype) for c in program))
        same(tape.jvp((x, *program), seed), other.jvp((x, *program), seed), rtol=1e-12)
    moved = x + 0.01
    try:
        expected = other(moved, *program)
    except ft.errors.ReplayError:
        expected = None
    try:
        found = tape(moved, *program)
    except ft.errors.ReplayError:
        found = None
    same(run(moved, *program) if found is None else found, run(moved, *program), rtol=1e-13)
    assert found is None or expected is None or math.isclose(found, expected, rel_tol=1e-12)


def test_every_operation_in_one_tape():
    ops = np.arange(OPERATIONS)
    a, b = ops % 3, (ops + 1) % 3
    b[3:], a[5:] = ops[3:] + 1, ops[5:] - 1
    x = np.array([0.4, -0.7, 1.1])
    tape, other = ft.record(run, x, ops, a, b), ft.record(run_in_python, x, ops, a, b)
    same(tape(x, ops, a, b), run(x, ops, a, b), rtol=1e-13)
    same(tape.grad(x, ops, a, b), other.grad(x, ops, a, b), rtol=1e-11)
    same(ft.grad(run)(x, ops, a, b), other.grad(x, ops, a, b), rtol=1e-11)


@numba.njit
def signed(x):
    s = 0.0
    for v in x:
        if v > 0.0:
            s += v**3
        else:
            s -= v / 0.25
    return s * int(s * 10.0)


def test_guards_name_the_line_of_the_user():
    x = np.array([0.5, -0.3, 0.2])
    tape = ft.record(signed, x)
    same(tape(x), signed(x), rtol=1e-15)
    first = getattr(signed, "py_func", signed).__code__.co_firstlineno
    with pytest.raises(ft.errors.ReplayError, match=rf"true at .*test_njit_tapes\.py:{first + 4} \(if v > 0\.0:\)"):
        tape(-x)
    with pytest.raises(ft.errors.ReplayError, match=rf"test_njit_tapes\.py:{first + 8} \(return s \* int"):
        tape(1.5 * x)


@compiled_only
def test_guards_in_array_expressions_and_in_callees_name_a_line():
    @numba.njit
    def f(x):
        y = np.zeros(x.size)
        y[:] = x * signed(x)
        return np.sum(y[y > 0.0])

    x = np.array([0.5, 0.3, -0.2])
    tape = ft.record(f, x)
    assert recorded_inside(f)
    same(tape(x), f(x), rtol=1e-15)
    here, there = f.py_func.__code__.co_firstlineno, signed.py_func.__code__.co_firstlineno
    lines = [tape.program.sites[number].line for number in tape.program.guards[:, 1]]
    assert lines[:4] == [there + 4] * 3 + [there + 8]
    assert set(lines[4:]) == {here + 4}


@compiled_only
def test_a_number_that_is_not_one_holds_for_no_replay():
    @numba.njit
    def f(x):
        s = 0.0
        for v in x:
            s += v * int(v)
        return s

    tape = ft.record(f, np.array([np.nan]))
    with pytest.raises(ft.errors.ReplayError):
        tape(np.array([1.0]))


@compiled_only
def test_integer_powers_and_constants_stay_what_they_are():
    @numba.njit
    def f(x, n):
        s = -0.0 * x
        for k in range(n):
            s += 3.0 * x**k
        return s

    tape = ft.record(f, 2.0, 5)
    assert sorted(set(str(tape).split()) & {"powi", "square", "pow"}) == ["powi", "square"]
    assert sorted(tape.program.constants.tolist()) == [0.0, 3.0]
    assert math.copysign(1.0, tape.program.constants.min()) == -1.0
    assert tape(-2.0, 5) == f(-2.0, 5)
    assert ft.hessian(f)(0.0, 5) == 6.0
    assert recorded_inside(f)


@numba.njit
def relaxed(x, steps):
    """A grid that is smoothed again and again."""
    grid = np.zeros((4, 4))
    grid[0] = x
    for _ in range(steps):
        for i in range(1, 3):
            for j in range(1, 3):
                grid[i, j] = 0.25 * (grid[i - 1, j] + grid[i + 1, j] + grid[i, j - 1] + grid[i, j + 1] ** 2)
    return grid, grid[1, 1] * x[0], 3.0, steps


@compiled_only
def test_second_derivatives_and_mixed_code():
    def loss(x):
        grid, corner, three, steps = relaxed(np.sin(x), 3)
        return np.sum(grid * grid) * corner + three * steps * grid[2, 2] + signed(x[:1] + 1.0)

    x, v, h = np.array([0.3, 0.8, -0.4, 0.6]), np.array([1.0, -0.5, 0.25, 2.0]), 1e-5
    gradient, hessian = ft.grad(loss), ft.hessian(loss)(x)
    assert recorded_inside(relaxed)
    assert recorded_inside(signed)
    differences = [(loss(x + h * e) - loss(x - h * e)) / (2.0 * h) for e in np.eye(4)]
    np.testing.assert_allclose(gradient(x), differences, rtol=1e-8)
    rows = [(gradient(x + h * e) - gradient(x - h * e)) / (2.0 * h) for e in np.eye(4)]
    np.testing.assert_allclose(hessian, rows, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ft.hvp(loss)(x, v), hessian @ v, rtol=1e-12)
    again = ft.compile(ft.value_and_grad(loss))
    for scale in (1.0, 1.01, -1.0):
        value, slope = again(scale * x)
        np.testing.assert_allclose(value, loss(scale * x), rtol=1e-13)
        np.testing.assert_allclose(slope, gradient(scale * x), rtol=1e-12)


def test_compiled_functions_record_again_where_another_branch_is_taken():
    slope = ft.compile(ft.grad(signed))
    x = np.array([0.5, -0.3, 0.2])
    for y in (x, x, -x, x):
        same(slope(y), ft.grad(signed)(y), rtol=1e-13)
    assert slope.info().recordings == 2
    assert slope.info().hits == 2


class Sums(NamedTuple):
    total: float
    parts: np.ndarray


@numba.njit
def sums(x, pair, scale):
    parts = np.zeros(2)
    for k in range(x.size):
        parts[k % 2] += x[k] * pair[k % 2] * scale
    return Sums(parts[0] * parts[1], parts), pair[0] * 2.0, 3.0


@compiled_only
@pytest.mark.parametrize("many", [False, True])
def test_pullbacks_and_pushforwards(many):
    x, pair = np.array([0.3, 0.8, -0.4]), (1.5, 0.5)
    value, pullback = ft.vjp(lambda x, pair: sums(x, pair, 2.0), x, pair)
    inside, found = ft.vjp(numba.njit(lambda x, pair: sums(x, pair, 2.0)), x, pair)
    cotangent = (Sums(1.0, np.array([2.0, -1.0])), 0.5, 0.0)
    if many:
        cotangent = (Sums(np.array([1.0, 0.0]), np.array([[2.0, -1.0], [1.0, 0.0]])), np.array([0.5, 0.0]), np.zeros(2))
        pullback, found = pullback.many, found.many
    assert isinstance(inside[0], Sums)
    same(inside[0].parts, value[0].parts, rtol=1e-15)
    before = found(cotangent)
    for mine, other in zip(before, pullback(cotangent), strict=True):
        same(mine, other, rtol=1e-14)
    x[:], inside[0].parts[:] = 9.0, 9.0
    np.testing.assert_array_equal(found(cotangent)[0], before[0])


@compiled_only
def test_linear_tapes_of_compiled_functions():
    from fasttape.compiler.compiled_gradient import MADE

    @numba.njit
    def f(x, p):
        y = np.zeros(3)
        for i in range(x.size):
            y[i % 3] += math.sin(x[i]) * p * x[(i + 1) % x.size]
        return y

    x, h = np.array([0.3, 0.4, 0.5, 0.6]), 1e-6
    expected = np.array([(f(x + h * e, 1.5) - f(x - h * e, 1.5)) / (2.0 * h) for e in np.eye(4)]).T
    for jacobian in (ft.jacobian, ft.jacfwd, ft.jacrev):
        np.testing.assert_allclose(jacobian(f)(x, 1.5), expected, rtol=1e-8, atol=1e-9)
    (by_x, by_p) = ft.jacobian(f, argnums=(0, 1))(x, 1.5)
    np.testing.assert_allclose(by_p, f(x, 1.0), rtol=1e-14)
    value, slope = ft.jvp(f, (x, 1.5), (np.ones(4), 1.0))
    np.testing.assert_array_equal(value, f(x, 1.5))
    np.testing.assert_allclose(slope, by_x.sum(axis=1) + by_p, rtol=1e-14)
    value, pushforward, aux = ft.linearize(numba.njit(lambda x: (f(x, 1.5), x.size)), x, has_aux=True)
    assert aux == 4
    np.testing.assert_allclose(pushforward.many(np.eye(4)).T, by_x, rtol=1e-14)
    assert not any(run.refused for run in MADE[f].values())
    _, pullback = ft.vjp(f, np.empty(0), 1.5)
    np.testing.assert_array_equal(pullback(np.ones(3))[1], 0.0)
    with pytest.raises(ft.errors.ArgumentError, match="cotangent"):
        pullback(np.ones(2))


def test_exceptions_of_the_function_end_a_recording():
    @numba.njit
    def f(x):
        s = 0.0
        for v in x:
            s += 1.0 * v
            if s > 1.0:
                raise ValueError("outside")
        return s

    for _ in range(2):
        with pytest.raises(ValueError, match="outside"):
            ft.record(f, np.ones(3))
        same(ft.record(f, np.full(3, 0.25)).grad(np.full(3, 0.2)), np.ones(3), rtol=0.0)


def test_what_has_no_compiled_form_is_recorded_as_python():
    @numba.njit
    def f(x):
        s = 0.0
        for k in range(3):
            s = s + np.sum(np.clip(x, -1.0, 1.0) * x) * k
        return s

    x = np.array([0.5, 2.0])
    np.testing.assert_array_equal(ft.record(f, x).grad(x), [3.0, 3.0])
    single = ft.record(signed, np.array([0.5, -0.5], np.float32))
    assert single.program.dtype == np.float32


def test_straight_array_code_keeps_its_array_instructions():
    @numba.njit
    def f(w, x):
        return np.sum(np.tanh(w @ x) ** 2)

    w, x = np.linspace(-1.0, 1.0, 12).reshape(3, 4), np.arange(4.0)
    tape = ft.record(f, w, x)
    assert len(tape) < 6
    same(tape(w, x), f(w, x), rtol=1e-14)


def test_threads_record_tapes_at_once():
    points, found = [np.linspace(-1.0, 1.0, 200) * (k + 1) for k in range(4)], [None] * 4

    def work(k):
        for _ in range(3):
            found[k] = ft.record(signed, points[k]).grad(points[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, gradient in zip(points, found, strict=True):
        same(gradient, ft.grad(signed)(x), rtol=1e-12)


def test_a_list_of_traced_values_is_for_python():
    @numba.njit
    def f(x):
        s = 0.0
        for v in x:
            s += v * v
        return s

    assert ft.grad(lambda x: f([x, 2.0 * x]))(3.0) == 30.0


@compiled_only
def test_a_full_tape_is_an_error_and_the_next_recording_is_right():
    from fasttape.compiler.linear_memory import CAPACITY, LIMIT, THREAD

    x = np.array([0.5, -0.3, 0.2])
    expected, limit = ft.record(signed, x).grad(x), THREAD.header[LIMIT]
    try:
        THREAD.header[LIMIT] = THREAD.header[CAPACITY]
        with pytest.raises(MemoryError, match="tape of this thread is full"):
            ft.record(signed, np.ones(int(THREAD.header[CAPACITY])))
        np.testing.assert_array_equal(ft.record(signed, x).grad(x), expected)
    finally:
        THREAD.header[LIMIT] = limit
