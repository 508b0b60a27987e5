"""Value numbering: every operand reads the first of equal results, found through a hash table in flat arrays.

One pass in the order of the instructions. An operand is replaced by the slot that is known to hold the same number;
then identities rewrite the instruction, or say that it only copies; then the table is asked whether it was met before.
The rows of `rules` are what `transform.identities` writes:

    KIND_X VALUE_X  KIND_Y VALUE_Y  ALIKE  TARGET  FROM_X FROM_Y

An operand matches CONSTANT by its bits, RESULT_OF by the row that made it, PARAMETER by the integer of the instruction.
ALIKE asks for equal operands. TARGET is the row that takes its place, or COPY of FROM_X; FROM_X and FROM_Y name an
operand, an operand of an operand, or the passive zero.

Cocke and Schwartz (1970), "Programming languages and their compilers".
"""

from typing import NamedTuple

import numpy as np

from fasttape.compiler.jit import kernel, quiet
from fasttape.compiler.sweeps import sweep
from fasttape.execute.analysis import span
from fasttape.execute.blocks import operand, run
from fasttape.layout import (
    ADJOINT,
    B_IS_SLOT,
    CALL,
    CODE,
    CONST,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LENGTH,
    LIST,
    NDIM,
    OPERANDS,
    PARAM,
    REGULAR,
    SHAPE,
    SIZE,
    STRIDES,
    TERNARY,
)

KIND_X, VALUE_X, KIND_Y, VALUE_Y, ALIKE, TARGET, FROM_X, FROM_Y, FIELDS = range(9)
ANY, CONSTANT, RESULT_OF, PARAMETER = range(4)
X, Y, X_OF_X, Y_OF_X, X_OF_Y, Y_OF_Y, ZERO = range(7)
COPY = -1
ROW, FIRST_OPERAND, REST = range(
    3
)  # of a slot: the row, or CONST and bits, or UNKNOWN; of a record its opcode and place
UNKNOWN = 256
REWRITES = 8  # of one instruction, at most
MIX = np.uint64(0x9E3779B97F4A7C15)


class Rules(NamedTuple):
    """Identities in flat arrays, and what tells at once that none of them matches."""

    rows: np.ndarray  # (rules, FIELDS) int64, those of each opcode side by side
    starts: np.ndarray  # (257,): where those of each opcode begin
    always: np.ndarray  # (256,) bool: opcodes with a rule that asks nothing of single operands
    told: np.ndarray  # (257,) bool: what some rule asks an operand to be the result of
    constants: np.ndarray  # the bits that some rule asks for


@kernel
def matches(kind, value, operand, row, first):
    """Whether an operand, the result of a row, is what a rule asks for."""
    if kind == CONSTANT:
        return row == CONST and first == value
    return kind == ANY or (operand == value if kind == PARAMETER else row == value)


@kernel
def taken(source, x, y, known):
    """The slot that a rule names."""
    if source == ZERO:
        return 0
    if source <= Y:
        return y if source == Y else x
    of = x if source <= Y_OF_X else y
    return known[of, FIRST_OPERAND] if source == X_OF_X or source == X_OF_Y else known[of, REST]  # noqa: SIM109


@kernel
def rewrite(op, x, y, rules, starts, known):
    """The instruction that identities make of one: (row or COPY, x, y)."""
    for _ in range(REWRITES):
        found, k, stop = -1, starts[op], starts[op + 1]
        row_x, first_x = known[x, ROW], known[x, FIRST_OPERAND]
        row_y, first_y = (known[y, ROW], known[y, FIRST_OPERAND]) if B_IS_SLOT[op] else (UNKNOWN, UNKNOWN)
        while k < stop and found < 0:
            if (
                (x == y or not rules[k, ALIKE])
                and matches(rules[k, KIND_X], rules[k, VALUE_X], x, row_x, first_x)
                and matches(rules[k, KIND_Y], rules[k, VALUE_Y], y, row_y, first_y)
            ):
                found = k
            k += 1
        if found < 0:
            break
        x, y = taken(rules[found, FROM_X], x, y, known), taken(rules[found, FROM_Y], x, y, known)
        op = rules[found, TARGET]
        if op == COPY:
            break
        y = y if B_IS_SLOT[op] else 0
    return op, x, y


@kernel
def mix(op, x, y):
    value = (np.uint64(op) << np.uint64(56)) ^ np.uint64(x) ^ (np.uint64(y) << np.uint64(31))
    value = (value ^ (value >> np.uint64(29))) * MIX
    return value ^ (value >> np.uint64(32))


@kernel
def is_shifted(aux, p, q, same):
    """Whether all slots that a regular operand reads are held by others, all equally far away."""
    shift = np.int64(same[aux[q + FIRST]]) - aux[q + FIRST]
    total, ndim = 1, aux[p + NDIM]
    for d in range(ndim):
        total *= aux[p + SHAPE + d] if aux[q + STRIDES + d] else 1
    for i in range(total):
        slot, rest = aux[q + FIRST], i
        for d in range(ndim - 1, -1, -1):
            if aux[q + STRIDES + d]:
                slot += rest % aux[p + SHAPE + d] * aux[q + STRIDES + d]
                rest //= aux[p + SHAPE + d]
        if np.int64(same[slot]) - slot != shift:
            return False
    return True


@kernel
def replace_operands(aux, p, same):
    """Let the operands of an array instruction read the first of equal results, where these are as regular."""
    for k in range(aux[p + OPERANDS]):
        q = operand(aux, p, k)
        if aux[q + LIST] == REGULAR:
            if is_shifted(aux, p, q, same):
                aux[q + FIRST] = aux[q + ADJOINT] = same[aux[q + FIRST]]
            continue
        low, high = list_part(aux, p, q)
        for place in range(low, high):
            aux[place] = same[aux[place]]


