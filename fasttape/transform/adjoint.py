"""The adjoint transform: the gradient of a recorded stretch, recorded behind it by the rows' own partials.

Instructions are visited from last to first. `adjoints` holds, for each slot, the slot of its adjoint so far, or 0, the
passive zero. A contribution to slots that had none costs nothing; else one addition joins them. Array instructions have
adjoints in terms of array instructions, as many as operands, whatever their size; where an index list repeats a slot,
its contributions are summed first. What this appends can be differentiated like everything else.

Reverse accumulation as a source transform: Griewank and Walther (2008), "Evaluating Derivatives", section 3.3.
"""

import itertools
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.decode import scalar_operands
from fasttape.layout import CALL, CONST, ELEMENTWISE, FIRST_STRUCTURAL, GEMM, GUARD, REDUCE, SIZE
from fasttape.recorders.array import TracedArray, as_traced
from fasttape.recorders.builder import Builder
from fasttape.recorders.calls import call
from fasttape.recorders.scalar import slot_of, traced
from fasttape.transform.operands import (
    Record,
    call_operands,
    gathered,
    negated,
    slots_of,
    spread_over,
)
from fasttape.transform.rules import partials_of, times

LONG, FEW = 1024, 4  # a vector of adjoints in so many runs at most is added to run by run, and no slot is listed
ADD, MUL = ops.CODE["add"], ops.CODE["mul"]


class Stretch(NamedTuple):
    """Instructions of a recording in progress, from one on, whose results begin at a slot."""

    builder: Builder
    first: int
    slot: int

    def instructions(self, count=None):
        """(opcode, a, b, first result, number of results) of each instruction so far, or of the first few."""
        stop = self.builder.n if count is None else self.first + count
        columns = (column[self.first : stop].tolist() for column in self.builder.columns.arrays)
        slot, found = self.slot, []
        for opcode, a, b in zip(*columns, strict=True):
            size = 1 if opcode < FIRST_STRUCTURAL else 0 if opcode == GUARD else int(self.builder.aux[a + SIZE])
            found.append((opcode, a, b, slot, size))
            slot += size
        return found


def adjoint(stretch: Stretch, inputs, outputs, seeds, count=None):
    """Record adjoints; `inputs` and `outputs` are arrays of slots, `seeds` the slots of the adjoints of the outputs.

    Returns the slots of the adjoints of the inputs. The stretch ends where the recording is now, or after `count`.
    """
    builder = stretch.builder
    instructions = stretch.instructions(count)
    active = activity(builder, instructions, inputs)
    adjoints = np.zeros(builder.next, np.uint32)
    back = Backward(builder, active, adjoints)
    if np.unique(outputs).size == outputs.size:
        back.add(outputs, gathered(builder, seeds))
    else:
        for output, seed in zip(outputs.tolist(), seeds.tolist(), strict=True):
            back.add(output, traced(builder, seed))
    for opcode, a, b, slot, size in reversed(instructions):
        if opcode in (CONST, GUARD) or not size or not active[slot : slot + size].any():
            continue
        if opcode < FIRST_STRUCTURAL:
            if adjoints[slot]:
                back.scalar(opcode, a, b, slot)
        elif adjoints[slot : slot + size].any():
            back.array(opcode, a, slot)
    return adjoints[inputs]


def activity(builder, instructions, inputs):
    """Which slots depend on the inputs."""
    active = np.zeros(builder.next, bool)
    active[inputs] = True
    for opcode, a, b, slot, size in instructions:
        if opcode < FIRST_STRUCTURAL:
            operands, _ = scalar_operands(builder.aux, opcode, a, b)
            active[slot] = any(active[s] for s in operands)
        elif opcode not in (CONST, GUARD):
            record = Record(builder, a)
            operands = call_operands(record) if opcode == CALL else map(record.operand, range(record.count))
            active[slot : slot + size] = any(active[x.slots].any() for x in operands)
    return active


