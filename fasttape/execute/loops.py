"""Loops: elementwise instructions over one iteration space as machine code, with what is in between in registers.

The program of one point goes to the native executor in strict mode, so the bits are those of the interpreter. Operands
are read and results written where they are; an operand whose points do not lie at equal distances is copied before.
Sums have the order of `execute.reductions`: BLOCK partial sums, of which halves are added.
"""

import contextlib
import functools

import numpy as np

from fasttape.compiler.late import DISABLED
from fasttape.compiler.memory import view
from fasttape.errors import UnsupportedError
from fasttape.execute.blocks import BLOCK
from fasttape.execute.borrowing import Borrowing, Task
from fasttape.execute.interpreter import Workspace, address
from fasttape.execute.native import Native
from fasttape.execute.plan import Plan
from fasttape.execute.points import Points
from fasttape.execute.schedule import Group, Instruction, Read, schedule
from fasttape.layout import ELEMENTWISE, FIRST, FORWARD, REGULAR
from fasttape.program import Program

WORTHWHILE = 1 << 17  # operations in loops; with fewer, what leads to them in Python takes as long as they save
PATIENCE = 1 << 26  # operations that the interpreter does in the time that it takes to compile some loops
NOTHING_FAILS = np.empty(0, np.int64)


class Looped:
    """A plan whose forward sweep runs in loops, once the interpreter has worked as long as it takes to compile them."""

    def __init__(self, borrowing: Borrowing, plan: Plan, program: Program):
        self.borrowing, self.plan, self.program = borrowing, plan, program
        groups = [step.group for step in borrowing.steps if isinstance(step, Task)]
        self.operations = sum(len(group.members) * group.size for group in groups)
        self.done = 0
        delivered = [x for step in borrowing.steps if isinstance(step, Task) for x in step.delivered]
        left = np.ones(program.outputs.size, bool)
        for x, at in delivered:
            left[at : at + x.size] = False
        self.left = np.flatnonzero(left)  # outputs that loops do not write where the caller will have them
        self.left_slots = program.outputs[self.left]

    @functools.cached_property
    def loops(self) -> list:
        """What to run in order; nothing where a loop has no machine code."""
        made: list = []
        with contextlib.suppress(UnsupportedError):
            for step in self.borrowing.steps:
                made += loops_of(step, self.borrowing) if isinstance(step, Task) else [step]
            return made
        return []

    def forward(self, workspace: Workspace) -> int:
        """As `Workspace.forward`; `workspace.delivered` are the outputs, where they are not among the values."""
        workspace.delivered = None
        self.done += self.operations
        if self.done < PATIENCE or not self.loops:
            return workspace.forward()
        delivered = np.empty(self.program.outputs.size, self.program.dtype)
        place = address(delivered)
        machine, entries = workspace.machine, self.plan.linked(FORWARD)
        workspace.calls.kept.clear()
        for step in self.loops:
            if isinstance(step, Loop):
                step.run(workspace, place)
                continue
            first, last, slot = step
            stopped = machine.forward(workspace.columns, workspace.values, first, last, slot, entries, workspace.calls)
            if stopped < last:
                return workspace.forward()  # a guard that stands in front of this one may not hold, either
        delivered[self.left] = workspace.values[self.left_slots]
        workspace.delivered = delivered
        return int(self.program.ops.size)


def looped(plan: Plan, program: Program) -> Looped | None:
    """The loops of a plan; None where there are none."""
    order = None if DISABLED else schedule(plan.columns, program)  # a twin rounds like NumPy
    if order is None:
        return None
    made = Looped(Borrowing(order, program), plan, program)
    return made if made.operations >= WORTHWHILE else None


def loops_of(task: Task, borrowing: Borrowing) -> list["Loop"]:
    """The loops of a group: over all points, and over those where results are wanted that are else borrowed."""
    group, found = task.group, []
    if task.delivered or task.stored or task.sums:
        one = OnePoint(borrowing, group, [*(x for x, _ in task.delivered), *task.stored], task.sums)
        longer = Loop(OnePoint(borrowing, task.longer, [], task.sums), ()) if task.longer else None
        found.append(Loop(one, [(0, group.size)], [at for _, at in task.delivered], longer))
    if task.edges:
        found.append(Loop(OnePoint(borrowing, group, task.edge_members, []), task.edges))
    return found


