"""DOT: a chain of products, each added to the sum so far, run as one instruction of a plan.

    m1 = x1 y1;  s1 = s0 + m1;  m2 = x2 y2;  s2 = s1 + m2;  ...

Sums are taken in the order of the chain and every product is rounded, so values keep their bits. The instructions of a
chain stand side by side, nothing else reads what is between its ends, and a reverse sweep meets the pairs from last to
first: adjoints keep their bits, too. What is saved is the dispatch, two stores and two adjoints for each pair.

The result of a DOT is the last of its SIZE slots, the others are nobody's: no slot changes its number. Its side record
has START, the slot that the chain begins with, in place of CODE, and behind CLEAN pairs, each of which holds one slot
in its lower and one in its upper half. PARAM is the kind: whether zero ABSORBS in the products, and whether what is
added each time is DOUBLE, a sum of two products. Only programs that run forward have kinds other than 0.
"""

import numpy as np

from fasttape import ops as table
from fasttape.compiler.jit import inlined
from fasttape.compiler.sweeps import sweep
from fasttape.execute.analysis import span
from fasttape.execute.blocks import operand, times
from fasttape.layout import (
    B_IS_SLOT,
    CLEAN,
    CODE,
    CONST,
    DOT,
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

ADD, MUL = table.CODE["add"], table.CODE["mul"]
START, PAIRS = CODE, CLEAN + 1  # of the side record
HALF = np.uint64(32)
LOWER = np.uint64(0xFFFFFFFF)
ABSORBS, DOUBLE = 1, 2
LEAST = 2  # pairs: a single one gains nothing
WORTHWHILE = 0.125  # of the instructions must fall into chains


@inlined
def product(values, pair, absorbs):
    x, y = values[pair & LOWER], values[pair >> HALF]
    return times(x, y) if absorbs else x * y


@inlined
def total_of(values, total, aux, first, last, absorbs, double):
    """A chain from `total` on, whose pairs are some words of `aux`."""
    for k in range(first, last, np.uint64(1 + double)):
        term = product(values, np.uint64(aux[k]), absorbs)
        if double:
            term += product(values, np.uint64(aux[k + np.uint64(1)]), absorbs)
        total += term
    return total


@inlined
def dot_forward(values, others, slot, p, b, aux, scratch, entries):
    total, kind = values[np.uint64(aux[p + START])], aux[p + PARAM]
    first, last = np.uint64(p + PAIRS), np.uint64(p + aux[p + LENGTH])
    if kind == 0:  # each kind has a loop of its own
        total = total_of(values, total, aux, first, last, False, False)
    elif kind == ABSORBS:
        total = total_of(values, total, aux, first, last, True, False)
    elif kind == DOUBLE:
        total = total_of(values, total, aux, first, last, False, True)
    else:
        total = total_of(values, total, aux, first, last, True, True)
    values[np.uint64(slot + aux[p + SIZE] - 1)] = total


@inlined
def dot_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    result = np.uint64(slot + aux[p + SIZE] - 1)
    w = adjoints[result]
    if w == 0.0:
        return
    zero = adjoints.dtype.type(0.0)
    adjoints[result] = zero
    first, last = np.uint64(p + PAIRS), np.uint64(p + aux[p + LENGTH] - 1)
    for k in range(np.uint64(aux[p + LENGTH] - PAIRS)):
        place = last - np.uint64(k)
        if place == first:  # the sum that the chain begins with comes before its first product
            adjoints[np.uint64(aux[p + START])] += w
        pair = np.uint64(aux[place])
        x, y = pair & LOWER, pair >> HALF
        at_x, at_y = values[x], values[y]
        by_x, by_y = w * at_y, w * at_x
        adjoints[x] += by_x if at_y != 0.0 else zero
        adjoints[y] += by_y if at_x != 0.0 else zero


@inlined
def dot_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    total = tangents[np.uint64(aux[p + START])]
    for k in range(np.uint64(p + PAIRS), np.uint64(p + aux[p + LENGTH])):
        pair = np.uint64(aux[k])
        x, y = pair & LOWER, pair >> HALF
        total += times(tangents[x], values[y]) + times(tangents[y], values[x])
    tangents[np.uint64(slot + aux[p + SIZE] - 1)] = total


@inlined
def count_read(reads, slot):
    reads[slot] += reads[slot] < 2


@sweep
def count_reads(ops, a, b, aux, outputs, reads, spans):
    """Fill `reads` with how often each slot is read: never, once, or more; `spans` is memory for one more slot."""
    for k in range(outputs.size):
        count_read(reads, outputs[k])
    for i in range(ops.size):
        op, p = ops[i], np.int64(a[i])
        if op < FIRST_STRUCTURAL or op == GUARD:
            count_read(reads, p)
            if B_IS_SLOT[op]:
                count_read(reads, b[i])
            if TERNARY[op]:
                count_read(reads, aux[b[i]])
                count_read(reads, aux[b[i] + 1])
        elif op != CONST:
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                low, high = span(aux, p, q)
                if aux[q + LIST] == REGULAR:
                    spans[low] += 1
                    spans[high] -= 1
                else:
                    for slot in aux[p + aux[q + LIST] : p + aux[p + LENGTH]]:
                        count_read(reads, slot)
    inside = 0
    for slot in range(reads.size):
        inside += spans[slot]
        if inside:
            reads[slot] = 2


@sweep
def find_chains(ops, a, b, aux, reads, slot, found):
    """Fill `found` with (first instruction, its slot, pairs) of each chain; return how many there are."""
    i = chains = count = begin = first = 0
    while i < ops.size:
        if ops[i] == MUL and i + 1 < ops.size and ops[i + 1] == ADD and reads[slot] == 1:
            x, y = np.int64(a[i + 1]), np.int64(b[i + 1])
            if x == slot or y == slot:
                if not (count and (x == slot - 1 or y == slot - 1) and reads[slot - 1] == 1):
                    count, begin, first = 0, i, slot
                count += 1
                if count == LEAST:
                    chains += 1
                if count >= LEAST:
                    found[chains - 1] = begin, first, count
                i, slot = i + 2, slot + 2
                continue
        count = 0
        if ops[i] < FIRST_STRUCTURAL:
            slot += 1
        elif ops[i] != GUARD:
            slot += aux[a[i] + SIZE]
        i += 1
    return chains


@sweep
def write_chains(ops, a, b, found, new_ops, new_a, new_b, aux, at):
    """Write the columns with a DOT for each chain, and its side record to `aux` from a place on."""
    i = n = 0
    for k in range(len(found) + 1):
        begin = found[k, 0] if k < len(found) else ops.size
        while i < begin:
            new_ops[n], new_a[n], new_b[n] = ops[i], a[i], b[i]
            i, n = i + 1, n + 1
        if k == len(found):
            break
        first, count = found[k, 1], found[k, 2]
        aux[at + LENGTH], aux[at + SIZE], aux[at + PARAM], aux[at + CLEAN] = PAIRS + count, 2 * count, 0, 1
        aux[at + START] = b[i + 1] if a[i + 1] == first else a[i + 1]
        for pair in range(count):
            aux[at + PAIRS + pair] = np.int64(a[i]) | np.int64(b[i]) << 32
            i += 2
        new_ops[n], new_a[n], new_b[n] = DOT, at, 0
        at, n = at + PAIRS + count, n + 1


def fuse_chains(columns, program):
    """The columns of a plan of a program with a DOT for every chain, if there are enough of them."""
    ops, a, b, aux = columns
    reads = np.ones(program.slots, np.uint8)
    found = np.empty((ops.size // (2 * LEAST), 3), np.int64)
    count = find_chains.now(*columns, reads, program.first_result, found)  # as if nothing were read twice
    if found[:count, 2].sum() * 2 > WORTHWHILE * ops.size:
        reads[:] = 0
        count_reads.now(*columns, program.outputs, reads, np.zeros(program.slots + 1, np.int32))
        count = find_chains.now(*columns, reads, program.first_result, found)
    found, total = found[:count], int(found[:count, 2].sum())
    if 2 * total <= WORTHWHILE * ops.size:
        return columns
    new = tuple(np.empty(ops.size - 2 * total + count, column.dtype) for column in columns[:3])
    at, aux = aux.size, np.concatenate([aux, np.empty(PAIRS * count + total, np.int64)])
    write_chains.now(ops, a, b, found, *new, aux, at)
    return *new, aux
