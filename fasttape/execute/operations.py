"""A program as columns of scalar operations: array instructions element by element, in the interpreter's order.

Every result keeps its slot. Results that only the columns have, of steps on the way to a sum, get slots behind all
others.
"""

from typing import NamedTuple

import numpy as np

from fasttape import ops as table
from fasttape.decode import operand_slots, result_starts
from fasttape.execute.blocks import BLOCK
from fasttape.layout import (
    B_IS_SLOT,
    CODE,
    ELEMENTWISE,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    NDIM,
    OPERANDS,
    PARAM,
    REDUCE,
    SHAPE,
    TERNARY,
)
from fasttape.program import Program

ADD, MUL, POSITIVE = (table.CODE[name] for name in ("add", "mul", "positive"))
ONE, ZERO = table.CODE["equal"], table.CODE["not_equal"]  # of slot 0 with itself: the product and the sum of nothing


class Operations(NamedTuple):
    """One entry for each operation and each guard."""

    ops: np.ndarray  # rows of the table, or GUARD
    results: np.ndarray  # slots; of a guard 0
    operands: np.ndarray  # (3, entries) slots; those that a row does not have repeat its first
    parameters: np.ndarray  # the integer of an INTEGER row, the outcome of a guard
    instructions: np.ndarray  # which they belong to
    arrays: np.ndarray  # whether that is an array instruction
    slots: int  # in all


class Parts:
    """Columns that grow instruction by instruction."""

    def __init__(self, program):
        self.program, self.slots = program, program.slots
        self.found = [scalars(program)]

    def append(self, instruction, ops, results, operands, parameter=0):
        """The operations of one array instruction."""
        n = results.size
        ops, parameters = np.broadcast_to(np.uint8(ops), n), np.full(n, parameter, np.int32)
        self.found.append((ops, results, operands, parameters, np.full(n, instruction, np.uint32), np.ones(n, bool)))

    def chain_slots(self, targets, steps) -> np.ndarray:
        """(targets, steps) slots of the steps to each target, of which the last is the target itself."""
        new = self.slots + np.arange(targets.size * (steps - 1)).reshape(targets.size, -1)
        self.slots += new.size
        return np.column_stack([new, targets])

    def joined(self) -> Operations:
        columns = [np.concatenate(column, axis=-1) for column in zip(*self.found, strict=True)]
        order = np.argsort(columns[4], kind="stable") if len(self.found) > 1 else slice(None)
        return Operations(*(column[..., order] for column in columns), self.slots)


def operations(program: Program) -> Operations:
    """The operations of a program without calls."""
    parts, starts = Parts(program), result_starts(program)
    for i in np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist():
        p, opcode = int(program.a[i]), int(program.ops[i])
        row, targets = int(program.aux[p + CODE]), np.arange(starts[i], starts[i + 1])
        operands = [operand_slots(program.aux, p, k, opcode) for k in range(int(program.aux[p + OPERANDS]))]
        if targets.size == 0:
            continue
        if opcode == ELEMENTWISE:
            three = np.array([*operands, *[operands[0]] * (3 - len(operands))])
            parts.append(i, row, targets, three, int(program.aux[p + PARAM]))
        elif opcode == REDUCE and not program.aux[p + PARAM]:
            fold_in_lanes(parts, i, row, operands[0].reshape(targets.size, -1), targets)
        elif opcode == REDUCE:
            elements = operands[0].reshape(-1, targets.size).T
            zeros = np.zeros((len(elements), int(row == ADD)), np.int64)
            fold_in_order(parts, i, row, np.hstack([zeros, elements]), targets)
        else:
            assert opcode == GEMM
            multiply(parts, i, program.aux[p + SHAPE + program.aux[p + NDIM] - 1], operands, targets)
    return parts.joined()


def scalars(program):
    """The columns of all scalar instructions and guards."""
    at = np.flatnonzero((program.ops < FIRST_STRUCTURAL) | (program.ops == GUARD))
    ops, a, b = program.ops[at], program.a[at].astype(np.int64), program.b[at].astype(np.int64)
    second, third = np.where(B_IS_SLOT[ops], b, a), a.copy()
    ternary = TERNARY[ops]
    for k, column in enumerate((second, third)):
        column[ternary] = program.aux[b[ternary] + k]
    results = np.where(ops == GUARD, 0, result_starts(program)[at])
    return ops, results, np.array([a, second, third]), b.astype(np.int32), at.astype(np.uint32), np.zeros(at.size, bool)


def of_few(parts, instruction, row, elements, targets) -> bool:
    """Write the reductions of one element each, or of none; return whether they are."""
    if elements.shape[1] == 1:
        parts.append(instruction, POSITIVE, targets, np.array([elements[:, 0]] * 3))
    elif elements.shape[1] == 0:
        parts.append(instruction, ONE if row == MUL else ZERO, targets, np.zeros((3, targets.size), np.int64))
    return elements.shape[1] < 2


def fold_in_lanes(parts, instruction, row, elements, targets):
    """Reduce rows of elements as `execute.reductions.fold` does: lanes across blocks, then halves of the lanes."""
    if of_few(parts, instruction, row, elements, targets):
        return
    slots, left, pairs, done = parts.chain_slots(targets, elements.shape[1] - 1), elements, [], 0
    while (n := left.shape[1]) > 1:
        at = BLOCK if n > BLOCK else n // 2
        width = min(at, n - at)
        pairs.append((left[:, :width], left[:, at : at + width]))
        left = np.hstack([slots[:, done : done + width], left[:, width:at], left[:, at + width :]])
        done += width
    x, y = (np.hstack(side).ravel() for side in zip(*pairs, strict=True))
    parts.append(instruction, row, slots.ravel(), np.array([x, y, x]))


def fold_in_order(parts, instruction, row, elements, targets):
    """Reduce the rows of `elements` from the first element on."""
    if of_few(parts, instruction, row, elements, targets):
        return
    slots = parts.chain_slots(targets, elements.shape[1] - 1)
    x, y = np.column_stack([elements[:, :1], slots[:, :-1]]).ravel(), elements[:, 1:].ravel()
    parts.append(instruction, row, slots.ravel(), np.array([x, y, x]))


def multiply(parts, instruction, count, operands, targets):
    """For each result its `count` products in order, each added up when it is there."""
    left, right = (x.reshape(targets.size, count) for x in operands)
    if count == 0:
        of_few(parts, instruction, ADD, left, targets)
        return
    slots = parts.chain_slots(targets, 2 * count - 1)  # product, then product and sum by turns
    ops, x, y = np.full(slots.shape, MUL, np.uint8), slots.copy(), slots.copy()
    x[:, 0], y[:, 0], x[:, 1::2], y[:, 1::2] = left[:, 0], right[:, 0], left[:, 1:], right[:, 1:]
    ops[:, 2::2], x[:, 2::2], y[:, 2::2] = ADD, slots[:, :-2:2], slots[:, 1::2]
    parts.append(instruction, ops.ravel(), slots.ravel(), np.array([x.ravel(), y.ravel(), x.ravel()]))
