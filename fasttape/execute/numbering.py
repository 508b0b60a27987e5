"""Value numbering: every operand reads the first of equal results, found through a hash table in flat arrays.

One pass in the order of the instructions. An operand is replaced by the slot that is known to hold the same number; then
identities rewrite the instruction, or say that it only copies; then the table is asked whether it was met before. The
rows of `rules` are what `transform.identities` writes:

    KIND_X VALUE_X  KIND_Y VALUE_Y  ALIKE  TARGET  FROM_X FROM_Y

An operand matches CONSTANT by its bits, RESULT_OF by the row that made it, PARAMETER by the integer of the instruction.
ALIKE asks for equal operands. TARGET is the row that takes its place, or COPY of FROM_X; FROM_X and FROM_Y name an
operand, an operand of an operand, or the passive zero.

Cocke and Schwartz (1970), "Programming languages and their compilers".
"""

import numpy as np

from fasttape.compiler.jit import kernel, sweep
from fasttape.execute.analysis import span
from fasttape.execute.blocks import operand, run
from fasttape.layout import (
    ADJOINT,
    B_IS_SLOT,
    CODE,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LENGTH,
    LIST,
    NDIM,
    OPERANDS,
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
REWRITES = 8  # of one instruction, at most
MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel
def matches(kind, value, slot, ops, makers, bits, front):
    """Whether an operand is what a rule asks for; `front` is the first slot and the one behind the constants."""
    if kind == ANY:
        return True
    if kind == PARAMETER:
        return slot == value
    if kind == RESULT_OF:
        return makers[slot] > 0 and ops[makers[slot] - 1] == value
    if slot == 0:
        return value == 0
    return front[0] <= slot < front[1] and bits[slot - front[0]] == value


@kernel
def taken(source, x, y, a, b, makers):
    """The slot that a rule names."""
    if source <= Y:
        return y if source == Y else x
    if source == ZERO:
        return np.uint32(0)
    made = makers[x if source <= Y_OF_X else y] - 1
    return a[made] if source == X_OF_X or source == X_OF_Y else b[made]


@kernel
def rewrite(op, x, y, rules, starts, ops, a, b, makers, bits, front):
    """The instruction that identities make of one: (row or COPY, x, y)."""
    for _ in range(REWRITES):
        found = -1
        for k in range(starts[op], starts[op + 1]):
            rule = rules[k]
            if (
                (not rule[ALIKE] or x == y)
                and matches(rule[KIND_X], rule[VALUE_X], x, ops, makers, bits, front)
                and matches(rule[KIND_Y], rule[VALUE_Y], y, ops, makers, bits, front)
            ):
                found = k
                break
        if found < 0:
            break
        rule = rules[found]
        x, y = taken(rule[FROM_X], x, y, a, b, makers), taken(rule[FROM_Y], x, y, a, b, makers)
        op = rule[TARGET]
        if op == COPY:
            break
    return op, x, y


@kernel
def scalar_hash(op, x, y):
    value = (np.uint64(op) << np.uint64(56)) ^ np.uint64(x) ^ (np.uint64(y) << np.uint64(32))
    value = (value ^ (value >> np.uint64(29))) * MIX
    return value ^ (value >> np.uint64(32))


@kernel
def record_hash(aux, p):
    value = np.uint64(0)
    for k in range(p, p + aux[p + LENGTH]):
        value = (value ^ np.uint64(aux[k])) * MIX
        value ^= value >> np.uint64(29)
    return value


@kernel
def same_words(aux, p, q, count):
    for k in range(count):
        if aux[p + k] != aux[q + k]:
            return False
    return True


@kernel
def equal(i, k, ops, a, b, aux, commutes):
    """Whether two instructions compute the same."""
    op = ops[i]
    if op != ops[k]:
        return False
    if op >= FIRST_STRUCTURAL and op != GUARD:
        return same_words(aux, a[i], a[k], max(aux[a[i] + LENGTH], aux[a[k] + LENGTH]))
    if TERNARY[op]:
        return a[i] == a[k] and same_words(aux, b[i], b[k], 2)
    return (a[i] == a[k] and b[i] == b[k]) or (commutes[op] and a[i] == b[k] and b[i] == a[k])


@kernel
def key(i, ops, a, b, aux, commutes):
    """The hash of an instruction."""
    op = ops[i]
    if op >= FIRST_STRUCTURAL and op != GUARD:
        return scalar_hash(op, record_hash(aux, np.int64(a[i])) >> np.uint64(32), 0)
    if TERNARY[op]:
        return scalar_hash(op, a[i], aux[b[i]] ^ (aux[b[i] + 1] << 16))
    if commutes[op]:
        return scalar_hash(op, min(a[i], b[i]), max(a[i], b[i]))
    return scalar_hash(op, a[i], b[i])


@kernel
def look_up(i, slot, ops, a, b, aux, commutes, table, slots):
    """The first result of the first equal instruction, which this one becomes if there was none."""
    mask = np.uint64(table.size - 1)
    place = key(i, ops, a, b, aux, commutes) & mask
    while table[place]:
        if equal(i, np.int64(table[place]) - 1, ops, a, b, aux, commutes):
            return np.int64(slots[place])
        place = (place + np.uint64(1)) & mask
    table[place], slots[place] = i + 1, slot
    return slot


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
def copied_operand(aux, p, rules, starts, bits, front):
    """The number of the operand that an elementwise instruction only copies, or -1."""
    row = aux[p + CODE]
    for k in range(starts[row], starts[row + 1]):
        rule = rules[k]
        if rule[TARGET] != COPY or rule[FROM_X] > Y or rule[ALIKE]:
            continue
        other = 1 - rule[FROM_X]
        if aux[p + OPERANDS] == 1 and rule[KIND_X] == ANY and rule[KIND_Y] == ANY:
            return rule[FROM_X]
        wanted = rule[VALUE_X] if other == X else rule[VALUE_Y]
        if aux[p + OPERANDS] == 2 and (rule[KIND_X] if other == X else rule[KIND_Y]) == CONSTANT:
            q = operand(aux, p, other)
            low, high = span(aux, p, q)
            if high == low + 1 and (
                (low == 0 and wanted == 0) or (front[0] <= low < front[1] and bits[low - front[0]] == wanted)
            ):
                return rule[FROM_X]
    return -1


@kernel
def follow(aux, p, q, same, slot):
    """Let the results of an instruction that copies operand q be held by what holds that."""
    for i in range(aux[p + SIZE]):
        place, _ = run(aux, p, q, FIRST, i)
        same[slot + i] = same[place if aux[q + LIST] == REGULAR else aux[p + aux[q + LIST] + place]]


@sweep
def numbering(digest):
    def numbering(ops, a, b, aux, same, makers, bits, front, rules, starts, commutes, table, slots, dropped, slot):
        digest
        for i in range(ops.size):
            op, p = ops[i], np.int64(a[i])
            if op >= FIRST_STRUCTURAL and op != GUARD:
                size = aux[p + SIZE]
                replace_operands(aux, p, same)
                k = copied_operand(aux, p, rules, starts, bits, front) if op == ELEMENTWISE else -1
                if k >= 0:
                    follow(aux, p, operand(aux, p, k), same, slot)
                else:
                    found = look_up(i, slot, ops, a, b, aux, commutes, table, slots)
                    for j in range(size if found != slot else 0):
                        same[slot + j] = found + j
                slot += size
                continue
            a[i] = same[p]
            if B_IS_SLOT[op]:
                b[i] = same[b[i]]
            elif TERNARY[op]:
                aux[b[i]], aux[b[i] + 1] = same[aux[b[i]]], same[aux[b[i] + 1]]
            if op == GUARD:
                dropped[i] = look_up(i, i, ops, a, b, aux, commutes, table, slots) != i
                continue
            made, x, y = np.int64(op), a[i], b[i]
            if starts[op] < starts[op + 1]:
                made, x, y = rewrite(made, x, y, rules, starts, ops, a, b, makers, bits, front)
            if made == COPY:
                same[slot] = x
            else:
                ops[i], a[i], b[i] = made, x, y if made == op or B_IS_SLOT[made] else np.uint32(0)
                makers[slot] = i + 1
                same[slot] = look_up(i, slot, ops, a, b, aux, commutes, table, slots)
            slot += 1

    return numbering


def number(columns, same, bits, front, first, rules, starts, commutes):
    """Rewrite columns in place; `same` gets the slot that holds each one's number. Returns which guards are repeated.

    `bits` are those of the constants, whose slots are from `front[0]` to `front[1]`; results begin at `first`.
    """
    size = 1 << max(int(2 * columns[0].size).bit_length(), 4)
    table, slots = np.zeros(size, np.uint32), np.empty(size, np.uint32)
    makers, dropped = np.zeros(same.size, np.uint32), np.zeros(columns[0].size, np.bool_)
    numbering.now(*columns, same, makers, bits, front, rules, starts, commutes, table, slots, dropped, first)
    return dropped
