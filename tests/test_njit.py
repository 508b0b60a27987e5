"""Functions compiled by Numba under the public transforms: whole programs, what they return, what they raise."""

import math
import threading
from typing import NamedTuple

import numba
import numpy as np
import pytest

import fasttape as ft

compiled_only = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="compiled functions are Python functions then"
)


@numba.njit
def rosenbrock(x):
    s = 0.0
    for i in range(x.shape[0] - 1):
        s += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return s


@numba.njit
def log_sum_exp(v):
    top = -np.inf
    for x in v:
        top = max(top, x)
    s = 0.0
    for x in v:
        s += math.exp(x - top)
    return top + math.log(s)


@numba.njit
def mixture(parameters, points, k):
    """The log-likelihood of a mixture of normal distributions with diagonal covariances."""
    n, d = points.shape
    weights, means = parameters[:k], parameters[k : k + k * d].reshape(k, d)
    scales = parameters[k + k * d :].reshape(k, d)
    total = 0.0
    terms = np.empty(k)
    for i in range(n):
        for j in range(k):
            q = 0.0
            for c in range(d):
                q += ((points[i, c] - means[j, c]) * np.exp(-scales[j, c])) ** 2 + 2.0 * scales[j, c]
            terms[j] = weights[j] - 0.5 * q
        total += log_sum_exp(terms)
    return total - n * log_sum_exp(weights)


@numba.njit
def rotated(r, p):
    """A point turned by a vector along the axis (Rodrigues 1840)."""
    angle = math.sqrt(r[0] ** 2 + r[1] ** 2 + r[2] ** 2)
    a, b, c = r[0] / angle, r[1] / angle, r[2] / angle
    dot = (a * p[0] + b * p[1] + c * p[2]) * (1.0 - math.cos(angle))
    co, si = math.cos(angle), math.sin(angle)
    return (
        p[0] * co + (b * p[2] - c * p[1]) * si + a * dot,
        p[1] * co + (c * p[0] - a * p[2]) * si + b * dot,
        p[2] * co + (a * p[1] - b * p[0]) * si + c * dot,
    )


@numba.njit
def projection(camera, point, seen):
    """The squared error of a point seen by a camera with radial distortion."""
    x, y, z = rotated(camera[:3], point - camera[3:6])
    u, v = x / z, y / z
    r = u * u + v * v
    distorted = 1.0 + r * (camera[7] + r * camera[8])
    return (camera[6] * distorted * u - seen[0]) ** 2 + (camera[6] * distorted * v - seen[1]) ** 2


@numba.njit
def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@numba.njit
def cell(weights, inputs, h):
    """The loss of a recurrent cell with gates over a sequence."""
    state, memory, loss = np.zeros(h), np.zeros(h), 0.0
    for t in range(inputs.size):
        for j in range(h):
            w = weights[12 * j : 12 * j + 12]
            x, s = inputs[t], state[j]
            forget, store = sigmoid(w[0] * x + w[1] * s + w[2]), sigmoid(w[3] * x + w[4] * s + w[5])
            out, change = sigmoid(w[6] * x + w[7] * s + w[8]), np.tanh(w[9] * x + w[10] * s + w[11])
            memory[j] = memory[j] * forget + store * change
            state[j] = out * np.tanh(memory[j])
        loss += (state[0] - inputs[t]) ** 2
    return loss / inputs.size


@numba.njit
def orbit(start, steps, h):
    """Three bodies by Runge and Kutta's method of order 4; the energy at the end."""
    y = start.copy()
    k1, k2, k3, k4 = np.zeros(12), np.zeros(12), np.zeros(12), np.zeros(12)
    for _ in range(steps):
        forces(y, k1)
        forces(y + 0.5 * h * k1, k2)
        forces(y + 0.5 * h * k2, k3)
        forces(y + h * k3, k4)
        y += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return np.sum(y[6:] ** 2)


@numba.njit
def forces(y, out):
    for i in range(3):
        out[2 * i], out[2 * i + 1] = y[6 + 2 * i], y[7 + 2 * i]
        ax, ay = 0.0, 0.0
        for j in range(3):
            if i != j:
                dx, dy = y[2 * j] - y[2 * i], y[2 * j + 1] - y[2 * i + 1]
                r = math.hypot(dx, dy)
                ax += dx / r**3
                ay += dy / r**3
        out[6 + 2 * i], out[7 + 2 * i] = ax, ay


@numba.njit
def root(x):
    y = 1.0
    while abs(y * y - x[0]) > 1e-13 * x[0]:
        y = 0.5 * (y + x[0] / y)
    return y


