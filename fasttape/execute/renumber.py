"""Renumbering: constants, which a recording leaves among the results, move in front of them; inputs come and go.

Which old slots are constants is a bit mask with a count of the bits before each word, so that the new number of any
slot follows in constant time (a rank query; Jacobson 1989, "Space-efficient static trees and graphs").
"""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.analysis import is_array, reach, span
from fasttape.execute.blocks import operand
from fasttape.layout import A_IS_SLOT, B_IS_SLOT, CONST, GUARD, LIST, OPERANDS, REGULAR, TERNARY

BITS = 64


@kernel
def population(word):
    """The number of bits that are set; LLVM makes one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def set_bits(mask, start, stop):
    for word in range(start // BITS, (stop + BITS - 1) // BITS):
        low, high = max(start - word * BITS, 0), min(stop - word * BITS, BITS)
        if low == high:  # an empty run
            continue
        bits = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(BITS - (high - low))
        mask[word] |= bits << np.uint64(low)


@kernel
def moved(slot, first, total, mask, before):
    """The new number of a slot; `first` is the one after the inputs, `total` the number of constants."""
    if slot < first:
        return np.int64(slot)
    place = np.int64(slot) - first
    word, bit = place // BITS, np.uint64(place % BITS)
    rank = np.int64(before[word] + population(mask[word] & ((np.uint64(1) << bit) - np.uint64(1))))
    if (mask[word] >> bit) & np.uint64(1):
        return first + rank
    return np.int64(slot) + total - rank


@sweep
def renumbering(ops, a, b, aux, references, outputs, guards, runs, first, mask, before):
    for k in range(runs.shape[0]):
        set_bits(mask, runs[k, 0] - first, runs[k, 1] - first)
    total = np.uint64(0)
    for word in range(mask.size):
        before[word] = total
        total += population(mask[word])
    total = np.int64(total)
    kept = guard = 0
    for i in range(ops.size):
        op = ops[i]
        if op == CONST:
            continue
        ops[kept] = op
        a[kept] = moved(a[i], first, total, mask, before) if A_IS_SLOT[op] else a[i]
        b[kept] = moved(b[i], first, total, mask, before) if B_IS_SLOT[op] else b[i]
        if op == GUARD:
            guards[guard, 0] = kept
            guard += 1
        kept += 1
    for k in range(references.shape[0]):
        for place in range(references[k, 0], references[k, 1]):
            aux[place] = moved(aux[place], first, total, mask, before)
    for k in range(outputs.size):
        outputs[k] = moved(outputs[k], first, total, mask, before)
    return kept


def renumber(ops, a, b, aux, references, outputs, guards, runs, first, slots) -> int:
    """Move the constants of `runs`, pairs (start, stop), to the slots from `first` on, in place; return what is left.

    Columns lose their CONST instructions; slots in `aux` stand between the places of `references`.
    """
    words = (slots - first) // BITS + 1
    mask, before = np.zeros(words, np.uint64), np.empty(words, np.uint64)
    return renumbering.now(ops, a, b, aux, references, outputs, guards, runs, first, mask, before)


@kernel
def note(found, count, start, stop, inputs):
    """Append some slots, if they are inputs; return how many entries there are then."""
    if 0 < start <= inputs:
        found[count, 0], found[count, 1] = start, stop
        count += 1
    return count


@sweep
def inputs_read(ops, a, b, aux, inputs, found):
    """Fill `found` with (start, stop) of the inputs that operands read; return how many entries there are."""
    count = 0
    for i in range(ops.size):
        op, p = ops[i], np.int64(a[i])
        if A_IS_SLOT[op]:
            count = note(found, count, p, p + 1, inputs)
        if B_IS_SLOT[op]:
            count = note(found, count, np.int64(b[i]), np.int64(b[i]) + 1, inputs)
        if TERNARY[op]:
            for place in range(np.int64(b[i]), np.int64(b[i]) + 2):
                count = note(found, count, aux[place], aux[place] + 1, inputs)
        for k in range(aux[p + OPERANDS] if is_array(op) else 0):
            q = operand(aux, p, k)
            if aux[q + LIST] == REGULAR:
                low, high = span(aux, p, q)
                count = note(found, count, low, high, inputs)
                continue
            low, high = reach(aux, p, q)
            for place in range(p + aux[q + LIST] + low, p + aux[q + LIST] + high + 1):
                count = note(found, count, aux[place], aux[place] + 1, inputs)
    return count


@kernel
def relabeled(slot, inputs, starts, before, shift):
    """The new number of a slot, where only some spans of the inputs are left, or others follow them."""
    if slot == 0 or slot > inputs:
        return np.int64(slot) - (shift if slot else 0)
    k = np.searchsorted(starts, slot, side="right") - 1
    return 1 + before[k] + np.int64(slot) - starts[k]


@sweep
def relabeling(ops, a, b, aux, references, outputs, inputs, starts, before, shift):
    for i in range(ops.size):
        if A_IS_SLOT[ops[i]]:
            a[i] = relabeled(a[i], inputs, starts, before, shift)
        if B_IS_SLOT[ops[i]]:
            b[i] = relabeled(b[i], inputs, starts, before, shift)
    for k in range(references.shape[0]):
        for place in range(references[k, 0], references[k, 1]):
            aux[place] = relabeled(aux[place], inputs, starts, before, shift)
    for k in range(outputs.size):
        outputs[k] = relabeled(outputs[k], inputs, starts, before, shift)


def relabel(columns, references, outputs, inputs, spans, left):
    """Number slots anew, in place: of the inputs the spans (start, stop) stay, in front of any others that come."""
    starts, sizes = spans[:, 0].copy(), spans[:, 1] - spans[:, 0]
    relabeling.now(*columns, references, outputs, inputs, starts, np.cumsum(sizes) - sizes, inputs - left)
