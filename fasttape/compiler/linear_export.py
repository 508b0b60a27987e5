"""A recording on a linear tape as arrays of its own: records, and where what the function returned leads."""

import numpy as np
from numba import types
from numba.extending import overload

from fasttape.compiler import capi
from fasttape.compiler.active_type import dot_of, holds_active, is_active, is_active_array, node_of
from fasttape.compiler.jit import INTERNAL, making_kernel
from fasttape.compiler.linear_memory import FAILED, FULL, LENGTH, RECORD, RECORDS
from fasttape.compiler.linear_tape import LOW_HALF, header

LEAD = np.dtype([("node", np.uint32), ("coefficient", np.float64)], align=True)


def count(y):
    """How many numbers in y may be active, by its type."""
    raise NotImplementedError


@overload(count, jit_options=INTERNAL)
def choose_count(y):
    if is_active_array(y):
        return lambda y: y.size
    if isinstance(y, types.BaseTuple) and len(y) and holds_active(y):
        return lambda y: count(y[0]) + count(y[1:])
    number = int(is_active(y))
    return lambda y: number


def write(y, to, at):
    """Write the numbers in y that may be active into an array of such numbers, from a place on; the place behind."""
    raise NotImplementedError


@overload(write, jit_options=INTERNAL)
def choose_write(y, to, at):
    def number(y, to, at):
        to[at] = y
        return at + 1

    def array(y, to, at):
        for x in y.flat:
            to[at] = x
            at += 1
        return at

    if is_active(y):
        return number
    if is_active_array(y):
        return array
    if isinstance(y, types.BaseTuple) and len(y) and holds_active(y):
        return lambda y, to, at: write(y[1:], to, write(y[0], to, at))
    return lambda y, to, at: at


def marks(y):
    """A tree of truth values like the tuples in y: whether the numbers there may be active."""
    raise NotImplementedError


@overload(marks, jit_options=INTERNAL)
def choose_marks(y):
    tree = marks_of(y)
    return lambda y: tree


def marks_of(t):
    """The tree of `marks` for a type."""
    if isinstance(t, types.BaseTuple) and holds_active(t):
        return tuple(map(marks_of, t))
    return is_active(t) or is_active_array(t)


@making_kernel
def records_of(tape, first, inputs):
    """The records behind some inputs, which begin at the slot `first`; the tape loses them all."""
    words = header(tape)
    length, failed = words[LENGTH], words[FAILED]
    words[LENGTH], words[FAILED] = first, 0
    if failed:
        raise MemoryError(FULL)
    return capi.numbers(words[RECORDS], length, RECORD)[first + inputs :]


@making_kernel
def nodes_of(records, first, inputs):
    """The node of each slot from the first input on, which is node 1; a record of n terms stands for n - 1 nodes."""
    nodes, terms = np.arange(1, inputs + 1 + records.size), terms_of(records, first + inputs)
    last = inputs
    for k in range(records.size):
        last += terms[k] - 1
        nodes[inputs + k] = last
    return nodes


@making_kernel
def terms_of(records, slot):
    """How many terms are added up by each record from a slot on; by one that holds terms of a later one these two."""
    terms, k = np.full(records.size, 2), records.size - 1
    while k >= 0:
        record = records[k]
        if record.a == 0:
            terms[k] = record.b
            k -= record.b
        else:
            terms[k] += record.b > slot + k
            k -= 1
    return terms


@making_kernel
def leads(numbers, first, nodes):
    """Where active numbers lead; `nodes` are those of the slots from `first` on."""
    made = np.empty(numbers.size, LEAD)
    for k, x in enumerate(numbers):
        slot = np.int64(node_of(x) & np.uint64(LOW_HALF))
        live = dot_of(x) != 0.0 and slot >= first
        made[k].node = nodes[slot - first] if live else 0
        made[k].coefficient = dot_of(x) if live else 0.0
    return made


@making_kernel
def plain_records(records, first, inputs, nodes):
    """Records of two operands by node instead of slot; `nodes` are those of the slots from `first` on."""
    made, at, terms = np.empty(nodes[-1] - inputs if nodes.size else 0, RECORD), 0, terms_of(records, first + inputs)
    for k, record in enumerate(records):
        if record.a == 0:
            total = nodes[inputs + k - record.b]
            for term in range(k - record.b + 1, k):
                put(made, at, total, 1.0, nodes[inputs + term], 1.0)
                at += 1
                total = inputs + at
        else:
            b = LOW_HALF ^ record.b if terms[k] == 3 else record.b
            put(made, at, nodes[record.a - first], record.da, nodes[b - first] if b else 0, record.db)
            at += 1
            if terms[k] == 3:
                put(made, at, nodes[inputs + k - 1], 1.0, inputs + at, 1.0)
                at += 1
    return made


@making_kernel
def put(records, k, a, da, b, db):
    """Write a record."""
    records[k].a, records[k].b, records[k].da, records[k].db = a, b, da, db
