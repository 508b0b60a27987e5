"""Batches: chunks on several threads, and what becomes of them when something goes wrong."""

import itertools
import math
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from numba import config

import fasttape as ft
from fasttape.execute import batch
from fasttape.execute.points import HELD, PointByPoint, Points
from tests.test_points import at


def rows(x, out):
    """The points whose inputs and outputs are the rows of two matrices."""
    return Points(len(x), *at(x, 0), *at(out, 0), np.full(len(x), 7, np.int64))


def results(program, x, threads=None):
    out = np.full((len(x), program.outputs.size), np.nan)
    points = rows(x, out)
    batch.evaluate(program, points, threads)
    assert set(points.failed) <= {HELD}
    return out


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(batch, "WORK", 64)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("size", [0, 1, 50, 2_000])
def test_every_number_of_threads_gives_the_same_bits(size):
    program = ft.record(lambda x, y: math.sin(x) * y, 0.5, 1.5).program
    x = np.random.default_rng(size).standard_normal((size, 2))
    alone = results(program, x, 1)
    np.testing.assert_allclose(alone[:, 0], np.sin(x[:, 0]) * x[:, 1], rtol=1e-14)
    for threads in (2, 3, None):
        assert results(program, x, threads).tobytes() == alone.tobytes()


class Executor(PointByPoint):
    """One that does to each chunk what a test wants."""

    def __init__(self, program, work):
        super().__init__(program)
        self.work = work

    def run(self, points, first, last):
        self.work(first)
        super().run(points, first, last)


@pytest.mark.usefixtures("small_chunks")
def test_the_first_error_in_the_order_of_points_is_raised_and_nobody_works_on():
    program = ft.record(lambda x: x * x, 1.0).program

    def work(first):
        if first >= 84:
            time.sleep(0.02 if first < 90 else 0.0)
            raise ValueError(first)

    for threads in (1, 2, 3):
        alive = threading.active_count()
        x = np.ones((300, 1))
        out = np.empty_like(x)
        with pytest.raises(ValueError, match=r"^84$"):
            batch.run(Executor(program, work), rows(x, out), threads)
        assert threading.active_count() == alive


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_stops_a_batch_soon(threads):
    program, x = ft.record(lambda x: x * x, 1.0).program, np.ones((100_000, 1))
    out = np.empty_like(x)
    alive, calls = threading.active_count(), itertools.count()

    def work(first):
        if next(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with pytest.raises(KeyboardInterrupt):
        batch.run(Executor(program, work), rows(x, out), threads)
    signal.signal(signal.SIGINT, before)
    assert threading.active_count() == alive
    assert results(program, x[:50], threads).tolist() == [[1.0]] * 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # which Python says where BLAS has threads
@pytest.mark.usefixtures("small_chunks")
def test_a_forked_process_has_threads_of_its_own():
    program, x = ft.record(lambda x: x * x, 1.0).program, np.full((2_000, 1), 3.0)
    expected = results(program, x, 2)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(results(program, x, 2)))
    child.start()
    assert receiver.poll(60)
    assert receiver.recv().tobytes() == expected.tobytes()
    child.join()


def test_the_choice_says_why():
    def reason(f, x):
        return batch.choose(ft.record(f, x).program).reason

    @ft.custom_vjp
    def own(x):
        return x * x

    own.defvjp(lambda x: (own(x), x), lambda x, w: (2.0 * x * w,))
    assert reason(lambda x: x * x, 1.0).startswith("lanes: 240 points")
    assert "functions with a rule" in reason(own, 1.0)
    assert "of 3,000 operations on average" in reason(np.exp, np.ones(3_000))
    assert reason(np.exp, np.ones(200)).startswith("lanes")
    many = batch.choose(ft.record(lambda x: x * x, 1.0).program, batch.MANY)
    large = ft.record(lambda x: sum((x * k for k in range(1 << 14)), x), 1.0).program
    assert config.DISABLE_JIT or "operations, of which machine code" in batch.choose(large, batch.MANY).reason
    assert isinstance(many.executor, batch.Lanes if config.DISABLE_JIT else batch.Native)
    assert batch.choose(ft.record(own, 1.0).program, batch.MANY).executor.lanes == 1


def test_calls_and_wide_instructions_run_point_by_point():
    @ft.custom_vjp
    def own(x):
        assert threading.current_thread() is threading.main_thread()
        return x * x

    own.defvjp(lambda x: (own(x), x), lambda x, w: (2.0 * x * w,))
    x = np.random.default_rng(0).standard_normal((600, 1))
    np.testing.assert_allclose(results(ft.record(lambda x: own(x) + 1.0, 2.0).program, x, 2), x * x + 1.0)
    wide = np.random.default_rng(0).standard_normal((3, 3_000))
    assert np.array_equal(results(ft.record(lambda x: x * 2.0, wide[0]).program, wide), wide * 2.0)
