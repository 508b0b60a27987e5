"""Sums and inner products of whole arrays in compiled functions, against their derivatives in closed form."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft

NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1e300, 1e-300, 5e-324, -1e200]), st.floats(-4.0, 4.0, allow_subnormal=True)
)


def vectors(*, count):
    """Some vectors of one length, which may be 0."""
    return st.integers(0, 7).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * count))


@numba.njit
def total(x):
    return np.sum(x)


@numba.njit
def inner(x, w):
    return np.dot(x, w)


@numba.njit
def palindrome(x):
    return np.dot(x, x[::-1])


@numba.njit
def on_one_slot(p, n):
    multiples = np.arange(1.0, n + 1.0) * p
    return np.sum(multiples) + np.dot(multiples, np.ones(n))


@numba.njit
def rescaled(x, w, scale):
    return np.dot(x, w) * scale


@numba.njit
def of_roots(p, w):
    return np.dot(np.sqrt(p), w)


@numba.njit
def bilinear(matrix, x, u):
    return np.sum((matrix @ x) * u)


@numba.njit
def twice(matrix, x):
    y = matrix @ x
    return np.array([np.sum(y), np.dot(y, y), np.mean(x)])


@numba.njit
def trace_of_product(a, b):
    product, s = a @ b, 0.0
    for k in range(product.shape[0]):
        s += product[k, k]
    return s


@settings(deadline=None)
@given(vectors(count=2))
def test_inner_product_of_active_vectors(pair):
    x, w = map(np.array, pair)
    gradient = ft.grad(inner, argnums=(0, 1))(x.astype(float), w.astype(float))
    np.testing.assert_array_equal(gradient[0], w)
    np.testing.assert_array_equal(gradient[1], x)


@settings(deadline=None)
@given(vectors(count=2))
def test_inner_product_with_a_plain_vector(pair):
    x, w = (np.array(items, float) for items in pair)
    np.testing.assert_array_equal(ft.grad(inner)(x, w), w)
    np.testing.assert_array_equal(ft.grad(inner, argnums=1)(w, x), w)


@settings(deadline=None)
@given(vectors(count=1))
def test_inner_product_of_a_vector_with_itself_in_reverse(only):
    x = np.array(only[0], float)
    np.testing.assert_array_equal(ft.grad(palindrome)(x), x[::-1] + x[::-1])


@pytest.mark.parametrize("shape", [(0,), (1,), (2,), (3,), (4,), (2, 3), (3, 1, 5), ()])
def test_sum(shape):
    x = np.random.default_rng(1).normal(size=shape)
    value, gradient = ft.value_and_grad(total)(x)
    assert value == pytest.approx(x.sum(), rel=1e-14)
    np.testing.assert_array_equal(gradient, np.ones(shape))


def test_sum_of_every_second_column():
    x = np.random.default_rng(2).normal(size=(4, 6))
    np.testing.assert_array_equal(ft.grad(total)(x[:, ::2]), np.ones((4, 3)))


@pytest.mark.parametrize("n", [2, 3, 8])
def test_sum_on_one_slot(n):
    assert ft.grad(on_one_slot)(0.7, n) == n * (n + 1)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_weights_near_the_ends_of_the_range(size):
    w = np.array([size, -size, 0.5 * size, size])
    x = np.array([0.5, 0.25, -1.0, 2.0])
    by_x, by_w = ft.grad(rescaled, argnums=(0, 1))(x, w, 1.0 / size)
    np.testing.assert_allclose(by_x, [1.0, -1.0, 0.5, 1.0], rtol=4e-16)
    np.testing.assert_allclose(by_w, x / size, rtol=4e-16)


def test_a_weight_of_zero_absorbs():
    gradient = ft.grad(of_roots)(np.array([0.0, 0.0, 4.0, 1.0]), np.array([0.0, 1.0, 2.0, 0.0]))
    np.testing.assert_array_equal(gradient, [0.0, np.inf, 0.5, 0.0])


def test_nan_and_inf_reach_the_operands_that_they_belong_to():
    w = np.array([np.nan, 1.0, np.inf, 2.0])
    np.testing.assert_array_equal(ft.grad(inner)(np.ones(4), w), w)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_products_of_matrices_and_vectors(n):
    rng = np.random.default_rng(n)
    matrix, x, u = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n)
    matrix[0, 0] = 0.0
    by_matrix, by_x, by_u = ft.grad(bilinear, argnums=(0, 1, 2))(matrix, x, u)
    np.testing.assert_allclose(by_matrix, np.outer(u, x), rtol=1e-13)
    np.testing.assert_allclose(by_x, matrix.T @ u, rtol=1e-12)
    np.testing.assert_allclose(by_u, matrix @ x, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3), (4, 4), (5, 2)])
def test_product_of_matrices(shape):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=shape), rng.normal(size=shape[::-1])
    by_a, by_b = ft.grad(trace_of_product, argnums=(0, 1))(a, b)
    np.testing.assert_array_equal(by_a, b.T)
    np.testing.assert_array_equal(by_b, a.T)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_linear_tapes_hold_the_terms(n):
    rng = np.random.default_rng(n)
    matrix, x, direction, weights = rng.normal(size=(n, n)), *rng.normal(size=(2, n)), rng.normal(size=3)
    y = matrix @ x
    jacobian = np.stack([matrix.sum(axis=0), 2.0 * y @ matrix, np.full(n, 1.0 / n)])
    np.testing.assert_allclose(ft.jacobian(twice, argnums=1)(matrix, x), jacobian, rtol=1e-12)
    _, pullback = ft.vjp(twice, matrix, x)
    by_matrix, by_x = pullback(weights)
    np.testing.assert_allclose(by_x, weights @ jacobian, rtol=1e-12)
    np.testing.assert_allclose(by_matrix, np.outer(weights[0] + 2.0 * weights[1] * y, x), rtol=1e-12)
    _, tangent = ft.jvp(twice, (matrix, x), (np.zeros((n, n)), direction))
    np.testing.assert_allclose(tangent, jacobian @ direction, rtol=1e-11)
