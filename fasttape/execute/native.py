"""Native: a program as machine code of its own, several points at a time in the lanes of a register.

Code is compiled when points first come that share the same inputs, and kept on disk; that of a long program is compiled
again when it has been at work for a while. The bits of a point are the same whichever points are computed together, and
however the code was compiled; in strict mode they are the interpreter's.
"""

import collections
import contextlib
import ctypes
import functools
import itertools
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fasttape.compiler import machine, panels
from fasttape.compiler.emitter import Style
from fasttape.compiler.jit import name_for
from fasttape.compiler.loading import Code, Target, host
from fasttape.decode import count_operations
from fasttape.errors import UnsupportedError
from fasttape.execute.entries import table
from fasttape.execute.interpreter import address, aligned
from fasttape.execute.kernels import WELL, Kernel, Tiers, written
from fasttape.execute.points import Executor, Points
from fasttape.layout import CALL, DOT, GEMM
from fasttape.program import Program

FEW, MANY = 1 << 15, 1 << 18  # bytes of panels: in the first-level cache, or in the second to go far in each column
MOST = 20_000  # operations: compiling more that are all different takes longer than a second
LONGEST = 1 << 17  # operations: writing about them takes longer than two seconds
FIRST, LAST, FAILED = (panels.ARGUMENTS.index(name) for name in ("first", "last", "failed"))
RUN = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Native(Executor):
    """The executor; raises `UnsupportedError` for a program that has no machine code."""

    def __init__(self, program: Program, *, strict: bool = False, target: Target | None = None, sums: int = 0):
        """The last `sums` outputs are added up: their targets, with steps of 0, are partial sums."""
        reason = refusal(program, strict=strict)
        if reason:
            raise UnsupportedError(f"this tape cannot be compiled to machine code: {reason}")
        super().__init__(program)
        self.target, self.sums = target or host(), sums
        dtype = program.dtype.name
        self.style = Style(dtype, self.target.lanes(dtype), strict, self.target.registers)
        self.lanes = self.style.lanes
        self.entries = address(table(program.dtype))  # which lives as long as the process
        self.codes: dict[tuple[int, ...], Tiers] = {}
        self.idle: collections.deque[Room] = collections.deque()  # of runs that have ended
        self.lock = threading.Lock()

    def at(self, points: Points) -> Callable[[int, int], None]:
        run = self.start(points)

        def evaluate(first: int, last: int) -> None:
            nonlocal run
            if run.kernel is not run.code.kernel:  # there is better code by now
                run = self.start(points)
            run(first, last)

        return evaluate

    def run(self, points: Points, first: int, last: int) -> None:
        if first < last:
            self.at(points)(first, last)

    def panel_points(self, rows) -> int:
        """How many points the panels hold: a multiple of the lanes, and of 16."""
        step = machine.PARTIAL if self.sums else max(self.style.lanes, 16)
        room = FEW if rows <= panels.STREAMS else MANY
        return max(1, room // max(rows * self.program.dtype.itemsize, 1) // step) * step

    def code(self, shared) -> Tiers:
        """The code for points that share some inputs."""
        with self.lock:
            if shared not in self.codes:
                self.codes[shared] = Tiers(self.program, self.style, self.target, shared, self.sums)
            return self.codes[shared]

    def start(self, points: Points) -> "Run":
        """The program at some points, for one thread."""
        steps = points.source_steps.tolist() if points.size > 1 else ()
        code = self.code(tuple(k for k, step in enumerate(steps) if step == 0))
        room = self.room(code.kernel)
        room.describe(points)
        return Run(code, room, self.idle)

    def room(self, kernel: Kernel) -> "Room":
        """Where a kernel can work. Rooms of others go: of code that is not the best now, or for other shared inputs."""
        with contextlib.suppress(IndexError):
            while True:
                room = self.idle.pop()
                if room.kernel is kernel:
                    return room
        return Room(self, kernel)


class Room:
    """The memory of a kernel at work, and what it is called with; for one thread at a time."""

    def __init__(self, native: Native, kernel: Kernel):
        self.kernel = kernel
        self.driver = driver(kernel.style, native.target)  # another thread's may take its place in the cache
        n, m = native.program.inputs, native.program.outputs.size
        panel, itemsize = native.panel_points(n + m), native.program.dtype.itemsize
        sizes = kernel.workspace // 8, (n + m) * panel * itemsize // 8, panel // 2, n, m, 2 * (n + m), n, n, m, m
        stops = [0, *itertools.accumulate((*sizes, len(panels.ARGUMENTS)))]
        words = aligned(stops[-1], np.int64)
        parts = [words[start:stop] for start, stop in itertools.pairwise(stops)]
        *_, self.sources, self.source_steps, self.targets, self.target_steps, self.arguments = parts
        origin = address(words)
        *places, self.place = (origin + 8 * start for start in stops[:-1])
        self.arguments[:] = *kernel.code.functions, n, m, 0, 0, 0, panel, native.entries, *places

    def describe(self, points: Points) -> None:
        """Say where numbers come from and go to."""
        self.sources[:], self.source_steps[:] = points.sources.view(np.int64), points.source_steps
        self.targets[:], self.target_steps[:] = points.targets.view(np.int64), points.target_steps
        self.arguments[FAILED] = address(points.failed) if points.failed.size else 0


class Run:
    """A program at some points, for one thread.

    `sources` and `targets`, the addresses of the first point's numbers, may be changed between calls.
    """

    def __init__(self, code: Tiers, room: Room, idle: collections.deque[Room]):
        """The room is `idle` when the run has ended."""
        self.code, self.room, self.idle = code, room, idle
        self.kernel, self.sources, self.targets = room.kernel, room.sources, room.targets

    def __del__(self) -> None:
        self.idle.append(self.room)

    def __call__(self, first: int, last: int) -> None:
        """Evaluate the points `first` .. `last`."""
        self.room.arguments[FIRST], self.room.arguments[LAST] = first, last
        self.room.driver.run(self.room.place)
        self.code.ran(last - first)


def refusal(program: Program, *, strict: bool = False) -> str:
    """Why a program has no machine code, or nothing."""
    if (program.ops == CALL).any():
        return "it calls a function with a rule of its own, which Python runs"
    if (program.ops == DOT).any():
        return "its sums of products are gathered for the interpreter"
    if strict and (program.ops == GEMM).any():
        return "BLAS rounds its matrix products in an order of its own"
    count = count_operations(program)
    if count <= MOST or (count <= LONGEST and written(program) <= MOST):
        return ""
    return (
        f"it has {count:,} operations, of which machine code takes {MOST:,}, or {LONGEST:,} where most are steps alike"
    )


class Driver(NamedTuple):
    """The code around kernels."""

    code: Code
    run: ctypes._CFuncPtr


@functools.cache
def driver(style: Style, target: Target) -> Driver:
    """The driver for some registers and dtype."""
    name = name_for(target, WELL, "driver", style.dtype, style.lanes)
    code = Code(machine.object_code(name, lambda: panels.text(style.dtype, style.lanes), target, WELL), target, "run")
    return Driver(code, RUN(code.functions[0]))
