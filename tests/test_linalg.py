"""Linear algebra by LAPACK: derivatives of every order and mode against autograd and finite differences."""

import autograd
import autograd.numpy as anp
import numba
import numpy as np
import pytest

import fasttape as ft
from fasttape.testing import check_grads

A = np.array([[2.0, 0.5, -0.3], [0.1, 1.5, 0.2], [-0.4, 0.3, 1.8]])
B = np.array([[0.3, -1.2], [0.7, 0.1], [1.1, 0.4]])
W = np.cos(np.arange(9.0)).reshape(3, 3)


def functions(numpy):
    """Scalar functions of a matrix, by either NumPy."""
    linalg = numpy.linalg
    return {
        "inv": lambda a: numpy.sum(W * linalg.inv(a)),
        "solve": lambda a: numpy.sum(W[:, :2] * linalg.solve(a, B)),
        "solve for a vector": lambda a: numpy.sum(W[0] * linalg.solve(a, a[0])),
        "det": lambda a: linalg.det(a) ** 2,
        "slogdet": lambda a: linalg.slogdet(a)[1] * linalg.slogdet(a)[0],
        "cholesky": lambda a: numpy.sum(W * linalg.cholesky(numpy.dot(a, a.T) + numpy.eye(3))),
    }


OURS, THEIRS = functions(np), functions(anp)
each = pytest.mark.parametrize("name", OURS)


@each
def test_gradients(name):
    value, gradient = ft.value_and_grad(OURS[name])(A)
    assert value == pytest.approx(OURS[name](A), rel=1e-15)
    np.testing.assert_allclose(gradient, autograd.grad(THEIRS[name])(A), rtol=1e-12, atol=1e-14)


@each
def test_both_modes_of_two_orders(name):
    check_grads(OURS[name], (A,), order=2)
    np.testing.assert_allclose(ft.jacfwd(OURS[name])(A), ft.grad(OURS[name])(A), rtol=1e-12, atol=1e-14)


@each
def test_replays_factor_again(name):
    tape, b = ft.record(OURS[name], A), A + 0.1 * W
    assert tape(b) == pytest.approx(OURS[name](b), rel=1e-14)
    np.testing.assert_allclose(tape.grad(b), ft.grad(OURS[name])(b), rtol=1e-13)
    np.testing.assert_allclose(tape.hessian(b), ft.hessian(OURS[name])(b), rtol=1e-10, atol=1e-12)


def test_stacks_of_matrices_are_mapped():
    stack = np.stack([A, A.T, A + W])
    found = ft.vmap(ft.grad(OURS["det"]))(stack)
    np.testing.assert_allclose(found, [ft.grad(OURS["det"])(a) for a in stack], rtol=1e-13)


def test_compiled_functions():
    @numba.njit
    def f(a):
        return np.sum(np.linalg.inv(a)) + np.linalg.det(a) + np.linalg.slogdet(a)[1]

    expected = autograd.grad(lambda a: anp.sum(anp.linalg.inv(a)) + anp.linalg.det(a) + anp.linalg.slogdet(a)[1])(A)
    np.testing.assert_allclose(ft.grad(f)(A), expected, rtol=1e-12)


def test_single_precision():
    gradient = ft.grad(lambda a: np.sum(np.linalg.inv(a)))(A.astype(np.float32))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, ft.grad(lambda a: np.sum(np.linalg.inv(a)))(A), rtol=1e-4)


def test_what_lapack_refuses():
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        ft.grad(OURS["inv"])(np.ones((3, 3)))
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        ft.grad(lambda a: np.sum(np.linalg.cholesky(a)))(-A)
