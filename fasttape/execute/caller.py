"""Callers: objects whose call replays a program without a line of Python, when its arguments are as described.

A caller holds the address of a state, which is a flat array of words, and a Python callable for every call that the
state does not answer. States form a list; the first one that holds answers.
"""

import functools

from numba import carray, types

from fasttape.compiler import capi
from fasttape.compiler.jit import entry, kernel
from fasttape.compiler.objects import CALL_SLOT, FIRST_FIELD, NATIVE, extend, offset_of
from fasttape.execute.blocks import BLOCK, BUFFERS
from fasttape.execute.conversion import build, make_placed, matches
from fasttape.execute.entries import ALL, real
from fasttape.execute.sweep import run_forward, run_reverse
from fasttape.layout import ENTRIES

# The words of a state. Addresses and lengths of what comes in, and goes out, then of the program and its memory
NEXT, BUSY, HITS, UNLOCKS, GRADIENT, ATTEMPT = range(6)
IN, IN_SIZE, IN_OBJECTS, OUT, OUT_SIZE, OUT_OBJECTS, SHAPES, PLACES, NUMPY = range(6, 15)
OPS, A, B, AUX, VALUES, ADJOINTS, SCRATCH, OUTPUTS, CLEARED = range(15, 24)
INSTRUCTIONS, FIRST_RESULT, SLOTS, OUTPUTS_SIZE, CLEARED_SIZE, FORWARD_ENTRIES, REVERSE_ENTRIES = range(24, 31)
STATE = 31

FIELDS = ("state",)


@kernel
def words(address, count):
    return carray(capi.pointer(address, types.int64), count)


@kernel
def numbers(state, field, dtype):
    return carray(capi.pointer(state[field], dtype), ALL)


@kernel
def columns_of(state):
    a, b = capi.pointer(state[A], types.uint32), capi.pointer(state[B], types.uint32)
    return carray(capi.pointer(state[OPS], types.uint8), ALL), carray(a, ALL), carray(b, ALL), words(state[AUX], ALL)


@kernel
def attempt(state, arguments, dtype):
    """The result of a call for a tuple of arguments, a new object; 0 where the state does not answer it."""
    if state[BUSY]:
        return 0
    objects, nodes, aux = words(state[IN_OBJECTS], ALL), words(state[IN], state[IN_SIZE]), words(state[AUX], ALL)
    shapes, places, numpy = words(state[SHAPES], ALL), words(state[PLACES], ALL), words(state[NUMPY], 3)
    values, adjoints = numbers(state, VALUES, dtype), numbers(state, ADJOINTS, dtype)
    objects[0], result = arguments, 0
    state[BUSY] = 1  # before anything is compared: that may run code of the user
    holds = matches(nodes, objects, shapes, places, values, aux, dtype) and forward(state, values, dtype)
    nodes, objects = words(state[OUT], state[OUT_SIZE]), words(state[OUT_OBJECTS], ALL)
    if holds and make_placed(nodes, objects, shapes, places, adjoints, aux, numpy):
        outputs = carray(capi.pointer(state[OUTPUTS], types.uint32), ALL)
        if state[GRADIENT]:
            for k in range(state[OUTPUTS_SIZE]):
                adjoints[outputs[k]] += 1.0
            reverse(state, values, adjoints, dtype)
        result = build(nodes, objects, shapes, values, adjoints, outputs, numpy, dtype)
        if state[GRADIENT]:
            clear(adjoints, words(state[CLEARED], 2 * state[CLEARED_SIZE]))
        state[HITS] += 1
    state[BUSY] = 0
    return result


@kernel
def forward(state, values, dtype):
    """Compute all values; whether the conditions of the recording hold."""
    scratch, entries = numbers(state, SCRATCH, dtype)[: BUFFERS * BLOCK], words(state[FORWARD_ENTRIES], ENTRIES)
    last, slot, thread = state[INSTRUCTIONS], state[FIRST_RESULT], capi.unlock() if state[UNLOCKS] else 0
    stopped = run_forward(*columns_of(state), values, 0, last, slot, scratch, entries)
    if thread:
        capi.lock(thread)
    return stopped == last


@kernel
def reverse(state, values, adjoints, dtype):
    """Pass the adjoints of the outputs back to the inputs."""
    scratch, entries = numbers(state, SCRATCH, dtype)[: BUFFERS * BLOCK], words(state[REVERSE_ENTRIES], ENTRIES)
    last, slot, thread = state[INSTRUCTIONS], state[SLOTS], capi.unlock() if state[UNLOCKS] else 0
    run_reverse(*columns_of(state), values, adjoints, 0, last, slot, False, scratch, entries)
    if thread:
        capi.lock(thread)


@kernel
def clear(adjoints, ranges):
    """Set ranges of adjoints, pairs (start, stop), to zero."""
    for k in range(0, ranges.size, 2):
        for slot in range(ranges[k], ranges[k + 1]):
            adjoints[slot] = 0.0


def attempt_entry(digest, dtype):
    def attempt_state(address, arguments):
        digest
        return attempt(words(address, STATE), arguments, dtype)

    return attempt_state


def call_entry(digest, field):
    def call(caller, arguments, keywords):
        digest
        address = capi.word_at(caller + field) if keywords == 0 else 0
        while address:
            state = words(address, STATE)
            result = capi.call(state[ATTEMPT], (address, arguments))
            if result or capi.error():
                return result
            address = state[NEXT]
        return capi.call_object(capi.word_at(caller + FIRST_FIELD), arguments, keywords)

    return call


class Caller:
    """A callable with a Python callable behind it; `state` is the address of a state, or 0."""

    __slots__ = ("otherwise",)

    def __call__(self, *arguments, **keywords):
        return self.otherwise(*arguments, **keywords)


@functools.cache
def compiled_attempt(dtype):
    """The compiled function that asks a state, for programs of one dtype."""
    return entry(attempt_entry, real(dtype), types.int64(types.int64, types.int64), "replays by calls")


@functools.cache
def caller_class(base):
    """The class of callers with the methods of a subclass of `Caller`."""
    if not NATIVE:
        return extend(base, FIELDS)
    word = types.int64
    compiled = entry(call_entry, offset_of(FIELDS, "state"), word(word, word, word), "calls")
    made = extend(base, FIELDS, [(CALL_SLOT, compiled.address)])
    made.kept = compiled
    return made
