"""Array instructions from traced arrays: geometry becomes the side record that `layout` describes."""

import math

import numpy as np

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.layout import ELEMENTWISE, FIRST, GEMM, REDUCE, REGULAR, SHAPE, STRIDES
from fasttape.recorders.array import TracedArray
from fasttape.recorders.scalar import TracedScalar, append, here, traced

ITEM = np.dtype(np.uint32).itemsize  # of a geometry
ADD, POSITIVE, SELECT = (ops.CODE[name] for name in ("add", "positive", "select"))
# What NumPy makes of arithmetic between truth values; other rows refuse them.
OF_TRUTHS = {ops.CODE[x]: ops.CODE[y] for x, y in (
    ("add", "logical_or"), ("mul", "logical_and"), ("maximum", "logical_or"), ("minimum", "logical_and"),
)}  # fmt: skip


def strides_in(geometry, shape):
    """The strides, in elements, with which a geometry runs through a shape that it is broadcast to."""
    own = [0 if n == 1 else stride // ITEM for n, stride in zip(geometry.shape, geometry.strides, strict=True)]
    return [0] * (len(shape) - len(own)) + own


def describe(root, geometry, shape):
    """First slot and strides of a geometry in a shape; where its root has a table, first index into a list, and it."""
    strides = strides_in(geometry, shape)
    if root.table is None:
        return root.first + geometry.item(0), strides, None
    geometry = np.broadcast_to(geometry, shape)
    distinct = geometry[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)]
    listed = np.ascontiguousarray(root.table[distinct])
    dense = [stride // ITEM * (n > 1) for stride, n in zip(listed.strides, listed.shape, strict=True)]
    return 0, dense, listed.reshape(-1)


def collapse(shape, strides):
    """Merge neighboring dimensions that all operands run through in one stride; the order of points stays."""
    merged_shape, merged = [], [[] for _ in strides]
    for d, extent in enumerate(shape):
        if extent == 1:
            continue
        joins = bool(merged_shape) and all(m[-1] == s[d] * extent for m, s in zip(merged, strides, strict=True))
        if joins:
            merged_shape[-1] *= extent
        else:
            merged_shape.append(extent)
        for m, s in zip(merged, strides, strict=True):
            if joins:
                m[-1] = s[d]
            else:
                m.append(s[d])
    return merged_shape or [1], [m or [1] for m in merged]


def flat(x: TracedArray, shape):
    """As `describe`, where x is one run of slots or one slot in a space of one dimension; else None."""
    if x.root.table is not None:
        return None
    if x.geometry.shape == shape and x.geometry.flags.c_contiguous:
        return x.root.first + x.geometry.item(0), [1], None
    return (x.root.first + x.geometry.item(0), [0], None) if x.geometry.size == 1 else None


def collapsed(shape, described):
    """The iteration space with as few dimensions as possible, and the operands described in it."""
    shape, strides = collapse(shape, [s for _, s, _ in described])
    return shape, [(first, s, listed) for (first, _, listed), s in zip(described, strides, strict=True)]


def record(builder, structural, opcode, shape, described, size, parameter=0):
    """Append an array instruction over operands as `describe` gives them; return its first slot."""
    fields = [0, size, opcode, parameter, 0, len(described), len(shape), *shape]
    references, lists = [], []
    at_lists = SHAPE + len(shape) + len(described) * (STRIDES + len(shape))
    for first, stride, listed in described:
        if listed is None:
            references.append((len(fields) + FIRST, len(fields) + STRIDES))
            fields += [0, REGULAR, first, first, *stride]
        else:
            references.append((at_lists, at_lists + listed.size))
            fields += [0, at_lists, 0, 0, *stride]
            lists.append(listed)
            at_lists += listed.size
    fields[0] = at_lists
    whole = np.concatenate([fields, *lists]) if lists else fields
    return builder.emit(structural, builder.side(whole, references), size=size)


def elementwise(builder, opcode, operands, parameter=0):
    """Record a row over broadcast operands: a scalar instruction where the result is a scalar, else one for all."""
    builder = here(builder)
    shapes = {x.geometry.shape for x in operands}
    shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    boolean = ops.PREDICATE in ops.OPS[opcode].traits
    if not boolean and all(x.boolean for x in operands):
        opcode, boolean = among_truths(opcode), True
    if shape == ():
        return scalar(builder, opcode, [int(x.slots) for x in operands], parameter)
    if opcode == SELECT:
        boolean = operands[1].boolean and operands[2].boolean
    size = math.prod(shape)
    if size == 0:
        return TracedArray.run(builder, 0, shape, boolean=boolean)
    space, described = [size], [flat(x, shape) for x in operands]
    if None in described:
        space, described = collapsed(shape, [describe(x.root, x.geometry, shape) for x in operands])
    first = record(builder, ELEMENTWISE, opcode, space, described, size, parameter)
    return TracedArray.run(builder, first, shape, boolean=boolean)


def among_truths(opcode) -> int:
    """The row that NumPy applies where all operands are truth values."""
    if opcode not in OF_TRUTHS and opcode not in (POSITIVE, SELECT):
        name = ops.OPS[opcode].name
        raise UnsupportedError(
            f"{name} of truth values cannot be recorded; write np.where(mask, 1.0, 0.0) for the mask"
        )
    return OF_TRUTHS.get(opcode, opcode)


def scalar(builder, opcode, slots, parameter=0) -> TracedScalar:
    """Record a row over single slots."""
    op = ops.OPS[opcode]
    if op.arity == 3:
        return append(builder, opcode, slots[0], builder.side(slots[1:], [(0, 2)]))
    if ops.INTEGER in op.traits:
        return append(builder, opcode, slots[0], parameter & 0xFFFFFFFF)
    return append(builder, opcode, *slots)


def reduce(x: TracedArray, opcode, axes, start: TracedArray, *, keepdims=False):
    """Record a row folded over some axes; `start` is the result over no elements."""
    kept = [d for d in range(x.ndim) if d not in axes]
    lead = x.geometry.transpose(kept + list(axes))
    shape = tuple(x.shape[d] for d in kept)
    size = math.prod(shape)
    if keepdims:
        shape = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
    if x.size == 0:
        return np.broadcast_to(start, shape).copy() if shape else start.item()
    columns = bool(opcode == ADD and kept and axes and 0 < abs(lead.strides[len(kept) - 1]) < abs(lead.strides[-1]))
    if columns:
        lead = x.geometry.transpose(list(axes) + kept)
    space, described = collapsed(lead.shape, [describe(x.root, lead, lead.shape)])
    builder = here(x.builder)
    first = record(builder, REDUCE, opcode, space, described, size, int(columns))
    return TracedArray.run(builder, first, shape) if shape else traced(builder, first)


def copied(x: TracedArray) -> TracedArray:
    """The same values in a run of slots of their own, in C order."""
    result = elementwise(x.builder, POSITIVE, [x])
    return result if isinstance(result, TracedArray) else TracedArray.run(result.builder, result.slot, ())


def blas_ready(x: TracedArray) -> TracedArray:
    """x, or a copy of it where BLAS could not read its matrices in place."""
    if x.root.table is not None or x.size == 0:
        return x if x.root.table is None else copied(x)
    (rows, columns), (row, column) = x.shape[-2:], (s // ITEM for s in x.geometry.strides[-2:])
    by_rows = (column == 1 or columns == 1) and (row >= max(columns, 1) or rows == 1)
    by_columns = (row == 1 or rows == 1) and (column >= max(rows, 1) or columns == 1)
    return x if by_rows or by_columns else copied(x)


def matrix_strides(x: TracedArray):
    """Row and column stride, of which one is 1 also where a dimension has one element."""
    (rows, columns), (row, column) = x.shape[-2:], (s // ITEM for s in x.geometry.strides[-2:])
    if columns == 1 and not (rows > 1 and row == 1):
        column = 1
    if rows == 1 and column != 1:
        row = 1
    return row, column


def gemm(x: TracedArray, y: TracedArray) -> TracedArray:
    """Record x @ y for stacks of matrices; leading dimensions broadcast."""
    x, y = blas_ready(x), blas_ready(y)
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    (m, k), n = x.shape[-2:], y.shape[-1]
    shape, builder = (*batch, m, n, k), here(x.builder)
    size = math.prod((*batch, m, n))
    if size * k == 0:
        return TracedArray.run(builder, builder.constants(np.zeros(size)), (*batch, m, n))
    seen = []
    for operand, order in ((x, (0, None, 1)), (y, (None, 1, 0))):
        two = matrix_strides(operand)
        inner = [0 if d is None else two[d] for d in order]
        outer = strides_in(operand.geometry, (*batch, m, k))[:-2]
        seen.append((operand.root.first + operand.geometry.item(0), outer + inner, None))
    first = record(builder, GEMM, 0, shape, seen, size)
    return TracedArray.run(builder, first, (*batch, m, n))
