"""Sums and inner products of active arrays as one record of many terms, where NumPy's functions ask for them.

Such a record stands behind its terms, two in each record there, whose own slots nothing leads to. It has no first
operand, and the number of records before it in place of the second. Terms whose products leave the range that is kept
in registers, and sums on one slot, are left to the loops over scalars.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from fasttape.compiler import capi
from fasttape.compiler.active_merge import leaves_range
from fasttape.compiler.active_type import active, dot_of, make_active, node_of, val_of
from fasttape.compiler.jit import INTERNAL, inlined, making_kernel
from fasttape.compiler.linear_memory import LENGTH, RECORD, RECORDS
from fasttape.compiler.linear_tape import LOW_HALF, header, make_room

LEAST = 3  # elements of a sum that is worth a record of many terms
NOTHING = np.uint32(0)


@intrinsic
def is_kept(typingctx, product):
    """Whether a product is in the range that is kept in registers."""
    return types.boolean(product), lambda c, b, sig, args: b.not_(leaves_range(b, args[0]))


@making_kernel
def tape_of(a):
    """The address of the tape that the first live element of a vector is on, and its slot; zeros where all are dead."""
    for x in a:
        if node_of(x) != 0:
            return np.int64(node_of(x) >> np.uint64(32)) << 16, np.uint32(node_of(x) & np.uint64(LOW_HALF))
    return 0, NOTHING


@making_kernel
def open_terms(tape, count):
    """The memory of `count` records of terms and one more behind the end of a tape."""
    words = header(tape)
    stop = words[LENGTH] + count + 1
    make_room(tape, stop)
    return capi.numbers(words[RECORDS], stop, RECORD)[words[LENGTH] :]


@making_kernel
def close_terms(tape, records, value):
    """The active number of a sum whose terms have been written."""
    words, last = header(tape), records[records.size - 1]
    last.a, last.b, last.da, last.db = 0, records.size - 1, 0.0, 0.0
    words[LENGTH] += records.size
    return make_active(value, 1.0, (np.uint64(tape) << np.uint64(16)) | np.uint64(words[LENGTH] - 1))


@inlined
def term(x, partial):
    """(slot, weight, whether they are right) of a term; a dead one has no slot."""
    weight = dot_of(x) * partial
    if is_kept(weight):
        return np.uint32(node_of(x) & np.uint64(LOW_HALF)), weight, True
    return NOTHING, 0.0, dot_of(x) == 0.0 or partial == 0.0


def partial(weights, k):
    """The k-th of some weights, which are 1 where there are none."""
    raise NotImplementedError


@overload(partial, jit_options=INTERNAL)
def choose_partial(weights, k):
    return (lambda weights, k: 1.0) if weights is types.none else (lambda weights, k: float(weights[k]))


@making_kernel
def sum_of_scalars(a):
    s = 0.0
    for x in a.flat:
        s = s + x
    return s


@making_kernel
def inner_of_scalars(a, b):
    s = 0.0
    for k in range(a.size):
        s = s + a[k] * b[k]
    return s


def of_scalars(a, weights):
    """The sum of an array, with a vector of weights or None, one term after another."""
    raise NotImplementedError


@overload(of_scalars, jit_options=INTERNAL)
def choose_of_scalars(a, weights):
    if weights is types.none:
        return lambda a, weights: sum_of_scalars(a)
    return lambda a, weights: inner_of_scalars(a, weights)


def weighted_sum(a, weights):
    """The sum of an array, with a vector of weights or None."""
    raise NotImplementedError


@overload(weighted_sum, jit_options=INTERNAL)
def choose_weighted_sum(a, weights):
    if a.dtype != active:
        return lambda a, weights: of_scalars(a, weights)
    if a.ndim != 1:
        return lambda a, weights: weighted_sum(a.ravel(), weights)

    def wide(a, weights):
        tape, one = tape_of(a)
        if tape == 0 or a.size < LEAST:
            return of_scalars(a, weights)
        records = open_terms(tape, (a.size + 1) // 2)
        value, right, apart = 0.0, True, False
        for k in range(a.size // 2):
            x, y, record = a[2 * k], a[2 * k + 1], records[k]
            v, w = partial(weights, 2 * k), partial(weights, 2 * k + 1)
            value = value + val_of(x) * v + val_of(y) * w
            record.a, record.da, first = term(x, v)
            record.b, record.db, second = term(y, w)
            right &= first & second
            apart |= (record.a != one) | (record.b != one)
        if a.size % 2:
            k, record = a.size - 1, records[records.size - 2]
            value += val_of(a[k]) * partial(weights, k)
            record.a, record.da, first = term(a[k], partial(weights, k))
            record.b, record.db = NOTHING, 0.0
            right &= first
        return close_terms(tape, records, value) if right and apart else of_scalars(a, weights)

    return wide


def inner_product(a, b):
    """The inner product of two vectors."""
    raise NotImplementedError


@overload(inner_product, jit_options=INTERNAL)
def choose_inner_product(a, b):
    if active not in (a.dtype, b.dtype):
        return lambda a, b: inner_of_scalars(a, b)
    if a.dtype != active:
        return lambda a, b: weighted_sum(b, a)
    if b.dtype != active:
        return lambda a, b: weighted_sum(a, b)

    def wide(a, b):
        tape, one = tape_of(a)
        if tape == 0:
            tape, one = tape_of(b)
        if tape == 0 or a.size < LEAST:
            return inner_of_scalars(a, b)
        records = open_terms(tape, a.size)
        value, right, apart = 0.0, True, False
        for k in range(a.size):
            x, y, record = a[k], b[k], records[k]
            value += val_of(x) * val_of(y)
            record.a, record.da, first = term(x, val_of(y))
            record.b, record.db, second = term(y, val_of(x))
            right &= first & second
            apart |= (record.a != one) | (record.b != one)
        return close_terms(tape, records, value) if right and apart else inner_of_scalars(a, b)

    return wide
