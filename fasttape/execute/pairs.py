"""Pairs: an operation and the only one that reads its result run as one, so that the result does not go through memory.

Bits are those of one after the other.
"""

from typing import NamedTuple

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.cells import Depending
from fasttape.execute.operations import Operations
from fasttape.layout import FIRST_PAIR, PAIRS
from fasttape.ops import COMMUTATIVE, OPS

CODES = np.zeros((len(OPS), 2, len(OPS)), np.uint8)  # of pairs: by the second row, the place in it, and the first row
for _n, (_first, _second, _place) in enumerate(PAIRS):
    CODES[_second, _place if COMMUTATIVE not in OPS[_second].traits else slice(None), _first] = FIRST_PAIR + _n
ARITIES = np.array([op.arity for op in OPS] + [1] * (256 - len(OPS)))


class Slots(NamedTuple):
    """What is known of each slot."""

    uses: np.ndarray  # how often it is read
    maker: np.ndarray  # the operation that can be the first of a pair and has its result there, or -1


@kernel
def code_of_pair(ops, own, codes, slots, i, slot, place):
    """The code of operation i with the one that makes its operand at a place, or 0."""
    k = slots.maker[slot]
    return codes[ops[i], place, ops[k]] if k >= 0 and slots.uses[slot] == 1 and own[k] == own[i] else 0


@sweep
def join(ops, results, operands, own, codes, arities, slots, joined):
    """Make pairs of operations, and mark the first of each as `joined`; `uses` has those from elsewhere."""
    x, y, z = operands[0], operands[1], operands[2]
    for i in range(ops.size):
        slots.uses[x[i]] += 1
        slots.uses[y[i]] += arities[ops[i]] > 1
        slots.uses[z[i]] += arities[ops[i]] > 2
    for i in range(ops.size):
        if ops[i] >= codes.shape[0]:
            continue
        pair, slot, other = code_of_pair(ops, own, codes, slots, i, x[i], 0), x[i], y[i]
        if not pair:
            pair, slot, other = code_of_pair(ops, own, codes, slots, i, y[i], 1), y[i], x[i]
        if pair:
            k = slots.maker[slot]
            other = other if other != slot else x[k]  # in place of what there is not
            ops[i], x[i], y[i], z[i], joined[k] = pair, x[k], y[k], other, True
        else:
            slots.maker[results[i]] = i


def paired(found: Operations, own: Depending, outputs: np.ndarray) -> tuple[Operations, Depending]:
    """Operations with pairs in place of those that can be joined; both of a pair are of the points, or neither is."""
    slots = Slots(np.zeros(found.slots, np.int64), np.full(found.slots, -1))
    slots.uses[outputs] = 1
    ops, operands, joined = found.ops.copy(), found.operands.copy(), np.zeros(found.ops.size, bool)
    join.now(ops, found.results, operands, own.operations, CODES, ARITIES, slots, joined)
    kept = ~joined
    columns = ops[kept], found.results[kept], operands[:, kept], *(column[kept] for column in found[3:6])
    return Operations(*columns, found.slots), own._replace(operations=own.operations[kept])
