"""Fusion: a product whose only reader adds something to it is computed on top of that, as dense layers do.

The columns of a plan get one GEMM of three operands in place of the sum; the product in front of it is skipped, and its
slots are nobody's. Rounding may differ in the last place from the two steps, so programs with guards, whose outcomes
were found step by step, are left alone.
"""

import numpy as np

from fasttape import ops as table
from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.analysis import covers_span, is_array, span
from fasttape.execute.blocks import operand
from fasttape.layout import (
    B_IS_SLOT,
    CODE,
    CONST,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
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
from fasttape.program import Program

ADD = table.CODE["add"]
START, STOP, ADDEND = range(3)  # of a candidate: its results, and the operand of the next instruction that is added


@kernel
def is_whole_result(aux, p, q, product, slot):
    """Whether operand q of the record at p reads the results of a product in order."""
    shape, strides, columns = p + SHAPE, q + STRIDES, aux[product + SHAPE + 1]
    if aux[q + LIST] != REGULAR or aux[q + FIRST] != slot:
        return False
    if aux[p + NDIM] == 1:
        return aux[shape] == aux[product + SIZE] and aux[strides] == 1
    same_shape = aux[shape] == aux[product + SHAPE] and aux[shape + 1] == columns
    return aux[p + NDIM] == 2 and same_shape and aux[strides] == columns and aux[strides + 1] == 1


@kernel
def addend(aux, product, sum_, slot):
    """The number of the operand that a sum adds to all results of a product, or -1."""
    if aux[product + NDIM] != 3 or aux[sum_ + CODE] != ADD:
        return -1
    for k in range(2):
        q, other = operand(aux, sum_, k), operand(aux, sum_, 1 - k)
        low, high = span(aux, sum_, other)
        apart = high <= slot or low >= slot + aux[product + SIZE]
        if is_whole_result(aux, sum_, q, product, slot) and covers_span(aux, sum_, other) and apart:
            return 1 - k
    return -1


@kernel
def strike(found, count, low, high):
    """Candidates that are read between two slots are none."""
    first, last = 0, count
    while first < last:  # the first candidate that ends behind `low`
        middle = (first + last) // 2
        if found[middle, STOP] > low:
            last = middle
        else:
            first = middle + 1
    while first < count and found[first, START] < high:
        found[first, ADDEND] = -1
        first += 1


@kernel
def read_by(ops, a, b, aux, i, reads):
    """Fill `reads` with the (first, one behind last) slots that instruction i reads by each operand; their number."""
    op, p = ops[i], np.int64(a[i])
    if is_array(op):
        count = aux[p + OPERANDS]
        for k in range(count):
            reads[k, 0], reads[k, 1] = span(aux, p, operand(aux, p, k))
        return count
    reads[0, 0] = p
    reads[1, 0] = b[i] if B_IS_SLOT[op] else p
    reads[2, 0] = p
    if TERNARY[op]:
        reads[1, 0], reads[2, 0] = aux[b[i]], aux[b[i] + 1]
    for k in range(3):
        reads[k, 1] = reads[k, 0] + 1
    return 3


@sweep
def candidates(ops, a, aux, slot, found, where):
    """Fill `found` with products whose next instruction adds something to all of them, `where` with its number."""
    count = 0
    for i in range(ops.size):
        p, size = np.int64(a[i]), 1
        if is_array(ops[i]):
            size = aux[p + SIZE]
            if ops[i] == GEMM and i + 1 < ops.size and ops[i + 1] == ELEMENTWISE:
                k = addend(aux, p, np.int64(a[i + 1]), slot)
                if k >= 0:
                    found[count, START] = slot
                    found[count, STOP] = slot + size
                    found[count, ADDEND] = k
                    where[count] = i + 1
                    count += 1
        slot += size
    return count


@sweep
def other_readers(ops, a, b, aux, found, where, reads):
    """Strike the candidates that other instructions read."""
    own = 0
    for i in range(ops.size):
        count = read_by(ops, a, b, aux, i, reads)
        if own < where.size and where[own] == i:
            k = np.int64(found[own, ADDEND])
            own += 1
            if k >= 0:
                reads[0, 0], reads[0, 1] = reads[k, 0], reads[k, 1]
                count = 1
        for k in range(count):
            strike(found, where.size, reads[k, 0], reads[k, 1])


def fuse(program: Program):
    """The columns of a program for a plan, in which products and sums are one where they can be."""
    ops, a, b, aux = program.columns
    columns = ops, a, b, aux.copy()
    products = np.count_nonzero(ops == GEMM)
    if products == 0 or program.guards.size:
        return columns
    found, where = np.empty((products, 3), np.int64), np.empty(products, np.int64)
    count = candidates.now(ops, a, aux, program.first_result, found, where)
    found, where = found[:count], where[:count]
    if count:
        arrays = a[(ops >= FIRST_STRUCTURAL) & (ops < GUARD)]
        reads = np.empty((max(3, int(aux[arrays + np.uint32(OPERANDS)].max())), 2), np.int64)
        other_readers.now(*program.columns, found, where, reads)
    for candidate in found:
        if ((candidate[START] <= program.outputs) & (program.outputs < candidate[STOP])).any():
            candidate[ADDEND] = -1
    fused = [(i, k) for i, k in zip(where.tolist(), found[:, ADDEND].tolist(), strict=True) if k >= 0]
    if not fused:
        return columns
    ops, a, records, at = ops.copy(), a.copy(), [aux], aux.size
    for i, k in fused:
        record = product_and_sum(aux, int(a[i - 1]), int(a[i]), k)
        ops[i - 1], ops[i], a[i] = CONST, GEMM, at
        records.append(record)
        at += record.size
    return ops, a, b, np.concatenate(records)


def product_and_sum(aux, product, sum_, k) -> np.ndarray:
    """The side record of a product that is added to operand k of a sum."""
    record = aux[product : product + aux[product + LENGTH]]
    columns, ndim = int(aux[product + SHAPE + 1]), int(aux[sum_ + NDIM])
    q = sum_ + SHAPE + ndim + k * (STRIDES + ndim)
    strides = aux[q + STRIDES : q + STRIDES + ndim].tolist()
    rows = strides if ndim == 2 else [columns * strides[0], strides[0]]
    made = np.concatenate([record, aux[q : q + STRIDES], [*rows, 0]])
    made[LENGTH], made[OPERANDS] = made.size, 3
    return made
