"""DOT: a chain of products, each added to the sum so far, run as one instruction of a plan.

    m1 = x1 y1;  s1 = s0 + m1;  m2 = x2 y2;  s2 = s1 + m2;  ...

Sums are taken in the order of the chain and every product is rounded, so values keep their bits. The instructions of a
chain stand side by side, nothing else reads what is between its ends, and a reverse sweep meets the pairs from last to
first: adjoints keep their bits, too. What is saved is the dispatch, two stores and two adjoints for each pair.

The result of a DOT is the last of its SIZE slots, the others are nobody's: no slot changes its number. Its side record
has START, the slot that the chain begins with, in place of CODE, and behind CLEAN pairs, each of which holds one slot
in its lower and one in its upper half.
"""

import numpy as np

from fasttape import ops as table
from fasttape.compiler.jit import inlined, kernel, sweep
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
LEAST = 2  # pairs: a single one gains nothing
WORTHWHILE = 0.125  # of the instructions must fall into chains


@inlined
def dot_forward(values, others, slot, p, b, aux, scratch, entries):
    total = values[np.uint64(aux[p + START])]
    for k in range(np.uint64(p + PAIRS), np.uint64(p + aux[p + LENGTH])):
        pair = np.uint64(aux[k])
        total += values[pair & LOWER] * values[pair >> HALF]
    values[np.uint64(slot + aux[p + SIZE] - 1)] = total


@inlined
def dot_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    result = np.uint64(slot + aux[p + SIZE] - 1)
    w = adjoints[result]
    if w == 0.0:
        return
    zero = adjoints.dtype.type(0.0)
    adjoints[result] = zero
    adjoints[np.uint64(aux[p + START])] += w
    last = np.uint64(p + aux[p + LENGTH] - 1)
    for k in range(np.uint64(aux[p + LENGTH] - PAIRS)):
        pair = np.uint64(aux[last - np.uint64(k)])
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


@kernel
def count_read(reads, slot):
    reads[slot] += reads[slot] < 2


@sweep
def count_reads(digest):
    def count_reads(ops, a, b, aux, outputs, reads, spans):
        """Fill `reads` with how often each slot is read: never, once, or more; `spans` is memory for one more slot."""
        digest
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

    return count_reads


@kernel
def chain(ops, a, b, reads, i, slot):
    """The number of pairs in the chain whose first product is instruction i, with its result in a slot."""
    count = 0
    while i + 1 < ops.size and ops[i] == MUL and ops[i + 1] == ADD and reads[slot] == 1:
        so_far = addend(a, b, i, slot)
        if so_far < 0 or (count and (so_far != slot - 1 or reads[so_far] != 1)):
            break
        count, i, slot = count + 1, i + 2, slot + 2
    return count if count >= LEAST else 0


@kernel
def addend(a, b, i, slot):
    """What the sum behind the product i adds to it, or -1."""
    x, y = np.int64(a[i + 1]), np.int64(b[i + 1])
    return y if x == slot else x if y == slot else -1


@sweep
def count_chains(digest):
    def count_chains(ops, a, b, aux, reads, slot):
        """The number of chains, and of pairs in them."""
        digest
        i = chains = total = 0
        while i < ops.size:
            count = chain(ops, a, b, reads, i, slot)
            chains, total = chains + (count > 0), total + count
            if count:
                slot, i = slot + 2 * count, i + 2 * count
                continue
            if ops[i] < FIRST_STRUCTURAL:
                slot += 1
            elif ops[i] != GUARD:
                slot += aux[a[i] + SIZE]
            i += 1
        return chains, total

    return count_chains


@sweep
def write_chains(digest):
    def write_chains(ops, a, b, aux, reads, slot, new_ops, new_a, new_b, at):
        """The columns with a DOT for each chain; side records are written to `aux` from a place on."""
        digest
        i = n = 0
        while i < ops.size:
            count = chain(ops, a, b, reads, i, slot)
            if count:
                aux[at + LENGTH], aux[at + SIZE], aux[at + START] = PAIRS + count, 2 * count, addend(a, b, i, slot)
                aux[at + PARAM], aux[at + CLEAN] = 0, 1
                for k in range(count):
                    aux[at + PAIRS + k] = np.int64(a[i + 2 * k]) | np.int64(b[i + 2 * k]) << 32
                new_ops[n], new_a[n], new_b[n] = DOT, at, 0
                at, slot, i, n = at + PAIRS + count, slot + 2 * count, i + 2 * count, n + 1
                continue
            new_ops[n], new_a[n], new_b[n] = ops[i], a[i], b[i]
            if ops[i] < FIRST_STRUCTURAL:
                slot += 1
            elif ops[i] != GUARD:
                slot += aux[a[i] + SIZE]
            i, n = i + 1, n + 1

    return write_chains


def fuse_chains(columns, program):
    """The columns of a plan of a program with a DOT for every chain, if there are enough of them."""
    ops, _, _, aux = columns
    reads = np.ones(program.slots, np.uint8)
    chains, total = count_chains.now(*columns, reads, program.first_result)  # as if nothing were read twice
    if 2 * total > WORTHWHILE * ops.size:
        reads[:] = 0
        count_reads.now(*columns, program.outputs, reads, np.zeros(program.slots + 1, np.int32))
        chains, total = count_chains.now(*columns, reads, program.first_result)
    if 2 * total <= WORTHWHILE * ops.size:
        return columns
    at, n = aux.size, ops.size - 2 * total + chains
    aux = np.concatenate([aux, np.empty(PAIRS * chains + total, np.int64)])
    new = tuple(np.empty(n, column.dtype) for column in columns[:3])
    write_chains.now(*columns[:3], aux, reads, program.first_result, *new, at)
    return *new, aux
