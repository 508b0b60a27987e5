"""NumPy's functions that only move elements: they run on positions or slots, and append nothing."""

import functools

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, any_traced, as_traced, builder_of, settled
from fasttape.recorders.fresh import fresh

OF_ONE = (
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.squeeze, np.expand_dims,
    np.broadcast_to, np.flip, np.fliplr, np.flipud, np.rot90, np.roll, np.diag, np.diagonal, np.diagflat, np.tril,
    np.triu, np.repeat, np.tile, np.take, np.take_along_axis, np.delete, np.resize, np.split, np.array_split,
    np.hsplit, np.vsplit, np.dsplit, np.matrix_transpose, np.permute_dims, np.unstack,
)  # fmt: skip
OF_MANY = (
    np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack, np.block,
)  # fmt: skip


def refuse_traced(function, args, kwargs):
    """Raise where an option is a traced value: the geometry of an array cannot depend on numbers."""
    if any_traced((*args, *kwargs.values())):
        raise UnsupportedError(f"numpy.{function.__name__} with a traced value as an option cannot be recorded")


def of_one(function, x, *args, **kwargs):
    """Apply a function to the positions of one array: a view where NumPy makes a view, else a root of its own."""
    refuse_traced(function, args, kwargs)
    x = as_traced(builder_of((x,)), x)
    return seen(x, function(x.geometry, *args, **kwargs))


def seen(x, result):
    if isinstance(result, list | tuple):
        return type(result)(seen(x, part) for part in result)
    return x.through(result)


def of_each(function, *arrays):
    """Apply a function to the positions of each of some arrays."""
    builder = builder_of(arrays)
    results = tuple(of_one(function, as_traced(builder, x)) for x in arrays)
    return results if len(results) > 1 else results[0]


def of_slots(function, x, *args, **kwargs):
    """Apply a function that may also insert zeros, which are slot 0."""
    x = as_traced(builder_of((x,)), x)
    return TracedArray.listed(x.builder, function(x.slots, *args, **kwargs), boolean=x.boolean)


def of_many(function, arrays, *args, dtype=None, casting=None, **kwargs):
    """Apply a function to the slots of several arrays, constants among them."""
    builder = builder_of(arrays)
    refuse_traced(function, args, kwargs)
    check_dtype(function, builder, dtype)
    traced = traced_of(builder, arrays)
    boolean = all(x.boolean for x in leaves(traced))
    return TracedArray.listed(builder, function(slots_of(builder, traced), *args, **kwargs), boolean=boolean)


def check_dtype(function, builder, dtype):
    if dtype is not None and np.dtype(dtype) != builder.dtype:
        raise UnsupportedError(
            f"numpy.{function.__name__} with dtype={np.dtype(dtype)} cannot hold {builder.dtype} values"
        )


def traced_of(builder, arrays):
    """A nesting of arrays as the same nesting of traced ones."""
    if isinstance(arrays, list | tuple):
        return [traced_of(builder, x) for x in arrays]
    return as_traced(builder, arrays)


def leaves(arrays):
    return [y for x in arrays for y in leaves(x)] if isinstance(arrays, list) else [arrays]


def slots_of(builder, arrays):
    if isinstance(arrays, list | tuple):
        return [slots_of(builder, x) for x in arrays]
    return as_traced(builder, arrays).slots


def compress(condition, x, axis=None):
    if any_traced(condition):
        condition = settled(as_traced(builder_of((condition,)), condition))
    return of_one(functools.partial(np.compress, condition), x, axis=axis)


def extract(condition, x):
    return compress(np.ravel(condition), np.ravel(x))


def append(x, values, axis=None):
    builder = builder_of((x, values))
    return TracedArray.listed(builder, np.append(*slots_of(builder, (x, values)), axis))


def insert(x, where, values, axis=None):
    if any_traced(where):
        raise UnsupportedError("numpy.insert at a traced position cannot be recorded")
    builder = builder_of((x, values))
    slots, values = slots_of(builder, (x, values))
    return TracedArray.listed(builder, np.insert(slots, where, values, axis))


