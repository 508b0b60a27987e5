"""Plan: how the interpreter runs one program; made once for a tape, shared by its evaluations.

A plan has its own copy of the side records, with what `analysis` found out. Large array arguments that only array
instructions read stay where the caller has them, and their gradients are written where the caller will have them: an
operand is then addressed by its distance from the values, or from the adjoints, in numbers.
"""

import functools
from typing import NamedTuple

import numpy as np

from fasttape.compiler.late import DISABLED
from fasttape.execute import analysis, calls
from fasttape.execute.dots import fuse_chains
from fasttape.execute.entries import link, needs
from fasttape.execute.fusion import fuse
from fasttape.execute.linearize import room
from fasttape.layout import FIRST
from fasttape.program import Program

LARGE = 4096  # numbers; copying fewer costs less than addressing them elsewhere


SMALL = 1 << 16  # bytes of a program whose plan is kept for the next recording of the same instructions
KEPT = 64  # plans
KNOWN: dict = {}


def plan_for(program: Program, segments, *, again: bool) -> "Plan":
    """The plan of a program; a small one is kept, since a function that is recorded at each call often repeats itself.

    Nothing in a plan depends on the values of constants.
    """
    parts = *program.columns, program.outputs
    if sum(part.nbytes for part in parts) > SMALL:
        return Plan(program, segments, again=again)
    shape = program.dtype, program.inputs, program.constants.size, program.slots, program.differentiated
    key = *shape, again, segments, *(part.tobytes() for part in parts)
    plan = KNOWN.get(key)
    if plan is None:
        plan = Plan(program, segments, again=again)
        while len(KNOWN) >= KEPT:
            KNOWN.pop(next(iter(KNOWN)), None)
        KNOWN[key] = plan
    return plan


class Elsewhere(NamedTuple):
    """A segment of the inputs that need not be copied."""

    start: int
    size: int
    operands: list[tuple[int, int]]  # (place in aux, first slot) of each operand that reads it
    gradient: bool  # whether its adjoints are all set by array instructions, so that they may lie elsewhere as well


class Plan:
    """A program with what a sweep over it needs to know."""

    def __init__(self, program: Program, segments=None, *, again=False, continued=False):
        """`segments` are pairs (start, stop): the slots of each argument, which may then be read where it is.

        Without them every slot gets its value and, if asked for, its adjoint. `again` says that the program will run
        more than once, so that chains of products are worth looking for. A reverse sweep that is `continued` adds to
        adjoints that the inputs have before it.
        """
        self.dtype = program.dtype
        self.columns = program.columns
        self.zeros = ((0, program.slots),)  # ranges of adjoints that must be zero before a reverse sweep
        self.elsewhere: dict[int, Elsewhere] = {}  # by number of the segment
        self.constants: list[Elsewhere] = []  # that are read where the program has them
        self.entries, self.needs = {}, needs(program.columns)
        if self.needs.arrays:
            self.analyze(program, segments, continued)
        if again:
            self.columns = fuse_chains(self.columns, program)
            self.needs = needs(self.columns)
        self.calls = calls.sites(self.columns, program.first_result)
        front = program.first_result
        self.cleared = tuple((start, min(stop, front)) for start, stop in self.zeros if start < front)

    def analyze(self, program, segments, continued):
        self.columns = (*program.columns[:3], program.aux.copy()) if segments is None else fuse(program)
        blocks = program.slots // analysis.BLOCK + 1
        active, state = np.zeros(program.slots, np.bool_), np.zeros(blocks * analysis.BLOCK, np.uint8)
        # Nobody looks at the adjoints in front of the results, except those of inputs that are differentiated
        state[: program.first_result] = state[program.slots :] = analysis.SET
        for start, stop in program.differentiated:
            active[start:stop] = True
            state[start:stop] = analysis.ADDED if continued else 0
        analysis.activity.now(*self.columns, active, program.first_result)
        analysis.first_touch.now(*self.columns, program.outputs, state, state.view(np.uint64), program.slots)
        found = np.empty((blocks // 2 + 1, 2), np.int64)
        count = analysis.zeros.now(state.view(np.uint64), found)
        self.zeros = tuple((start, min(stop, program.slots)) for start, stop in found[:count].tolist())
        if segments is not None and not DISABLED:  # a twin cannot read outside of an array
            large = {k: segment for k, segment in enumerate(segments) if segment[1] - segment[0] >= LARGE}
            self.elsewhere = self.find_elsewhere(large, state) if large else {}
            if program.constants.size >= LARGE:
                spans = self.spans_of_constants(program)
                self.constants = list(self.find_elsewhere(dict(enumerate(spans)), state).values())

    @functools.cached_property
    def room(self) -> list[int]:
        """How many entries where operands meet, products, listed operands and points of a reduction there may be."""
        bounds = np.zeros(4, np.int64)
        ops, a, _, aux = self.columns
        room.now(ops, a, aux, bounds)
        return bounds.tolist()

    def spans_of_constants(self, program):
        """The (start, stop) of constants that are read as a whole."""
        ops, a, _, aux = self.columns
        found = np.empty((2 * ops.size, 2), np.int64)
        count = analysis.large_operands.now(ops, a, aux, 1 + program.inputs, program.first_result, LARGE, found)
        return sorted(set(map(tuple, found[:count].tolist())))

    def find_elsewhere(self, segments, state) -> dict[int, "Elsewhere"]:
        """Those of some segments that only array instructions read, each of these no other slots with them."""
        ops, a, _, aux = self.columns
        borders = np.array(list(segments.values()), np.int64).reshape(-1, 2)
        found = np.empty((2 * ops.size * (1 + len(segments)), 2), np.int64)
        single, gradient = np.empty((2, len(segments)), np.bool_)
        count = analysis.readers.now(
            ops, a, aux, state, state.view(np.uint64), *borders.T.copy(), found, single, gradient
        )
        pairs, chosen = found[:count].tolist(), {}
        for number, (k, (start, stop)) in enumerate(segments.items()):
            places = [place for place, segment in pairs if segment == number]
            if not single[number] and min(places, default=0) >= 0:
                operands = [(place, int(aux[place + FIRST])) for place in places]
                chosen[k] = Elsewhere(start, stop - start, operands, bool(gradient[number]))
        return chosen

    def linked(self, kind) -> np.ndarray:
        """The table of entries, complete for one kind of sweep over the program."""
        if kind not in self.entries:
            self.entries[kind] = link(self.needs, kind, self.dtype)
        return self.entries[kind]
