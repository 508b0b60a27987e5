"""Single points: machine code of a program whose inputs and outputs stay where they are, for calls that repeat."""

import ctypes

import numpy as np

from fasttape.compiler.emitter import Style
from fasttape.compiler.loading import host
from fasttape.decode import count_operations
from fasttape.execute.blocks import LINE
from fasttape.execute.entries import table
from fasttape.execute.interpreter import address
from fasttape.execute.kernels import SOON, WELL, Source, written
from fasttape.execute.native import refusal
from fasttape.program import Program

WIDEST = 32  # operations in an instruction, on average: with more the interpreter is about as fast
QUICK = 1_000  # different operations, which LLVM compiles well while a caller hardly notices
PROLOGUE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)


def suits(program: Program) -> bool:
    """Whether there is code for single points, and it gains enough."""
    return not refusal(program) and count_operations(program) <= WIDEST * program.ops.size


class Single:
    """Code that reads the inputs of a program from some addresses and writes its outputs to others.

    `code` is called with `arguments`; a guard that fails leaves its instruction in the first half of `failed`.
    """

    def __init__(self, program: Program, sources: np.ndarray, targets: np.ndarray):
        source = Source(program, Style(program.dtype.name, 1, True, ""), host(), WELL)
        if not source.is_kept() and written(program) > QUICK:
            source = source._replace(level=SOON)
        kernel = source.kernel()
        self.failed = np.full(1, -1)
        self.kept = kernel, sources, targets, np.empty(kernel.workspace + LINE, np.uint8)
        room = -(-address(self.kept[-1]) // LINE) * LINE
        places = address(sources), address(targets), room, address(self.failed), 0, address(table(program.dtype))
        self.code, prologue = kernel.code.functions
        self.arguments = np.array([*places, 1])
        PROLOGUE(prologue)(*places)