def pad(x, pad_width, mode="constant", **kwargs):
    x = as_traced(builder_of((x, kwargs.get("constant_values"))), x)
    if kwargs.get("reflect_type", "even") != "even":
        raise UnsupportedError("numpy.pad with reflect_type= cannot be recorded")
    if mode not in ("constant", "edge", "wrap", "reflect", "symmetric"):
        raise UnsupportedError(f"numpy.pad with mode={mode!r} cannot be recorded")
    if "constant_values" in kwargs:
        filling = as_traced(x.builder, kwargs["constant_values"])
        if filling.size != 1:
            raise UnsupportedError("numpy.pad with several constant_values cannot be recorded")
        kwargs["constant_values"] = int(filling.slots.reshape(-1)[0])
    return TracedArray.listed(x.builder, np.pad(x.slots, pad_width, mode, **kwargs), boolean=x.boolean)


def broadcast_arrays(*arrays, subok=False):
    builder = builder_of(arrays)
    shape = np.broadcast_shapes(*(np.shape(x) for x in arrays))
    return tuple(of_one(np.broadcast_to, as_traced(builder, x), shape) for x in arrays)


def copy(x, order="K", subok=False):
    refuse_traced(np.copy, (order, subok), {})
    return as_traced(x.builder, x).copy()


def array(x, dtype=None, *, copy=None, ndmin=0, order="K", subok=False, **kwargs):
    """numpy.array and numpy.asarray of traced values: an array of the recording."""
    builder = builder_of(x)
    made = x if isinstance(x, TracedArray) else as_traced(builder, x)
    if dtype is not None and np.dtype(dtype).kind == "b":
        made = made.astype(bool)
    else:
        check_dtype(np.array, builder, dtype)
    made = made.copy() if copy is True else made
    return made[(None,) * max(0, ndmin - made.ndim)] if ndmin else made


def filled(function):
    """zeros_like and its kin: arrays that depend on the shape only."""

    def handler(x, *args, **kwargs):
        refuse_traced(function, args, kwargs)
        return fresh(function(np.empty(x.shape, x.dtype), *args, **kwargs))

    return handler


def full_like(x, fill_value, dtype=None, order="K", subok=True, shape=None):
    """numpy.full_like: the array to be like may be plain, the filling traced, or both."""
    refuse_traced(np.full_like, (dtype, order, shape), {})
    if not any_traced(fill_value):
        return fresh(np.full_like(np.empty(np.shape(x), x.dtype), fill_value, dtype, shape=shape))
    check_dtype(np.full_like, builder_of((fill_value,)), dtype)
    return np.broadcast_to(fill_value, np.shape(x) if shape is None else shape).copy()


SEQUENCES = {*OF_MANY, np.unstack}  # functions for which a list is not an array
SLOTTED = {np.diag, np.diagflat, np.tril, np.triu}
SHAPES = {f: functools.partial(of_slots if f in SLOTTED else of_one, f) for f in OF_ONE}
SHAPES |= {f: functools.partial(of_many, f) for f in OF_MANY}
SHAPES |= {
    np.atleast_1d: functools.partial(of_each, np.atleast_1d),
    np.atleast_2d: functools.partial(of_each, np.atleast_2d),
    np.atleast_3d: functools.partial(of_each, np.atleast_3d),
    np.compress: compress,
    np.extract: extract,
    np.append: append,
    np.insert: insert,
    np.pad: pad,
    np.broadcast_arrays: broadcast_arrays,
    np.copy: copy,
    np.zeros_like: filled(np.zeros_like),
    np.ones_like: filled(np.ones_like),
    np.full_like: full_like,
    np.empty_like: filled(np.empty_like),
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: np.size(np.broadcast_to(0, x.shape), axis),
    np.iscomplexobj: lambda x: False,
    np.isrealobj: lambda x: True,
    np.real: lambda x: x,
    np.imag: lambda x: np.zeros(x.shape, x.dtype) if isinstance(x, TracedArray) else 0.0,
}
