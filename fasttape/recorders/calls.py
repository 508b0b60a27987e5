"""Appending a CALL: operands that are long runs of slots stay as they are, all others are listed."""

import numpy as np

from fasttape.execute.plan import LARGE
from fasttape.layout import FIRST, REGULAR, SHAPE, STRIDES
from fasttape.recorders.array import TracedArray

SHORT = 64  # slots; a shorter run joins the list of its neighbors


def call(builder, rule, operands) -> TracedArray:
    """Record a call of a rule on traced arrays, whose elements it takes in order; the results as an array."""
    parts = [run(x) if is_long_run(x) else x.slots.reshape(-1) for x in operands if x.size]
    return TracedArray.run(builder, emit(builder, rule, pieces(builder, parts)), (rule.outputs,))


def is_long_run(x: TracedArray) -> bool:
    return x.size >= SHORT and x.root.table is None and x.geometry.flags.c_contiguous


def run(x):
    """(first, size) of the slots of an array."""
    return x.root.first + x.geometry.item(0), x.size


def pieces(builder, parts):
    """Runs (first, size) and arrays of slots as fewer of both; only among inputs do two runs stay neighbors.

    Two large ones stay apart: they may be arguments that are read where they are.
    """
    found = []
    for part in parts:
        last = found[-1] if found else None
        listed = not isinstance(part, tuple)
        if last is not None and listed and not isinstance(last, tuple):
            found[-1] = np.concatenate([last, part])
        elif isinstance(last, tuple) and not listed and follows(builder, last, part):
            found[-1] = last[0], last[1] + part[1]
        else:
            found.append(part)
    return found


def follows(builder, last, part) -> bool:
    """Whether a run of inputs can be part of the one before it."""
    return part[0] == sum(last) and sum(part) <= builder.size + 1 and min(last[1], part[1]) < LARGE


def emit(builder, rule, operands) -> int:
    """Append a CALL on runs and lists of slots; return the first slot of its results."""
    count = len(operands)
    sizes = [x[1] if isinstance(x, tuple) else x.size for x in operands]
    fields = [0, rule.outputs, 0, int(rule.pure), 0, count, count, *sizes]
    references, at_lists = [], SHAPE + count + count * (STRIDES + count)
    for k, (x, size) in enumerate(zip(operands, sizes, strict=True)):
        strides = [int(d == k) for d in range(count)]
        if isinstance(x, tuple):
            references.append((len(fields) + FIRST, len(fields) + STRIDES))
            fields += [0, REGULAR, x[0], x[0], *strides]
        else:
            references.append((at_lists, at_lists + size))
            fields += [0, at_lists, 0, 0, *strides]
            at_lists += size
    for x in operands:
        if not isinstance(x, tuple):
            fields += x.tolist()
    fields[0] = len(fields)
    return builder.call(rule, fields, references)
