"""Replays: the states of callers that run a program without a line of Python, when its arguments are as described."""

import functools

import numpy as np

from fasttape.compiler.calling import ATTEMPT
from fasttape.compiler.jit import entry, kernel
from fasttape.compiler.late import capi
from fasttape.execute.blocks import BLOCK, BUFFERS
from fasttape.execute.conversion import build, make_placed, matches
from fasttape.execute.entries import ALL
from fasttape.execute.sweep import run_forward, run_reverse
from fasttape.layout import ENTRIES, HELD

# The words of a state. Addresses and lengths of what comes in, and goes out, then of the program and its memory
BUSY, HITS, UNLOCKS, GRADIENT = range(ATTEMPT + 1, 6)
IN, IN_SIZE, IN_OBJECTS, OUT, OUT_SIZE, OUT_OBJECTS, SHAPES, PLACES, NUMPY = range(6, 15)
OPS, A, B, AUX, VALUES, ADJOINTS, SCRATCH, OUTPUTS, CLEARED = range(15, 24)
INSTRUCTIONS, FIRST_RESULT, SLOTS, OUTPUTS_SIZE, CLEARED_SIZE, FORWARD_ENTRIES, REVERSE_ENTRIES = range(24, 31)
DUE = 31  # hits at which a call is left to Python, which then finds machine code for the calls that follow
CODE, ARGUMENTS, FAILED = range(32, 35)  # that code, or 0, what it is called with, and where it says which guard failed
STATE = 35


@kernel
def columns_of(state):
    a, b = capi.numbers(state[A], ALL, np.uint32), capi.numbers(state[B], ALL, np.uint32)
    return capi.numbers(state[OPS], ALL, np.uint8), a, b, capi.words(state[AUX], ALL)


@kernel
def attempt(state, arguments, dtype):
    """The result of a call for a tuple of arguments, a new object; 0 where the state does not answer it."""
    if state[BUSY] or state[HITS] == state[DUE]:
        return 0
    objects, nodes = capi.words(state[IN_OBJECTS], ALL), capi.words(state[IN], state[IN_SIZE])
    aux = capi.words(state[AUX], ALL)
    shapes, places, numpy = capi.words(state[SHAPES], ALL), capi.words(state[PLACES], ALL), capi.words(state[NUMPY], 3)
    values, adjoints = capi.numbers(state[VALUES], ALL, dtype), capi.numbers(state[ADJOINTS], ALL, dtype)
    objects[0], result, code = arguments, 0, state[CODE]
    state[BUSY] = 1  # before anything is compared: that may run code of the user
    holds = matches(nodes, objects, shapes, places, values, aux, dtype)
    if holds:
        holds = single(state) if code else forward(state, values, dtype)
    nodes, objects = capi.words(state[OUT], state[OUT_SIZE]), capi.words(state[OUT_OBJECTS], ALL)
    if holds and make_placed(nodes, objects, shapes, places, adjoints, aux, numpy):
        outputs = capi.numbers(state[OUTPUTS], ALL, np.uint32)
        if state[GRADIENT] and not code:
            for k in range(state[OUTPUTS_SIZE]):
                adjoints[outputs[k]] += 1.0
            reverse(state, values, adjoints, dtype)
        result = build(nodes, objects, shapes, values, adjoints, outputs, numpy, dtype)
        if state[GRADIENT] and not code:
            clear(adjoints, capi.words(state[CLEARED], 2 * state[CLEARED_SIZE]))
        state[HITS] += 1
    state[BUSY] = 0
    return result


@kernel
def single(state):
    """Run machine code, which computes values and gradients; whether the conditions of the recording hold."""
    failed, given = capi.words(state[FAILED], 1), capi.words(state[ARGUMENTS], 7)
    failed[0], thread = HELD, capi.unlock() if state[UNLOCKS] else 0
    capi.call(state[CODE], (given[0], given[1], given[2], given[3], given[4], given[5], given[6]))
    if thread:
        capi.lock(thread)
    return failed[0] == HELD


@kernel
def forward(state, values, dtype):
    """Compute all values; whether the conditions of the recording hold."""
    scratch = capi.numbers(state[SCRATCH], BUFFERS * BLOCK, dtype)
    entries = capi.words(state[FORWARD_ENTRIES], ENTRIES)
    last, slot, thread = state[INSTRUCTIONS], state[FIRST_RESULT], capi.unlock() if state[UNLOCKS] else 0
    stopped = run_forward(*columns_of(state), values, 0, last, slot, scratch, entries)
    if thread:
        capi.lock(thread)
    return stopped == last


@kernel
def reverse(state, values, adjoints, dtype):
    """Pass the adjoints of the outputs back to the inputs."""
    scratch = capi.numbers(state[SCRATCH], BUFFERS * BLOCK, dtype)
    entries = capi.words(state[REVERSE_ENTRIES], ENTRIES)
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


def attempt_entry(dtype):
    def attempt_state(address, arguments):
        return attempt(capi.words(address, STATE), arguments, dtype)

    return attempt_state


@functools.cache
def compiled_attempt(dtype):
    """The compiled function that asks a state, for programs of one dtype."""
    return entry(attempt_entry, (np.dtype(dtype).type,), "replays by calls")
