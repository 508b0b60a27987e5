"""Loops: elementwise instructions over one iteration space as machine code, with what is in between in registers.

The program of one point goes to the native executor in strict mode, so the bits are those of the interpreter. Operands
are read and results written where they are; an operand whose points do not lie at equal distances is copied before.
Sums have the order of `execute.reductions`: BLOCK partial sums, of which halves are added.
"""

import contextlib
import functools

import numpy as np
from numba import config

from fasttape.compiler.memory import view
from fasttape.errors import UnsupportedError
from fasttape.execute.blocks import BLOCK
from fasttape.execute.interpreter import Workspace, address
from fasttape.execute.native import Native
from fasttape.execute.plan import Plan
from fasttape.execute.points import Points
from fasttape.execute.schedule import Group, Read, schedule
from fasttape.layout import ELEMENTWISE, FIRST, FORWARD, REGULAR
from fasttape.program import Program

WORTHWHILE = 1 << 18  # operations in loops; with fewer, what leads to them in Python takes as long as they save
PATIENCE = 1 << 26  # operations that the interpreter does in the time that it takes to compile some loops
NOTHING_FAILS = np.empty(0, np.int64)


class Looped:
    """A plan whose forward sweep runs in loops, once the interpreter has worked as long as it takes to compile them."""

    def __init__(self, steps, plan: Plan, program: Program):
        self.steps, self.plan, self.program = steps, plan, program
        self.operations = sum(len(x.members) * x.size for x in steps if isinstance(x, Group))
        self.done = 0

    @functools.cached_property
    def loops(self) -> list:
        """What to run in order; nothing where a loop has no machine code."""
        with contextlib.suppress(UnsupportedError):
            return [Loop(x, self.program) if isinstance(x, Group) else x for x in self.steps]
        return []

    def forward(self, workspace: Workspace) -> int:
        """As `Workspace.forward`."""
        self.done += self.operations
        if self.done < PATIENCE or not self.loops:
            return workspace.forward()
        machine, entries = workspace.machine, self.plan.linked(FORWARD)
        workspace.calls.kept.clear()
        for step in self.loops:
            if isinstance(step, Loop):
                step.run(workspace)
                continue
            first, last, slot = step
            stopped = machine.forward(workspace.columns, workspace.values, first, last, slot, entries, workspace.calls)
            if stopped < last:
                return workspace.forward()  # a guard that stands in front of this one may not hold, either
        return int(self.program.ops.size)


def looped(plan: Plan, program: Program) -> Looped | None:
    """The loops of a plan; None where there are none."""
    steps = [] if config.DISABLE_JIT else schedule(plan.columns, program)  # a twin rounds like NumPy
    made = Looped(steps, plan, program)
    return made if made.operations >= WORTHWHILE else None


class Loop:
    """A group with its machine code, for any evaluation; raises `UnsupportedError` where there is none."""

    def __init__(self, group: Group, program: Program):
        self.group = group
        one = OnePoint(group, program)
        self.reads = one.reads
        self.native = Native(one.program(), strict=True, sums=len(group.sums))

    def run(self, workspace) -> None:
        """Compute the results of the group in a workspace."""
        size, itemsize, aux = self.group.size, workspace.values.itemsize, workspace.columns[3]
        placed = [place(read, int(aux[read.place + FIRST]), workspace) for read in self.reads]
        partial = np.full((len(self.group.sums), BLOCK), -0.0, workspace.values.dtype)
        stored = [workspace.origin + x.start * itemsize for x in self.group.stored]
        sources = np.array([at for at, _, _ in placed], np.uint64), np.array([step for _, step, _ in placed], np.int64)
        targets = np.array([*stored, *map(address, partial)], np.uint64)
        points = Points(size, *sources, targets, np.repeat([itemsize, 0], [len(stored), len(partial)]), NOTHING_FAILS)
        whole = size - size % self.native.lanes
        self.native.run(points, 0, whole)
        if whole < size:
            self.run_rest(points, whole, partial)
        for x, terms in zip(self.group.sums, partial, strict=True):
            workspace.values[x.start] = folded(terms)

    def run_rest(self, points, whole, partial):
        """The last points, which fill a register with copies of the last one: those are not to be added."""
        first, last = whole % BLOCK, points.size % BLOCK
        kept = partial[:, last:].copy()
        targets = points.targets + np.uint64(first * partial.itemsize) * (points.target_steps == 0).astype(np.uint64)
        self.native.run(points._replace(targets=targets), whole, points.size)
        partial[:, last or BLOCK :] = kept[:, : BLOCK - (last or BLOCK)]


