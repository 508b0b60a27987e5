"""Batches: a program at many points, cut into chunks that all cores work on.

`choose` picks the executor and says why; `run` cuts. Chunks begin where an executor begins to take points together, and
each is computed as if it were the only one, so results have the same bits whatever the number of threads. A batch
waits for all who work on it: nothing is left that a fork could lose or that an interruption could leave at work.
"""

import collections
import contextlib
import itertools
import math
import threading
from typing import Any, NamedTuple

import numpy as np

from fasttape.compiler import late
from fasttape.decode import count_listed, count_operations, extents
from fasttape.errors import ArgumentError, UnsupportedError
from fasttape.execute.helpers import call
from fasttape.execute.lanes import Lanes
from fasttape.execute.native import Native
from fasttape.execute.points import PointByPoint, Points
from fasttape.layout import GEMM
from fasttape.program import Program

WIDE = 2_000  # operations in an instruction: then BLAS and contiguous arrays at one point are faster than lanes
MOST = 1 << 22  # operations, of which lanes need about 100 bytes each
MANY = 1 << 18  # points at which machine code that is on disk gains more than it takes to load, and a new one soon
TIMES = 16  # that a batch is expected to run if it will run many times
WORK = 1 << 24  # operations in a chunk: far more than a thread takes to begin, far less than a user waits for Ctrl-C
BLOCK = 1 << 20  # bytes of the values of a block of points that array instructions run over
LARGEST = 1 << 12  # points in such a block
FEWEST = 128  # points for which it pays to write a program of a block
HEAVY, MOSTLY = 1_000, 2 / 3  # operations of a product, and their share, with which blocks are faster than lanes
AT_ONCE = 1 << 22  # values of all points of a batch inside a recording that are kept as those of array code are
CALLED = 1 << 18  # values in a block of points of a larger one, whose sums over points are products
SHORTEST, LONGEST = 1 << 12, 1 << 17  # points in a chunk
PARTS = 4  # of what is left at most, for each thread, are the next chunk: the last ones are short, so all end together


class Choice(NamedTuple):
    """An executor of a program, and the reason for it in one line."""

    executor: Any
    reason: str


def choose(program: Program, size: int = 0) -> Choice:
    """The executor for a program at `size` points in all; it can be kept, and run at other points."""
    refused = ""
    if size >= MANY and not late.DISABLED:
        try:
            native = Native(program)
            return Choice(native, f"native: {native.lanes} points at a time in registers, by machine code of the tape")
        except UnsupportedError as error:
            refused = f"; {error}"
    reason = against_lanes(program)
    if reason:
        return Choice(PointByPoint(program), f"point by point: {reason}")
    lanes = Lanes(program)
    return Choice(lanes, f"lanes: {lanes.lanes} points at a time through one loop over the tape{refused}")


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


def numbers_at_a_point(program: Program, shared: int) -> int:
    """Values and entries of index lists that each point has of its own, if all share some inputs."""
    return max(program.slots - shared + count_listed(program), 1)


def block_of(program: Program, size: int, shared: int) -> int:
    """Points in blocks that are as equal as possible and stay in cache; `shared` inputs are those of all points."""
    fitting = max(1, min(LARGEST, BLOCK // (numbers_at_a_point(program, shared) * program.dtype.itemsize)))
    return max(1, -(-size // max(1, -(-size // fitting))))


def for_blocks(program: Program) -> str:
    """Why array instructions should run once for a block of points, with an axis more, or nothing."""
    if program.rules:
        return ""
    products = program.a[program.ops == GEMM].astype(np.int64)
    count, total = sum(2 * math.prod(extents(program.aux, p)) for p in products.tolist()), count_operations(program)
    if count >= HEAVY * products.size and count >= MOSTLY * total > 0:
        return f"since {count:,} of {total:,} operations are in matrix products"
    return f"since {reason}" if (reason := against_lanes(program)) else ""


def fits_memory(program: Program, size: int, shared: int) -> bool:
    """Whether a batch inside a recording may have all values at once; else it is a call, which computes them anew."""
    return not program.rules and size * numbers_at_a_point(program, shared) <= AT_ONCE


def block_in_recording(program: Program, size: int, shared: int) -> int:
    """Points in the blocks of such a call; 1 where it goes from point to point."""
    fitting = CALLED // numbers_at_a_point(program, shared) if for_blocks(program) else 1
    return size // -(-size // max(fitting, 1)) if size else 1


def evaluate(program: Program, points: Points, threads: int | None = None) -> None:
    """Run a program at all points, by at most `threads` threads; None: as many as Numba uses."""
    run(choose(program, points.size).executor, points, threads)


def run(executor, points: Points, threads: int | None = None) -> None:
    """Let an executor, as `choose` gives one, evaluate all points, by at most `threads` threads.

    What a chunk raises is raised here: of several the first in the order of points.
    """
    threads = 1 if executor.program.rules else count_threads(threads)  # users' Python code is not called by two at once
    chunks = collections.deque(cut(executor, points.size, threads))
    errors: dict[int, BaseException] = {}

    def work():
        evaluate = None
        with contextlib.suppress(IndexError):
            while not errors:
                first, last = chunks.popleft()
                try:
                    evaluate = evaluate or executor.at(points)
                    evaluate(first, last)
                except BaseException as error:
                    errors[first] = error

    def help_out(busy):
        with busy:
            work()

    helpers = [threading.Lock() for _ in range(min(threads, len(chunks)) - 1)]  # which they hold while they are at work
    try:
        for busy in helpers:
            call(help_out, busy)
        work()
    finally:
        chunks.clear()  # so that helpers who come late find nothing to do
        wait(helpers)
    if errors:
        raise errors[min(errors)]


def count_threads(threads: int | None) -> int:
    """How many threads may take part; None stands for as many as Numba uses."""
    if threads is None:
        return late.threads()
    if not isinstance(threads, int | np.integer) or threads < 1:
        raise ArgumentError(f"threads={threads!r} must be a positive integer, or None for all cores")
    return int(threads)


def cut(executor, size: int, threads: int) -> list[tuple[int, int]]:
    """The first points of chunks and those behind the last ones."""
    lanes, most = executor.lanes, min(WORK // executor.cost, LONGEST)
    stops = [0]
    while stops[-1] < size:
        count = most if threads == 1 else min(max(SHORTEST, (size - stops[-1]) // (PARTS * threads)), most)
        stops.append(min(stops[-1] + lanes * max(1, count // lanes), size))
    return list(itertools.pairwise(stops))


def wait(helpers) -> None:
    """Until no helper is at work, whatever interrupts: they write to memory that their caller may drop."""
    interruption = None
    for busy in helpers:
        while True:
            try:
                with busy:
                    break
            except KeyboardInterrupt as error:
                interruption = error
    if interruption:
        raise interruption
