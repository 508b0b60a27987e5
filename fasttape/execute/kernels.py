"""Kernels: machine code of a program, which is compiled soon, or well.

LLVM takes long over long programs. They are compiled in a hurry at first: with little effort, for one register of
points at a time. When that has computed so many points that compiling well takes no longer, a thread does so while the
first code is at work. Both give the same bits. What was compiled well stays on disk, and processes begin with it.
"""

import hashlib
import os
import threading
from typing import NamedTuple

from fasttape import ops
from fasttape.compiler import machine, object_cache, repetition
from fasttape.compiler.block import kind_of
from fasttape.compiler.emitter import Style
from fasttape.compiler.jit import name_for
from fasttape.compiler.late import DISABLED
from fasttape.compiler.line import Line, Operation
from fasttape.compiler.loading import TOGETHER, Code, Target
from fasttape.decode import count_operations
from fasttape.errors import UnsupportedError
from fasttape.execute.entries import link_rows
from fasttape.execute.operations import operations
from fasttape.layout import GUARD
from fasttape.program import Program

SHORT = 300  # operations that are compiled well at once
FUNCTIONS = "kernel", "prologue"
SOON, WELL = 0, 2  # levels of LLVM's effort
SETTLED = 1 << 20  # points of a program in which nothing repeats: as much work as compiling it well
THREAD = "fasttape compiles"
COMPILING = threading.Lock()  # held while LLVM compiles in a thread of its own, when no process may be forked
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=COMPILING.acquire, after_in_parent=COMPILING.release, after_in_child=COMPILING.release)


class Kernel(NamedTuple):
    """Code of a program that is ready to run."""

    code: Code
    workspace: int  # bytes
    style: Style


class Tiers:
    """The code of a program for points that share some inputs; `kernel` is the best that there is now."""

    def __init__(self, program: Program, style: Style, target: Target, shared, sums: int):
        self.best = Source(program, style, target, WELL, shared, sums)
        self.points, self.lock = 0, threading.Lock()
        different = 0 if self.best.is_kept() else written(program)
        self.improves = different > SHORT
        self.settled = SETTLED * different // max(count_operations(program), 1)
        lanes = max(style.lanes // TOGETHER, 1)
        quick = self.best._replace(style=style._replace(lanes=lanes), level=SOON)
        self.kernel = (quick if self.improves else self.best).kernel()

    def ran(self, points: int) -> None:
        """Note that so many points were computed."""
        if not self.improves:
            return
        with self.lock:
            self.points += points
            due = self.improves and self.points >= self.settled
            self.improves = self.improves and not due
        if due:
            threading.Thread(target=self.improve, name=THREAD).start()

    def improve(self) -> None:
        """Compile well."""
        with COMPILING:
            self.kernel = self.best.kernel()


class Source(NamedTuple):
    """What code is made of."""

    program: Program
    style: Style
    target: Target
    level: int
    shared: tuple[int, ...] = ()  # inputs that are the same at all points
    sums: int = 0  # how many of the outputs, the last ones, are added up over the points

    def name(self) -> str:
        """The name that its code has on disk."""
        text = hashlib.sha256()
        for part in (*self.program.columns, self.program.constants, self.program.outputs):
            text.update(f"{part.size} ".encode() + part.tobytes())
        key = text.hexdigest(), self.program.inputs, self.style, self.shared, self.sums
        return name_for(self.target, self.level, *key)

    def is_kept(self) -> bool:
        """Whether its code is on disk."""
        return object_cache.load(self.name()) is not None

    def text(self) -> str:
        """Its IR."""
        return machine.module(line(self.program, self.shared, self.sums), self.style)

    def kernel(self) -> Kernel:
        """Its code, from disk or compiled."""
        code = Code(machine.object_code(self.name(), self.text, self.target, self.level), self.target, *FUNCTIONS)
        workspace, count = code.words("needs", 2)
        called = code.words("needs", 2 + count)[2:]
        if called and DISABLED:
            raise UnsupportedError(
                "this tape cannot be compiled to machine code while NUMBA_DISABLE_JIT is set: Numba compiles "
                f"{', '.join(ops.OPS[row].name for row in called)}"
            )
        for row in called:
            link_rows([row], kind_of(row), self.program.dtype)
        return Kernel(code, workspace, self.style)


def written(program: Program) -> int:
    """How many operations the code of a program has, about: steps that repeat share it."""
    count = count_operations(program)
    if count <= SHORT:
        return count
    found = line(program)
    return repetition.count_different(found.operations, found.numbers())


def line(program: Program, shared=(), sums: int = 0) -> Line:
    """A program as a straight line; of the inputs some are shared by all points."""
    constants, outputs = program.constants.tolist(), program.outputs.tolist()
    return Line(straight(program), program.inputs, constants, outputs, frozenset(1 + k for k in shared), sums)


def straight(program: Program) -> list[Operation]:
    """The operations of a program one by one."""
    found = operations(program)
    columns = found.ops, found.results, found.parameters, found.instructions, found.arrays, *found.operands
    made = []
    for code, slot, parameter, instruction, array, *operands in zip(*(x.tolist() for x in columns), strict=True):
        if code == GUARD:
            made.append(Operation(instruction, GUARD, (operands[0],), (parameter,)))
            continue
        op = ops.OPS[code]
        integer = ops.INTEGER in op.traits
        given = (parameter,) if integer else ()
        made.append(Operation(slot, code, tuple(operands[: op.arity - integer]), given, array))
    return made