def folded(terms):
    """The sum of at most BLOCK numbers, half by half."""
    while terms.size > 1:
        half = terms.size // 2
        terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
    return terms[0]


def place(read: Read, first, workspace):
    """(address, step, array to hold) of an operand; `first` is where the workspace finds it."""
    values, itemsize = workspace.values, workspace.values.itemsize
    if read.listed is not None:
        copied = values[read.listed]
        return address(copied), itemsize, copied
    at, step = workspace.origin + first * itemsize, read.step()
    if step is not None:
        return at, step * itemsize, None
    strides = tuple(stride * itemsize for stride in read.strides)
    copied = np.ascontiguousarray(view(at, read.shape, strides, values.dtype))
    return address(copied), itemsize, copied


class OnePoint:
    """The program that a group runs at each point."""

    def __init__(self, group: Group, program: Program):
        self.group, self.outer = group, program
        self.reads: list[Read] = []  # of the inputs
        self.constants: list[float] = []
        self.places: dict = {}  # of what is read from outside: (whether it is a constant, number)
        self.inside = {x.start: k for k, x in enumerate(group.members)}
        for x in (*group.members, *group.sums):
            for read in x.reads:
                if not self.is_inside(read) and key_of(read) not in self.places:
                    self.places[key_of(read)] = self.outside(read)

    def is_inside(self, read):
        return read.first in self.inside and read.is_run()

    def outside(self, read):
        """Make an input or a constant for what is read."""
        front = 1 + self.outer.inputs
        if (
            read.listed is None
            and read.step() == 0
            and (not read.first or front <= read.first < self.outer.first_result)
        ):
            self.constants.append(float(self.outer.constants[read.first - front]) if read.first else 0.0)
            return True, len(self.constants) - 1
        self.reads.append(read)
        return False, len(self.reads) - 1

    def slot(self, read):
        """The slot of an operand in the program of one point."""
        first_constant = 1 + len(self.reads)
        if self.is_inside(read):
            return first_constant + len(self.constants) + self.inside[read.first]
        constant, number = self.places[key_of(read)]
        return first_constant + number if constant else 1 + number

    def program(self) -> Program:
        aux, places = [], []
        for x in self.group.members:
            slots = [self.slot(read) for read in x.reads]
            places.append(len(aux))
            operands = [number for slot in slots for number in (0, REGULAR, slot, slot, 0)]
            aux += [8 + len(operands), 1, x.row, x.parameter, 0, len(slots), 1, 1, *operands]
        results = 1 + len(self.reads) + len(self.constants)
        stored = [results + self.inside[x.start] for x in self.group.stored]
        n = len(self.group.members)
        return self.outer._replace(
            ops=np.full(n, ELEMENTWISE, np.uint8),
            a=np.array(places, np.uint32),
            b=np.zeros(n, np.uint32),
            aux=np.array(aux, np.int64),
            constants=np.array(self.constants, self.outer.dtype),
            inputs=len(self.reads),
            slots=results + n,
            outputs=np.array([*stored, *(self.slot(x.reads[0]) for x in self.group.sums)], np.uint32),
            guards=np.empty((0, 2), np.int64),
            sites=(),
            differentiated=(),
            rules=(),
        )


def key_of(read: Read):
    """What two operands have in common that read the same numbers at each point."""
    if read.listed is not None:
        return read.listed.tobytes()
    step = read.step()
    return (read.first, step) if step is not None else (read.first, read.shape, read.strides)
