"""NumPy's reductions: one REDUCE instruction each, or a short formula over those."""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.recorders.array import as_traced, builder_of
from fasttape.recorders.instructions import elementwise, reduce

ADD, MUL, MAXIMUM, MINIMUM = (ops.CODE[name] for name in ("add", "mul", "maximum", "minimum"))
UNSET = np._NoValue


def prepared(x, axis):
    """A traced array and the tuple of axes to reduce over."""
    x = as_traced(builder_of((x,)), x)
    return x, tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)


def check(name, x, dtype=None, out=None, where=UNSET):
    """Refuse options that are not recorded."""
    other = dtype is not None and np.dtype(dtype) != x.builder.dtype
    if out is not None or other or not (where is UNSET or where is True):
        raise UnsupportedError(f"numpy.{name} with out=, where= or another dtype= cannot be recorded")


def count(x, axes) -> float:
    """How many elements go into one result."""
    return float(math.prod(x.shape[d] for d in axes))


def keeps(keepdims) -> bool:
    return keepdims is not UNSET and bool(keepdims)


def reducing(name, opcode, identity):
    """The recording of a reduction by one row; an empty one without an identity is refused as in NumPy."""

    def handler(x, axis=None, dtype=None, out=None, keepdims=False, initial=UNSET, where=UNSET):
        x, axes = prepared(x, axis)
        check(name, x, dtype, out, where)
        start = as_traced(x.builder, (identity or 0.0) if initial is UNSET else initial)
        kept = x.size == 0 and math.prod(n for d, n in enumerate(x.shape) if d not in axes)
        if kept and identity is None and initial is UNSET:
            raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
        result = reduce(x, opcode, axes, start, keepdims=keeps(keepdims))
        if initial is UNSET or x.size == 0:
            return result
        return elementwise(x.builder, opcode, [as_traced(x.builder, result), start])

    return handler


total = reducing("sum", ADD, 0.0)
maximum = reducing("max", MAXIMUM, None)
minimum = reducing("min", MINIMUM, None)


def mean(x, axis=None, dtype=None, out=None, keepdims=False, where=UNSET):
    x, axes = prepared(x, axis)
    check("mean", x, dtype, out, where)
    return total(x, axis, keepdims=keepdims) / count(x, axes)


def var(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, mean=None, correction=None):
    x, axes = prepared(x, axis)
    check("var", x, dtype, out, where)
    center = total(x, axis, keepdims=True) / count(x, axes) if mean is None else mean
    degrees = max(count(x, axes) - (ddof if correction is None else correction), 0.0)
    return total(np.square(x - center), axis, keepdims=keepdims) / degrees


def std(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, mean=None, correction=None):
    return np.sqrt(var(x, axis, dtype, out, ddof, keepdims, where, mean=mean, correction=correction))


def average(x, axis=None, weights=None, returned=False, *, keepdims=False):
    if returned:
        raise UnsupportedError("numpy.average with returned= cannot be recorded")
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(x):
        if not isinstance(axis, int) or np.shape(weights) != (np.shape(x)[axis],):
            raise UnsupportedError("numpy.average with weights of another shape cannot be recorded; broadcast them")
        after = np.ndim(x) - 1 - normalize_axis_index(axis, np.ndim(x))
        weights = np.reshape(weights, (-1,) + (1,) * after)
        weights = np.broadcast_to(weights, np.shape(x))
    return np.sum(x * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


def norm(x, ord=None, axis=None, keepdims=False):
    """Norms of vectors, and Frobenius' norm; the derivative at zero is zero, because zero absorbs an infinite slope."""
    x, axes = prepared(x, axis)
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return np.sqrt(total(np.square(x), axes, keepdims=keepdims))
    if len(axes) != 1 or isinstance(ord, str):
        raise UnsupportedError(f"numpy.linalg.norm with ord={ord!r} over {len(axes)} axes cannot be recorded")
    if ord == 0:
        return total(x != 0.0, axes, keepdims=keepdims)
    size = np.abs(x)
    if math.isinf(ord):
        return (maximum if ord > 0 else minimum)(size, axes, keepdims=keepdims)
    return (
        total(size, axes, keepdims=keepdims) if ord == 1 else total(size**ord, axes, keepdims=keepdims) ** (1.0 / ord)
    )


def trace(x, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    return total(np.diagonal(x, offset, axis1, axis2), -1, dtype, out)


def ptp(x, axis=None, out=None, keepdims=False):
    return maximum(x, axis, out=out, keepdims=keepdims) - minimum(x, axis, out=out, keepdims=keepdims)


def truth(name, opcode, identity):
    """numpy.all and numpy.any, as truth values."""

    def handler(x, axis=None, out=None, keepdims=False, where=UNSET):
        x, axes = prepared(x, axis)
        check(name, x, None, out, where)
        truths = x if x.boolean else as_traced(x.builder, x != 0.0)
        return reduce(truths, opcode, axes, as_traced(x.builder, identity), keepdims=keeps(keepdims)) != 0.0

    return handler


REDUCTIONS = {
    np.sum: total,
    np.prod: reducing("prod", MUL, 1.0),
    np.max: maximum,
    np.amax: maximum,
    np.min: minimum,
    np.amin: minimum,
    np.mean: mean,
    np.var: var,
    np.std: std,
    np.average: average,
    np.linalg.norm: norm,
    np.trace: trace,
    np.ptp: ptp,
    np.all: truth("all", MINIMUM, 1.0),
    np.any: truth("any", MAXIMUM, 0.0),
}
