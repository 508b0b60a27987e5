"""Pruning: which instructions are needed, which are known without inputs, and the columns of those that are kept."""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.analysis import span
from fasttape.execute.blocks import operand
from fasttape.execute.numbering import list_part
from fasttape.layout import (
    A_IS_SLOT,
    ADJOINT,
    B_IS_SLOT,
    CALL,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LENGTH,
    LIST,
    OPERANDS,
    PARAM,
    REGULAR,
    SIZE,
    TERNARY,
)


@kernel
def need(aux, p, live, spans):
    """Note what the operands of an array instruction read; of one with strides what lies between as well."""
    for k in range(aux[p + OPERANDS]):
        q = operand(aux, p, k)
        if aux[q + LIST] == REGULAR:
            low, high = span(aux, p, q)
            spans[low] -= 1
            spans[high] += 1
            continue
        low, high = list_part(aux, p, q)
        for place in range(low, high):
            live[aux[place]] = True


@sweep
def liveness(ops, a, b, aux, live, spans, keep, slot):
    """Complete `live`, the slots that are needed, and fill in which instructions are.

    Of guards, and of calls that are not pure, `keep` says so before.

    `spans` counts, at each slot, what begins to be read behind it and ends to be read there, from last to first.
    """
    inside = 0
    for k in range(ops.size):
        i = ops.size - 1 - k
        op, p = ops[i], np.int64(a[i])
        if op == GUARD:
            live[p] |= keep[i]
            continue
        size = 1 if op < FIRST_STRUCTURAL else aux[p + SIZE]
        needed = op == CALL and not aux[p + PARAM] and keep[i]  # somebody may tell whether it runs
        for _ in range(size):
            slot -= 1
            inside += spans[slot + 1]
            needed |= live[slot] or inside > 0
        keep[i] = needed
        if not needed:
            continue
        for j in range(size):
            live[slot + j] = True
        if op >= FIRST_STRUCTURAL:
            need(aux, p, live, spans)
            continue
        live[p] = True
        if B_IS_SLOT[op]:
            live[b[i]] = True
        elif TERNARY[op]:
            live[aux[b[i]]] = live[aux[b[i] + 1]] = True
    while slot > 0:
        slot -= 1
        inside += spans[slot + 1]
        live[slot] |= inside > 0


@sweep
def known(ops, a, b, aux, fixed, pinned, slot):
    """Mark in `fixed` the scalar results of constants only, except where `pinned`; return how many there are."""
    count = 0
    for i in range(ops.size):
        op = ops[i]
        if op == GUARD:
            continue
        if op >= FIRST_STRUCTURAL:
            slot += aux[a[i] + SIZE]
            continue
        flag = fixed[a[i]] and not pinned[slot]
        if B_IS_SLOT[op]:
            flag = flag and fixed[b[i]]
        elif TERNARY[op]:
            flag = flag and fixed[aux[b[i]]] and fixed[aux[b[i] + 1]]
        fixed[slot] = flag
        count += flag
        slot += 1
    return count


@sweep
def strided(ops, a, aux, pinned, spans):
    """Mark the slots that lie between those that some array instruction reads by strides."""
    for i in range(ops.size):
        if FIRST_STRUCTURAL <= ops[i] < GUARD:
            p = np.int64(a[i])
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                if aux[q + LIST] == REGULAR:
                    low, high = span(aux, p, q)
                    spans[low] += 1
                    spans[high] -= 1
    inside = 0
    for slot in range(pinned.size):
        inside += spans[slot]
        pinned[slot] = inside > 0


@kernel
def move_record(aux, p, moved, out, at):
    """Copy the side record of an array instruction whose operands have moved; return its length."""
    for k in range(aux[p + LENGTH]):
        out[at + k] = aux[p + k]
    for k in range(aux[p + OPERANDS]):
        q = operand(out, at, k)
        if out[q + LIST] == REGULAR:
            out[q + FIRST] = out[q + ADJOINT] = moved[out[q + FIRST]]
        else:
            low, high = list_part(out, at, q)
            for place in range(low, high):
                out[place] = moved[out[place]]
    return aux[p + LENGTH]


@sweep
def compaction(ops, a, b, aux, keep, moved, new_ops, new_a, new_b, new_aux):
    """Write the instructions that are kept, with slots numbered anew; return how long the side records are."""
    n = at = 0
    for i in range(ops.size):
        if not keep[i]:
            continue
        op = ops[i]
        new_ops[n] = op
        new_a[n] = moved[a[i]] if A_IS_SLOT[op] else a[i]
        new_b[n] = moved[b[i]] if B_IS_SLOT[op] else b[i]
        if TERNARY[op]:
            new_b[n] = at
            for k in range(2):
                new_aux[at + k] = moved[aux[b[i] + k]]
            at += 2
        elif op >= FIRST_STRUCTURAL and op != GUARD:
            new_a[n] = at
            at += move_record(aux, np.int64(a[i]), moved, new_aux, at)
        n += 1
    return at
