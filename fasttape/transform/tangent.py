"""The tangent transform: the derivative of a recorded stretch along a direction, recorded behind it.

`tangents` holds, for each slot, the slot of its tangent, or 0, the passive zero, where there is none.
"""

import numpy as np

from fasttape import ops
from fasttape.decode import scalar_operands
from fasttape.layout import CALL, CONST, ELEMENTWISE, FIRST_STRUCTURAL, GEMM, GUARD, REDUCE
from fasttape.recorders.array import TracedArray, as_traced
from fasttape.recorders.calls import call
from fasttape.recorders.scalar import slot_of, traced
from fasttape.transform.adjoint import ADD, Stretch, weights
from fasttape.transform.operands import Record, call_operands, gathered, slots_of, spread_over
from fasttape.transform.rules import partials_of, times


def tangent(stretch: Stretch, inputs, directions, outputs, count=None, partials=None):
    """Record tangents; `directions` are the slots of those of `inputs`. Returns the slots of those of `outputs`.

    `partials` keeps those of each instruction from one direction to the next.
    """
    instructions = stretch.instructions(count)
    tangents = np.zeros(stretch.builder.next, np.uint32)
    tangents[inputs] = directions
    along = Along(stretch.builder, tangents, {} if partials is None else partials)
    for opcode, a, b, slot, size in instructions:
        if opcode < FIRST_STRUCTURAL:
            along.scalar(opcode, a, b, slot)
        elif opcode not in (CONST, GUARD) and size:
            along.array(opcode, a, slot)
    return tangents[outputs]


def total(parts):
    """The sum of the parts that are there, or None."""
    found = None
    for part in parts:
        if part is not None:
            found = part if found is None else found + part
    return found


class Along:
    """Finds the tangent of an instruction's results from those of its operands."""

    def __init__(self, builder, tangents, known):
        self.builder, self.tangents, self.known = builder, tangents, known

    def partials(self, slot, make):
        """The partials of the instruction whose first result a slot is, recorded once."""
        if slot not in self.known:
            self.known[slot] = make()
        return self.known[slot]

    def scalar(self, opcode, a, b, slot):
        operands, parameter = scalar_operands(self.builder.aux, opcode, a, b)
        if not any(self.tangents[s] for s in operands):
            return
        at = [traced(self.builder, s) for s in (*operands, slot)]
        partials = self.partials(slot, lambda: partials_of(opcode)(*at[:-1], *parameter, at[-1]))
        pairs = [(s, d) for s, d in zip(operands, partials, strict=False) if self.tangents[s]]
        found = total(times(traced(self.builder, int(self.tangents[s])), d) for s, d in pairs)
        self.tangents[slot] = 0 if found is None else slot_of(self.builder, found)

    def array(self, opcode, place, slot):
        record = Record(self.builder, place)
        found = KINDS[opcode](self, record, slot)
        if found is not None:
            self.tangents[slot : slot + record.size] = slots_of(found).reshape(-1)

    def of_operand(self, x):
        """The tangent of an operand, of its shape, or None."""
        strides = x.geometry.strides
        repeated = [n > 1 and strides[d] == 0 for d, n in enumerate(x.shape)]
        slots = self.tangents[x.slots[tuple(slice(1) if again else slice(None) for again in repeated)]]
        return spread_over(gathered(self.builder, slots), x.shape) if slots.any() else None

    def elementwise(self, record, slot):
        operands = [record.operand(k) for k in range(record.count)]
        found = [self.of_operand(x) for x in operands]
        if not any(t is not None for t in found):
            return None
        parameter = (record.parameter,) if ops.INTEGER in ops.OPS[record.row].traits else ()
        r = TracedArray.run(self.builder, slot, record.shape)
        partials = self.partials(slot, lambda: partials_of(record.row)(*operands, *parameter, r))
        made = total(times(t, d) for t, d in zip(found, partials, strict=False) if t is not None)
        return None if made is None else spread_over(as_traced(self.builder, made), record.shape)

    def reduction(self, record, slot):
        leading = bool(record.parameter)
        x = record.operand(0)
        x = x.through(x.geometry.reshape((-1, record.size) if leading else (record.size, -1)))
        found, axis = self.of_operand(x), 0 if leading else 1
        if found is not None and record.row != ADD:
            r = np.expand_dims(TracedArray.run(self.builder, slot, (record.size,)), axis)
            found = times(found, self.partials(slot, lambda: weights(record.row, x, r, axis)))
        return None if found is None else np.sum(found, axis=axis)

    def product(self, record, slot):
        *batch, m, n, k = range(len(record.shape))
        x, y = record.operand(0, (*batch, m, k)), record.operand(1, (*batch, k, n))
        dx, dy = self.of_operand(x), self.of_operand(y)
        return total((None if dx is None else dx @ y, None if dy is None else x @ dy))

    def call(self, record, slot):
        rule, operands = self.builder.calls.rules[record.row], call_operands(record)
        along = [gathered(self.builder, self.tangents[x.slots]) for x in operands]
        if not any(self.tangents[x.slots].any() for x in operands):
            return None
        y = TracedArray.run(self.builder, slot, (record.size,))
        return call(self.builder, rule.pushforward(), [*operands, y, *along])


KINDS = {ELEMENTWISE: Along.elementwise, REDUCE: Along.reduction, GEMM: Along.product, CALL: Along.call}
