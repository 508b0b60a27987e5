"""Products that loops add to a sum, one record each, against their derivatives in closed form."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from benchmarks.njit_costs import records_of
from fasttape.compiler.linear_memory import RECORD

NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e300, 1e-300, 5e-324, -1e200]), st.floats(-4.0, 4.0, allow_subnormal=True)
)
PAIRS = st.integers(1, 9).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * 2))


@numba.njit
def inner(x, w):
    s = 0.0
    for k in range(x.size):
        s += x[k] * w[k]
    return s


@numba.njit
def alternating(x, w):
    """Sums and differences, the product on either side."""
    s = x[0] * w[0]
    for k in range(1, x.size):
        if k % 3 == 0:
            s = s - x[k] * w[k]
        elif k % 3 == 1:
            s = w[k] * x[k] + s
        else:
            s -= x[k] * w[k]
    return s


@numba.njit
def two_sums(x, w):
    """Neither sum is the last slot when its next product comes."""
    s, t = 0.0, 0.0
    for k in range(x.size):
        s += x[k] * w[k]
        t -= w[k] * x[k]
    return 2.0 * s + t


@numba.njit
def kept(x, w):
    """Every sum so far is used again."""
    sums, s = np.zeros(x.size), 0.0
    for k in range(x.size):
        s += x[k] * w[k]
        sums[k] = s
    total = 0.0
    for k in range(x.size):
        total += sums[k]
    return total


@numba.njit
def horner(coefficients, x):
    y = coefficients[0]
    for k in range(1, coefficients.size):
        y = coefficients[k] + y * x
    return y


@numba.njit
def own_factor(s, y):
    return s + s * y, s - y * s


@numba.njit
def product_of_the_sum(x, w):
    s = x[0] + w[0]
    for k in range(1, x.size):
        s += s * w[k]
    return s


@numba.njit
def used_twice(x, y, s):
    p = x * y
    s += p
    return s * p


@numba.njit
def matrix_times_vector(matrix, u, times):
    for _ in range(times):
        v = np.zeros(u.size)
        for i in range(u.size):
            for j in range(u.size):
                v[i] += matrix[i, j] * u[j]
        u = v
    return u[0]


def arrays(pair):
    return tuple(np.array(x, float) for x in pair)


@settings(deadline=None)
@given(PAIRS)
def test_inner_products(pair):
    x, w = arrays(pair)
    value, gradient = ft.value_and_grad(inner, (0, 1))(x, w)
    assert value == inner(x, w) or math.isnan(value)
    np.testing.assert_array_equal(gradient[0], w)
    np.testing.assert_array_equal(gradient[1], x)


@settings(deadline=None)
@given(PAIRS)
def test_sums_and_differences(pair):
    x, w = arrays(pair)
    sign = np.where(np.arange(x.size) % 3 == 1, 1.0, -1.0)
    sign[0] = 1.0
    value, gradient = ft.value_and_grad(alternating, (0, 1))(x, w)
    assert value == alternating(x, w) or math.isnan(value)
    np.testing.assert_array_equal(gradient[0], sign * w)
    np.testing.assert_array_equal(gradient[1], sign * x)


@settings(deadline=None)
@given(PAIRS)
def test_sums_that_are_not_last_or_used_again(pair):
    x, w = arrays(pair)
    gradient = ft.grad(two_sums, (0, 1))(x, w)
    np.testing.assert_array_equal(gradient[0], w)
    np.testing.assert_array_equal(gradient[1], x)
    times = np.arange(x.size, 0, -1.0)
    np.testing.assert_allclose(ft.grad(kept)(x, w), times * w, rtol=1e-14, atol=1e-323)


@settings(deadline=None)
@given(st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=9), st.floats(-2.0, 2.0))
def test_polynomials(coefficients, x):
    coefficients = np.array(coefficients)
    by_coefficients, by_x = ft.grad(horner, (0, 1))(coefficients, x)
    np.testing.assert_allclose(by_coefficients, x ** np.arange(coefficients.size - 1.0, -1.0, -1.0), rtol=1e-13)
    assert by_x == pytest.approx(np.polyval(np.polyder(coefficients), x), rel=1e-12, abs=1e-12)


def test_a_sum_may_be_its_own_factor():
    (more, less), pullback = ft.vjp(own_factor, 3.0, 5.0)
    assert (more, less) == (18.0, -12.0)
    assert pullback((1.0, 0.0)) == (6.0, 3.0)
    assert pullback((0.0, 1.0)) == (-4.0, -3.0)
    x, w = np.array([2.0, 0.0, 0.0]), np.array([1.0, 3.0, -0.5])
    by_x, by_w = ft.grad(product_of_the_sum, (0, 1))(x, w)
    np.testing.assert_array_equal(by_x, [2.0, 0.0, 0.0])  # (x + w0) (1 + w1) (1 + w2)
    np.testing.assert_array_equal(by_w, [2.0, 1.5, 12.0])


def test_a_product_that_is_used_again_stays():
    assert ft.value_and_grad(used_twice, (0, 1, 2))(2.0, 3.0, 5.0) == (66.0, (51.0, 34.0, 6.0))


@pytest.mark.parametrize("special", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_goes_where_the_plain_derivative_has_it(special):
    by_x, by_w = ft.grad(inner, (0, 1))(np.array([1.0, special, 2.0]), np.array([3.0, 4.0, special]))
    np.testing.assert_array_equal(by_x, [3.0, 4.0, special])
    np.testing.assert_array_equal(by_w, [1.0, special, 2.0])


def test_products_in_recordings_of_python_code():
    """The records are handed to the recording around as they are meant."""
    x, w = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, -1.0, 2.0, 0.25])

    def mixed(x):
        return np.exp(-inner(x, w)) * alternating(x, w)

    sign, a = np.array([1.0, 1.0, -1.0, -1.0]), np.dot(x, w)
    b = np.dot(x, sign * w)
    np.testing.assert_allclose(ft.grad(mixed)(x), np.exp(-a) * (sign * w - w * b), rtol=1e-14)
    hessian = ft.hessian(mixed)(x)
    expected = np.exp(-a) * (b * np.outer(w, w) - np.outer(w, sign * w) - np.outer(sign * w, w))
    np.testing.assert_allclose(hessian, expected, rtol=1e-13, atol=1e-15)


def test_powers_of_a_matrix():
    matrix, u = np.random.default_rng(2).normal(size=(5, 5)), np.arange(1.0, 6.0)
    value, gradient = ft.value_and_grad(matrix_times_vector, 1)(matrix, u, 3)
    expected = np.linalg.matrix_power(matrix, 3)
    assert value == pytest.approx((expected @ u)[0], rel=1e-13)
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-13)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="Numba does not compile, so there is no linear tape")
def test_a_product_takes_one_record():
    n = 1000
    x = np.linspace(1.0, 2.0, n)
    (_, slots), _ = ft.value_and_grad(records_of(inner), (0, 1), has_aux=True)(x, x + 1.0)
    assert (int(slots) - 1 - 2 * n) * RECORD.itemsize <= 24.5 * n
