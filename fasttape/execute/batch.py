"""Batches: a program at many points, cut into chunks that all cores work on.

`choose` picks the executor and says why; `run` cuts. Where the cuts are depends on the program alone, and each chunk is
computed as if it were the only one, so results have the same bits whatever the number of threads. A batch starts its
threads and ends them: nothing is left that a fork could lose or that an interruption could leave at work.
"""

import collections
import contextlib
import contextvars
import threading
from typing import Any, NamedTuple

from numba import config

from fasttape.decode import count_operations
from fasttape.execute.lanes import Lanes
from fasttape.execute.native import Native, refusal
from fasttape.execute.points import PointByPoint, Points
from fasttape.program import Program

WIDE = 2_000  # operations in an instruction: then BLAS and contiguous arrays at one point are faster than lanes
MOST = 1 << 22  # operations, of which lanes need about 100 bytes each
MANY = 1 << 18  # points at which machine code that is on disk gains more than it takes to load, and a new one soon
WORK = 1 << 24  # operations in a chunk: far more than a thread takes to begin, far less than a user waits for Ctrl-C
LONGEST = 1 << 15  # points in a chunk: some for each thread in most batches


class Choice(NamedTuple):
    """An executor of a program, and the reason for it in one line."""

    executor: Any
    reason: str


def choose(program: Program, size: int = 0) -> Choice:
    """The executor for a program at `size` points at once; it can be kept, and run at other points."""
    if size >= MANY and not (refusal(program) or config.DISABLE_JIT):
        native = Native(program)
        return Choice(native, f"native: {native.lanes} points at a time in registers, by machine code of the tape")
    reason = against_lanes(program)
    if reason:
        return Choice(PointByPoint(program), f"point by point: {reason}")
    lanes = Lanes(program)
    return Choice(lanes, f"lanes: {lanes.lanes} points at a time through one loop over the tape")


def against_lanes(program: Program) -> str:
    """Why a program should not run in lanes, or nothing."""
    if program.rules:
        return "the tape calls functions with a rule of their own, which Python runs"
    count = count_operations(program)
    if count > MOST:
        return f"of {count:,} operations, lanes take {MOST:,}"
    if count > WIDE * program.ops.size:
        average = count // program.ops.size
        return f"instructions on arrays, of {average:,} operations on average, fill registers at one point"
    return ""


def block_of(program: Program, size: int, memory: int, most: int) -> int:
    """Points in blocks that are as equal as possible, of at most so many bytes of values and so many points."""
    fitting = max(1, min(most, memory // (program.slots * program.dtype.itemsize)))
    return max(1, -(-size // max(1, -(-size // fitting))))


def for_blocks(program: Program, size: int) -> str:
    """Why instructions should run once for a block of points, with an axis more, or nothing."""
    return "" if program.rules or size < 2 else "try"


def evaluate(program: Program, points: Points, threads: int | None = None) -> None:
    """Run a program at all points, by at most `threads` threads; None: as many as Numba uses."""
    run(choose(program, points.size).executor, points, threads)


def run(executor, points: Points, threads: int | None = None) -> None:
    """Let an executor, as `choose` gives one, evaluate all points, by at most `threads` threads.

    What a chunk raises is raised here: of several the first in the order of points.
    """
    program, lanes = executor.program, executor.lanes
    size = lanes * max(1, min(WORK // program.slots, LONGEST) // lanes)
    starts = collections.deque(range(0, points.size, size))
    errors: dict[int, BaseException] = {}

    def work():
        with contextlib.suppress(IndexError):
            while not errors:
                first = starts.popleft()
                try:
                    executor.run(points, first, min(first + size, points.size))
                except BaseException as error:
                    errors[first] = error

    threads = config.NUMBA_NUM_THREADS if threads is None else threads
    threads = 1 if program.rules else min(threads, len(starts))  # Python code of users is not called by two at once
    helpers = [threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(threads - 1)]
    try:
        for helper in helpers:
            helper.start()
        work()
    finally:
        starts.clear()
        wait(helpers)
    if errors:
        raise errors[min(errors)]


def wait(helpers) -> None:
    """Until no helper is at work, whatever interrupts: they write to memory that their caller may drop."""
    interruption = None
    for helper in helpers:
        while helper.ident is not None and helper.is_alive():
            try:
                helper.join()
            except KeyboardInterrupt as error:
                interruption = error
    if interruption:
        raise interruption
