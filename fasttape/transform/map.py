"""The map transform: a program of one point becomes one of many, with an axis more in front, that of the points.

Array instructions stay what they are. A scalar instruction becomes an elementwise one, a product of a matrix that all
points share and a vector of each becomes one product of matrices, other products become stacks of products. What
depends on no point stands first, once. Results of `size` at a point are a run of (points, size); an operand that lies
in one of these, or in one piece of the inputs, stays regular, and only others get index lists.

Sums have the order of one point, but short ones of consecutive numbers and BLAS, which may choose another for larger
matrices. Instructions that Python runs cannot be mapped.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.decode import extents, result_starts, scalar_operands
from fasttape.layout import (
    CODE,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    LIST,
    NDIM,
    OPERANDS,
    PARAM,
    REDUCE,
    REGULAR,
    SHAPE,
    STRIDES,
)
from fasttape.program import Program
from fasttape.recorders.builder import Builder
from fasttape.recorders.freeze import freeze
from fasttape.recorders.instructions import collapsed, record, scalar

ADD, MUL, POSITIVE = (ops.CODE[name] for name in ("add", "mul", "positive"))
MINIMUM, MAXIMUM = ops.CODE["minimum"], ops.CODE["maximum"]
SHORT = 16  # elements of a sum that is faster done for many points side by side
SMALL = 64  # products of a matrix product that is faster done without BLAS


class Slots(NamedTuple):
    """Where numbers of point i are: slots `first + i * step`; steps of 0 for what points share."""

    first: np.ndarray
    step: np.ndarray

    def of(self, points: int) -> np.ndarray:
        """The slots of each point, a row for each."""
        return self.first + np.arange(points)[:, None] * self.step

    def at(self, chosen) -> "Slots":
        return Slots(self.first[chosen], self.step[chosen])


class Operand(NamedTuple):
    """An operand of one point over an iteration space: its slots, one for each different place, and its geometry."""

    slots: np.ndarray  # with one element along dimensions in which it stays where it is
    first: int
    strides: list[int]
    regular: bool


class Moved(NamedTuple):
    """An operand of all points: a run with strides, or a list; `step` from a point to the next."""

    first: int
    step: int
    strides: list[int]
    listed: np.ndarray | None

    def over(self, order=None):
        """What `instructions.record` takes, the points along the first axis or where `order` puts it."""
        strides = [self.step, *self.strides]
        return self.first, strides if order is None else [strides[d] for d in order], self.listed


class Map:
    """Records a program at `size` points."""

    def __init__(self, builder: Builder, program: Program, size: int, inputs: Slots, pieces: np.ndarray):
        """`inputs` has the slots of its inputs; an operand that is a run lies in one of some `pieces` of these."""
        self.builder, self.program, self.size = builder, program, size
        self.first, self.step = np.zeros((2, program.slots), np.int64)
        self.region = np.zeros(program.slots, np.int64)  # slots of one follow one another at every point
        front = slice(1, 1 + program.inputs)
        self.first[front], self.step[front] = inputs
        self.region[front] = 1 + pieces
        self.regions = 2 + program.inputs
        if program.constants.size:
            constants = slice(1 + program.inputs, program.first_result)
            self.settle(constants, builder.constants(program.constants), shared=True)
        self.starts = result_starts(program).tolist()

    def settle(self, slots: slice, first: int, *, shared: bool) -> None:
        """Let the results of an instruction be a run of slots, for each point or for all."""
        size = slots.stop - slots.start
        self.first[slots] = first + np.arange(size)
        self.step[slots] = 0 if shared else size
        self.region[slots] = self.regions
        self.regions += 1

    def shared(self) -> list[bool]:
        """Which instructions depend on no point."""
        varies, found = self.step != 0, []
        for i in range(self.program.ops.size):
            own = any(varies[x.slots].any() for x in self.operands(i))
            varies[self.starts[i] : self.starts[i + 1]] = own
            found.append(not own)
        return found

    def operands(self, i: int) -> list[Operand]:
        """The operands of instruction i."""
        program, opcode, a, b = self.program, *(int(column[i]) for column in self.program.columns[:3])
        if opcode == GUARD:
            return [single(a)]
        if opcode < FIRST_STRUCTURAL:
            return [single(slot) for slot in scalar_operands(program.aux, opcode, a, b)[0]]
        return [array_operand(program.aux, a, k) for k in range(int(program.aux[a + OPERANDS]))]

    def record(self) -> int:
        """Record everything; return how many instructions depend on no point. Their guards stand among the others."""
        alike = self.shared()
        before = self.builder.n
        for i in np.flatnonzero(alike).tolist():
            if self.program.ops[i] != GUARD:
                self.once(i)
        count = self.builder.n - before
        for i, same in enumerate(alike):
            if self.program.ops[i] == GUARD:
                self.hold(i)
            elif not same:
                self.each(i)
        return count

    # ---- what all points share

    def once(self, i: int) -> None:
        """An instruction as it is."""
        program, opcode, place = self.program, int(self.program.ops[i]), int(self.program.a[i])
        slots, builder = slice(self.starts[i], self.starts[i + 1]), self.builder
        if opcode < FIRST_STRUCTURAL:
            operands, parameter = scalar_operands(program.aux, opcode, place, int(program.b[i]))
            made = scalar(builder, opcode, self.first[list(operands)].tolist(), *parameter).slot
        elif slots.start == slots.stop:
            return
        else:
            shape, row, parameter = fields(program.aux, place)
            moved = [self.moved(x, dense=opcode == GEMM) for x in self.operands(i)]
            described = [(x.first, x.strides, x.listed) for x in moved]
            made = record(builder, opcode, row, shape, described, slots.stop - slots.start, parameter)
        self.settle(slots, made, shared=True)

    # ---- what each point has

    def each(self, i: int) -> None:
        """An instruction at all points."""
        program, opcode, place = self.program, int(self.program.ops[i]), int(self.program.a[i])
        slots = slice(self.starts[i], self.starts[i + 1])
        if slots.start == slots.stop:
            return
        operands = self.operands(i)
        if opcode < FIRST_STRUCTURAL:
            _, parameter = scalar_operands(program.aux, opcode, place, int(program.b[i]))
            made = self.elementwise(opcode, [], [self.moved(x) for x in operands], *parameter)
        else:
            shape, row, parameter = fields(program.aux, place)
            moved = [self.moved(x, dense=opcode == GEMM) for x in operands]
            if opcode == ELEMENTWISE:
                made = self.elementwise(row, shape, moved, parameter)
            elif opcode == REDUCE:
                made = self.reduction(row, shape, moved[0], slots.stop - slots.start, bool(parameter))
            else:
                made = self.product(shape, *moved)
        self.settle(slots, made, shared=False)

    def moved(self, x: Operand, *, dense=False) -> Moved:
        """An operand of one point at all points; a `dense` one is no list."""
        region, step = self.region[x.slots], self.step[x.slots]
        if x.regular and (region == region.flat[0]).all():
            return Moved(int(self.first[x.first]), int(self.step[x.first]), x.strides, None)
        listed, own = self.first[x.slots], math.prod(x.slots.shape)
        strides = [s if n > 1 else 0 for s, n in zip(dense_strides(x.slots.shape), x.slots.shape, strict=True)]
        varies = bool(step.any())
        if varies:
            listed = listed + np.arange(self.size).reshape(-1, *[1] * x.slots.ndim) * step
        made = Moved(0, own if varies else 0, strides, listed.reshape(-1))
        return self.copied(made, x.slots.shape) if dense else made

    def copied(self, x: Moved, extents) -> Moved:
        """A list in slots of its own."""
        points = self.size if x.step else 1
        first = self.emit(ELEMENTWISE, POSITIVE, [points, *extents], [x.over()], x.listed.size)
        return Moved(first, x.step, x.strides, None)

    def emit(self, structural, row, shape, described, size, parameter=0) -> int:
        return record(self.builder, structural, row, *collapsed(shape, described), size, parameter)

    def elementwise(self, row, shape, operands, parameter=0) -> int:
        size = self.size * math.prod(shape)
        return self.emit(ELEMENTWISE, row, [self.size, *shape], [x.over() for x in operands], size, parameter)

    def reduction(self, row, shape, x: Moved, size, leading) -> int:
        """A fold over the last dimensions; sums that are short or go over the first ones go over the first."""
        count = math.prod(shape) // size
        shape, strides, border = split(shape, x.strides, count if leading else size)
        x = x._replace(strides=strides)
        last = range(1 + border, 1 + len(shape))
        front = range(1, 1 + border)
        first = leading or (row == ADD and count <= SHORT)
        order = (*front, 0, *last) if leading else (*last, 0, *front) if first else (0, *front, *last)
        extents = [self.size, *shape]
        space = [extents[d] for d in order]
        return self.emit(REDUCE, row, space, [x.over(order)], self.size * size, int(first))

    def product(self, shape, x: Moved, y: Moved) -> int:
        """Products of matrices: elementwise ones where nothing is summed, one where points share a matrix."""
        *outer, m, n, k = shape
        size = self.size * math.prod(shape[:-1])
        if not outer and n == 1 and not x.step:  # rows by the transposed matrix
            y = self.by_rows(y, k)
            matrix, (row, _, column) = [self.size, m, k], x.strides
            left = y.first, [y.step, 0, y.strides[2]], None
            return record(self.builder, GEMM, 0, matrix, [left, (x.first, [0, row, column], None)], size)
        if not outer and not y.step and (m == 1 or x.step == m * x.strides[0]):
            x = self.by_rows(x, k) if m == 1 else x
            row = x.step if m == 1 else x.strides[0]
            left, right = (x.first, [row, 0, x.strides[2]], None), (y.first, y.strides, None)
            return record(self.builder, GEMM, 0, [self.size * m, n, k], [left, right], size)
        if k > 1 and m * n * k <= SMALL:
            first = self.elementwise(MUL, shape, [x, y])
            made = Moved(first, math.prod(shape), dense_strides(shape), None)
            return self.reduction(ADD, shape, made, math.prod(shape[:-1]), leading=False)
        return record(self.builder, GEMM, 0, [self.size, *shape], [x.over(), y.over()], size)

    def by_rows(self, x: Moved, k) -> Moved:
        """A vector of each point such that BLAS can read those of all points as the rows of a matrix."""
        if x.strides[2] == 1 and x.step >= k:
            return x
        described = x.first, [x.step, x.strides[2]], None
        first = self.emit(ELEMENTWISE, POSITIVE, [self.size, k], [described], self.size * k)
        return Moved(first, k, [0, 0, 1], None)

    # ---- guards

    def hold(self, i: int) -> None:
        """A guard that fails where that of a point does."""
        slot, outcome, builder = int(self.program.a[i]), int(self.program.b[i]), self.builder
        at = int(self.first[slot])
        if self.step[slot]:
            described = at, [int(self.step[slot])], None
            at = record(builder, REDUCE, MINIMUM if outcome else MAXIMUM, [self.size], [described], 1)
        builder.guards.append((builder.n, builder.site(self.program.site(i))))
        builder.emit(GUARD, at, outcome, size=0)


def single(slot) -> Operand:
    return Operand(np.array([slot]), slot, [], regular=True)


def array_operand(aux, place, k) -> Operand:
    """Operand k of an array instruction."""
    ndim = int(aux[place + NDIM])
    q = place + SHAPE + ndim + k * (STRIDES + ndim)
    first, listed = int(aux[q + FIRST]), int(aux[q + LIST])
    strides, slots = aux[q + STRIDES : q + STRIDES + ndim].tolist(), np.array(first)
    for d, stride in enumerate(strides):
        extent = int(aux[place + SHAPE + d]) if stride else 1
        slots = slots[..., None] + np.arange(extent) * stride
    regular = listed == REGULAR
    return Operand(slots if regular else aux[place + listed + slots], first, strides, regular)


def fields(aux, place):
    """The shape, the row and the parameter of an array instruction."""
    return extents(aux, place), int(aux[place + CODE]), int(aux[place + PARAM])


def dense_strides(shape) -> list[int]:
    """The strides of an array in C order."""
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def split(shape, strides, size):
    """A space with a border between dimensions behind the first `size` points: (shape, strides, where that is)."""
    done, d = 1, 0
    while done < size and done * shape[d] <= size:
        done *= shape[d]
        d += 1
    if done == size and d:
        return shape, strides, d
    outer = size // done
    inner, stride = shape[d] // outer, strides[d]
    shape = [*shape[:d], outer, inner, *shape[d + 1 :]]
    return shape, [*strides[:d], inner * stride, stride, *strides[d + 1 :]], d + 1


class Mapped(NamedTuple):
    """A program of many points. Its inputs are those that points share, then those of the points, piece by piece."""

    program: Program
    once: int  # instructions that stand first and depend on no point
    inputs: Slots  # of the program of one point
    outputs: Slots


def mapped_program(program: Program, size: int, shared: np.ndarray, pieces: np.ndarray) -> Mapped:
    """The program at `size` points; `shared` says which inputs all points share, `pieces` numbers runs of inputs.

    Its outputs are those of the program, for each point in order.
    """
    inputs, count = input_slots(size, shared, pieces)
    builder = Builder(program.dtype, count, None)
    try:
        made = Map(builder, program, size, inputs, pieces)
        once = made.record()
        outputs = Slots(made.first[program.outputs], made.step[program.outputs])
        frozen = freeze(builder, outputs.of(size).reshape(-1), ())
    finally:
        builder.close()
    return Mapped(frozen, once, inputs, outputs)


def input_slots(size: int, shared: np.ndarray, pieces: np.ndarray) -> tuple[Slots, int]:
    """Where the inputs of a program of many points are, and their number."""
    first, step, count = np.zeros(shared.size, np.int64), np.zeros(shared.size, np.int64), 1
    borders = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), shared.size] if shared.size else [0]
    for start, stop in itertools.pairwise(borders):
        first[start:stop] = count + np.arange(stop - start)
        step[start:stop] = 0 if shared[start] else stop - start
        count += (stop - start) * (1 if shared[start] else size)
    return Slots(first, step), count - 1


def pieces_of(shared: np.ndarray, spans) -> np.ndarray:
    """Numbers for the inputs of a program, equal for neighbors that belong together: in one span, shared or not."""
    border = np.zeros(shared.size + 1, bool)
    for start, stop in spans:
        border[start - 1] = border[stop - 1] = True
    border[1:-1] |= shared[1:] != shared[:-1]
    return np.cumsum(border[:-1]) if shared.size else np.zeros(0, np.int64)
