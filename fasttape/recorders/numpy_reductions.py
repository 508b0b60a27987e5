"""NumPy's reductions: one REDUCE instruction each, or a short formula over those."""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

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


def check(name, x, dtype=None):
    """Refuse options that are not recorded."""
    counts = x.boolean and dtype is not None and np.dtype(dtype).kind in "iu"  # in the floats of the recording
    if dtype is not None and np.dtype(dtype) != x.builder.dtype and not counts:
        raise UnsupportedError(f"numpy.{name} with another dtype= cannot be recorded")


def everything(where) -> bool:
    return where is UNSET or where is True


def count(x, axes, where=UNSET, keepdims=False):
    """How many elements go into each result."""
    if everything(where):
        return float(math.prod(x.shape[d] for d in axes))
    return np.sum(np.broadcast_to(where, x.shape), axis=axes, keepdims=keeps(keepdims))


def keeps(keepdims) -> bool:
    return keepdims is not UNSET and bool(keepdims)


def reducing(name, opcode, identity):
    """The recording of a reduction by one row; an empty one without an identity is refused as in NumPy."""

    def handler(x, axis=None, dtype=None, out=None, keepdims=False, initial=UNSET, where=UNSET):
        x, axes = prepared(x, axis)
        check(name, x, dtype)
        if not everything(where):
            if identity is None and initial is UNSET:
                raise ValueError(f"{name} with where= has no identity; give it initial=")
            x = as_traced(x.builder, np.where(where, x, identity if initial is UNSET else initial))
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
    return total(x, axis, dtype, keepdims=keepdims, where=where) / count(x, axes, where, keepdims)


def var(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, mean=None, correction=None):
    x, axes = prepared(x, axis)
    center = total(x, axis, dtype, keepdims=True, where=where) / count(x, axes, where, True) if mean is None else mean
    degrees = np.maximum(count(x, axes, where, keepdims) - (ddof if correction is None else correction), 0.0)
    return total(np.square(x - center), axis, keepdims=keepdims, where=where) / degrees


def std(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, where=UNSET, *, mean=None, correction=None):
    return np.sqrt(var(x, axis, dtype, out, ddof, keepdims, where, mean=mean, correction=correction))


def average(x, axis=None, weights=None, returned=False, *, keepdims=False):
    builder = builder_of((x, weights))
    x = as_traced(builder, x)
    whole = np.ones(x.shape) if weights is None else spread(x, axis, as_traced(builder, weights))
    scale = np.sum(whole, axis=axis, keepdims=keepdims)
    result = np.sum(x * whole, axis=axis, keepdims=keepdims) / scale
    return (result, scale) if returned else result


def spread(x, axis, weights):
    """Weights in the shape of x; they may be given for the axes alone that the average is taken over."""
    if weights.shape == x.shape:
        return weights
    if axis is None:
        raise TypeError("average: axis must be given where the weights have another shape than the array")
    axes = normalize_axis_tuple(axis, x.ndim)
    if weights.shape != tuple(x.shape[d] for d in axes):
        raise ValueError(f"average: weights of shape {weights.shape} for axes {axes} of an array of shape {x.shape}")
    weights = np.transpose(weights, np.argsort(axes))
    return np.broadcast_to(np.expand_dims(weights, tuple(d for d in range(x.ndim) if d not in axes)), x.shape)


def without_nan(function):
    """A reduction of the elements that are numbers."""

    def handler(x, axis=None, dtype=None, out=None, **options):
        x = as_traced(builder_of((x,)), x)
        return function(x, axis, dtype, where=np.equal(x, x), **options)

    return handler


def norm(x, ord=None, axis=None, keepdims=False):
    """Norms of vectors, and Frobenius' norm; the derivative at zero is zero, because zero absorbs an infinite slope."""
    x, axes = prepared(x, axis)
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and len(axes) == 1):
        return np.sqrt(total(np.square(x), axes, keepdims=keepdims))
    if len(axes) == 2:
        return norm_of_matrices(x, ord, axes, keepdims)
    if len(axes) != 1 or isinstance(ord, str):
        raise ValueError(f"numpy.linalg.norm: no norm {ord!r} over {len(axes)} axes")
    if ord == 0:
        return total(x != 0.0, axes, keepdims=keepdims)
    size = np.abs(x)
    if math.isinf(ord):
        return (maximum if ord > 0 else minimum)(size, axes, keepdims=keepdims)
    return (
        total(size, axes, keepdims=keepdims) if ord == 1 else total(size**ord, axes, keepdims=keepdims) ** (1.0 / ord)
    )


def norm_of_matrices(x, ord, axes, keepdims):
    """Norms that operators have: the largest sum of a row or a column, and those of the singular values."""
    x = np.moveaxis(x, axes, (-2, -1))
    if ord in (1, -1, math.inf, -math.inf):
        lengths = np.sum(np.abs(x), axis=-2 if abs(ord) == 1 else -1)
    elif ord in (2, -2, "nuc"):
        lengths = np.linalg.svdvals(x)
    else:
        raise ValueError(f"numpy.linalg.norm: no norm {ord!r} of matrices")
    result = np.sum(lengths, axis=-1) if ord == "nuc" else (np.max if ord > 0 else np.min)(lengths, axis=-1)
    return np.expand_dims(result, tuple(sorted(axes))) if keepdims else result


def trace(x, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    return total(np.diagonal(x, offset, axis1, axis2), -1, dtype, out)


def ptp(x, axis=None, out=None, keepdims=False):
    return maximum(x, axis, out=out, keepdims=keepdims) - minimum(x, axis, out=out, keepdims=keepdims)


def truth(name, opcode, identity):
    """numpy.all and numpy.any, as truth values."""

    def handler(x, axis=None, out=None, keepdims=False, where=UNSET):
        x, axes = prepared(x, axis)
        truths = x if x.boolean else as_traced(x.builder, x != 0.0)
        if not everything(where):
            truths = as_traced(x.builder, np.where(where, truths, identity))
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
    np.nansum: without_nan(total),
    np.nanmean: without_nan(mean),
    np.nanvar: without_nan(var),
    np.nanstd: without_nan(std),
    np.linalg.norm: norm,
    np.trace: trace,
    np.ptp: ptp,
    np.all: truth("all", MINIMUM, 1.0),
    np.any: truth("any", MAXIMUM, 0.0),
}
