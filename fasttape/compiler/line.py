"""Straight lines: a program operation by operation, cut into chunks that each become a function of machine code.

What chunks hand on lies in cells of a workspace, which are used again. Parts of a program that repeat are cut alike, so
that the chunks may share a function.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from fasttape.compiler import repetition
from fasttape.compiler.block import SCRATCH
from fasttape.layout import GUARD
from fasttape.ops import OPS

CHUNK = 500  # operations of one function


class Operation(NamedTuple):
    """One scalar operation, or a guard: then `code` is GUARD, `parameter` the outcome and `slot` the instruction."""

    slot: int
    code: int
    operands: tuple[int, ...]
    parameter: tuple[int, ...] = ()
    elementwise: bool = False  # the interpreter may compute it by libmvec


class Line(NamedTuple):
    """A program as a straight line."""

    operations: Sequence[Operation]
    inputs: int
    constants: Sequence[float]  # behind the inputs; the results follow
    outputs: Sequence[int]
    shared: frozenset[int]  # slots of the inputs that are the same at all points
    sums: int = 0  # how many of the outputs, the last ones, are added up over the points

    def numbers(self) -> dict[int, float]:
        """The constants by slot."""
        return dict(enumerate(self.constants, 1 + self.inputs))


class Layout(NamedTuple):
    """Which cell of the workspace holds a slot between chunks, and how many cells there are."""

    chunks: list[list[Operation]]  # the first is the prologue
    repeated: list[bool]  # which of them other chunks may be like
    homes: dict[int, int]
    cells: int


def layout(line: Line) -> Layout:
    """Cut a line into chunks and give cells to what crosses from one to another."""
    chunks, repeated = cut(line)
    defined = {x.slot: k for k, chunk in enumerate(chunks) for x in chunk if x.code != GUARD}
    last: dict[int, int] = {}
    for k, chunk in enumerate(chunks):
        for x in chunk:
            for slot in x.operands:
                if defined.get(slot, k) != k:
                    last[slot] = k
    last |= {slot: len(chunks) - 1 for slot in line.outputs if defined.get(slot) == 0}
    homes: dict[int, int] = {}
    free: list[int] = []
    cells = SCRATCH
    ends: list[list[int]] = [[] for _ in chunks]
    for k, chunk in enumerate(chunks):
        for x in chunk:
            if x.code != GUARD and x.slot in last:
                if not free:
                    free.append(cells)
                    cells += 1
                homes[x.slot] = free.pop()
                if k:  # what the prologue computed stays
                    ends[last[x.slot]].append(homes[x.slot])
        free += ends[k]
    return Layout(chunks, repeated, homes, cells)


def cut(line: Line) -> tuple[list[list[Operation]], list[bool]]:
    """The prologue, and the rest in chunks of about equal lengths; and which of them repeat."""
    first = 1 + line.inputs + len(line.constants)
    same = set(range(first)) - set(range(1, 1 + line.inputs)) | line.shared
    prologue, rest = [], []
    for x in line.operations:
        if x.code != GUARD and same.issuperset(x.operands):
            same.add(x.slot)
            prologue.append(x)
        else:
            rest.append(x)
    pieces = repetition.pieces(rest, line.numbers(), CHUNK) if len(rest) > CHUNK else [(0, len(rest), False)]
    chunks, repeated = [prologue], [False]
    for start, stop, repeats in pieces:
        count = max(1, -(-(stop - start) // CHUNK))
        borders = [start + k * (stop - start) // count for k in range(count + 1)]
        chunks += [calls_first(rest[i:j]) for i, j in itertools.pairwise(borders)]
        repeated += [repeats] * count
    return chunks, [*repeated[:-1], False]  # the last one has outputs that it does not compute


def calls_first(chunk: list[Operation]) -> list[Operation]:
    """A chunk in another order: what is called, with what it needs, before all other arithmetic.

    A call leaves nothing in the registers, so whatever is computed before it and used behind it goes through memory.
    """
    if not any(map(is_called, chunk)):
        return chunk
    last = math.inf, 0
    depths: dict[int, int] = {}  # how many calls stand one behind another on the way to a slot
    for x in chunk:
        if x.code != GUARD:
            depths[x.slot] = is_called(x) + max((depths.get(slot, 0) for slot in x.operands), default=0)
    ranks = [last] * len(chunk)
    wanted: dict[int, tuple[float, int]] = {}  # the first rank that a slot is an operand of
    for k, x in reversed([*enumerate(chunk)]):
        if x.code != GUARD:
            ranks[k] = min((depths[x.slot], k) if is_called(x) else last, wanted.get(x.slot, last))
        for slot in x.operands:
            wanted[slot] = min(ranks[k], wanted.get(slot, last))
    return [chunk[k] for k in sorted(range(len(chunk)), key=ranks.__getitem__)]


def is_called(x: Operation) -> bool:
    """Whether an operation is a function of a library."""
    return x.code != GUARD and bool(OPS[x.code].vector)
