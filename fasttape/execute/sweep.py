"""The interpreter: three loops over a tape, compiled once for all tapes.

A sweep takes instructions `first` .. `last` and the slot where their results begin (in reverse: end). `forward` returns
the instruction it stopped at: `last`, or a guard that does not hold. `reverse` leaves every adjoint that it has passed
on at zero, ready for the next evaluation, unless it is told to keep them.
"""

import numpy as np

from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.layout import CLEAN, CONST, FIRST_STRUCTURAL, GUARD, SIZE


@kernel
def results(op, aux, p):
    """The number of slots that an instruction fills."""
    return np.uint64(1) if op < FIRST_STRUCTURAL else np.uint64(aux[p + SIZE])


@kernel
def run_forward(ops, a, b, aux, values, first, last, slot, scratch, entries):
    slot = np.uint64(slot)
    for k in range(first, last):
        i = np.uint64(k)
        if ops[i] == GUARD:
            if (values[a[i]] != 0.0) != (b[i] != 0):
                return k
        else:
            if ops[i] != CONST:
                steps.step_forward(ops[i], values, values, slot, a[i], b[i], aux, scratch, entries)
            slot += results(ops[i], aux, a[i])
    return last


@kernel
def run_reverse(ops, a, b, aux, values, adjoints, first, last, slot, keep, scratch, entries):
    slot = np.uint64(slot)
    for k in range(last - first):
        i = np.uint64(last - 1 - k)
        if ops[i] < FIRST_STRUCTURAL:
            slot -= np.uint64(1)
            if adjoints[slot] != 0.0:
                steps.step_reverse(ops[i], values, adjoints, slot, a[i], b[i], aux, scratch, entries)
                if not keep:
                    adjoints[slot] = 0.0
        elif ops[i] == CONST:
            slot -= results(ops[i], aux, a[i])
        elif ops[i] != GUARD:
            size = results(ops[i], aux, a[i])
            slot -= size
            steps.step_reverse(ops[i], values, adjoints, slot, a[i], b[i], aux, scratch, entries)
            if not (keep or aux[a[i] + CLEAN]):
                adjoints[slot : slot + size] = 0.0


@sweep
def forward(ops, a, b, aux, values, first, last, slot, scratch, entries):
    return run_forward(ops, a, b, aux, values, first, last, slot, scratch, entries)


@sweep
def reverse(ops, a, b, aux, values, adjoints, first, last, slot, keep, scratch, entries):
    run_reverse(ops, a, b, aux, values, adjoints, first, last, slot, keep, scratch, entries)


@sweep
def tangent(ops, a, b, aux, values, tangents, first, last, slot, scratch, entries):
    slot = np.uint64(slot)
    for k in range(first, last):
        i = np.uint64(k)
        if ops[i] != GUARD:
            if ops[i] != CONST:
                steps.step_tangent(ops[i], values, tangents, slot, a[i], b[i], aux, scratch, entries)
            slot += results(ops[i], aux, a[i])