@numba.njit
def branches(x):
    s = 0
    for i, v in enumerate(x):
        if v > 0.0:
            s += i * v * x[-1]
        elif v < -1.0 and i != 3:
            s -= v**3
        else:
            s += 2
    return s / len(x)


@numba.njit
def views(x):
    m = np.zeros((2, x.size))
    m[0] = x
    m[1, 1:] = m[0, :-1] * x[1:]
    m[:, 0] += 1.0
    m[1] *= m[0] / 2.0
    y = np.zeros_like(x)
    y[:] = m.T.copy().reshape(2, -1)[1]
    w = np.array([x[0], 1.0, x[1] * x[2]])
    return np.sum(y * m[0]) + m.sum() * w.max() + np.dot(w, w) + np.mean(np.where(x > 0.0, x, 2.0 * x))


rng = np.random.default_rng(7)
PROGRAMS = {
    "rosenbrock": (rosenbrock, (rng.normal(size=9),)),
    "mixture": (mixture, (rng.normal(size=3 + 2 * 3 * 2), rng.normal(size=(20, 2)), 3)),
    "projection": (projection, (rng.uniform(0.5, 1.0, 9), rng.uniform(2.0, 3.0, 3), np.array([0.3, 0.4]))),
    "cell": (cell, (rng.normal(size=24), rng.normal(size=6), 2)),
    "orbit": (orbit, (rng.normal(size=12), 5, 1e-2)),
    "root": (root, (np.array([2.0]),)),
    "branches": (branches, (np.array([0.5, -2.0, -0.3, -3.0, 1.5]),)),
    "views": (views, (rng.normal(size=4),)),
}


def differences(f, x, *others, h=1e-6):
    """Central differences."""
    steps = h * np.eye(x.size)
    return np.array([(f(x + e, *others) - f(x - e, *others)) / (2.0 * h) for e in steps])


@pytest.mark.parametrize("name", PROGRAMS)
def test_whole_programs(name):
    f, args = PROGRAMS[name]
    value, gradient = ft.value_and_grad(f)(*args)
    np.testing.assert_allclose(value, f(*args), rtol=1e-14)
    np.testing.assert_allclose(gradient, differences(f, *args), rtol=2e-6, atol=1e-6)


@compiled_only
@pytest.mark.parametrize("name", ["rosenbrock", "projection", "root", "branches"])
def test_both_recorders_agree(name):
    f, args = PROGRAMS[name]
    value, gradient = ft.value_and_grad(f)(*args)
    other, expected = ft.value_and_grad(f.py_func)(*args)
    np.testing.assert_allclose(value, other, rtol=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)


def test_arguments_of_all_kinds():
    @numba.njit
    def f(x, pair, m, label, n=2):
        return x * pair[0] ** n + pair[1] * m[0, 1] + (1.0 if label == "a" else 2.0) * m[1, 0]

    m = np.array([[1.0, 2.0], [3.0, 4.0]])
    gradient = ft.grad(f, argnums=(0, 1, 2))(3.0, (2.0, 5.0), m, "b")
    assert gradient[0] == 4.0
    assert gradient[1] == (12.0, 2.0)
    np.testing.assert_array_equal(gradient[2], [[0.0, 5.0], [2.0, 0.0]])
    assert ft.grad(f)(3.0, (2.0, 5.0), m, label="a", n=3) == 8.0
    assert ft.grad(f)(3, (2, 5.0), m, "a") == 4.0
    np.testing.assert_array_equal(ft.grad(f, argnums=2)(3.0, (2.0, 5.0), m.T, "b"), [[0.0, 5.0], [2.0, 0.0]])


def test_float32_empty_and_zero_dimensional_arguments():
    @numba.njit
    def f(x):
        return np.sum(x * x)

    single = ft.grad(f)(np.array([1.0, 2.0], np.float32))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, [2.0, 4.0])
    assert ft.value_and_grad(f)(np.empty(0))[0] == 0.0
    assert ft.grad(f)(np.empty((0, 3))).shape == (0, 3)
    zero = ft.grad(f)(np.array(3.0))
    assert zero.shape == ()
    assert zero == 6.0


def test_auxiliary_output():
    class Pair(NamedTuple):
        square: float
        count: int

    @numba.njit
    def f(x):
        return x * x, Pair(x, 3)

    gradient, aux = ft.grad(f, has_aux=True)(2.0)
    assert gradient == 4.0
    assert aux == (2.0, 3)
    assert ft.value_and_grad(f, has_aux=True)(2.0) == ((4.0, (2.0, 3)), 4.0)