class Backward:
    """Passes the adjoint of an instruction's result on to its operands."""

    def __init__(self, builder, active, adjoints):
        self.builder, self.active, self.adjoints = builder, active, adjoints

    def add(self, slots, contribution, negative=False):
        """Add a contribution, or its negative, to the adjoints of some slots, no slot twice."""
        held = self.adjoints[slots]
        if held.ndim == 1 and held.size >= LONG and 1 < len(runs := runs_of(held)) <= FEW:
            for start, stop in runs:
                self.add(slots[start:stop], contribution[start:stop], negative)
            return
        if np.any(held):
            before = gathered(self.builder, held)
            contribution = before - contribution if negative else before + contribution
        elif negative:
            contribution = -contribution
        self.adjoints[slots] = slots_of(contribution)

    def contribution(self, w, d, here):
        """(what an adjoint contributes by a partial, or None; whether its negative is meant).

        `here` are the instruction and the slot from which on the partial was recorded.
        """
        if isinstance(d, float | int):
            return (times(w, -d), True) if d < 0.0 else (times(w, d), False)
        opposite = negated(self.builder, *here, d)
        return (times(w, d), False) if opposite is None else (times(w, opposite), True)

    def scalar(self, opcode, a, b, slot):
        operands, parameter = scalar_operands(self.builder.aux, opcode, a, b)
        x = [traced(self.builder, s) for s in operands]
        w, here = traced(self.builder, int(self.adjoints[slot])), (self.builder.n, self.builder.next)
        partials = partials_of(opcode)(*x, *parameter, traced(self.builder, slot))
        for s, d in zip(operands, partials, strict=False):
            if self.active[s]:
                made, negative = self.contribution(w, d, here)
                if made is not None:
                    self.add(s, traced(self.builder, slot_of(self.builder, made)), negative)

    def array(self, opcode, place, slot):
        record = Record(self.builder, place)
        KINDS[opcode](self, record, slot)

    def of_results(self, record, slot, shape):
        """The adjoints of an instruction's results in some shape, and the results themselves."""
        w = gathered(self.builder, self.adjoints[slot : slot + record.size])
        return w.reshape(shape), TracedArray.run(self.builder, slot, shape)

    def elementwise(self, record, slot):
        w, r = self.of_results(record, slot, record.shape)
        here = self.builder.n, self.builder.next
        operands = [record.operand(k) for k in range(record.count)]
        parameter = (record.parameter,) if ops.INTEGER in ops.OPS[record.row].traits else ()
        for x, d in zip(operands, partials_of(record.row)(*operands, *parameter, r), strict=False):
            if self.active[x.slots].any():
                self.spread(x, *self.contribution(w, d, here))

    def reduction(self, record, slot):
        leading = bool(record.parameter)
        x = record.operand(0)
        x = x.through(x.geometry.reshape((-1, record.size) if leading else (record.size, -1)))
        axis = 0 if leading else 1
        w, r = (np.expand_dims(y, axis) for y in self.of_results(record, slot, (record.size,)))
        self.spread(x, np.broadcast_to(w, x.shape) if record.row == ADD else times(w, weights(record.row, x, r, axis)))

    def product(self, record, slot):
        *batch, m, n, k = range(len(record.shape))
        x, y = record.operand(0, (*batch, m, k)), record.operand(1, (*batch, k, n))
        w, _ = self.of_results(record, slot, record.shape[:-1])
        if self.active[x.slots].any():
            self.spread(x, w @ np.swapaxes(y, -1, -2))
        if self.active[y.slots].any():
            self.spread(y, np.swapaxes(x, -1, -2) @ w)

    def call(self, record, slot):
        rule, operands = self.builder.calls.rules[record.row], call_operands(record)
        w, y = self.of_results(record, slot, (record.size,))
        contribution, at = call(self.builder, rule.pullback(), [*operands, y, w]), 0
        for x in operands:
            if self.active[x.slots].any():
                self.spread(x, contribution[at : at + x.size])
            at += x.size

    def spread(self, x, contribution, negative=False):
        """Add a contribution, of the shape of x, or its negative, to the adjoints of the slots of x."""
        if contribution is None:
            return
        strides = x.geometry.strides
        repeated = tuple(d for d, n in enumerate(x.shape) if n > 1 and strides[d] == 0)
        contribution, slots = spread_over(as_traced(self.builder, contribution), x.shape), x.slots
        if repeated:
            contribution = as_traced(self.builder, np.sum(contribution, axis=repeated))
            slots = slots[tuple(0 if d in repeated else slice(None) for d in range(x.ndim))]
        if x.root.table is None or np.unique(slots).size == slots.size:
            self.add(slots, contribution, negative)
        else:
            self.add_repeated(slots.reshape(-1), contribution.reshape(-1), negative)

    def add_repeated(self, slots, contribution, negative):
        """As `add`, where slots stand several times: those that do so equally often are summed by one instruction."""
        order = np.argsort(slots, kind="stable")
        distinct, starts, counts = np.unique(slots[order], return_index=True, return_counts=True)
        for count in np.unique(counts).tolist():
            chosen = counts == count
            places = order[starts[chosen][:, None] + np.arange(count)]
            self.add(distinct[chosen], np.sum(contribution[places], axis=1), negative)


def runs_of(held) -> list[tuple[int, int]]:
    """The (start, stop) in which slots follow one another, or are all 0."""
    follows = np.diff(held.astype(np.int64)) == (held[:-1] != 0)
    borders = [0, *(np.flatnonzero(~follows) + 1).tolist(), held.size]
    return list(itertools.pairwise(borders))


KINDS = {ELEMENTWISE: Backward.elementwise, REDUCE: Backward.reduction, GEMM: Backward.product, CALL: Backward.call}


def weights(row, x, r, axis):
    """The derivatives of the results of a product or an extremum by each element."""
    if row != MUL:
        decisive = np.where((x == r) | (np.isnan(x) & np.isnan(r)), 1.0, 0.0)
        return decisive / np.sum(decisive, axis=axis, keepdims=True)
    return products_of_others(x, axis)


def products_of_others(x, axis):
    """For each element along an axis the product of the others: of those in front of it and of those behind it.

    Nothing is divided, so zeros, also several, leave nothing undefined however often this is differentiated. Products
    of 1, 2, 4, ... neighbors make all of them in logarithmically many steps (Hillis and Steele 1986, "Data parallel
    algorithms").
    """
    x = np.moveaxis(x, axis, 0)
    one, flipped = np.ones((1, *x.shape[1:]), x.dtype), np.flip(x, 0)
    before, behind = np.concatenate([one, x[:-1]]), np.concatenate([one, flipped[:-1]])
    reach = 1
    while reach < x.shape[0]:
        before, behind = (np.concatenate([y[:reach], y[reach:] * y[:-reach]]) for y in (before, behind))
        reach *= 2
    return np.moveaxis(before * np.flip(behind, 0), 0, axis)
