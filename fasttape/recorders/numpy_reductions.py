"""NumPy's reductions: one REDUCE instruction each, or a short formula over those."""

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.recorders.array import as_traced, builder_of
from fasttape.recorders.instructions import elementwise, reduce

ADD, MUL, MAXIMUM, MINIMUM = (ops.CODE[name] for name in ("add", "mul", "maximum", "minimum"))
UNSET = object()


def prepared(x, axis):
    """A traced array and the tuple of axes to reduce over."""
    x = as_traced(builder_of((x,)), x)
    return x, tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)


def check(name, x, dtype=None, out=None, where=UNSET):
    """Refuse options that are not recorded."""
    if out is not None or where not in (UNSET, True) or (dtype is not None and np.dtype(dtype) != x.builder.dtype):
        raise UnsupportedError(f"numpy.{name} with out=, where= or another dtype= cannot be recorded")


def reducing(name, opcode, identity):
    """The recording of a reduction by one row; an empty one without an identity is refused as in NumPy."""

    def handler(x, axis=None, dtype=None, out=None, keepdims=False, initial=UNSET, where=UNSET):
        x, axes = prepared(x, axis)
        check(name, x, dtype, out, where)
        count = int(np.prod([x.shape[d] for d in axes], dtype=np.int64))
        if identity is None and count == 0 and x.size == 0 and initial is UNSET:
            raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
        result = reduce(x, opcode, axes, keepdims=bool(keepdims) and keepdims is not np._NoValue)
        if initial is UNSET or initial is np._NoValue:
            return result
        return elementwise(x.builder, opcode, [as_traced(x.builder, result), as_traced(x.builder, initial)])

    return handler


total = reducing("sum", ADD, 0.0)


def mean(x, axis=None, dtype=None, out=None, keepdims=False, where=UNSET):
    x, axes = prepared(x, axis)
    return total(x, axis, dtype, out, keepdims, where=where) / float(np.prod([x.shape[d] for d in axes]))


def var(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, correction=None):
    x, axes = prepared(x, axis)
    check("var", x, dtype, out, where)
    count = float(np.prod([x.shape[d] for d in axes]))
    deviation = x - mean(x, axis, keepdims=True)
    return total(deviation * deviation, axis, keepdims=keepdims) / (count - (ddof if correction is None else correction))


def std(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, correction=None):
    return np.sqrt(var(x, axis, dtype, out, ddof, keepdims, where, correction=correction))


def average(x, axis=None, weights=None, returned=False, *, keepdims=False):
    if returned:
        raise UnsupportedError("numpy.average with returned= cannot be recorded")
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(x):
        raise UnsupportedError("numpy.average with weights of another shape cannot be recorded; reshape them")
    return np.sum(x * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


def norm(x, ord=None, axis=None, keepdims=False):
    """The Euclidean norm; its derivative at zero is zero, because zero absorbs the infinite slope of the root."""
    x, axes = prepared(x, axis)
    if ord not in (None, "fro", 2) or (ord == 2 and len(axes) == 2) or (ord == "fro" and len(axes) == 1):
        raise UnsupportedError(f"numpy.linalg.norm with ord={ord!r} over {len(axes)} axes cannot be recorded")
    return np.sqrt(total(x * x, axes, keepdims=keepdims))


def trace(x, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    return total(np.diagonal(x, offset, axis1, axis2), -1, dtype, out)


def ptp(x, axis=None, out=None, keepdims=False):
    return maximum(x, axis, out=out, keepdims=keepdims) - minimum(x, axis, out=out, keepdims=keepdims)


def truth(name, combine, opcode):
    """numpy.all and numpy.any of truth values, as a truth value."""

    def handler(x, axis=None, out=None, keepdims=False, where=UNSET):
        x, axes = prepared(x, axis)
        check(name, x, None, out, where)
        return reduce(x != 0.0 if not x.boolean else x, opcode, axes, keepdims=bool(keepdims)) != 0.0

    return handler


maximum = reducing("maximum", MAXIMUM, None)
minimum = reducing("minimum", MINIMUM, None)
REDUCTIONS = {
    np.sum: total,
    np.prod: reducing("prod", MUL, 1.0),
    np.max: maximum,
    np.min: minimum,
    np.mean: mean,
    np.var: var,
    np.std: std,
    np.average: average,
    np.linalg.norm: norm,
    np.trace: trace,
    np.ptp: ptp,
    np.all: truth("all", np.minimum, MINIMUM),
    np.any: truth("any", np.maximum, MAXIMUM),
}
