"""Cells: where the values of an evaluation are while somebody needs them.

The operations that depend on no input of a point's own come first and run once; the others run again and again, so what
they read of the former keeps its cell. All other cells are taken again after the last reader of what they hold.
"""

from typing import NamedTuple

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.operations import Operations
from fasttape.program import Program

NOWHERE = -1  # the cell of a slot that is not needed
UNREAD, FREED = -1, -2  # in place of the last reader of a slot


class Depending(NamedTuple):
    """What depends on inputs of a point's own."""

    slots: np.ndarray
    operations: np.ndarray


class Arrangement(NamedTuple):
    """The order of operations, and the cells of their operands and results."""

    order: np.ndarray  # of the operations
    once: int  # how many come first and run once
    cells: np.ndarray  # by slot
    count: int  # cells


@sweep
def varying(results, x, y, z, varies, found):
    """Complete which slots differ from point to point, and fill `found` with which operations do."""
    for i in range(results.size):
        found[i] = varies[x[i]] or varies[y[i]] or varies[z[i]]
        if results[i]:
            varies[results[i]] = found[i]


@kernel
def take(slot, cells, free, counts):
    """Give a slot the cell that was used last, or a new one."""
    left, made = counts[0], counts[1]
    cells[slot] = free[left - 1] if left else made
    counts[0], counts[1] = max(left - 1, 0), made + (left == 0)


@kernel
def put(slot, cells, free, counts):
    """Take back the cell of a slot."""
    free[counts[0]] = cells[slot]
    counts[0] += 1


@kernel
def take_needed(slots, last, cells, free, counts):
    for slot in slots:
        if last[slot] != UNREAD:
            take(slot, cells, free, counts)


@sweep
def allocate(results, x, y, z, once, before, inputs, last, cells, free, counts):
    """Fill `cells`; return how many there are. No result takes the cell of an operand: their loops are vectorized.

    `before` are the slots that are there before the first operation, `inputs` those that are there behind those
    that run once. `last` is beyond the end for slots that keep their cells, for others UNREAD.
    """
    n = results.size
    for i in range(n):
        for slot in (x[i], y[i], z[i]):
            last[slot] = max(last[slot], i)
    take_needed(before, last, cells, free, counts)
    for i in range(n):
        if i == once:
            take_needed(inputs, last, cells, free, counts)
        result = results[i]
        if result:
            take(result, cells, free, counts)
            if last[result] == UNREAD:
                put(result, cells, free, counts)
        for slot in (x[i], y[i], z[i]):
            if last[slot] == i:
                last[slot] = FREED
                put(slot, cells, free, counts)
    if once == n:
        take_needed(inputs, last, cells, free, counts)
    return counts[1]


def depending(program: Program, found: Operations, shared: np.ndarray) -> Depending:
    """What depends on inputs of a point's own, if points share the inputs with the numbers `shared`."""
    slots, own = np.zeros(found.slots, bool), np.empty(found.results.size, np.bool_)
    slots[np.setdiff1d(np.arange(program.inputs), shared) + 1] = True
    varying.now(found.results, *found.operands, slots, own)
    return Depending(slots, own)


def arrange(program: Program, found: Operations, own: Depending) -> Arrangement:
    """The order and the cells of operations."""
    inputs = np.arange(1, 1 + program.inputs)
    order, once = np.argsort(own.operations, kind="stable"), int(np.count_nonzero(~own.operations))
    results, operands = found.results[order], found.operands[:, order]
    keep, read = np.zeros(found.slots, bool), operands[:, once:].ravel()
    keep[read[~own.slots[read]]] = True
    keep[program.outputs] = True
    last = np.where(keep, order.size, UNREAD)
    cells = np.full(found.slots, NOWHERE)
    varies = own.slots[inputs]
    before = np.concatenate(([0], inputs[~varies], np.arange(1 + program.inputs, program.first_result)))
    memory = np.empty(last.size, np.int64), np.zeros(2, np.int64)
    count = allocate.now(results, *operands, once, before, inputs[varies], last, cells, *memory)
    return Arrangement(order, once, cells, int(count))