@kernel
def list_part(aux, p, q):
    """The places in aux of the list of an operand, from the first to behind the last that it reads."""
    low = high = p + aux[q + LIST] + aux[q + FIRST]
    for d in range(aux[p + NDIM]):
        reach = (aux[p + SHAPE + d] - 1) * aux[q + STRIDES + d]
        low, high = low + min(reach, 0), high + max(reach, 0)
    return low, high + 1


@kernel
def copied_operand(aux, p, rules, starts, known):
    """The number of the operand that an elementwise instruction only copies, or -1."""
    row, count = aux[p + CODE], aux[p + OPERANDS]
    for k in range(starts[row], starts[row + 1]):
        source = rules[k, FROM_X]
        if rules[k, TARGET] != COPY or source > Y or rules[k, ALIKE]:
            continue
        kind, value = (rules[k, KIND_Y], rules[k, VALUE_Y]) if source == X else (rules[k, KIND_X], rules[k, VALUE_X])
        if kind == ANY and count == 1:
            return source
        if kind == CONSTANT and count == 2:
            low, high = span(aux, p, operand(aux, p, 1 - source))
            if high == low + 1 and known[low, ROW] == CONST and known[low, FIRST_OPERAND] == value:
                return source
    return -1


@kernel
def follow(aux, p, q, same, slot):
    """Let the results of an instruction that copies operand q be held by what holds that."""
    for i in range(aux[p + SIZE]):
        place, _ = run(aux, p, q, FIRST, i)
        same[slot + i] = same[place if aux[q + LIST] == REGULAR else aux[p + aux[q + LIST] + place]]


@kernel
def equal_records(aux, p, q):
    different = 0
    for k in range(aux[p + LENGTH] if aux[p + LENGTH] == aux[q + LENGTH] else 1):  # one word tells two lengths apart
        different += aux[p + k] != aux[q + k]
    return different == 0


@kernel
def number_record(op, p, slot, aux, same, known, table):
    """Find the first array instruction that is equal to the one with the record at p."""
    value = np.uint64(0)
    for k in range(p, p + aux[p + LENGTH]):
        value = (value ^ np.uint64(aux[k])) * MIX
        value ^= value >> np.uint64(29)
    mask = np.uint64(table.size - 1)
    place = value & mask
    while table[place]:
        first = np.int64(table[place])
        if known[first, ROW] == op and equal_records(aux, p, known[first, FIRST_OPERAND]):
            for j in range(aux[p + SIZE]):
                same[slot + j] = first + j
            return
        place = (place + np.uint64(1)) & mask
    table[place] = slot
    known[slot, ROW], known[slot, FIRST_OPERAND] = op, p


@kernel
def number_array(op, p, slot, aux, same, known, rules, starts, table):
    """What `numbering` does with an array instruction; the number of its results."""
    replace_operands(aux, p, same)
    k = copied_operand(aux, p, rules, starts, known) if op == ELEMENTWISE else -1
    if k >= 0:
        follow(aux, p, operand(aux, p, k), same, slot)
    elif aux[p + SIZE] and (op != CALL or aux[p + PARAM]):
        number_record(op, p, slot, aux, same, known, table)
    return aux[p + SIZE]


@sweep
def numbering(ops, a, b, aux, same, known, rules, starts, always, told, commutes, table, slot):
    """Rewrite instructions; `same` gets the slot that holds the number of each slot, `known` how it is made."""
    mask = np.uint64(table.size - 1)
    for i in range(ops.size):
        op = np.int64(ops[i])
        if op >= FIRST_STRUCTURAL and op != GUARD:
            slot += number_array(op, np.int64(a[i]), slot, aux, same, known, rules, starts, table)
            continue
        x, y = np.int64(same[a[i]]), np.int64(b[i])
        a[i] = x
        if op == GUARD:
            continue
        if B_IS_SLOT[op]:
            y = np.int64(same[y])
        elif TERNARY[op]:
            aux[y], aux[y + 1] = same[aux[y]], same[aux[y + 1]]
            y = aux[y] | aux[y + 1] << 31
        row = op
        if always[op] or told[known[x, ROW]] or (B_IS_SLOT[op] and told[known[y, ROW]]):
            row, x, y = rewrite(op, x, y, rules, starts, known)
            if row == COPY:
                same[slot] = x
                slot += 1
                continue
            ops[i], a[i] = row, x
        if not TERNARY[row]:
            b[i] = y
        if commutes[row] and x > y:
            x, y = y, x
        place = mix(row, x, y) & mask
        while table[place]:
            k = table[place]
            if known[k, ROW] == row and known[k, FIRST_OPERAND] == x and known[k, REST] == y:
                break
            place = (place + np.uint64(1)) & mask
        if not table[place]:
            table[place] = slot
            known[slot, ROW], known[slot, FIRST_OPERAND], known[slot, REST] = row, x, y
        same[slot] = table[place]
        slot += 1


@quiet  # hashing overflows, as it should
def number(columns, same, constants, front, rules: Rules, commutes):
    """Rewrite columns in place; `same` gets the slot that holds each slot's number.

    `constants` are the bits of the constants, whose slots begin at `front`.
    """
    told = np.isin(constants, rules.constants)
    known = np.full((same.size, 3), UNKNOWN, np.int64)
    known[0] = CONST, 0, 0
    known[front : front + constants.size, ROW][told] = CONST
    known[front : front + constants.size, FIRST_OPERAND] = constants
    table = np.zeros(1 << max(int(2 * columns[0].size).bit_length(), 4), np.uint32)
    numbering.now(*columns, same, known, *rules[:4], commutes, table, front + constants.size)
