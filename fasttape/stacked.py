"""Stacked: the executor that runs the instructions of an array program once for a block of points, with one axis more.

It is `transform.map` put to work: a block has so many points that its numbers stay in cache, and is computed as if it
were the only one; the last one is filled up with copies of its last point. `choose` decides between all executors.
"""

from typing import Any, NamedTuple

import numpy as np

from fasttape.compiler.memory import view
from fasttape.decode import sizes
from fasttape.execute import batch
from fasttape.execute.batch import Choice
from fasttape.execute.interpreter import Workspace
from fasttape.execute.plan import Plan
from fasttape.execute.points import HELD, Executor, PointByPoint, Points
from fasttape.layout import FORWARD, GUARD
from fasttape.program import Program
from fasttape.transform.map import Slots, mapped_program, pieces_of
from fasttape.transform.optimize import without
from fasttape.transform.programs import spans_of_inputs


def choose(program: Program, size: int, shared: np.ndarray, *, again: bool = False) -> Choice:
    """The executor for a program at `size` points at once, which share some inputs; it runs at any points that do.

    `again` says that it will run many times.
    """
    reason = batch.for_blocks(program)
    if not reason:
        return batch.choose(program, size * batch.TIMES if again else size)
    lanes = batch.block_of(program, size, np.count_nonzero(shared))
    if size < batch.FEWEST or lanes == 1:
        return Choice(PointByPoint(program), f"point by point: {size} points, {lanes} at a time in cache, {reason}")
    stacked = Stacked(program, lanes, shared)
    return Choice(stacked, f"stacked: {lanes} points at a time as one more axis of arrays, {reason}")


class Stacked(Executor):
    """The executor of a program without calls, for points that share some of their inputs."""

    def __init__(self, program: Program, lanes: int, shared: np.ndarray):
        super().__init__(program)
        self.lanes = lanes
        guards = program.guards[:, 0]
        self.guards = list(zip(guards.tolist(), (program.b[guards] != 0).tolist(), strict=True))
        conditions = np.concatenate([program.outputs, program.a[guards]])
        bare = without(program._replace(outputs=conditions), program.ops == GUARD)
        self.pieces = pieces_of(shared, spans_of_inputs(bare).tolist())
        self.mapped = mapped_program(bare, lanes, shared, self.pieces)
        self.plan = Plan(self.mapped.program, ())
        self.resumed = self.mapped.program.first_result + int(sizes(self.mapped.program)[: self.mapped.once].sum())

    def run(self, points: Points, first: int, last: int) -> None:
        made, outputs = self.mapped, self.program.outputs.size
        workspace = Workspace(self.plan, made.program)
        columns, values, entries = workspace.columns, workspace.values, self.plan.linked(FORWARD)
        memory = Memory(values, self.lanes, points.size)
        sources = memory.pairs(points.sources, points.source_steps, made.inputs)
        targets = memory.pairs(points.targets, points.target_steps, made.outputs.at(slice(outputs)))
        conditions = [
            memory.rows(int(x), 0, int(step), 1) for x, step in zip(*made.outputs.at(slice(outputs, None)), strict=True)
        ]
        begin, slot = 0, made.program.first_result
        for start in range(first, last, self.lanes):
            stop = min(start + self.lanes, last)
            for x in sources:
                x.bring(start, stop, again=begin > 0)
            workspace.machine.forward(columns, values, begin, columns[0].size, slot, entries)
            for x in targets:
                x.outside[start:stop] = x.inside[: stop - start]
            failed = points.failed[start:stop]
            failed[:] = HELD
            for (instruction, outcome), condition in zip(reversed(self.guards), reversed(conditions), strict=True):
                failed[(condition[: stop - start, 0] != 0.0) != outcome] = instruction
            begin, slot = made.once, self.resumed


class Pair(NamedTuple):
    """Numbers of all points in the memory of the caller, a row for each, and those of a block among the values."""

    outside: np.ndarray
    inside: np.ndarray
    shared: bool

    def bring(self, start, stop, *, again: bool) -> None:
        if not self.shared:
            count = stop - start
            self.inside[:count] = self.outside[start:stop]
            self.inside[count:] = self.inside[count - 1]
        elif not again:
            self.inside[0] = self.outside[0]


class Memory(NamedTuple):
    """The values of a block, and how many points there are in it and in all."""

    values: np.ndarray
    lanes: int
    size: int

    def rows(self, first, apart, step, count):
        """Some values of each point of a block."""
        strides = step * self.values.itemsize, apart * self.values.itemsize
        return np.lib.stride_tricks.as_strided(self.values[first:], (self.lanes, count), strides)

    def pairs(self, addresses: Any, steps: Any, slots: Slots) -> list[Pair]:
        """What lies at equal distances in both memories, as pairs of arrays."""
        found, places = [], addresses.astype(np.int64)
        for start, stop in runs(places, slots.first, steps, slots.step):
            apart = [int(x[start + 1] - x[start]) if stop - start > 1 else 0 for x in (places, slots.first)]
            strides = int(steps[start]), apart[0]
            outside = view(int(places[start]), (self.size, stop - start), strides, self.values.dtype)
            inside = self.rows(int(slots.first[start]), apart[1], int(slots.step[start]), stop - start)
            found.append(Pair(outside, inside, slots.step[start] == 0))
        return found


def runs(x, y, *same):
    """The (start, stop) of the longest pieces in which two columns grow evenly, and others stay the same."""
    if not x.size:
        return
    dx, dy = np.diff(x), np.diff(y)
    apart = np.zeros(x.size, bool)  # from the element in front
    for column in same:
        apart[1:] |= np.diff(column) != 0
    turns = np.flatnonzero(apart[1:-1] | (np.diff(dx) != 0) | (np.diff(dy) != 0) | apart[2:]) + 2
    start = 0
    while start < x.size:
        stop = min(start + 2, x.size) if start + 1 < x.size and not apart[start + 1] else start + 1
        if stop == start + 2:
            at = np.searchsorted(turns, stop)
            stop = int(turns[at]) if at < turns.size else x.size
        yield start, stop
        start = stop
