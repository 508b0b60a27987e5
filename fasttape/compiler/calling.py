"""Callers: objects whose call runs compiled code without a line of Python, when its arguments are as described.

A caller holds the address of a state, which is a flat array of words, and a Python callable for every call that the
state does not answer. States form a list; the first one that holds answers. The states here are those of sweeps: the
numbers in their arguments, and the addresses and shapes of arrays, are laid down as words for code that reads these.
"""

import functools
from typing import Any

import numpy as np

from fasttape.compiler.jit import Entry, entry, kernel
from fasttape.compiler.late import capi
from fasttape.compiler.objects import CALL_SLOT, FIRST_FIELD, NATIVE, TYPE_FIELD, extend, offset_of

NEXT, ATTEMPT = range(2)  # of every state: the next one, and the function of a state and arguments that answers a call
CODE, NODES, COUNT, SIZE = range(2, 6)  # of a sweep's: its code, a description of arguments, how long, and how many
STATE = 6
FIELDS = ("state",)

# Nodes describe the arguments of a sweep: a tuple comes before its items
KIND, CLS, PARENT, INDEX, EXTENT, DTYPE, STRIDED = range(7)  # EXTENT: the length of a tuple, dimensions of an array
WIDTH = 7
INTEGER, TRUTH, TUPLE, ARRAY = range(4)
MOST = 64  # nodes
ROOM = 256  # words


@kernel
def lay_array(x, dtype, ndim, strided, given, at):
    """Lay an array down, from word `at` on; the word behind it, 0 if the array is not as described."""
    flags = capi.ALIGNED | (0 if strided else capi.C_CONTIGUOUS)
    if capi.word_at(x + capi.DESCRIPTOR) != dtype or capi.half_at(x + capi.NDIM) != ndim:
        return 0
    if capi.half_at(x + capi.FLAGS) & flags != flags:
        return 0
    given[at] = capi.word_at(x + capi.DATA)
    shape, strides = capi.word_at(x + capi.DIMENSIONS), capi.word_at(x + capi.STRIDES)
    for d in range(ndim):
        given[at + 1 + d] = capi.word_at(shape + 8 * d)
        if strided:
            given[at + 1 + ndim + d] = capi.word_at(strides + 8 * d)
    return at + 1 + ndim * (1 + strided)


@kernel
def lay(nodes, count, arguments, objects, given):
    """Lay arguments down as words; whether they are as described."""
    at = 0
    for k in range(count):
        row, parent = k * WIDTH, nodes[k * WIDTH + PARENT]
        x = capi.tuple_item(arguments if parent < 0 else objects[parent], nodes[row + INDEX])
        kind, extent = nodes[row + KIND], nodes[row + EXTENT]
        if capi.word_at(x + TYPE_FIELD) != nodes[row + CLS]:
            return False
        if kind == TUPLE:
            objects[k] = x
            if capi.tuple_size(x) != extent:
                return False
        elif kind == ARRAY:
            at = lay_array(x, nodes[row + DTYPE], extent, nodes[row + STRIDED], given, at)
            if at == 0:
                return False
        else:
            given[at] = capi.integer_value(x)
            if given[at] == -1 and capi.error():
                capi.clear_error()
                return False
            at += 1
    return True


@kernel
def run(state, arguments):
    """The result of a sweep for a tuple of arguments, a new object; 0 where it is for Python."""
    objects, given = capi.words(capi.stack(MOST), MOST), capi.words(capi.stack(ROOM), ROOM)
    if capi.tuple_size(arguments) != state[SIZE]:
        return 0
    if not lay(capi.words(state[NODES], state[COUNT] * WIDTH), state[COUNT], arguments, objects, given):
        return 0
    thread = capi.unlock()
    failed = capi.call(state[CODE], (given.ctypes.data,))
    capi.lock(thread)
    return 0 if failed else capi.new_integer(given[0])


def run_entry():
    def run_sweep(address, arguments):
        return run(capi.words(address, STATE), arguments)

    return run_sweep


def call_entry(field):
    def call(caller, arguments, keywords):
        address = capi.word_at(caller + field) if keywords == 0 else 0
        while address:
            state = capi.words(address, STATE)
            result = capi.call(state[ATTEMPT], (address, arguments))
            if result or capi.error():
                return result
            address = state[NEXT]
        return capi.call_object(capi.word_at(caller + FIRST_FIELD), arguments, keywords)

    return call


class Caller:
    """A callable with a Python callable behind it; `state` is the address of a state, or 0."""

    __slots__ = ("otherwise",)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.otherwise(*arguments, **keywords)


@functools.cache
def caller_class(base):
    """The class of callers with the methods of a subclass of `Caller`."""
    if not NATIVE:
        return extend(base, FIELDS)
    compiled = entry(call_entry, (offset_of(FIELDS, "state"),), "calls")
    made = extend(base, FIELDS, [(CALL_SLOT, compiled.address)])
    made.kept = compiled
    return made


@functools.cache
def run_code() -> Entry:
    """The compiled function that answers a call for a sweep's state."""
    return entry(run_entry, (), "calls of sweeps")


def described(arguments: tuple[Any, ...]) -> list[list[int]] | None:
    """Nodes for some arguments; None where one is of a kind that is for Python."""
    nodes: list[list[int]] = []

    def add(x: Any, parent: int, index: int) -> bool:
        kind, extent, dtype, strided = INTEGER, 0, 0, 0
        if isinstance(x, tuple):
            kind, extent = TUPLE, len(x)
        elif isinstance(x, np.ndarray):
            kind, extent, dtype, strided = ARRAY, x.ndim, id(x.dtype), int(not x.flags.c_contiguous)
        elif isinstance(x, bool):
            kind = TRUTH
        at = len(nodes)
        nodes.append([kind, id(type(x)), parent, index, extent, dtype, strided])
        items = enumerate(x) if kind == TUPLE else ()
        plain = kind != ARRAY or (x.flags.aligned and type(x) is np.ndarray)
        return plain and (kind != INTEGER or type(x) is int) and all(add(item, at, k) for k, item in items)

    known = all(add(x, -1, k) for k, x in enumerate(arguments))
    size = sum(1 + row[EXTENT] * (1 + row[STRIDED]) for row in nodes)
    return nodes if known and len(nodes) <= MOST and size <= ROOM else None


class State:
    """The memory of a sweep's state."""

    def __init__(self, nodes: list[list[int]], count: int, code: int, kept: Any):
        self.nodes, self.words = np.array(nodes, np.int64), np.zeros(STATE, np.int64)
        self.words[ATTEMPT], self.words[CODE], self.words[NODES] = run_code().address, code, self.nodes.ctypes.data
        self.words[COUNT], self.words[SIZE] = len(nodes), count
        self.address, self.kept = self.words.ctypes.data, kept