class Loop:
    """The machine code of a group, for some ranges of its points; raises `UnsupportedError` where there is none."""

    def __init__(self, one: "OnePoint", ranges, places=(), longer: "Loop | None" = None):
        """Of what is stored, the first go to some `places` among the outputs.

        All sums may be those of a `longer` loop, which has some points more and runs over these alone.
        """
        self.longer = longer
        self.ranges, self.size, self.sums = ranges, one.group.size, [x.start for x in one.sums]
        self.places, self.stored = np.array(places, np.int64), [x.start for x in one.stored[len(places) :]]
        self.native = Native(one.program(), strict=True, sums=len(one.sums))
        steps = [None if read.listed is not None else read.step() for read, _ in one.inputs]
        self.copied = {k: read for k, (read, _) in enumerate(one.inputs) if steps[k] is None}
        self.steps = np.array([1 if step is None else step for step in steps], np.int64)
        self.fields = np.array([read.place + FIRST for read, _ in one.inputs], np.int64)
        self.shifts = self.steps * np.array([shift for _, shift in one.inputs], np.int64)

    def run(self, workspace, delivered: int) -> None:
        """Compute results in a workspace, and some at an address, among the outputs that are delivered."""
        bound = workspace.bound.get(self)
        if bound is None:
            bound = workspace.bound[self] = Bound(self, workspace)
        copies = bound.direct(workspace, delivered)
        bound.partial.fill(-0.0)
        for first, last in self.ranges:
            whole = last - (last - first) % self.native.lanes if self.sums else last
            if first < whole:
                bound.run(first, whole)
            if bound.longer is not None:
                bound.run_longer(workspace, whole, last)
            elif whole < last:
                bound.run_rest(whole, last)
        if self.sums:
            workspace.values[self.sums] = bound.folded()
        del copies  # which were read until now


class Bound:
    """A loop in one workspace: its code with all addresses, and the memory of its partial sums."""

    def __init__(self, loop: Loop, workspace, partial=None):
        self.loop, self.itemsize = loop, workspace.values.itemsize
        self.partial = np.empty((len(loop.sums), BLOCK), workspace.values.dtype) if partial is None else partial
        self.longer = Bound(loop.longer, workspace, self.partial) if loop.longer else None
        stored = [0] * loop.places.size + [workspace.origin + self.itemsize * start for start in loop.stored]
        targets = np.array([*stored, *map(address, self.partial)], np.uint64)
        target_steps = np.repeat([self.itemsize, 0], [len(stored), len(self.partial)])
        sources = np.zeros(loop.steps.size, np.uint64), loop.steps * self.itemsize
        self.run = loop.native.start(Points(loop.size, *sources, targets, target_steps, NOTHING_FAILS))
        self.origins = workspace.origin + self.itemsize * loop.shifts
        self.places = self.itemsize * loop.places
        self.placed, self.added = self.run.targets[: loop.places.size], self.run.targets[len(stored) :]
        self.halves = []
        half = BLOCK // 2
        while half:
            self.halves.append((self.partial[:, :half], self.partial[:, half : 2 * half]))
            half //= 2

    def direct(self, workspace, delivered: int) -> list[np.ndarray]:
        """Tell the code where it reads and writes; the copies among what it reads are to be held."""
        loop, sources, aux = self.loop, self.run.sources, workspace.columns[3]
        aux.take(loop.fields, out=sources, mode="clip")
        sources *= self.itemsize
        sources += self.origins
        copies = []
        for k, read in loop.copied.items():
            copies.append(gathered(read, int(aux[read.place + FIRST]), workspace))
            sources[k] = address(copies[-1])
        np.add(self.places, delivered, out=self.placed)
        return copies

    def run_rest(self, whole, last):
        """The last points, which fill a register with copies of the last one: those are not to be added."""
        kept, shift = self.partial[:, last % BLOCK :].copy(), whole % BLOCK * self.itemsize
        self.added += shift
        self.run(whole, last)
        self.added -= shift
        end = last % BLOCK or BLOCK
        self.partial[:, end:] = kept[:, : BLOCK - end]

    def run_longer(self, workspace, whole, last):
        """The last points; the sums from there on are those of the loop that has more of them."""
        if whole < last:
            kept = self.partial.copy()
            self.run(whole, last)
            self.partial[:] = kept
        copies = self.longer.direct(workspace, 0)
        size, lanes = self.longer.loop.size, self.loop.native.lanes
        for first in range(whole, size, lanes):
            self.longer.run_rest(first, min(first + lanes, size))
        del copies

    def folded(self) -> np.ndarray:
        """The sums of the partial sums, half by half."""
        for low, high in self.halves:
            np.add(low, high, out=low)
        return self.partial[:, 0]


