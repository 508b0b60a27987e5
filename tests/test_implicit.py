"""Implicit functions: the solver is not seen, derivatives of every order and mode come from the residual."""

import math
import pickle
import threading

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, OutputError
from fasttape.testing import check_grads

A = np.random.default_rng(1).normal(size=(4, 4)) + 4.0 * np.eye(4)
B = np.array([0.3, -0.2, 0.9, 1.4])


def newton(x):
    """The square root, by a loop with a branch."""
    y = 1.0
    for _ in range(60):
        y = 0.5 * (y + x / y)
    return y


root = ft.implicit(lambda y, x: y * y - x)(newton)


def system_residual(y, a, b):
    return a @ y + 0.1 * np.tanh(y) - b


@ft.implicit(system_residual)
def system(a, b):
    y = np.zeros(b.shape)
    for _ in range(200):
        y = np.linalg.solve(a, b - 0.1 * np.tanh(y))
    return y


def test_orders_and_modes_of_a_scalar_root():
    x = 2.3
    orders = [x**0.5, 0.5 * x**-0.5, -0.25 * x**-1.5, 0.375 * x**-2.5]
    f = root
    for expected in orders:
        assert f(x) == pytest.approx(expected, rel=1e-13)
        f = ft.grad(f)
    assert ft.jvp(root, (x,), (2.0,)) == (newton(x), pytest.approx(2 * orders[1], rel=1e-14))
    assert ft.hessian(root)(x) == ft.hvp(root)(x, 1.0) == pytest.approx(orders[2], rel=1e-13)
    assert ft.jacfwd(root)(x) == ft.jacrev(root)(x) == pytest.approx(orders[1], rel=1e-14)


