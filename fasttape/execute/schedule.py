"""Schedule: which array instructions of a program run together in one loop, and in what order everything runs.

Elementwise instructions over one iteration space, of which each reads the others' results at its own point only, are a
scalar program that runs at every point; sums of such results over the whole space stand at its end. Instructions are
taken in an order in which as many as possible come together. Slots keep their numbers, so nothing else changes.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttape import ops as table
from fasttape.decode import count_operations, operand_slots, scalar_operands
from fasttape.layout import (
    CODE,
    CONST,
    DOT,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LIST,
    NDIM,
    OPERANDS,
    PARAM,
    REDUCE,
    REGULAR,
    SHAPE,
    SIZE,
    STRIDES,
)
from fasttape.program import Program

ADD = table.CODE["add"]
LEAST = 4096  # points of a loop that is worth leaving the interpreter for
MUCH = 1 << 15  # operations; what loops save of fewer is less than it takes to make a program of the gradient
MOST = 1 << 11  # instructions of a program that is looked at


class Read(NamedTuple):
    """One operand of an instruction."""

    place: int  # of its description in aux
    shape: tuple[int, ...]
    first: int
    strides: tuple[int, ...]
    listed: np.ndarray | None  # the slots that are read, in order, where they are listed

    def slots(self) -> tuple[int, int]:
        """The first slot that is read, and the one behind the last."""
        if self.listed is not None:
            return (int(self.listed.min()), int(self.listed.max()) + 1) if self.listed.size else (0, 0)
        steps = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        low, high = (self.first + sum(extreme(0, step) for step in steps) for extreme in (min, max))
        return low, high + 1

    def is_run(self) -> bool:
        """Whether point k reads slot `first + k`."""
        return self.listed is None and self.step() == 1

    def step(self) -> int | None:
        """The slots from each point to the next, where that is one number."""
        inner, found = 1, None
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n > 1:
                if found is None:
                    found = stride
                    if inner != 1:
                        return None
                elif stride != found * inner:
                    return None
            inner *= n
        return 1 if found is None else found


class Instruction(NamedTuple):
    """One instruction of some columns."""

    index: int
    code: int  # its opcode
    row: int  # of the table, of an array instruction
    parameter: int
    start: int  # its results
    stop: int
    reads: tuple[Read, ...]

    @property
    def size(self) -> int:
        return self.stop - self.start


class Span(NamedTuple):
    """Instructions for the interpreter, the first and the one behind the last."""

    first: int
    last: int
    slot: int  # the first result


class Group(NamedTuple):
    """Instructions that run as one loop over `size` points."""

    members: list[Instruction]
    sums: list[Instruction]
    size: int


class Order(NamedTuple):
    """What to run, in order, and what the operands of each instruction depend on."""

    steps: list[Group | Span]
    sources: dict[int, list[tuple[Read, list[Instruction]]]]  # by index of the instruction


def read_columns(columns, first_result) -> list[Instruction] | None:
    """The instructions of a plan's columns; None where there are too many, or one that is the interpreter's own."""
    ops, a, b, aux = columns
    if ops.size > MOST or (ops == DOT).any():
        return None
    found, slot = [], first_result
    for i, (code, p, second) in enumerate(zip(ops.tolist(), a.tolist(), b.tolist(), strict=True)):
        row = parameter = 0
        size = int(code != GUARD)
        if code == CONST:
            size, reads = int(aux[p + SIZE]), ()
        elif code == GUARD or code < FIRST_STRUCTURAL:
            slots = (p,) if code == GUARD else scalar_operands(aux, code, p, second)[0]
            reads = tuple(Read(-1, (), int(s), (), None) for s in slots)
        else:
            size, row, parameter = (int(aux[p + field]) for field in (SIZE, CODE, PARAM))
            reads = tuple(operand(aux, p, k, code) for k in range(int(aux[p + OPERANDS])))
        found.append(Instruction(i, code, row, parameter, slot, slot + size, reads))
        slot += size
    return found


def operand(aux, p, k, code) -> Read:
    """Operand k of the record at p."""
    ndim = int(aux[p + NDIM])
    q = p + SHAPE + ndim + k * (STRIDES + ndim)
    shape = tuple(aux[p + SHAPE : p + SHAPE + ndim].tolist())
    strides = tuple(aux[q + STRIDES : q + STRIDES + ndim].tolist())
    listed = None if aux[q + LIST] == REGULAR else operand_slots(aux, p, k, code)
    return Read(q, shape, int(aux[q + FIRST]), strides, listed)


def space_of(x: Instruction):
    """The iteration space in whose loop an instruction can run, as a shape; None where it can run in none."""
    if x.code == ELEMENTWISE and x.size >= LEAST:
        return tuple(n for n in x.reads[0].shape if n > 1)
    if x.code == REDUCE and x.row == ADD and x.size == 1 and x.reads[0].is_run():
        return tuple(n for n in x.reads[0].shape if n > 1)
    return None


def long_sizes(columns) -> np.ndarray:
    """The points of each elementwise instruction that a loop pays for."""
    ops, a, _, aux = columns
    sizes = aux[a[ops == ELEMENTWISE].astype(np.int64) + SIZE]
    return sizes[sizes >= LEAST]


def is_elementwise(program: Program) -> bool:
    """Whether elementwise instructions on long arrays are most of the work, and much."""
    total = int(long_sizes(program.columns).sum())
    return total >= MUCH and 2 * total > count_operations(program)


class Producers:
    """Which instructions the operands of others depend on."""

    def __init__(self, instructions):
        self.starts = np.array([x.start for x in instructions])
        self.stops = np.array([x.stop for x in instructions])
        self.instructions = instructions

    def of(self, read: Read) -> list[Instruction]:
        if read.listed is not None:
            found = np.unique(np.searchsorted(self.starts, read.listed, "right") - 1)
            return [self.instructions[k] for k in found.tolist() if k >= 0]
        low, high = read.slots()
        first = int(np.searchsorted(self.stops, low, "right"))
        last = int(np.searchsorted(self.starts, high, "left"))
        return self.instructions[first:last]


def schedule(columns, program) -> Order | None:
    """The order of a program; None where it has nothing that runs in loops."""
    instructions = read_columns(columns, program.first_result) if long_sizes(columns).size else None
    if instructions is None:
        return None
    producers = Producers(instructions)
    sources = {x.index: [(read, producers.of(read)) for read in x.reads] for x in instructions}
    spaces = {x.index: space_of(x) for x in instructions}
    left, done, steps = instructions, set(), []
    while left:
        left, taken = advance(left, done, lambda x: spaces[x.index] is None, sources)
        steps += taken
        if left:
            left, members = gather(left, done, spaces, sources)
            steps.append(members)
    return Order(joined(steps), sources)


def advance(left, done, chosen, sources):
    """Take those of some instructions that can run, in order: (the others, those)."""
    rest, taken = [], []
    for x in left:
        if chosen(x) and all(y.index in done for _, found in sources[x.index] for y in found):
            done.add(x.index)
            taken.append(x)
        else:
            rest.append(x)
    return rest, taken


def gather(left, done, spaces, sources):
    """Take all instructions that can run in the loop of the first that can: (the others, those)."""
    space, inside = None, {}

    def ready(x):
        nonlocal space
        if spaces[x.index] is None or space not in (None, spaces[x.index]):
            return False
        for read, found in sources[x.index]:
            for y in found:
                own = inside.get(y.index)
                if y.index not in done or (own is not None and not reads_at_its_point(read, own)):
                    return False
        space = spaces[x.index]
        inside[x.index] = x
        return True

    return advance(left, done, ready, sources)


def reads_at_its_point(read: Read, x: Instruction) -> bool:
    """Whether an operand reads the results of a member of its own loop point by point."""
    return x.code == ELEMENTWISE and read.is_run() and read.first == x.start and math.prod(read.shape) == x.size


def joined(steps) -> list[Group | Span]:
    """The steps as groups, and spans of instructions in between."""
    made: list[Group | Span] = []
    for step in steps:
        members = [x for x in step if x.code == ELEMENTWISE] if isinstance(step, list) else []
        if members:
            made.append(Group(members, [x for x in step if x.code == REDUCE], members[0].size))
            continue
        for x in step if isinstance(step, list) else [step]:
            if made and isinstance(made[-1], Span) and made[-1].last == x.index:
                made[-1] = made[-1]._replace(last=x.index + 1)
            else:
                made.append(Span(x.index, x.index + 1, x.start))
    return made
