"""A recording on a linear tape as arrays of its own: records, and where what the function returned leads."""

import numpy as np
from numba import carray, types
from numba.extending import overload

from fasttape.compiler.active_type import dot_of, holds_active, is_active, is_active_array, node_of
from fasttape.compiler.jit import INTERNAL, kernel
from fasttape.compiler.linear_memory import FAILED, FULL, LENGTH, RECORD, RECORDS
from fasttape.compiler.linear_sweep import LOW_HALF, header, pointer

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


@kernel
def leads(numbers, first):
    """Where active numbers lead, with the slot `first` as node 1."""
    made = np.empty(numbers.size, LEAD)
    for k, x in enumerate(numbers):
        slot = np.int64(node_of(x) & np.uint64(LOW_HALF))
        live = dot_of(x) != 0.0 and slot >= first
        made[k].node = slot - first + 1 if live else 0
        made[k].coefficient = dot_of(x) if live else 0.0
    return made


@kernel
def take_records(tape, first, inputs):
    """The records behind some inputs, which begin at the slot `first`, now node 1; the tape loses them all."""
    words = header(tape)
    length, failed = words[LENGTH], words[FAILED]
    words[LENGTH], words[FAILED] = first, 0
    if failed:
        raise MemoryError(FULL)
    records = carray(pointer(words[RECORDS]), (length,), RECORD)
    made = np.empty(length - first - inputs, RECORD)
    for k in range(made.size):
        record = records[first + inputs + k]
        made[k].a = np.int64(record.a) - first + 1 if record.a else 0
        made[k].b = np.int64(record.b) - first + 1 if record.b else 0
        made[k].da, made[k].db = record.da, record.db
    return made
