"""Native: a program as machine code of its own, several points at a time in the lanes of a register.

Code is compiled when points first come that share the same inputs, and kept on disk; that of a long program is compiled
again when it has been at work for a while. The bits of a point are the same whichever points are computed together, and
however the code was compiled; in strict mode they are the interpreter's.
"""

import ctypes
import functools
import threading
from typing import NamedTuple

import numpy as np

from fasttape.compiler import machine, panels
from fasttape.compiler.emitter import Style
from fasttape.compiler.jit import name_for
from fasttape.compiler.loading import Code, Target, host
from fasttape.decode import count_operations
from fasttape.errors import UnsupportedError
from fasttape.execute.blocks import LINE
from fasttape.execute.entries import table
from fasttape.execute.interpreter import address
from fasttape.execute.kernels import WELL, Tiers
from fasttape.execute.points import HELD, Points
from fasttape.layout import CALL, DOT, GEMM
from fasttape.program import Program

FEW, MANY = 1 << 15, 1 << 18  # bytes of panels: in the first-level cache, or in the second to go far in each column
FOLLOWED = 8  # inputs and outputs that the processor fetches ahead by itself
MOST = 20_000  # operations: compiling more takes longer than a second
RUN = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(panels.ARGUMENTS))


class Native:
    """The executor; raises `UnsupportedError` for a program that has no machine code."""

    def __init__(self, program: Program, *, strict: bool = False, target: Target | None = None, sums: int = 0):
        """The last `sums` outputs are added up: their targets, with steps of 0, are partial sums."""
        reason = refusal(program, strict=strict)
        if reason:
            raise UnsupportedError(f"this tape cannot be compiled to machine code: {reason}")
        self.program, self.target, self.sums = program, target or host(), sums
        dtype = program.dtype.name
        self.style = Style(dtype, self.target.lanes(dtype), strict, self.target.registers)
        self.lanes = self.style.lanes
        self.entries = address(table(program.dtype))  # which lives as long as the process
        self.codes: dict[tuple[int, ...], Tiers] = {}
        self.lock = threading.Lock()

    def run(self, points: Points, first: int, last: int) -> None:
        """Evaluate the points `first` .. `last`."""
        if first >= last:
            return
        program, size = self.program, self.program.dtype.itemsize
        shared = np.flatnonzero(points.source_steps == 0).tolist() if points.size > 1 else ()
        tiers = self.code(tuple(shared))
        kernel = tiers.kernel
        n, m = program.inputs, program.outputs.size
        panel = self.panel_points(n + m)
        rows = kernel.workspace // 8  # where things lie in the memory of this call, in words
        fails = rows + (n + m) * panel * size // 8
        ins = fails + panel // 2
        sources = ins + 3 * (n + m)
        targets = sources + 2 * n
        memory = np.empty(targets + 2 * m + LINE // 8, np.int64)
        skipped = -address(memory) % LINE
        words, start = memory[skipped // 8 :], address(memory) + skipped
        words[fails:ins] = HELD
        words[sources : sources + n], words[sources + n : targets] = points.sources.view(np.int64), points.source_steps
        words[targets : targets + m] = points.targets.view(np.int64)
        words[targets + m : targets + 2 * m] = points.target_steps

        def at(place):
            return start + 8 * place

        given = at(sources), at(sources + n), n, at(targets), at(targets + m), m
        failed = address(points.failed) if points.failed.size else 0
        ahead = at(ins + n + m) if n + m > FOLLOWED else 0
        room = at(0), at(rows), at(fails), at(ins), at(ins + n), ahead
        around = driver(
            kernel.style, self.target
        )  # held while it runs: another thread's may take its place in the cache
        around.run(*kernel.code.functions, *given, failed, first, last, panel, *room, self.entries)
        tiers.ran(last - first)

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


def refusal(program: Program, *, strict: bool = False) -> str:
    """Why a program has no machine code, or nothing."""
    if (program.ops == CALL).any():
        return "it calls a function with a rule of its own, which Python runs"
    if (program.ops == DOT).any():
        return "its sums of products are gathered for the interpreter"
    if strict and (program.ops == GEMM).any():
        return "BLAS rounds its matrix products in an order of its own"
    count = count_operations(program)
    return f"it has {count:,} operations, of which machine code takes {MOST:,}" if count > MOST else ""


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
