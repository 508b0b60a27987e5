"""NumPy's functions that only move elements: they run on positions or slots, and append nothing."""

import functools

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, as_traced, builder_of, stack
from fasttape.recorders.scalar import TracedScalar

OF_ONE = (
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.squeeze, np.expand_dims,
    np.broadcast_to, np.flip, np.fliplr, np.flipud, np.rot90, np.roll, np.diag, np.diagonal, np.diagflat, np.tril,
    np.triu, np.repeat, np.tile, np.take, np.take_along_axis, np.delete, np.compress, np.resize, np.atleast_1d,
    np.atleast_2d, np.atleast_3d, np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit, np.matrix_transpose,
    np.permute_dims, np.unstack,
)  # fmt: skip
OF_MANY = (
    np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack, np.block,
)  # fmt: skip


def of_one(function, x, *args, **kwargs):
    """Apply a function to the positions of one array: a view where NumPy makes a view, else a root of its own."""
    x = as_traced(builder_of((x, *args)), x)
    return seen(x, function(x.geometry, *args, **kwargs))


def seen(x, result):
    if isinstance(result, list | tuple):
        return type(result)(seen(x, part) for part in result)
    return x.view(result)


def of_slots(function, x, *args, **kwargs):
    """Apply a function that may also insert zeros, which are slot 0."""
    x = as_traced(builder_of((x,)), x)
    return TracedArray.listed(x.builder, function(x.slots, *args, **kwargs), boolean=x.boolean)


def of_many(function, arrays, *args, **kwargs):
    """Apply a function to the slots of several arrays, constants among them."""
    builder = builder_of(list(arrays))
    return TracedArray.listed(builder, function(slots_of(builder, arrays), *args, **kwargs))


def slots_of(builder, arrays):
    if isinstance(arrays, list | tuple):
        return [slots_of(builder, x) for x in arrays]
    return as_traced(builder, arrays).slots


def append(x, values, axis=None):
    builder = builder_of((x, values))
    return TracedArray.listed(builder, np.append(*slots_of(builder, (x, values)), axis))


def insert(x, where, values, axis=None):
    builder = builder_of((x, values))
    slots, values = slots_of(builder, (x, values))
    return TracedArray.listed(builder, np.insert(slots, where, values, axis))


def pad(x, pad_width, mode="constant", **kwargs):
    if mode not in ("constant", "edge", "wrap", "reflect", "symmetric"):
        raise UnsupportedError(f"numpy.pad with mode={mode!r} cannot be recorded")
    if "constant_values" in kwargs:
        filling = as_traced(x.builder, kwargs["constant_values"])
        if filling.size != 1:
            raise UnsupportedError("numpy.pad with several constant_values cannot be recorded")
        kwargs["constant_values"] = int(filling.slots.reshape(-1)[0])
    return TracedArray.listed(x.builder, np.pad(x.slots, pad_width, mode, **kwargs), boolean=x.boolean)


def broadcast_arrays(*arrays):
    builder = builder_of(arrays)
    shape = np.broadcast_shapes(*(np.shape(x) for x in arrays))
    return tuple(of_one(np.broadcast_to, as_traced(builder, x), shape) for x in arrays)


def copy(x, order="K", subok=False):  # noqa: FBT002 - NumPy's signature
    return x if isinstance(x, TracedScalar) else x.copy()


def array(x, dtype=None, *, copy=None, **kwargs):
    """numpy.array and numpy.asarray of traced values: an array of the recording."""
    builder = builder_of(x)
    if dtype is not None and np.dtype(dtype) != builder.dtype:
        raise UnsupportedError(f"an array of {np.dtype(dtype)} cannot hold traced {builder.dtype} values")
    if isinstance(x, TracedArray):
        return x.copy() if copy else x
    return as_traced(builder, x) if isinstance(x, TracedScalar) else stack(builder, x)


def filled(function, value):
    """zeros_like and its kin: plain arrays that depend on the shape only."""
    return lambda x, *args, **kwargs: function(np.empty(x.shape, x.dtype), *value(args), **kwargs)


SLOTTED = {np.diag, np.diagflat, np.tril, np.triu}
SHAPES = {f: functools.partial(of_slots if f in SLOTTED else of_one, f) for f in OF_ONE}
SHAPES |= {f: functools.partial(of_many, f) for f in OF_MANY}
SHAPES |= {
    np.append: append,
    np.insert: insert,
    np.pad: pad,
    np.broadcast_arrays: broadcast_arrays,
    np.copy: copy,
    np.zeros_like: filled(np.zeros_like, lambda args: args),
    np.ones_like: filled(np.ones_like, lambda args: args),
    np.empty_like: filled(np.zeros_like, lambda args: args),
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
    np.iscomplexobj: lambda x: False,
    np.isrealobj: lambda x: True,
    np.real: lambda x: x,
}
