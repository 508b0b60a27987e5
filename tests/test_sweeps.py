"""Calls of compiled functions from Python: arguments of all kinds arrive as they are, whoever takes them apart."""

import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fasttape.compiler.late import DISABLED
from fasttape.compiler.sweeps import sweep

compiled_only = pytest.mark.skipif(DISABLED, reason="sweeps are Python functions with the JIT disabled")


class Pair(NamedTuple):
    first: np.ndarray
    factor: int


@sweep
def weigh(pair, rows, flipped):
    """A sum that tells every element of both arrays from its neighbors, in words that wrap around."""
    found, place = np.int64(0), 0
    for i in range(pair.first.size):
        place += 1
        found += pair.first[i] * pair.factor * place
    for i in range(rows[0].shape[0]):
        for j in range(rows[0].shape[1]):
            place += 1
            found -= rows[0][i, j] * place
    return -found if flipped else found


@st.composite
def arrays(draw, dimensions):
    """Small integers in contiguous, strided, reversed and transposed memory."""
    shape = draw(st.tuples(*[st.integers(0, 4)] * dimensions))
    memory = draw(hnp.arrays(np.int64, [2 * n for n in shape], elements=st.integers(-99, 99)))
    view = memory[tuple(slice(None, None, draw(st.sampled_from((1, 2, -1, -2)))) for _ in shape)]
    return draw(st.sampled_from((view, view.T, view.copy(), view.T.copy())))


NUMBERS = st.integers(-99, 99)


@settings(deadline=None)
@given(arrays(1), arrays(2), NUMBERS | NUMBERS.map(np.int64), st.booleans() | st.booleans().map(np.bool_))
def test_arguments_of_all_kinds(vector, matrix, factor, flipped):
    pair = Pair(vector, factor)
    assert weigh.now(pair, (matrix,), flipped) == weigh.function(pair, (matrix,), flipped)


def test_arrays_of_subclasses_and_memory_that_is_not_aligned():
    memory = np.arange(40, dtype=np.uint8)[3:35].view(np.int64)
    assert not memory.flags.aligned
    for vector in (memory, np.arange(4).view(np.recarray), np.array([5])[:0]):
        pair = Pair(vector % 1000, 3)
        assert weigh.now(pair, (np.ones((2, 2), np.int64),), False) == weigh.function(
            pair, (np.ones((2, 2), np.int64),), False
        )


@sweep
def shift(numbers, by):
    for i in range(numbers.size):
        numbers[i] += by


def test_results_are_written_in_place_and_nothing_returned_is_zero():
    for memory in (np.zeros(4), np.zeros(8)[::2], np.zeros(4, np.float32)):
        shift.now(memory, 2)
        assert memory.tolist() == [2.0] * 4


@sweep
def grown(x, n):
    for _ in range(n):
        x[0] = x[0] * 0.999999 + 1.0
    return n


@compiled_only
def test_other_threads_run_meanwhile():
    x, spans = np.ones(1), []
    grown.now(x, 1)

    def work():
        start = time.perf_counter()
        grown.now(x, 10**8)
        spans.append((start, time.perf_counter()))

    thread = threading.Thread(target=work)
    thread.start()
    moments = []
    while thread.is_alive():
        moments.append(time.perf_counter())
    thread.join()
    ((start, stop),) = spans
    assert any(start + 0.2 * (stop - start) < moment < start + 0.8 * (stop - start) for moment in moments)


def test_many_threads_meet_a_function_that_is_not_compiled():
    made, results, gate = sweep(weigh.function), [], threading.Barrier(8)

    def work(k):
        gate.wait()
        results.append(made.now(Pair(np.arange(k), k), (np.ones((k, 1), np.int64),), k % 2 == 0))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [weigh.function(Pair(np.arange(k), k), (np.ones((k, 1), np.int64),), k % 2 == 0) for k in range(8)]
    assert sorted(results) == sorted(expected)


@sweep
def second(numbers):
    if numbers.size < 2:
        raise ValueError("too short")
    return numbers[1]


@compiled_only
def test_what_raises_is_an_error_in_fasttape():
    assert second.now(np.array([1, 2])) == 2
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the second sweep"):
            second.now(np.array([1]))
