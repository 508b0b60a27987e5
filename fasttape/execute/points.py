"""Points: one program at many points, where its numbers come from and where they go; and the executor to compare with.

An executor is made for a `program`, takes `lanes` points at a time, and has `run(points, first, last)`, which evaluates
some of the points and may be called by several threads at once for different ones. Addresses and steps are in bytes, so
rows, columns, views with negative steps and arguments that all points share are read and written where they are.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fasttape.compiler.memory import gather, scatter
from fasttape.compiler.sweeps import sweep
from fasttape.decode import count_operations
from fasttape.errors import ReplayError
from fasttape.execute.interpreter import Workspace, address
from fasttape.execute.plan import Plan
from fasttape.layout import HELD
from fasttape.program import Program


class Points(NamedTuple):
    """The memory of `size` points."""

    size: int
    sources: np.ndarray  # (inputs,) uint64: the address of each input of the first point
    source_steps: np.ndarray  # (inputs,) int64: from a point to the next; 0 for an input that all share
    targets: np.ndarray  # (outputs,) uint64
    target_steps: np.ndarray  # (outputs,) int64
    failed: np.ndarray  # (size,) int64: the instruction of the guard that stopped a point, without outputs; or HELD; or
    # their number where a call stopped it. It may be empty where nothing can stop a point; see `outcomes`


def elements(rows: np.ndarray) -> np.ndarray:
    """The addresses of the numbers of the first row, in C order."""
    places = np.zeros((), np.int64)
    for size, stride in zip(rows.shape[1:], rows.strides[1:], strict=True):
        places = np.add.outer(places, np.arange(size) * stride)
    return (address(rows) + places.reshape(-1)).astype(np.uint64)


def outcomes(program: Program, size: int) -> np.ndarray:
    """What `failed` of some points may be before a program runs."""
    return np.full(size if len(program.guards) or program.rules else 0, HELD, np.int64)


@sweep
def bring(points, i, inputs):
    """The inputs of point i."""
    for k in range(inputs.size):
        gather(np.int64(points.sources[k]) + i * points.source_steps[k], 0, 1, inputs, k)


@sweep
def take(points, i, values, slots):
    """The outputs of point i, from their slots."""
    for k in range(slots.size):
        scatter(values, slots[k], 1, np.int64(points.targets[k]) + i * points.target_steps[k], 0)


class Executor:
    """What all executors have in common."""

    lanes = 1

    def __init__(self, program: Program):
        self.program = program
        self.cost = max(count_operations(program), program.slots)  # of a point, in operations

    def at(self, points: Points) -> Callable[[int, int], None]:
        """What one thread calls for some of the points, and then for others."""
        return functools.partial(self.run, points)

    def run(self, points: Points, first: int, last: int) -> None:
        """Evaluate the points `first` .. `last`."""
        raise NotImplementedError


class PointByPoint(Executor):
    """The interpreter at one point after another: what other executors have to equal."""

    def __init__(self, program: Program, plan: Plan | None = None):
        super().__init__(program)
        self.plan = plan or Plan(program)

    def run(self, points: Points, first: int, last: int) -> None:
        workspace, end = Workspace(self.plan, self.program), self.program.ops.size
        for i in range(first, last):
            bring.now(points, i, workspace.inputs)
            try:
                stopped = workspace.forward()
            except ReplayError:  # by a rule that has a tape of its own
                points.failed[i] = end
            else:
                if points.failed.size:
                    points.failed[i] = HELD if stopped == end else stopped
            take.now(points, i, workspace.values, self.program.outputs)
