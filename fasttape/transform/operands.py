"""The operands of recorded instructions as traced values again, with their geometry."""

import bisect

import numpy as np

from fasttape import ops
from fasttape.layout import (
    CODE,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    LIST,
    NDIM,
    OPERANDS,
    PARAM,
    REGULAR,
    SHAPE,
    SIZE,
    STRIDES,
)
from fasttape.recorders.array import Root, TracedArray
from fasttape.recorders.scalar import TracedScalar, traced

NEG = ops.CODE["neg"]
ITEM = np.dtype(np.uint32).itemsize


class Record:
    """The side record of an array instruction, read."""

    def __init__(self, builder, place):
        self.builder, self.place, self.aux = builder, place, builder.aux
        self.size, self.row, self.parameter = (int(self.aux[place + field]) for field in (SIZE, CODE, PARAM))
        ndim = int(self.aux[place + NDIM])
        self.shape = tuple(self.aux[place + SHAPE : place + SHAPE + ndim].tolist())
        self.count = int(self.aux[place + OPERANDS])

    def operand(self, k, dims=None) -> TracedArray:
        """Operand k over the iteration space, or over some of its dimensions in order."""
        ndim, aux = len(self.shape), self.aux
        q = self.place + SHAPE + ndim + k * (STRIDES + ndim)
        dims = range(ndim) if dims is None else dims
        shape = tuple(self.shape[d] for d in dims)
        strides = [int(aux[q + STRIDES + d]) for d in dims]
        first, listed = int(aux[q + FIRST]), int(aux[q + LIST])
        if listed == REGULAR:
            return strided(self.builder, first, shape, strides)
        start = self.place + listed
        reach = 1 + first + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        root = TracedArray.listed(self.builder, aux[start : start + reach].astype(np.uint32)).root
        return TracedArray(root, spread(root.numbers[first:], shape, strides))


def call_operands(record: Record) -> list[TracedArray]:
    """The operands of a CALL, each along its own dimension."""
    return [record.operand(k, (k,)) for k in range(record.count)]


def strided(builder, first, shape, strides) -> TracedArray:
    """The array whose element i is slot `first + i . strides`."""
    reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low = first + sum(min(r, 0) for r in reach)
    root = Root(builder, 1 + sum(map(abs, reach)), low)
    return TracedArray(root, spread(root.numbers[first - low :], shape, strides))


def spread(numbers, shape, strides):
    return np.lib.stride_tricks.as_strided(numbers, shape, [s * ITEM for s in strides], writeable=False)


def spread_over(x, shape):
    """x broadcast to a shape that it may have already."""
    return x if x.shape == shape else np.broadcast_to(x, shape)


def gathered(builder, slots):
    """The traced value that lives in some slots: a run where they are one, else a list; a scalar for a number."""
    if np.ndim(slots) == 0:
        return traced(builder, int(slots))
    flat = slots.reshape(-1)
    if flat.size > 1 and (flat == flat[0]).all():
        return np.broadcast_to(TracedArray.run(builder, int(flat[0]), (1,)), slots.shape)
    if flat.size and is_run(builder, flat):
        return TracedArray.run(builder, int(flat[0]), slots.shape)
    return TracedArray.listed(builder, slots)


def is_run(builder, flat) -> bool:
    """Whether some slots are consecutive, and still will be when constants have moved in front of the results."""
    first, last = int(flat[0]), int(flat[-1])
    if last - first != flat.size - 1 or not (np.diff(flat.astype(np.int64)) == 1).all():
        return False
    if first <= builder.size < last:  # they come to stand between these
        return False
    following = bisect.bisect_right(builder.runs, first, key=lambda run: run[0])  # run of constants
    before = builder.runs[following - 1][1] if following else 0
    after = builder.runs[following][0] if following < len(builder.runs) else last + 1
    return (before <= first or before > last) and after > last


def number(x):
    """The number that a traced value is known to be at every point, or None; plain numbers are themselves."""
    if isinstance(x, TracedArray):
        return x.builder.number(int(x.slots.flat[0])) if x.size and not any(x.geometry.strides) else None
    return x.builder.number(x.slot) if isinstance(x, TracedScalar) else float(x)


def negated(builder, first, slot, x):
    """What the traced value x is the negative of, if that was recorded from instruction `first` on; or None."""
    at = x.slot if isinstance(x, TracedScalar) else x.root.first
    columns = [column[first : builder.n].tolist() for column in builder.columns.arrays[:2]]
    for opcode, a in zip(*columns, strict=True):
        size = int(builder.aux[a + SIZE]) if opcode >= FIRST_STRUCTURAL else 1
        if slot == at:
            if opcode == NEG:
                return traced(builder, a)
            if opcode == ELEMENTWISE and builder.aux[a + CODE] == NEG and x.size == size:
                return Record(builder, a).operand(0).reshape(x.shape)
        slot += size
    return None


def slots_of(x):
    """The slots of a traced value, an array of its shape."""
    return x.slots if isinstance(x, TracedArray) else np.array(x.slot, np.uint32)
