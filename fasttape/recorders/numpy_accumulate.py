"""Running sums, products and extrema: scalar rows one after the other, or array rows where an axis is wide."""

import numpy as np

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, as_traced, builder_of
from fasttape.recorders.instructions import elementwise

WIDE = 32  # elements beside the axis, from which array instructions cost less
ADD, MUL = ops.CODE["add"], ops.CODE["mul"]


def accumulate(opcode, x, axis=0, dtype=None):
    """`ufunc.accumulate` of a row of two operands, in the order in which NumPy takes the elements."""
    x = as_traced(builder_of((x,)), x)
    if x.ndim == 0:
        raise TypeError("cannot accumulate on a scalar")
    if x.boolean or dtype not in (None, x.dtype):
        raise UnsupportedError("accumulation of truth values, or with another dtype=, cannot be recorded")
    row = np.moveaxis(x, axis, 0)
    slots = row.slots.reshape(len(row), row.size // max(len(row), 1))
    if len(slots) > 1:
        made = wide if slots.shape[1] >= WIDE else narrow
        slots = made(x.builder, opcode, slots)
    return np.moveaxis(TracedArray.listed(x.builder, slots.reshape(row.shape)), 0, axis)


def narrow(builder, opcode, slots):
    """The slots of running results, by a scalar instruction each."""
    made = builder.next + np.arange(slots[1:].size, dtype=np.uint32).reshape(-1, slots.shape[1])
    result = np.concatenate([slots[:1], made.astype(np.uint32)])
    codes = np.full(made.size, opcode, np.uint8)
    builder.extend(codes, result[:-1].reshape(-1), slots[1:].reshape(-1), builder.next + made.size)
    return result


def wide(builder, opcode, slots):
    """The slots of running results, by an array instruction for each element along the axis."""
    result = [TracedArray.listed(builder, slots[0])]
    for part in slots[1:]:
        result.append(elementwise(result[-1].builder, opcode, [result[-1], TracedArray.listed(builder, part)]))
    return np.stack([part.slots for part in result])


def cumulative(opcode):
    """numpy.cumsum or numpy.cumprod."""

    def handler(x, axis=None, dtype=None, out=None):
        x = as_traced(builder_of((x,)), x)
        return accumulate(opcode, x.ravel() if axis is None else x, axis or 0, dtype)

    return handler


def cumulative_with_start(opcode):
    """numpy.cumulative_sum or numpy.cumulative_prod."""

    def handler(x, /, *, axis=None, dtype=None, out=None, include_initial=False):
        x = as_traced(builder_of((x,)), x)
        if axis is None and x.ndim > 1:
            raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
        made = accumulate(opcode, np.atleast_1d(x), axis or 0, dtype)
        if not include_initial:
            return made
        start = np.full_like(np.take(made, [0], axis or 0), opcode == MUL)
        return np.concatenate([start, made], axis or 0)

    return handler


ACCUMULATIONS = {np.cumsum: cumulative(ADD), np.cumprod: cumulative(MUL)}
ACCUMULATIONS |= {np.cumulative_sum: cumulative_with_start(ADD), np.cumulative_prod: cumulative_with_start(MUL)}
