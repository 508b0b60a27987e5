"""Points: one program at many points, where its numbers come from and where they go; and the executor to compare with.

An executor is made for a `program`, takes `lanes` points at a time, and has `run(points, first, last)`, which evaluates
some of the points and may be called by several threads at once for different ones. Addresses and steps are in bytes, so
rows, columns, views with negative steps and arguments that all points share are read and written where they are.
"""

from typing import NamedTuple

import numpy as np

from fasttape.execute.interpreter import Workspace
from fasttape.execute.plan import Plan
from fasttape.program import Program

HELD = -1  # in `failed`: every guard held


class Points(NamedTuple):
    """The memory of `size` points."""

    size: int
    sources: np.ndarray  # (inputs,) uint64: the address of each input of the first point
    source_steps: np.ndarray  # (inputs,) int64: from a point to the next; 0 for an input that all share
    targets: np.ndarray  # (outputs,) uint64
    target_steps: np.ndarray  # (outputs,) int64
    failed: (
        np.ndarray
    )  # (size,) int64: the instruction of the guard that stopped a point, or HELD; then outputs are void


class PointByPoint:
    """The interpreter at one point after another: what other executors have to equal."""

    lanes = 1

    def __init__(self, program: Program):
        self.program, self.plan = program, Plan(program)

    def run(self, points: Points, first: int, last: int) -> None:
        """Evaluate the points `first` .. `last`."""
        workspace = Workspace(self.plan, self.program)
        for i in range(first, last):
            for k in range(self.program.inputs):
                workspace.inputs[k] = self.number(points.sources[k], points.source_steps[k], i)[()]
            stopped = workspace.forward()
            points.failed[i] = HELD if stopped == self.program.ops.size else stopped
            for k, slot in enumerate(self.program.outputs.tolist()):
                self.number(points.targets[k], points.target_steps[k], i)[()] = workspace.values[slot]

    def number(self, address, step, i) -> np.ndarray:
        """The number of point i in the memory of an input or output."""
        place = int(address) + i * int(step)
        interface = {"data": (place, False), "shape": (), "typestr": self.program.dtype.str, "version": 3}
        return np.asarray(type("Number", (), {"__array_interface__": interface})())
