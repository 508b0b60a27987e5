"""What compiled functions are made of: each construct is recorded inside of compiled code, and rightly."""

from typing import NamedTuple

import numba
import numpy as np
import pytest

import fasttape as ft


class Pair(NamedTuple):
    rate: float
    scales: np.ndarray


@numba.njit
def factorial_like(x, n):
    if n == 0:
        return x * 1.0
    return x * factorial_like(x, n - 1)


@numba.njit
def recursion(x):
    return factorial_like(x[0], 3)


@numba.njit(parallel=True)
def parallel(x):
    s = 0.0
    for i in numba.prange(x.size):
        s += x[i] * x[i]
    return s


@numba.vectorize
def product_plus_one(a, b):
    return a * b + 1.0


@numba.njit
def vectorized(x):
    return product_plus_one(x[0], x[1]) * np.sum(product_plus_one(x, x[::-1])) + product_plus_one(2.0, 3.0)


@numba.njit(inline="always")
def cube(a):
    return a * a * a


@numba.njit
def inlined(x):
    return cube(x[0]) + cube(x[1])


@numba.njit
def named_tuples(x):
    pair = Pair(x[0], x * 2.0)
    return pair.rate * pair.scales[1]


@numba.njit
def passive_arrays(x):
    m = np.arange(6).reshape(2, 3) * 1.0
    return x[0] * np.sum(m, axis=0)[1] + m.max() * x[1] + m.dot(m.T)[0, 0] * x[2] + x[3]


@numba.njit
def zero_dimensional(x):
    y = np.zeros(())
    y[()] = x[0] * x[1]
    return y


@numba.njit
def lists(x):
    found = [v * v for v in x]
    found[0] += x[1]
    return sum(found) + max(x[0], x[1]) + sorted([x[0] * x[0], x[1]])[0]


@numba.njit
def masks_and_slices(x):
    m = np.zeros((3, 4))
    m[:, :] = x
    m[1, :] = 2.0
    m[2] = np.ones(4)
    m[0, 1:3] = m[0, 1:3] * x[0]
    y = m.copy()
    y[0][y[0] > 1.0] = x[3]
    z = -m + 2 * y / 3
    return (z**2).sum() + np.exp(z[0]).mean() + np.sum(x[x > 0.0])


@numba.njit
def reductions(x):
    spread = np.var(x) + np.std(x) + np.prod(x) + np.cumsum(x)[2] + np.linalg.norm(x)
    return spread + np.max(x) - x.min() + np.outer(x, x)[1, 2] + (x.reshape(2, 2) @ np.ones((2, 3))).sum()


@numba.njit
def constructors(x):
    a, b, c = np.full(3, x[0]), np.ones_like(x), np.full_like(x, 2.0)
    b[0], c[1] = x[1], x[2]
    m = np.array([[x[0], 1.0], [x[1] * x[2], x[3]]])
    e = np.concatenate((a, b)) * np.stack((c, b))[0, 1]
    return np.sum(e) * a[1] + b[0] * c[1] + m[1, 0] * m[0, 0]


@numba.njit
def choices(x):
    k = int(abs(x[0]) * 10.0) % 4
    picked = x[k] if np.isfinite(x[1]) and np.any(x > -9.0) else 2.0
    return picked * np.where(x > 0.0, x, 0.5 * x)[1] + np.maximum(x, 0.1).sum() + round(x[2])


FUNCTIONS = [recursion, parallel, vectorized, inlined, named_tuples, passive_arrays, zero_dimensional, lists]
FUNCTIONS += [masks_and_slices, reductions, constructors, choices]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_construct(f):
    from fasttape.compiler.compiled_gradient import MADE

    x, h = np.array([0.43, -0.32, 0.96, 1.27]), 1e-6
    value, gradient = ft.value_and_grad(f)(x)
    if not numba.config.DISABLE_JIT:
        (run,) = MADE[f].values()
        assert not run.refused, "recorded as Python"
        assert not any(made.library.has_dynamic_globals for made in run.compiled.overloads.values()), "not to be cached"
    np.testing.assert_allclose(value, f(x), rtol=1e-15)
    expected = [(f(x + h * e) - f(x - h * e)) / (2.0 * h) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-8)


def test_ties_of_a_reduction_are_split_evenly():
    f = numba.njit(lambda x: np.max(x) + 2.0 * np.min(x))
    np.testing.assert_allclose(ft.grad(f)(np.array([1.0, 3.0, 3.0, 3.0])), [2.0, 1 / 3, 1 / 3, 1 / 3])


def test_code_without_an_active_form_is_recorded_as_python():
    f = numba.njit(lambda x: np.sum(np.linalg.eigvalsh(np.diag(x)) * np.array([1.0, 2.0])))
    x = np.array([0.5, 2.0])
    np.testing.assert_allclose(ft.grad(f)(x), [1.0, 2.0], rtol=1e-14)
    np.testing.assert_allclose(ft.grad(f)(x), [1.0, 2.0], rtol=1e-14)
