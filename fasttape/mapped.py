"""Mapped: a rule that runs one program at many points, whose results stand side by side or are summed.

It is what a recording has of a large `vmap`. The program is recorded once; its inputs are elements of the batch or
numbers that all points share. Derivatives of the rule are such rules again: the adjoint program at the same points, and
a sum over the points, in their order, for whatever they share. So memory is that of what goes in and out, for every
order. Points may be blocks of points: then sums over those of a block are products of matrices in the program.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from fasttape.decode import count_operations
from fasttape.errors import InvalidTapeError, ReplayError
from fasttape.evaluation import guard_error
from fasttape.execute.batch import run
from fasttape.execute.calls import Rule
from fasttape.execute.interpreter import address
from fasttape.execute.plan import Plan
from fasttape.execute.points import HELD, PointByPoint, Points, outcomes
from fasttape.program import Program
from fasttape.stacked import choose
from fasttape.transform.map import mapped_program, pieces_of
from fasttape.transform.programs import pullback_program, pushforward_program, spans_of_inputs
from fasttape.verify import verify

ROOM = 1 << 20  # numbers that wait to be summed


class Places(NamedTuple):
    """Where the numbers of point i are in a flat array, `offsets + i * steps`; steps of 0 for what points share."""

    size: int  # of the array
    offsets: np.ndarray  # int64
    steps: np.ndarray

    @classmethod
    def joined(cls, *parts: "Places") -> "Places":
        """Those in one array behind the other."""
        starts = [0, *itertools.accumulate(part.size for part in parts)]
        offsets = [part.offsets + start for part, start in zip(parts, starts, strict=False)]
        return cls(starts[-1], np.concatenate(offsets), np.concatenate([part.steps for part in parts]))

    def addresses(self, parts: list[Any], first: int) -> Any:
        """Where the numbers of a point are in memory, if the flat array is in parts."""
        stops, itemsize = np.cumsum([x.size for x in parts]), parts[0].itemsize
        bases = np.array([address(x) for x in parts]) - itemsize * np.append(0, stops[:-1])
        return (bases[self.part(stops)] + (self.offsets + self.steps * first) * itemsize).astype(np.uint64)

    def part(self, stops: Any, point: int = 0) -> Any:
        """In which of the parts that stop there each number of a point is."""
        return np.searchsorted(stops, self.offsets + self.steps * point, "right")

    def stay(self, stops: Any, points: int) -> bool:
        """Whether each number is in the same part at all points."""
        return bool((self.part(stops) == self.part(stops, points - 1)).all())

    def chosen(self, numbers: Any, size: int, skipped: Any) -> "Places":
        """Those of some numbers, in an array of a size that lacks what is skipped in front of them."""
        return Places(size, self.offsets[numbers] - skipped, self.steps[numbers])

    def of_blocks(self, lanes: int) -> Any:
        """For each point of a block of so many the offsets, and the steps from block to block."""
        offsets = self.offsets + np.arange(lanes)[:, None] * self.steps
        return np.array([offsets, np.broadcast_to(lanes * self.steps, offsets.shape)])

    def inside(self, points: int) -> bool:
        """Whether all places of so many points are inside of the array."""
        ends = np.concatenate([self.offsets, self.offsets + self.steps * max(points - 1, 0)])
        return not ends.size or (ends.min() >= 0 and ends.max() < self.size)


class Use(NamedTuple):
    """What a rule knows about its evaluations."""

    threads: int | None = None  # that take part at most; None: as many as Numba uses
    again: bool = False  # whether there will be many
    whole: bool = False  # whether points are blocks of other points, at which the program runs as it is


ONCE = Use()


class Mapped(Rule):
    """The rule that runs a program at `points` points; results that points share are sums."""

    def __init__(self, name: str, program: Program, points: int, sources: Places, targets: Places, use: Use = ONCE):
        self.name, self.program, self.points, self.use = name, program, points, use
        self.sources, self.targets, self.inputs, self.outputs = sources, targets, sources.size, targets.size
        self.operations = points * count_operations(program)
        self.pure = not program.guards.size and all(rule.pure for rule in program.rules)
        self.adjoints: dict[Any, Mapped] = {}  # by the sizes of operands, and whose adjoints are wanted

    def __reduce__(self) -> tuple[Any, ...]:
        return Mapped, (self.name, self.program, self.points, self.sources, self.targets, self.use)

    def in_blocks(self, lanes: int) -> "Mapped":
        """The same over blocks of `lanes` points, which divide the points: sums over these are part of the program."""
        shared = self.sources.steps == 0
        made = mapped_program(self.program, lanes, shared, pieces_of(shared, spans_of_inputs(self.program).tolist()))
        places = np.zeros((2, made.program.inputs), np.int64)
        places[:, made.inputs.of(lanes) - 1] = self.sources.of_blocks(lanes)
        targets = Places(self.outputs, *(column.reshape(-1) for column in self.targets.of_blocks(lanes)))
        described = self.points // lanes, Places(self.inputs, *places), targets
        return Mapped(self.name, made.program, *described, self.use._replace(whole=True))

    def verify(self) -> None:
        verify(self.program)
        fitting = self.sources.offsets.size == self.program.inputs and self.targets.offsets.size == (
            self.program.outputs.size
        )
        inside = self.sources.inside(self.points) and self.targets.inside(self.points)
        if not (fitting and inside):
            raise InvalidTapeError(f"the call of {self.name} reads or writes outside of its numbers")

    @functools.cached_property
    def executor(self) -> Any:
        """What runs the program."""
        if self.use.whole:
            return PointByPoint(self.program, Plan(self.program, ()))
        return choose(self.program, self.points, self.sources.steps == 0, again=self.use.again).executor

    def forward(self, x: Any, *, keep: bool) -> tuple[Any, Any]:
        return self.results(x), None

    def results(self, *operands: Any) -> Any:
        """The results in an array of their own."""
        y = np.empty(self.outputs, self.program.dtype)
        self.fill(list(operands), y, keep=False)
        return y

    def fill(self, operands: list[Any], y: Any, *, keep: bool) -> None:
        failed = self.evaluate(operands, y)
        stopped = int(failed[failed != HELD][0]) if (failed != HELD).any() else HELD
        if stopped == self.program.ops.size:
            raise ReplayError(f"a batch inside of {self.name} was recorded with conditions that do not hold here")
        if stopped != HELD:
            raise guard_error(self.program, stopped)

    def evaluate(self, operands: list[Any], y: Any) -> Any:
        """Write the results; return the guard that stopped each point, or HELD."""
        failed = outcomes(self.program, self.points)
        parts = [np.ascontiguousarray(x, y.dtype) for x in operands] or [y[:0]]
        if not self.sources.stay(np.cumsum([x.size for x in parts]), self.points):
            parts = [np.concatenate(parts)]
        summed = np.flatnonzero(self.targets.steps == 0)
        written = self.points * (self.targets.steps.size - summed.size)
        y[self.targets.offsets[summed] if summed.size + written == y.size else slice(None)] = 0.0
        most = max(ROOM // max(summed.size, 1), 1)
        terms = np.empty((summed.size, min(most, self.points)), y.dtype)
        for first in range(0, self.points, most):
            count = min(most, self.points - first)
            targets, steps = self.targets.addresses([y], first), self.targets.steps * y.itemsize
            targets[summed] = address(terms) + np.arange(summed.size) * terms.strides[0]
            steps[summed] = y.itemsize
            sources = self.sources.addresses(parts, first), self.sources.steps * y.itemsize
            run(self.executor, Points(count, *sources, targets, steps, failed[first : first + count]), self.use.threads)
            np.add.at(y, self.targets.offsets[summed], np.add.reduce(terms[:, :count], axis=1))
        return failed

    def reverse(self, x: Any, y: Any, w: Any, kept: Any, totals: Any) -> None:
        self.spread([x], y, w, kept, [totals])

    def spread(self, operands: list[Any], y: Any, w: Any, kept: Any, totals: list[Any]) -> None:
        sizes, wanted = [x.size for x in operands], [total is not None for total in totals]
        if not self.sources.stay(np.cumsum(sizes), self.points):
            super().spread(operands, y, w, kept, totals)
            return
        made, at = self.adjoint(sizes, wanted).results(*operands, y, w), 0
        for total in totals:
            if total is not None:
                total += made[at : at + total.size]
                at += total.size

    def tangent(self, x: Any, y: Any, dx: Any) -> Any:
        return self.along.results(x, y, dx)

    def pullback(self) -> Rule:
        return self.adjoint([self.inputs], [True])

    def pushforward(self) -> Rule:
        return self.along

    def adjoint(self, sizes: list[int], wanted: list[bool]) -> "Mapped":
        """The rule from (x, y, w) to the adjoints of those parts of x, of some sizes, that are wanted; made once."""
        key = *sizes, *wanted
        if key not in self.adjoints:
            self.adjoints[key] = self.make_adjoint(sizes, wanted)
        return self.adjoints[key]

    def make_adjoint(self, sizes: list[int], wanted: list[bool]) -> "Mapped":
        part = self.sources.part(np.cumsum(sizes))
        numbers = np.flatnonzero(np.array(wanted)[part])
        left = np.where(wanted, 0, sizes)
        targets = self.sources.chosen(numbers, self.inputs - int(left.sum()), (np.cumsum(left) - left)[part[numbers]])
        sources = Places.joined(self.sources, self.unused(), self.targets)
        made = pullback_program(self.program, numbers)
        return Mapped(f"pullback of {self.name}", made, self.points, sources, targets, self.use)

    @functools.cached_property
    def along(self) -> "Mapped":
        """The rule of `pushforward`."""
        sources = Places.joined(self.sources, self.unused(), self.sources)
        made = pushforward_program(self.program)
        return Mapped(f"pushforward of {self.name}", made, self.points, sources, self.targets, self.use)

    def unused(self) -> Places:
        """Places of the results, which derivatives do not read: they compute what they need."""
        anywhere = np.zeros(self.program.outputs.size, np.int64)
        return Places(self.outputs, anywhere, anywhere)
