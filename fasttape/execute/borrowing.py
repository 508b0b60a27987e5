"""Borrowing: what a loop computes again, at other points, where it would read what an earlier loop left in memory.

The adjoint of a slice adds results at shifted places. A few operations in registers take less time than numbers take on
their way to memory and back, so a loop borrows results that are cheap; the loop that they belong to stores none of
them, or those at the edges that something else reads. A loop that is left with sums alone leaves these, too, to the one
that borrows from it.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttape import ops as table
from fasttape.execute.schedule import Group, Instruction, Order, Read, Span

CHEAPEST = 32  # operations that computing a borrowed result may take
EDGE = 64  # points at which a result that is borrowed elsewhere may be stored
CHEAP = [table.INLINE in op.traits and not op.vector for op in table.OPS]


class Task(NamedTuple):
    """A group and what its loop has to leave in memory."""

    group: Group
    delivered: list[tuple[Instruction, int]]  # members that only the caller wants, and where among the outputs
    stored: list[Instruction]  # other members
    edges: list[tuple[int, int]]  # (first, last) points at which it leaves `edge_members`
    edge_members: list[Instruction]
    sums: list[Instruction]
    longer: Group | None = None  # whose sums are added up here; the points that it has more are its own


class Borrowing:
    """Who borrows what in a program."""

    def __init__(self, order: Order, program):
        self.order, self.program = order, program
        self.home: dict[int, int] = {}  # the step of each instruction
        for k, step in enumerate(order.steps):
            for x in (*step.members, *step.sums) if isinstance(step, Group) else range(step.first, step.last):
                self.home[x if isinstance(step, Span) else x.index] = k
        self.uses: dict[int, list[tuple[int, Read]]] = {}  # of a result, by others than its own loop
        for index, reads in order.sources.items():
            for read, found in reads:
                for y in found:
                    if self.home[index] != self.home[y.index]:
                        self.uses.setdefault(y.index, []).append((index, read))
        self.lent: dict[int, Instruction] = {}  # by first result
        self.kept: set[int] = set()  # the first results of those that are stored
        self.members = {x.start: x for step in order.steps if isinstance(step, Group) for x in step.members}
        self.outputs = np.unique(program.outputs).astype(np.int64)
        self.steps = [self.task(step) if isinstance(step, Group) else step for step in order.steps]
        for k, step in enumerate(self.steps):
            if isinstance(step, Task) and step.sums and not (step.delivered or step.stored):
                self.leave_sums(k, step)

    def task(self, group: Group) -> Task:
        """What a loop leaves in memory; results that later loops borrow are lent from now on."""
        delivered, stored, edges, edge_members = [], [], [], []
        for y in group.members:
            borrowers, wanted = [], runs(self.outputs, y)
            for index, read in self.uses.get(y.index, ()):
                whole = read.is_run() and y.start <= read.first and read.first + math.prod(read.shape) <= y.stop
                if whole and isinstance(self.order.steps[self.home[index]], Group) and self.cost(y) <= CHEAPEST:
                    borrowers.append(index)
                else:
                    low, high = read.slots()
                    wanted.append((max(low, y.start) - y.start, min(high, y.stop) - y.start))
            if borrowers and sum(last - first for first, last in wanted) <= EDGE:
                self.lent[y.start] = y
                edges += wanted
                edge_members += [y] if wanted else []
            elif y.index not in self.uses and (at := self.place(y)) is not None:
                delivered.append((y, at))
            elif borrowers or wanted:
                self.kept.add(y.start)
                stored.append(y)
        return Task(group, delivered, stored, sorted(set(edges)), edge_members, group.sums)

    def leave_sums(self, k: int, task: Task):
        """Let a loop behind step k, if there is one that reads the same memory, add up the sums of this one."""
        own = {y.start: y for y in task.group.members}
        terms = [own.get(x.reads[0].first) for x in task.sums]
        wanted = min((self.home[i] for x in task.sums for i, _ in self.uses.get(x.index, ())), default=len(self.steps))
        borrowers = {self.home[i] for x in task.group.members for i, _ in self.uses.get(x.index, ())}
        if any(y is None or self.cost(y) > CHEAPEST for y in terms):
            return
        for j in sorted(borrowers):
            other = self.steps[j]
            fits = isinstance(other, Task) and 0 <= task.group.size - other.group.size <= EDGE and not other.sums
            if fits and k < j < wanted and (other.delivered or other.stored):
                self.lent |= {y.start: y for y in terms}
                self.steps[k] = task._replace(sums=[])
                self.steps[j] = other._replace(sums=task.sums, longer=task.group)
                return

    def place(self, y: Instruction) -> int | None:
        """Where among the outputs all results of an instruction stand in order and once; None where they do not."""
        slots = self.program.outputs
        found = np.flatnonzero((y.start <= slots) & (slots < y.stop))
        if found.size != y.size or not np.array_equal(slots[found[0] : found[0] + y.size], np.arange(y.start, y.stop)):
            return None
        return int(found[0])

    def cost(self, y: Instruction) -> float:
        """The operations that it takes to compute a result at any point."""
        if not CHEAP[y.row]:
            return math.inf
        total = 1.0
        for read in y.reads:
            inner = self.computed(read)
            if inner is not None:
                total += self.cost(inner)
            elif read.listed is not None or read.step() is None:
                return math.inf
            if total > CHEAPEST:
                return math.inf
        return total

    def computed(self, read: Read) -> Instruction | None:
        """The result that a borrower computes as well where a borrowed one reads it; None where it is in memory."""
        if not read.is_run():
            return None
        for first, x in self.lent.items():
            if first <= read.first and read.first + math.prod(read.shape) <= x.stop:
                return x
        x = self.members.get(read.first)
        return x if x is not None and read.first not in self.kept and x.size == math.prod(read.shape) else None


def runs(slots, y: Instruction) -> list[tuple[int, int]]:
    """The (first, last) points at which some slots are results of an instruction."""
    first, last = np.searchsorted(slots, (y.start, y.stop))
    inside = slots[first:last] - y.start
    starts = np.flatnonzero(np.diff(inside, prepend=-2) != 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(inside, starts[1:]) if part.size]