def test_zero_absorbs():
    @numba.njit
    def f(x):
        r = np.sqrt(x)
        return r * r + (r - r) + 0.0 * np.log(x)

    with np.errstate(all="ignore"):
        assert ft.grad(f)(0.0) == 0.0


def test_products_of_partials_neither_overflow_nor_vanish():
    @numba.njit
    def f(x, a):
        y = x
        for _ in range(4):
            y = y * a
        for _ in range(4):
            y = y / a
        return y

    for a in (1e-75, 1e75):
        np.testing.assert_allclose(ft.grad(f)(1.0, a), 1.0, rtol=1e-14)


def test_other_transforms_and_replays_of_compiled_functions():
    x = np.array([0.5, 1.5])
    tape = ft.record(rosenbrock, x)
    other = np.array([0.7, -0.2])
    np.testing.assert_allclose(tape(other), rosenbrock(other), rtol=1e-15)
    np.testing.assert_allclose(tape.grad(other), ft.grad(rosenbrock)(other), rtol=1e-13)
    h = ft.hessian(rosenbrock)(x)
    np.testing.assert_allclose(h, [[1200.0 * x[0] ** 2 - 400.0 * x[1] + 2.0, -400.0 * x[0]], [-400.0 * x[0], 200.0]])
    _, pullback = ft.vjp(rosenbrock, x)
    np.testing.assert_allclose(pullback(2.0)[0], 2.0 * ft.grad(rosenbrock)(x), rtol=1e-13)
    _, slope = ft.jvp(rosenbrock, (x,), (np.array([1.0, 0.0]),))
    np.testing.assert_allclose(slope, ft.grad(rosenbrock)(x)[0], rtol=1e-13)
    mixed = ft.grad(lambda x: np.sum(x) * rosenbrock(2.0 * x))(x)
    np.testing.assert_allclose(mixed, differences(lambda x: np.sum(x) * rosenbrock(2.0 * x), x), rtol=1e-6)


def test_exceptions_of_the_function_pass_and_leave_the_tape_clean():
    @numba.njit
    def f(x):
        if x[0] * x[1] > 1.0:
            raise ValueError("outside")
        return x[0] * x[1]

    for _ in range(3):
        with pytest.raises(ValueError, match="outside"):
            ft.grad(f)(np.array([2.0, 2.0]))
        np.testing.assert_array_equal(ft.grad(f)(np.array([0.5, 0.25])), [0.25, 0.5])


@pytest.mark.parametrize(
    ("f", "x", "error", "message"),
    [
        (lambda x: x * 2.0, np.ones(2), ft.errors.OutputError, r"array of shape \(2,\)"),
        (lambda x: None, np.ones(2), ft.errors.OutputError, "scalar output"),
        (lambda x: (x[0], x[1]), np.ones(2), ft.errors.OutputError, "several values"),
        (lambda x: x[0] * 1.0, np.ones(2, int), ft.errors.ArgumentError, "astype"),
        (lambda x: x, "text", ft.errors.ArgumentError, "str"),
    ],
)
def test_bad_calls(f, x, error, message):
    with pytest.raises(error, match=message):
        ft.grad(numba.njit(f))(x)


def test_arguments_are_not_written_to():
    @numba.njit
    def f(x):
        x[0] = 2.0
        return x[0] * x[1]

    with pytest.raises(ft.errors.MutationError, match=r"x\.copy\(\)"):
        ft.grad(f)(np.ones(2))


@compiled_only
def test_a_full_tape_is_an_error_and_the_next_call_is_right():
    from fasttape.compiler.linear_memory import CAPACITY, LIMIT, THREAD

    x = np.linspace(0.0, 1.0, 50_000)
    expected = ft.grad(rosenbrock)(x[:100])
    limit = THREAD.header[LIMIT]
    try:
        THREAD.header[LIMIT] = THREAD.header[CAPACITY]
        with pytest.raises(MemoryError, match="tape of this thread is full"):
            ft.grad(rosenbrock)(np.linspace(0.0, 1.0, int(THREAD.header[CAPACITY])))
        np.testing.assert_array_equal(ft.grad(rosenbrock)(x[:100]), expected)
    finally:
        THREAD.header[LIMIT] = limit


def test_threads_have_tapes_of_their_own():
    points = [rng.normal(size=5000) for _ in range(4)]
    expected = [ft.grad(rosenbrock)(x) for x in points]
    found = [None] * 4

    def work(k):
        for _ in range(5):
            found[k] = ft.grad(rosenbrock)(points[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)
