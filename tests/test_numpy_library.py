"""NumPy's and SciPy's functions that are formulas of others, or recorded through their own Python code."""

import numpy as np
import pytest
import scipy.interpolate
import scipy.stats
from agree import agree
from numpy_cases import BORROWED, FORMULAS

import fasttape as ft
from fasttape.errors import FastTapeError, UnsupportedError

SPLINE = scipy.interpolate.make_interp_spline(np.arange(6.0), np.ones(6))
TABLES = {f.__name__: cases for f, cases in FORMULAS.items()} | BORROWED
CASES = [(f"{name}-{i}", case) for name, cases in TABLES.items() for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_function(case):
    f, *args = case
    agree(f, *args, rtol=1e-11)


REFUSED = {
    "full vectors of a wide matrix": lambda x: np.linalg.svd(x.reshape(2, 3)),
    "qr of a wide matrix": lambda x: np.linalg.qr(x.reshape(2, 3)),
    "a spline": lambda x: SPLINE(x),
    "a Bessel function": lambda x: scipy.special.j0(x),
    "a transform": lambda x: np.fft.rfft(x),
    "a covariance": lambda x: scipy.stats.multivariate_normal.logpdf(np.zeros(2), np.zeros(2), np.eye(2) * x[0]),
}


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_derivative_here_is_refused(f):
    with pytest.raises(FastTapeError):
        ft.record(f, np.arange(1.0, 7.0))


def test_plain_calls_are_scipy_s_own():
    seen = []

    def f(x):
        seen.append(scipy.stats.norm.logpdf(np.ones(2), 0.5).tolist())
        return x * x

    assert ft.grad(f)(3.0) == 6.0
    assert seen[0] == scipy.stats.norm.logpdf(np.ones(2), 0.5).tolist()


def test_equal_values_have_a_derivative_where_their_vectors_are_not_asked_for():
    x = np.eye(3) * 2.0
    np.testing.assert_allclose(ft.grad(lambda x: np.linalg.eigvalsh(x).sum())(x), np.eye(3))
    np.testing.assert_allclose(ft.grad(lambda x: np.linalg.eigh(x)[0].sum())(x), np.eye(3))
    np.testing.assert_allclose(ft.grad(lambda x: np.linalg.norm(x, "nuc"))(x), np.eye(3))


def test_the_name_is_told():
    with pytest.raises(UnsupportedError, match=r"scipy\.interpolate.*BSpline.*cannot be recorded"):
        ft.record(REFUSED["a spline"], np.arange(1.0, 7.0))