def test_a_system_with_vectors():
    check_grads(lambda a, b: np.sum(system(a, b) ** 2 * np.array([1.0, 2.0, 3.0, 4.0])), (A, B), order=3)
    jacobian = np.linalg.inv(A + 0.1 * np.diag(1.0 - np.tanh(system(A, B)) ** 2))
    np.testing.assert_allclose(ft.jacobian(system, 1)(A, B), jacobian, rtol=1e-12)
    tape = ft.record(lambda b: np.sum(system(A, b) ** 2), B)
    np.testing.assert_allclose(tape.grad(B), 2.0 * jacobian.T @ system(A, B), rtol=1e-12)
    np.testing.assert_allclose(tape.hessian(B), tape.hessian(B).T, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(tape.hvp((B,), (B,)), tape.hessian(B) @ B, rtol=1e-11)


def test_replays_solve_again_at_their_point():
    tape = ft.record(lambda x: root(x) * 3.0, 1.0)
    assert tape(4.0) == 6.0
    assert tape.grad(4.0) == pytest.approx(0.75, rel=1e-14)
    assert tape.optimize().grad(4.0) == tape.grad(4.0)
    assert tape.gradient_tape()(9.0) == (9.0, pytest.approx(0.5, rel=1e-14))


def test_trees_of_arguments_and_of_results():
    def residual(y, p, n):
        return [y["u"] ** n + y["u"] * p["a"][0] - p["b"], {"v": y["v"] - np.tanh(p["a"]) * y["u"]}]

    @ft.implicit(residual)
    def solve(p, n):
        u = 0.5
        for _ in range(60):
            u = u - (u**n + u * p["a"][0] - p["b"]) / (n * u ** (n - 1) + p["a"][0])
        return {"u": u, "v": np.tanh(p["a"]) * u}

    def loss(a, b):
        y = solve({"a": a, "b": b * b}, 3)
        return np.sum(y["v"] ** 2) * y["u"] * np.sum(a)

    check_grads(loss, (np.array([0.3, 0.9, 1.4]), 0.8), order=3)


def test_a_fixed_point_by_a_solver_that_knows_no_arrays():
    @ft.implicit(lambda y, x: np.cos(x * y) - y)
    def fixed(x):
        y = 0.5
        while abs(math.cos(float(x) * y) - y) > 1e-15:
            y -= (y - math.cos(x * y)) / (1.0 + x * math.sin(x * y))
        return y

    y = fixed(0.9)
    slope = -y * math.sin(0.9 * y) / (1.0 + 0.9 * math.sin(0.9 * y))
    assert ft.grad(fixed)(0.9) == pytest.approx(slope, rel=1e-13)
    check_grads(lambda x: fixed(x) * x, (0.9,), order=2)


def test_a_start_for_the_search_has_no_derivative():
    @ft.implicit(lambda y, start, x: y**3 - x)
    def cube_root(start, x):
        y = start
        for _ in range(100):
            y = y - (y**3 - x) / (3 * y * y)
        return y

    assert ft.grad(cube_root, (0, 1))(1.0, 8.0) == (0.0, pytest.approx(1 / 12, rel=1e-13))


def test_implicit_functions_in_each_other():
    @ft.implicit(lambda y, x: root(y + 1.0) - x)
    def inverse(x):
        return x * x - 1.0

    assert ft.grad(inverse)(1.5) == pytest.approx(3.0, rel=1e-13)
    assert ft.grad(ft.grad(lambda x: inverse(root(x)) * x))(1.5) == pytest.approx(2.0, rel=1e-11)


def test_float32():
    a, b = A.astype(np.float32), B.astype(np.float32)

    @ft.implicit(lambda y, a, b: a @ y - b)
    def solve(a, b):
        assert a.dtype == b.dtype == np.float32
        return np.linalg.solve(a, b)

    gradient = ft.grad(lambda a, b: np.sum(solve(a, b)), (0, 1))(a, b)
    assert [x.dtype for x in gradient] == [np.float32] * 2
    multipliers = np.linalg.solve(A.T, np.ones(4))
    np.testing.assert_allclose(gradient[1], multipliers, rtol=1e-5)
    np.testing.assert_allclose(gradient[0], -np.outer(multipliers, np.linalg.solve(A, B)), rtol=1e-4, atol=1e-6)


def test_zero_dimensional_and_empty():
    @ft.implicit(lambda y, x: y - x * x)
    def square(x):
        return x * x

    np.testing.assert_array_equal(ft.grad(lambda x: np.sum(square(x)))(np.array(3.0)), 6.0)
    np.testing.assert_array_equal(ft.grad(lambda x: np.sum(square(x)))(np.zeros(0)), np.zeros(0))
    np.testing.assert_allclose(ft.jacobian(square)(B), np.diag(2 * B), rtol=1e-15)


def test_residuals_of_another_size():
    @ft.implicit(lambda y, x: y[:2] - x)
    def solve(x):
        return np.zeros(3)

    with pytest.raises(OutputError, match="the residual of solve, returned 2 numbers for 3 of solve"):
        ft.grad(lambda x: np.sum(solve(x)))(1.0)
    with pytest.raises(OutputError, match="the residual of f, returned a str"):
        ft.grad(named(ft.implicit(lambda y, x: "no")(lambda x: x)))(1.0)
    with pytest.raises(ArgumentError, match="implicit takes the residual"):
        ft.implicit(3.0)


def named(f):
    f.__name__ = "f"
    return f


def test_a_singular_root():
    double = named(ft.implicit(lambda y, x: (y - x) ** 2)(lambda x: x))
    with pytest.raises(np.linalg.LinAlgError) as caught:
        ft.grad(double)(1.0)
    assert "residual of f" in caught.value.__notes__[0]
    assert ft.grad(root)(4.0) == pytest.approx(0.25)


def test_a_solver_that_fails():
    @ft.implicit(lambda y, x: y * y - x)
    def positive(x):
        if x < 0.0:
            raise ArithmeticError("no root")
        return newton(x)

    tape = ft.record(positive, 1.0)
    with pytest.raises(ArithmeticError, match="no root"):
        tape.grad(-1.0)
    assert tape.grad(4.0) == pytest.approx(0.25)


def test_pickled_and_in_threads():
    tape = ft.record(lambda a, b: np.sum(system(a, b) ** 2), A, B, argnums=(0, 1))
    again = pickle.loads(pickle.dumps(tape))
    expected = tape.grad(A, B)
    for x, y in zip(again.grad(A, B), expected, strict=True):
        np.testing.assert_array_equal(x, y)
    found = []
    threads = [threading.Thread(target=lambda: found.append(tape.grad(A, B))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(g[0], expected[0]) for g in found)
