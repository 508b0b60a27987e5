"""Functions that are short formulas of others, as a user could have written them.

`FORMULAS` maps a function to what gives the code for some types of arguments, of which one is active. That code is
compiled as the user's is.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload, overload_attribute, overload_method

from fasttape.compiler.active_arrays import METHODS
from fasttape.compiler.active_type import SCALAR, Active, is_active
from fasttape.compiler.jit import making_kernel

FORMULAS = {}
LARGEST = np.finfo(np.float64).max


def is_none(t):
    """Whether the type of an argument says that it is None or was not given."""
    return t is None or t is types.none or (isinstance(t, types.Omitted) and t.value is None)


def is_scalar(t):
    return isinstance(t, SCALAR)


def formula(*functions):
    """Decorator of the code for a function whatever the types of its arguments are."""

    def register(code):
        FORMULAS.update(dict.fromkeys(functions, lambda *args, **kws: code))
        return code

    return register


def choice(*functions):
    """Decorator of what gives the code for a function by the types of its arguments, or None."""

    def register(choose):
        FORMULAS.update(dict.fromkeys(functions, choose))
        return choose

    return register


@formula(divmod, np.divmod)
def quotient_and_remainder(x, y):
    return x // y, x % y


@formula(math.ldexp)
def scaled(x, i):
    return x * math.ldexp(1.0, i)


@formula(np.vdot)
def inner(a, b):
    return np.dot(a.ravel(), b.ravel())


@formula(np.median)
def median(a):
    """Of equal elements the first ones count as smaller, as under the Python recorder."""
    if a.size == 0:
        return np.nan
    ordered = a.ravel()[np.argsort(a.ravel(), kind="mergesort")]
    return np.mean(ordered[(a.size - 1) // 2 : a.size // 2 + 1])


@formula(np.ptp)
def spread(a):
    return np.max(a) - np.min(a)


@formula(np.nanmax)
def largest_number(a):
    kept = a.ravel()[~np.isnan(a.ravel())]
    return np.max(kept) if kept.size else a.ravel()[0]


@formula(np.nanmin)
def smallest_number(a):
    kept = a.ravel()[~np.isnan(a.ravel())]
    return np.min(kept) if kept.size else a.ravel()[0]


@choice(np.clip)
def clipped(a, a_min, a_max, out=None):
    if not is_none(out):
        return None
    if is_none(a_min):
        return lambda a, a_min, a_max, out=None: np.minimum(a, a_max)
    if is_none(a_max):
        return lambda a, a_min, a_max, out=None: np.maximum(a, a_min)
    return lambda a, a_min, a_max, out=None: np.minimum(np.maximum(a, a_min), a_max)


@making_kernel
def to_digits(x, n):
    """Numba's way to round a number, which is CPython's."""
    if n < 0:
        unit = 10.0**-n
        return np.rint(x / unit) * unit
    unit, more = (10.0 ** (n - 22), 1e22) if n > 22 else (10.0**n, 1.0)
    shifted = x * unit * more
    if not np.isfinite(shifted):
        return np.rint(x) * 1.0
    return np.rint(shifted) / more / unit


@choice(np.round, np.around)
def rounded(a, decimals=0, out=None):
    if not is_none(out):
        return None
    if is_scalar(a):
        return lambda a, decimals=0, out=None: to_digits(a, decimals)

    def each(a, decimals=0, out=None):
        made = np.empty(a.shape)
        for i in np.ndindex(a.shape):
            made[i] = to_digits(a[i], decimals)
        return made

    return each


@choice(round)
def rounded_scalar(number, ndigits):
    return lambda number, ndigits: to_digits(number, ndigits)


@making_kernel
def replaced(x, nan, posinf, neginf):
    """A number that is finite, or what is put in its place, which has no derivative."""
    if np.isnan(x):
        return nan
    if x == np.inf:
        return posinf
    return neginf if x == -np.inf else x


@choice(np.nan_to_num)
def finite(x, copy=True, nan=0.0, posinf=None, neginf=None):
    def one(x, copy=True, nan=0.0, posinf=None, neginf=None):
        high, low = LARGEST if posinf is None else posinf, -LARGEST if neginf is None else neginf
        return replaced(x, nan, high, low)

    def each(x, copy=True, nan=0.0, posinf=None, neginf=None):
        high, low = LARGEST if posinf is None else posinf, -LARGEST if neginf is None else neginf
        made = np.copy(x) if copy else x
        for i in np.ndindex(x.shape):
            made[i] = replaced(x[i], nan, high, low)
        return made

    return one if is_scalar(x) else each


@choice(np.linalg.norm)
def length(x, ord=None):
    if is_none(ord):

        def euclidean(x, ord=None):
            s = 0.0
            for v in x.flat:
                s = math.hypot(s, v)
            return s

        return euclidean

    def of_order(x, ord=None):
        if ord == np.inf:
            return np.max(np.abs(x)) * 1.0
        if ord == -np.inf:
            return np.min(np.abs(x)) * 1.0
        if ord == 0:
            return np.sum(x != 0.0) * 1.0
        if ord == 1:
            return np.sum(np.abs(x)) * 1.0
        if ord == 2:
            return np.linalg.norm(x) * 1.0
        return np.sum(np.abs(x) ** ord) ** (1.0 / ord)

    return of_order if x.ndim == 1 else None


METHODS["clip"] = np.clip


def as_it_is(x):
    """The code of what returns an active number as it is."""
    return lambda x: x


overload_attribute(Active, "real")(as_it_is)
for _method in ("item", "conjugate"):
    overload_method(Active, _method, strict=False)(as_it_is)
overload(np.finfo)(
    lambda dtype: (lambda dtype: np.finfo(np.float64)) if is_active(getattr(dtype, "dtype", None)) else None
)
