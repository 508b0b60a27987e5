"""NumPy's functions in compiled code that are short formulas of others."""

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, any_traced, as_traced, builder_of
from fasttape.recorders.numpy_accumulate import accumulate
from fasttape.recorders.numpy_shapes import slots_of, traced_of
from fasttape.recorders.numpy_writes import ufunc_at
from fasttape.recorders.scalar import TracedScalar


def heaviside(x, y):
    return np.where(x < 0.0, 0.0, np.where(x == 0.0, y, np.where(x > 0.0, 1.0, x)))


def modf(x):
    whole = np.trunc(x)
    return np.copysign(np.where(np.isinf(x), 0.0, x - whole), x), whole


def ldexp(x, n):
    if any_traced(n):
        raise UnsupportedError("numpy.ldexp by a traced exponent cannot be recorded")
    return x * np.ldexp(1.0, n)


def logical_xor(x, y):
    x, y = (np.not_equal(x, 0.0) if any_traced(x) else np.asarray(x).astype(bool) for x in (x, y))
    return np.not_equal(x, y)


def check_lengths(name, *lengths):
    if len(set(lengths)) > 1:
        raise ValueError(f"{name}: operands have the lengths {lengths}")


def vecdot(x, y):
    check_lengths("vecdot", np.shape(x)[-1], np.shape(y)[-1])
    return np.sum(np.multiply(x, y), axis=-1)


def matvec(x, y):
    check_lengths("matvec", np.shape(x)[-2:][1], np.shape(y)[-1])
    return np.matmul(x, np.expand_dims(y, -1))[..., 0]


def vecmat(x, y):
    check_lengths("vecmat", np.shape(x)[-1], *np.shape(y)[-2:-1] or (None,))
    return np.matmul(np.expand_dims(x, -2), y)[..., 0, :]


UFUNCS = {
    np.heaviside: heaviside,
    np.modf: modf,
    np.ldexp: ldexp,
    np.signbit: lambda x: np.copysign(1.0, x) < 0.0,
    np.logical_xor: logical_xor,
    np.divmod: lambda x, y: (np.floor_divide(x, y), np.remainder(x, y)),
    np.vecdot: vecdot,
    np.matvec: matvec,
    np.vecmat: vecmat,
}


def reduceat(ufunc, x, indices, axis=0):
    """`ufunc.reduceat`: from each index to the next, or the element at it where the next is not behind it."""
    row = np.moveaxis(as_traced(builder_of((x,)), x), axis, 0)
    starts = list(indices)
    stops = [*starts[1:], len(row)]
    parts = [ufunc.reduce(row[i:j]) if j > i else row[i] for i, j in zip(starts, stops, strict=True)]
    return np.moveaxis(np.stack(parts), 0, axis)


def folded(opcode, x, axis=0, dtype=None, keepdims=False):
    """`ufunc.reduce` of a row that REDUCE does not know, from the first element on."""
    x = as_traced(builder_of((x,)), x)
    last = np.take(accumulate(opcode, x, axis, dtype), [-1], axis)
    return last if keepdims else np.squeeze(last, axis)[()]


def correlate(x, y, mode="valid"):
    """numpy.correlate: the windows of the longer array, with zeros around it, times the shorter one."""
    builder = builder_of((x, y))
    x, y = as_traced(builder, x), as_traced(builder, y)
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise ValueError("correlate: two arrays of one dimension and some elements are needed")
    turned = x.size < y.size
    x, y = (y, x) if turned else (x, y)
    before = {"valid": 0, "same": y.size // 2, "full": y.size - 1}[mode]
    after = {"valid": 0, "same": (y.size - 1) // 2, "full": y.size - 1}[mode]
    slots = np.pad(x.slots, (before, after))  # slot 0 holds zero
    windows = np.lib.stride_tricks.sliding_window_view(slots, y.size)
    result = np.matmul(TracedArray.listed(builder, windows), y)
    return result[::-1] if turned else result


def convolve(x, y, mode="full"):
    longer, shorter = sorted((np.atleast_1d(x), np.atleast_1d(y)), key=np.size, reverse=True)
    return correlate(longer, shorter[::-1], mode)


def bincount(x, /, weights=None, minlength=0):
    """numpy.bincount of plain numbers with traced weights."""
    if any_traced(x):
        raise UnsupportedError("numpy.bincount of traced values cannot be recorded")
    weights = as_traced(builder_of((weights,)), weights)
    x = np.asarray(x)
    if x.shape != weights.shape:
        raise ValueError("The weights and list don't have the same length.")
    made = TracedArray.listed(weights.builder, np.zeros(max(minlength, x.max(initial=-1) + 1), np.uint32))
    ufunc_at(np.add, made, x, weights)
    return made


def choose(index, choices, out=None, mode="raise"):
    if any_traced(index):
        raise UnsupportedError("numpy.choose by traced values cannot be recorded; the nearest that can: numpy.where")
    builder = builder_of(choices)
    arrays = np.broadcast_arrays(*slots_of(builder, traced_of(builder, list(choices))))
    return TracedArray.listed(builder, np.choose(index, arrays, mode=mode))


def rounded(x, decimals=0, out=None):
    """As NumPy rounds: the shifted number to an integer, and back."""
    if decimals == 0:
        return np.rint(x)
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def piecewise(x, conditions, functions, *args, **kwargs):
    """numpy.piecewise: every function is called with the elements for which it stands."""
    x = as_traced(builder_of((x, conditions)), x)
    single = not isinstance(conditions, list | tuple) and np.ndim(conditions) == x.ndim
    conditions = [conditions] if single else list(conditions)
    if len(functions) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    if len(functions) != len(conditions):
        raise ValueError(f"piecewise: {len(conditions)} conditions and {len(functions)} functions")
    result = np.zeros_like(x)
    for condition, function in zip(conditions, functions, strict=True):
        condition = as_traced(x.builder, condition).astype(bool)
        chosen = x[condition]
        if np.size(chosen):
            result[condition] = function(chosen, *args, **kwargs) if callable(function) else function
    return result


def with_types(function):
    """A function of dtypes, which arrays stand for."""

    def handler(*args):
        return function(*(x.dtype if isinstance(x, TracedArray | TracedScalar) else x for x in args))

    return handler


FORMULAS = {np.round: rounded, np.around: rounded, np.correlate: correlate, np.convolve: convolve}
FORMULAS |= {np.bincount: bincount, np.choose: choose, np.piecewise: piecewise}
FORMULAS |= {f: with_types(f) for f in (np.result_type, np.can_cast)}
FORMULAS[np.common_type] = lambda *arrays: np.common_type(*(np.empty(0, x.dtype) for x in arrays))
