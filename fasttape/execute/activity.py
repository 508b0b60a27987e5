"""Which operands of array instructions lead back to a differentiated input; the reverse sweep leaves the others out."""

import numpy as np

from fasttape.compiler.jit import kernel, sweep
from fasttape.execute.blocks import operand, points, run
from fasttape.layout import (
    A_IS_SLOT,
    ACTIVE,
    B_IS_SLOT,
    FIRST,
    FIRST_STRUCTURAL,
    LIST,
    OPERANDS,
    REGULAR,
    SIZE,
    TERNARY,
)
from fasttape.program import Program


@kernel
def touches(aux, p, q, active):
    """Whether operand q reads an active slot; one that is not a list reads a run, active or not as a whole."""
    if aux[q + LIST] == REGULAR:
        return active[aux[q + FIRST]]
    for i in range(points(aux, p)):
        place, _ = run(aux, p, q, i)
        if active[aux[p + aux[q + LIST] + place]]:
            return True
    return False


@sweep
def activity(digest):
    def activity(ops, a, b, aux, active, slot, a_is_slot, b_is_slot, ternary):
        digest
        for i in range(ops.size):
            op, p = ops[i], np.int64(a[i])
            if op < FIRST_STRUCTURAL:
                flag = active[p] or (b_is_slot[op] and active[b[i]])
                if ternary[op]:
                    flag = flag or active[aux[b[i]]] or active[aux[b[i] + 1]]
                active[slot] = flag
                slot += 1
            elif not a_is_slot[op]:
                flag = False
                for k in range(aux[p + OPERANDS]):
                    q = operand(aux, p, k)
                    aux[q + ACTIVE] = touches(aux, p, q, active)
                    flag = flag or aux[q + ACTIVE] != 0
                active[slot : slot + aux[p + SIZE]] = flag
                slot += aux[p + SIZE]

    return activity


def mark_active(program: Program) -> Program:
    """Set the ACTIVE flags of all array operands, in place."""
    if program.ops.size and program.ops.max() >= FIRST_STRUCTURAL:
        active = np.zeros(program.slots, np.bool_)
        for start, stop in program.differentiated:
            active[start:stop] = True
        activity.now(*program.columns, active, program.first_result, A_IS_SLOT, B_IS_SLOT, TERNARY)
    return program
