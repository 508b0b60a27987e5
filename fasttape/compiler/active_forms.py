"""Functions of NumPy on active arrays that take more than arrays: an axis, a dtype, a diagonal, tables to look up."""

import numpy as np
from numba import types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import overload

from fasttape.compiler.active_arrays import FUNCTIONS, METHODS, of_numbers, total
from fasttape.compiler.active_type import (
    SCALAR,
    is_active_array,
    kind_of,
)
from fasttape.compiler.choosing import either
from fasttape.compiler.jit import making_kernel

GIVEN = (types.Integer, types.IntegerLiteral)


@making_kernel
def sums_along(a, axis):
    """The sums along one axis of an array with several."""
    k = axis + a.ndim if axis < 0 else axis
    if k < 0 or k >= a.ndim:
        raise ValueError("'axis' entry is out of bounds")
    shape, before, after = a.shape[1:], 1, 1
    for i in range(k):
        shape, before = tuple_setitem(shape, i, a.shape[i]), before * a.shape[i]
    for i in range(k + 1, a.ndim):
        after *= a.shape[i]
    columns, made = a.copy().reshape(before, a.shape[k], after), np.empty((before, after), a.dtype)
    for i in range(before):
        for j in range(after):
            made[i, j] = total(columns[i, :, j])
    return made.reshape(shape)


def summed(a, axis=None):
    """Stands for np.sum."""
    raise NotImplementedError


@overload(summed)
def choose_summed(a, axis=None):
    if not of_numbers(a):
        return None
    if axis in (None, types.none) or (isinstance(axis, types.Omitted) and axis.value is None):
        return lambda a, axis=None: total(a)
    if not isinstance(axis, GIVEN):
        return None
    return (lambda a, axis=None: total(a)) if a.ndim == 1 else (lambda a, axis=None: sums_along(a, axis))


def converted(a, dtype):
    """Stands for the method astype."""
    raise NotImplementedError


@overload(converted)
def choose_converted(a, dtype):
    wanted = dtype.typing_key if isinstance(dtype, types.Function) else getattr(dtype, "dtype", None)
    if not is_active_array(a):
        return lambda a, dtype: a.astype(dtype)
    return (lambda a, dtype: a.copy()) if wanted in (float, np.float64, types.float64) else None


@making_kernel
def trace(a):
    return total(np.diag(a))


def on_diagonal(a):
    """Stands for np.trace."""
    raise NotImplementedError


overload(on_diagonal)(lambda a: (lambda a: trace(a)) if is_active_array(a) and a.ndim == 2 else None)


def triangle(original, keeps):
    """What stands for np.triu or np.tril, which keep the elements where `keeps(row, column, diagonal)`."""

    def stand_in(m, k=0):
        raise NotImplementedError

    def kept(m, k=0):
        made = np.zeros(m.shape, m.dtype)
        for i in range(m.shape[0]):
            for j in range(m.shape[1]):
                if keeps(i, j, k):
                    made[i, j] = m[i, j]
        return made

    overload(stand_in)(lambda m, k=0: kept if is_active_array(m) and m.ndim == 2 else None)
    return either(original, stand_in)


def appended(arr, values):
    """Stands for np.append without an axis."""
    raise NotImplementedError


@overload(appended)
def choose_appended(arr, values):
    kind = kind_of(arr, values)
    if kind is None or not isinstance(arr, types.Array):
        return None
    if isinstance(values, SCALAR):

        def one(arr, values):
            made = np.empty(arr.size + 1, kind)
            for i, x in enumerate(arr.flat):
                made[i] = x
            made[arr.size] = values
            return made

        return one

    def several(arr, values):
        made = np.empty(arr.size + values.size, kind)
        for i, x in enumerate(arr.flat):
            made[i] = x
        for i, x in enumerate(values.flat):
            made[arr.size + i] = x
        return made

    return several if isinstance(values, types.Array) else None


def interpolated(x, xp, fp):
    """Stands for np.interp without its options."""
    raise NotImplementedError


@making_kernel
def between(x, xp, fp):
    """The value at x of the lines between points; comparisons of active numbers decide which line it is."""
    last = xp.size - 1
    if x <= xp[0]:
        return fp[0]
    if x >= xp[last]:
        return fp[last]
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if x < xp[middle]:
            high = middle
        else:
            low = middle
    return (fp[low + 1] - fp[low]) / (xp[low + 1] - xp[low]) * (x - xp[low]) + fp[low]


@overload(interpolated)
def choose_interpolated(x, xp, fp):
    if not of_numbers(xp, fp):
        return None
    if isinstance(x, SCALAR):
        return lambda x, xp, fp: between(x, xp, fp)
    kind = kind_of(x, xp, fp)

    def several(x, xp, fp):
        made = np.empty(x.shape, kind)
        for i in np.ndindex(x.shape):
            made[i] = between(x[i], xp, fp)
        return made

    return several


FUNCTIONS[np.sum] = METHODS["sum"] = either(np.sum, summed)
FUNCTIONS[np.trace] = either(np.trace, on_diagonal)
FUNCTIONS[np.triu] = triangle(np.triu, making_kernel(lambda i, j, k: j - i >= k))
FUNCTIONS[np.tril] = triangle(np.tril, making_kernel(lambda i, j, k: j - i <= k))
FUNCTIONS[np.append] = either(np.append, appended)
FUNCTIONS[np.interp] = either(np.interp, interpolated)
METHODS["astype"] = converted
