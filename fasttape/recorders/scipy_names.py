"""What SciPy's functions in compiled code are recorded as: short formulas of rows, and `numpy.linalg`."""

import math
import sys

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.recorders.numpy_linalg import by_rule


def special(name, *args):
    """A function of scipy.special, which is loaded where its functions are called."""
    import scipy.special

    return getattr(scipy.special, name)(*args)


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False):
    """The logarithm of a sum of exponentials, scaled by the largest."""
    if return_sign:
        raise UnsupportedError("scipy.special.logsumexp with return_sign=True cannot be recorded")
    largest = np.max(a, axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    terms = np.exp(a - largest)
    total = np.log(np.sum(terms if b is None else terms * b, axis=axis, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axis=axis)[()]


def log_softmax(x, axis=None):
    return x - logsumexp(x, axis, keepdims=True)


def softmax(x, axis=None):
    return np.exp(log_softmax(x, axis))


def betaln(a, b):
    return special("gammaln", a) + special("gammaln", b) - special("gammaln", a + b)


def log_ndtr(x):
    """Far left through Mills' ratio, as Laplace's continued fraction."""
    far = x < -5.0
    t = np.where(far, np.negative(x), 5.0)
    ratio = t
    for k in range(40, 0, -1):
        ratio = t + k / ratio
    tail = -0.5 * np.square(t) - 0.5 * math.log(2.0 * math.pi) - np.log(ratio)
    near = np.where(far, 0.0, x)
    right = near > 0.0
    middle = np.where(right, np.log1p(-special("ndtr", np.negative(near))), np.log(special("ndtr", near)))
    return np.where(far, tail, middle)[()]


def entr(x):
    return np.where(x < 0.0, -np.inf, -special("xlogy", x, x))


def rel_entr(x, y):
    inside = (x >= 0.0) & (y >= 0.0) & ((x == 0.0) | (y > 0.0))
    return np.where(inside, special("xlogy", x, np.where(y > 0.0, x / np.where(y > 0.0, y, 1.0), 1.0)), np.inf)


def kl_div(x, y):
    return rel_entr(x, y) - x + y


def huber(delta, r):
    size = np.abs(r)
    value = np.where(size <= delta, 0.5 * np.square(r), delta * (size - 0.5 * delta))
    return np.where(delta < 0.0, np.inf, value)


def pseudo_huber(delta, r):
    return np.square(delta) * (np.sqrt(1.0 + np.square(np.divide(r, delta))) - 1.0)


def boxcox(x, power):
    return np.where(power == 0.0, np.log(x), np.expm1(power * np.log(x)) / np.where(power == 0.0, 1.0, power))


# Ufuncs of scipy.special that no row answers to.
UFUNCS = {
    "log_ndtr": log_ndtr,
    "betaln": betaln,
    "poch": lambda x, n: np.exp(special("gammaln", x + n) - special("gammaln", x)),
    "beta": lambda a, b: np.exp(betaln(a, b)),
    "entr": entr,
    "rel_entr": rel_entr,
    "kl_div": kl_div,
    "huber": huber,
    "pseudo_huber": pseudo_huber,
    "boxcox": boxcox,
    "log_expit": lambda x: -np.logaddexp(0.0, np.negative(x)),
    "rgamma": lambda x: np.reciprocal(special("gamma", x)),
    "exp10": lambda x: np.power(10.0, x),
    "sindg": lambda x: np.sin(np.radians(x)),
    "cosdg": lambda x: np.cos(np.radians(x)),
}


def solve(a, b, lower=False, overwrite_a=False, overwrite_b=False, check_finite=True, assume_a=None, transposed=False):
    if assume_a in ("sym", "her", "pos", "symmetric", "hermitian", "positive definite"):
        half = np.tril(a) if lower else np.triu(a)
        a = half + np.swapaxes(half, -1, -2) - half * np.eye(np.shape(a)[-1])
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transposed else a, b)


def triangle(a, trans=0, lower=False, unit_diagonal=False):
    """A triangular matrix as LAPACK reads it."""
    a = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        eye = np.eye(np.shape(a)[-1])
        a = a * (1.0 - eye) + eye
    return a if trans in (0, "N") else np.swapaxes(a, -1, -2)


def solve_triangular(a, b, trans=0, lower=False, unit_diagonal=False, overwrite_b=False, check_finite=True):
    return np.linalg.solve(triangle(a, trans, lower, unit_diagonal), b)


def cholesky(a, lower=False, overwrite_a=False, check_finite=True):
    half = np.linalg.cholesky(a if lower else np.swapaxes(a, -1, -2))
    return half if lower else np.swapaxes(half, -1, -2)


def cho_factor(a, lower=False, overwrite_a=False, check_finite=True):
    return cholesky(a, lower), lower


def cho_solve(c_and_lower, b, overwrite_b=False, check_finite=True):
    c, lower = c_and_lower
    first, second = (0, 1) if lower else (1, 0)
    return solve_triangular(c, solve_triangular(c, b, first, lower), second, lower)


def of_numpy(function):
    """A function that differs from NumPy's by options that change no result."""
    return lambda a, overwrite_a=False, check_finite=True: function(a)


def piecewise_polynomial(p, x, nu=0, extrapolate=None):
    """A spline at traced points: guards choose the interval, Horner's rule its polynomial."""
    p = p.derivative(nu) if nu else p
    extrapolate = p.extrapolate if extrapolate is None else extrapolate
    if p.axis:
        raise UnsupportedError("a spline along another axis than the first cannot be recorded")
    if extrapolate == "periodic":
        x = p.x[0] + np.remainder(np.subtract(x, p.x[0]), p.x[-1] - p.x[0])
    at = np.clip(np.searchsorted(p.x, x, side="right") - 1, 0, len(p.x) - 2)
    shape = np.shape(x) + (1,) * (p.c.ndim - 2)
    step, y = np.subtract(x, p.x[at]), 0.0
    step = np.reshape(step, shape) if shape else step
    for coefficients in p.c[:, at]:
        y = y * step + coefficients
    if extrapolate is False:
        inside = np.logical_and(np.greater_equal(x, p.x[0]), np.less_equal(x, p.x[-1]))
        y = np.where(np.reshape(inside, shape) if shape else inside, y, np.nan)
    return y


def methods():
    """(class, method, what it is recorded as) of objects of SciPy whose methods are compiled code."""
    interpolate = sys.modules.get("scipy.interpolate")
    return () if interpolate is None else ((interpolate.PPoly, "__call__", piecewise_polynomial),)


FUNCTIONS = {f"scipy.special.{f.__name__}": f for f in (logsumexp, log_softmax, softmax)}
FUNCTIONS |= {f"scipy.linalg.{f.__name__}": f for f in (solve, solve_triangular, cholesky, cho_factor, cho_solve)}
FUNCTIONS |= {f"scipy.linalg.{f.__name__}": of_numpy(f) for f in (np.linalg.inv, np.linalg.det, np.linalg.svdvals)}
FUNCTIONS["scipy.linalg.pinv"] = lambda a, *, rtol=None: np.linalg.pinv(a, rtol=rtol)
FUNCTIONS["scipy.linalg.expm"] = by_rule("expm", "decompositions")
