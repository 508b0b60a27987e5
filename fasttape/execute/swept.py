"""The derivative at one point by whole sweeps: for programs with calls, which know only themselves how they go back."""

import threading

import numpy as np

from fasttape.execute.interpreter import Workspace


class Swept:
    """What `linear.LinearTape` is, by a sweep for each direction over a workspace that has run forward; one at a time.

    A rule may be able to go one way only: `jacobian` prefers reverse mode then.
    """

    def __init__(self, workspace: Workspace):
        self.workspace, self.program = workspace, workspace.program
        self.outputs = self.program.outputs
        spans = [np.arange(start, stop) for start, stop in self.program.differentiated]
        self.slots = np.concatenate(spans)  # of the differentiated inputs
        self.lock = threading.Lock()

    def compact(self):
        """There is nothing to give back."""

    def pull(self, seeds=None) -> np.ndarray:
        """As `LinearTape.pull`."""
        seeds = np.eye(self.program.outputs.size, dtype=self.program.dtype) if seeds is None else seeds
        made = np.empty((len(seeds), self.slots.size), self.program.dtype)
        with self.lock:
            for row, seed in zip(made, seeds, strict=True):
                row[:] = self.workspace.reverse(seed)[self.slots]
                self.workspace.clear()
        return made

    def push(self, seeds=None) -> np.ndarray:
        """As `LinearTape.push`."""
        seeds = np.eye(self.slots.size, dtype=self.program.dtype) if seeds is None else seeds
        made = np.empty((self.program.outputs.size, len(seeds)), self.program.dtype)
        direction = np.zeros(self.program.inputs, self.program.dtype)
        with self.lock:
            for column, seed in zip(made.T, seeds, strict=True):
                direction[self.slots - 1] = seed
                column[:] = self.workspace.tangent(direction)
        return made

    def jacobian(self, mode=None) -> np.ndarray:
        """As `LinearTape.jacobian`."""
        one_way = any(rule.one_way for rule in self.program.rules)
        forward = mode == "fwd" if mode else self.slots.size <= self.program.outputs.size and not one_way
        return self.push() if forward else self.pull()