def gathered(read: Read, first, workspace) -> np.ndarray:
    """A copy of the numbers of an operand that the workspace finds at `first`, one for each point."""
    values, itemsize = workspace.values, workspace.values.itemsize
    if read.listed is not None:
        return values[read.listed]
    strides = tuple(stride * itemsize for stride in read.strides)
    return np.ascontiguousarray(view(workspace.origin + first * itemsize, read.shape, strides, values.dtype))


def in_memory(read: Read, shift) -> tuple[int, int]:
    """What the inputs of a loop are sorted by: the code around kernels brings two that lie side by side together."""
    step = None if read.listed is not None else read.step()
    return (0, 0) if step is None else (-step, read.first + shift * step)


class OnePoint:
    """The program that a loop runs at each point."""

    def __init__(self, borrowing: Borrowing, group: Group, stored, sums):
        self.borrowing, self.group, self.outer = borrowing, group, borrowing.program
        self.stored, self.sums = stored, sums
        self.own = {x.start for x in group.members}
        self.inputs: list[tuple[Read, int]] = []  # what is read from memory, and from how many points on
        self.constants: list[float] = []
        self.operations: list[tuple[Instruction, list]] = []  # with their operands as pairs (list of three, number)
        self.found: dict = {}
        results = [self.result(x, 0) for x in stored]
        self.outputs = [*results, *(self.operand(x.reads[0], 0) for x in sums)]
        order = sorted(range(len(self.inputs)), key=lambda k: in_memory(*self.inputs[k]))
        self.inputs[:] = [self.inputs[k] for k in order]
        self.rank = {k: rank for rank, k in enumerate(order)}

    def result(self, x: Instruction, shift):
        """The result of an instruction at so many points on."""
        key = "result", x.start, shift
        if key not in self.found:
            operands = [self.operand(read, shift) for read in x.reads]
            self.operations.append((x, operands))
            self.found[key] = self.operations, len(self.operations) - 1
        return self.found[key]

    def operand(self, read: Read, shift):
        if not shift and read.first in self.own and read.is_run():
            return self.result(self.borrowing.members[read.first], 0)
        x = self.borrowing.computed(read)
        return self.memory(read, shift) if x is None else self.result(x, shift + read.first - x.start)

    def memory(self, read: Read, shift):
        """A constant, or an input that memory holds."""
        step, first = read.step(), read.first - 1 - self.outer.inputs
        key = read.listed.tobytes() if read.listed is not None else (read.first, read.shape, read.strides)
        if read.listed is None and step is not None:
            key = "memory", read.first + shift * step, step
        if key not in self.found:
            if read.listed is None and step == 0 and (not read.first or 0 <= first < self.outer.constants.size):
                self.constants.append(float(self.outer.constants[first]) if read.first else 0.0)
                self.found[key] = self.constants, len(self.constants) - 1
            else:
                self.inputs.append((read, shift))
                self.found[key] = self.inputs, len(self.inputs) - 1
        return self.found[key]

    def slot(self, found) -> int:
        """The slot of something that was found."""
        where, number = found
        if where is self.inputs:
            return 1 + self.rank[number]
        first = 1 + len(self.inputs)
        return first + number + (len(self.constants) if where is self.operations else 0)

    def program(self) -> Program:
        aux: list[int] = []
        places = []
        for x, found in self.operations:
            places.append(len(aux))
            operands = [number for slot in map(self.slot, found) for number in (0, REGULAR, slot, slot, 0)]
            aux += [8 + len(operands), 1, x.row, x.parameter, 0, len(found), 1, 1, *operands]
        n = len(self.operations)
        return self.outer._replace(
            ops=np.full(n, ELEMENTWISE, np.uint8),
            a=np.array(places, np.uint32),
            b=np.zeros(n, np.uint32),
            aux=np.array(aux, np.int64),
            constants=np.array(self.constants, self.outer.dtype),
            inputs=len(self.inputs),
            slots=1 + len(self.inputs) + len(self.constants) + n,
            outputs=np.array([self.slot(found) for found in self.outputs], np.uint32),
            guards=np.empty((0, 2), np.int64),
            sites=(),
            differentiated=(),
            rules=(),
        )
