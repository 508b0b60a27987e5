"""np.linalg and NumPy functions with options inside of compiled functions, against derivatives in closed form."""

import numba
import numpy as np
import pytest
from numba import config

import fasttape as ft

RNG = np.random.default_rng(12)


def matrix(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n)) + 2.0 * np.eye(n)


def assert_inside(f):
    """That a function was recorded inside of compiled code, whatever it was recorded for."""
    if not config.DISABLE_JIT:
        from fasttape.compiler.compiled_gradient import MADE

        assert not any(run.refused for run in MADE[f].values())


@numba.njit
def solved(a, b, u):
    return np.sum(np.linalg.solve(a, b) * u)


@numba.njit
def solution(a, b):
    return np.linalg.solve(a, b)


@numba.njit
def inverted(a, weights):
    return np.sum(np.linalg.inv(a) * weights)


@numba.njit
def determinant(a):
    return np.linalg.det(a)


@numba.njit
def logarithm(a):
    return np.linalg.slogdet(a)[1]


@numba.njit
def half_logarithm(a):
    factor = np.linalg.cholesky(a)
    return np.sum(np.log(np.diag(factor)))


@numba.njit
def factor_sum(a, weights):
    return np.sum(np.linalg.cholesky(a) * weights)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("columns", [None, 1, 2])
def test_solve(n, columns):
    a, shape = matrix(n, n), (n,) if columns is None else (n, columns)
    b, u = RNG.normal(size=shape), RNG.normal(size=shape)
    value, (by_a, by_b, by_u) = ft.value_and_grad(solved, argnums=(0, 1, 2))(a, b, u)
    y, back = np.linalg.solve(a, b), np.linalg.solve(a.T, u)
    assert value == pytest.approx(np.sum(y * u), rel=1e-13)
    np.testing.assert_allclose(by_b, back, rtol=1e-10)
    np.testing.assert_allclose(by_a, -back.reshape(n, -1) @ y.reshape(n, -1).T, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(by_u, y, rtol=1e-13)
    np.testing.assert_allclose(ft.grad(solved, argnums=1)(a, b, u), back, rtol=1e-10)  # the matrix is passive
    np.testing.assert_allclose(ft.grad(solved)(a, b, u), by_a, rtol=1e-12, atol=1e-15)
    assert_inside(solved)


def test_jacobian_of_a_solution():
    a, b = matrix(4), RNG.normal(size=4)
    np.testing.assert_allclose(ft.jacobian(solution, argnums=1)(a, b), np.linalg.inv(a), rtol=1e-11, atol=1e-14)
    _, tangent = ft.jvp(solution, (a, b), (np.ones((4, 4)), np.zeros(4)))
    np.testing.assert_allclose(tangent, -np.linalg.solve(a, np.ones((4, 4)) @ np.linalg.solve(a, b)), rtol=1e-10)
    assert_inside(solution)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_inv(n):
    a, weights = matrix(n, 7), RNG.normal(size=(n, n))
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(ft.grad(inverted)(a, weights), -inverse.T @ weights @ inverse.T, rtol=1e-10, atol=1e-13)
    assert_inside(inverted)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_det_and_slogdet(n):
    a = matrix(n, 8)
    a[0] *= -1.0
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(ft.grad(determinant)(a), np.linalg.det(a) * inverse.T, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(ft.grad(logarithm)(a), inverse.T, rtol=1e-11, atol=1e-14)
    assert_inside(determinant)
    assert_inside(logarithm)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="the rule for Python code inverts the matrix")
def test_det_of_a_singular_matrix():
    a = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 1.0, 5.0]])
    cofactors = np.array([[14.0, -4.0, -2.0], [-7.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(ft.grad(determinant)(a), cofactors, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_cholesky(n):
    a = matrix(n, 9) @ matrix(n, 9).T
    slope, lower = ft.grad(half_logarithm)(a), np.tril(np.ones((n, n)))
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(slope + slope.T, inverse, rtol=1e-9, atol=1e-12)
    weights, h = RNG.normal(size=(n, n)) * lower, 1e-6
    slope, direction = ft.grad(factor_sum)(a, weights), RNG.normal(size=(n, n))
    direction += direction.T
    moved = [np.sum(np.linalg.cholesky(a + step * direction) * weights) for step in (h, -h)]
    assert np.sum(slope * direction) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-7)
    assert_inside(half_logarithm)
    assert_inside(factor_sum)


def test_singular_matrices_raise_as_in_the_plain_function():
    with pytest.raises(np.linalg.LinAlgError):
        ft.grad(solved)(np.zeros((2, 2)), np.ones(2), np.ones(2))
    assert ft.grad(determinant)(np.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@numba.njit
def options(x):
    m = x.reshape(2, 3)
    rows, columns = np.sum(m, axis=1), m.sum(axis=0)
    square = np.outer(columns, columns)
    s = np.trace(square) + np.sum(np.triu(square)) - 2.0 * np.sum(np.tril(square, -1))
    longer = np.append(np.append(rows, columns), x[0])
    return s + np.dot(longer, longer.astype(np.float64))


def test_functions_with_options():
    x = RNG.normal(size=6)
    m = x.reshape(2, 3)
    rows, columns = m.sum(axis=1), m.sum(axis=0)
    by_columns = 2.0 * columns  # of the trace; an upper triangle less twice the lower one is the diagonal less the rest
    by_columns += 2.0 * columns - (columns.sum() - columns)
    by_columns += 2.0 * columns
    gradient = (by_columns[None, :] + 2.0 * rows[:, None]).ravel()
    gradient[0] += 2.0 * x[0]
    np.testing.assert_allclose(ft.grad(options)(x), gradient, rtol=1e-13)
    assert_inside(options)


XP, FP = np.array([0.0, 1.0, 2.5, 4.0]), np.array([1.0, 3.0, 2.0, 5.0])


@numba.njit
def interpolated(x, fp):
    return np.interp(x, XP, fp)


@pytest.mark.parametrize(
    ("x", "slope", "weights"),
    [
        (0.25, 2.0, [0.75, 0.25, 0.0, 0.0]),
        (3.0, 2.0, [0.0, 0.0, 2.0 / 3.0, 1.0 / 3.0]),
        (-1.0, 0.0, [1.0, 0.0, 0.0, 0.0]),
        (9.0, 0.0, [0.0, 0.0, 0.0, 1.0]),
        (np.inf, 0.0, [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_interp(x, slope, weights):
    value, (by_x, by_fp) = ft.value_and_grad(interpolated, argnums=(0, 1))(x, FP)
    assert value == np.interp(x, XP, FP)
    assert by_x == pytest.approx(slope, rel=1e-14)
    np.testing.assert_allclose(by_fp, weights, atol=1e-15)
    assert_inside(interpolated)


def test_interp_chooses_its_line_by_guards():
    tape = ft.record(interpolated, 0.25, FP)
    assert tape(0.75, FP) == np.interp(0.75, XP, FP)
    with pytest.raises(ft.errors.ReplayError):
        tape(1.5, FP)
