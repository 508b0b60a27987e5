"""Chains of products in programs of scalars that only run forward: which there are, and their side records.

A DOT takes everything that adds to a sum, wherever it stands, to where the sum is complete. In single assignment form
that is always possible, and values keep their bits. Reverse sweeps would meet the products in another order, so their
plans have the chains of `execute.dots`, whose instructions stand side by side.

What adds to a sum is a term: a product, or a sum of two products, as derivatives of products are.
"""

import numpy as np

from fasttape import ops as table
from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.dots import ABSORBS, DOUBLE, PAIRS, START
from fasttape.layout import CLEAN, DOT, GUARD, LENGTH, PARAM, SIZE

ADD, MUL, TIMES = (table.CODE[name] for name in ("add", "mul", "times"))
NOTHING, TERM, SUM = 0, 1, 5  # states of a slot; to those of terms, and of sums of terms, the kind of a DOT is added
INNER = 16  # and this to that of a sum that a chain goes through
LEAST = 2  # products in a chain: a single one gains nothing


@kernel
def state_of(states, reads, slot):
    """What a slot can be a part of: nothing if more than one instruction reads it."""
    return states[slot] if reads[slot] == 1 else np.uint8(NOTHING)


@kernel
def is_term(state):
    return TERM <= state < SUM


@kernel
def extend(states, before, terms, lengths, slot, total, term, goes_on):
    """Let a slot be the sum of a term and of a chain that `goes_on`, or begins with the number in `total`."""
    kind = states[term] - TERM
    states[slot], before[slot], terms[slot], lengths[slot] = SUM + kind, total, term, 1
    if goes_on:
        lengths[slot] += lengths[total]
        states[total] = INNER


@kernel
def add(states, reads, before, terms, lengths, slot, x, y):
    """Find out what the sum of two slots is."""
    at_x, at_y = state_of(states, reads, x), state_of(states, reads, y)
    if at_x > at_y and is_term(at_x):  # y is the term, the greater one if both are
        x, y, at_x, at_y = y, x, at_y, at_x
    if not is_term(at_y):
        x, y, at_x, at_y = y, x, at_y, at_x
    if not is_term(at_y):
        return
    if at_x == at_y and at_x < TERM + DOUBLE:
        states[slot], before[slot], terms[slot] = at_x + DOUBLE, x, y
    elif is_term(at_x) and at_y == at_x + DOUBLE:  # the third product of a sum
        states[y], lengths[y] = SUM + at_x - TERM, 1
        extend(states, before, terms, lengths, slot, y, x, True)
    else:
        extend(states, before, terms, lengths, slot, x, y, at_x == at_y + SUM - TERM)


@sweep
def find_chains(ops, a, b, reads, slot, states, before, terms, lengths, where):
    """Complete the state of every slot, how chains hang together, and `where` the instruction of a slot is."""
    for i in range(ops.size):
        if ops[i] == GUARD:
            continue
        where[slot] = i
        if ops[i] == MUL:
            states[slot] = TERM
        elif ops[i] == TIMES:
            states[slot] = TERM + ABSORBS
        elif ops[i] == ADD:
            add(states, reads, before, terms, lengths, slot, a[i], b[i])
        slot += 1


@sweep
def take_chains(states, before, terms, lengths, live, ends, counts):
    """Fill `ends` with the last slots of chains, and take from `live` what is inside of them.

    `counts` gets how many chains and products there are.
    """
    chains = products = 0
    for slot in range(states.size):
        if not SUM <= states[slot] < INNER:
            continue
        double = ((states[slot] - SUM) & DOUBLE) != 0
        if lengths[slot] << double < LEAST:
            continue
        ends[chains] = total = slot
        chains += 1
        products += lengths[slot] << double
        for _ in range(lengths[slot]):
            live[total] = False
            term = terms[total]
            live[term] = False
            if double:
                live[before[term]] = live[terms[term]] = False
            total = before[total]
        live[slot] = True
    counts[0], counts[1] = chains, products


@kernel
def pair(a, b, moved, i):
    """The operands of a product as one word."""
    return np.int64(moved[a[i]]) | np.int64(moved[b[i]]) << 32


@sweep
def write_chains(a, b, ends, states, before, terms, lengths, where, moved, places, new_ops, new_a, new_b, aux, at):
    """Put a DOT in the place of the last instruction of each chain, with a side record in `aux` from `at` on."""
    for slot in ends:
        kind = np.int64(states[slot] - SUM)
        double = (kind & DOUBLE) != 0
        length = PAIRS + (np.int64(lengths[slot]) << double)
        aux[at + LENGTH], aux[at + SIZE], aux[at + PARAM], aux[at + CLEAN] = length, 1, kind, 1
        total, place = slot, at + length
        for _ in range(lengths[slot]):
            term = terms[total]
            if double:
                aux[place - 1] = pair(a, b, moved, where[terms[term]])
                aux[place - 2] = pair(a, b, moved, where[before[term]])
                place -= 2
            else:
                place -= 1
                aux[place] = pair(a, b, moved, where[term])
            total = before[total]
        aux[at + START] = moved[total]
        n = places[where[slot]]
        new_ops[n], new_a[n], new_b[n] = DOT, at, 0
        at += length
