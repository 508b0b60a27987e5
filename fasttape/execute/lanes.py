"""Lanes: one loop over a tape that does every operation for many points, without compiling anything for the tape.

The numbers of one operation at some points, its lanes, stand side by side in a cell; the cells of a block stay in cache
while all operations run. The last points of a chunk fill a part of the lanes only.
"""

from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import kernel, quiet
from fasttape.compiler.memory import fetch, gather, scatter
from fasttape.compiler.sweeps import sweep
from fasttape.execute.blocks import LINE
from fasttape.execute.cells import NOWHERE, Arrangement, arrange, depending
from fasttape.execute.entries import link_rows, table
from fasttape.execute.interpreter import POOL
from fasttape.execute.operations import Operations, operations
from fasttape.execute.pairs import paired
from fasttape.execute.points import HELD, Executor, Points
from fasttape.layout import GUARD, LANES_FORWARD, LANES_STRICT
from fasttape.program import Program

VECTOR = np.array([bool(op.vector) for op in ops.OPS] + [False] * (256 - len(ops.OPS)))
BLOCK = 3 << 22  # bytes that the cells of a block should need at most: in the cache that cores share
UNIT = 2 * LINE  # bytes; a cell is an odd number of these: powers of two would crowd into few sets of the cache
MOST = 15  # of these
LINES = 32  # of the cache that are asked for without computing in between
ADDRESS, STEP, APART, COUNT = range(4)  # of a piece of memory: where it begins, the steps of points and lines, lines


class Code(NamedTuple):
    """Operations in the order in which they run; operands and results are places in a block."""

    ops: np.ndarray
    exact: np.ndarray  # whether libm computes the operation where libmvec could
    results: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    parameters: np.ndarray
    instructions: np.ndarray  # of the program


class Ends(NamedTuple):
    """Numbers that come into a block, or go out of it: which they are, and their places in the block."""

    numbers: np.ndarray
    places: np.ndarray


class Plan(NamedTuple):
    """What runs for points that share some inputs."""

    code: Code
    once: int  # operations that come first and run once for a chunk
    constants: Ends
    shared: Ends
    inputs: Ends
    outputs: Ends
    size: int  # of a block


class Work(NamedTuple):
    """The memory of one thread."""

    v: np.ndarray  # the cells of a block
    pieces: np.ndarray  # what `find_pieces` finds
    guards: np.ndarray  # those that run once: HELD for each lane


@kernel
def check(v, place, outcome, instruction, n, failed, start):
    """A guard in each lane; the first of those that fail, in the order of the program, is what counts."""
    for i in range(n):
        held = (v[place + i] != 0.0) == (outcome != 0)
        if not held and (failed[start + i] == HELD or instruction < failed[start + i]):
            failed[start + i] = instruction


@kernel
def execute(code, first, last, v, n, failed, start, addresses):
    """Some operations for n points, the first of which is `start`."""
    ops, exact, results, xs, ys, zs, parameters, instructions = code
    for k in range(first, last):
        i = np.uint64(k)
        x, y, z, out = np.int64(xs[i]), np.int64(ys[i]), np.int64(zs[i]), np.int64(results[i])
        if ops[i] == GUARD:
            check(v, x, parameters[i], instructions[i], n, failed, start)
        elif exact[i]:
            steps.lanes_strict(ops[i], parameters[i], n, v, x, v, y, v, z, v, out, addresses)
        else:
            steps.lanes_forward(ops[i], parameters[i], n, v, x, v, y, v, z, v, out, addresses)


@kernel
def find_pieces(plan, points, lanes, pieces):
    """Fill in the memory of a block in pieces of some lines, numbers side by side once; return how many there are."""
    count, last, step_before, inputs = 0, np.int64(0), np.int64(0), plan.inputs.numbers.size
    for k in range(inputs + plan.outputs.numbers.size):
        if k < inputs:
            i = plan.inputs.numbers[k]
            address, step = np.int64(points.sources[i]), points.source_steps[i]
        else:
            address, step = np.int64(points.targets[k - inputs]), points.target_steps[k - inputs]
        if step == 0 or (step == step_before and abs(address - last) < LINE):
            continue
        last, step_before, apart = address, step, max(LINE // abs(step), 1)
        lines = (lanes + apart - 1) // apart
        for line in range(0, lines, LINES):
            pieces[count, ADDRESS], pieces[count, STEP] = address + line * apart * step, step
            pieces[count, APART], pieces[count, COUNT] = apart * step, min(lines - line, LINES)
            count += 1
    return count


@kernel
def compute(plan, points, v, start, n, pieces, more, addresses):
    """All operations for n points; if there are `more` behind them, their memory comes into the cache meanwhile."""
    done, size, count = plan.once, plan.code.ops.size, len(pieces) if more else 0
    share = (size - done) // max(count, 1)
    for k in range(count):
        fetch(pieces[k, ADDRESS] + (start + n) * pieces[k, STEP], pieces[k, APART], pieces[k, COUNT])
        execute(plan.code, done, done + share, v, n, points.failed, start, addresses)
        done += share
    execute(plan.code, done, size, v, n, points.failed, start, addresses)


@sweep
def sweep_lanes(plan, points, first, last, lanes, work, addresses):
    """The points `first` .. `last`, in blocks of `lanes`."""
    v, pieces, guards = work
    for k in range(plan.constants.places.size):
        place = plan.constants.places[k]
        v[place : place + lanes] = plan.constants.numbers[k]
    for k in range(plan.shared.places.size):
        i = plan.shared.numbers[k]
        gather(points.sources[i], 0, lanes, v, plan.shared.places[k])
    execute(plan.code, 0, plan.once, v, lanes, guards, 0, addresses)
    pieces = pieces[: find_pieces(plan, points, lanes, pieces)]
    for start in range(first, last, lanes):
        n = min(lanes, last - start)
        for k in range(plan.inputs.places.size):
            i = plan.inputs.numbers[k]
            step = points.source_steps[i]
            gather(np.int64(points.sources[i]) + start * step, step, n, v, plan.inputs.places[k])
        if points.failed.size > 0:
            points.failed[start : start + n] = guards[0]
        compute(plan, points, v, start, n, pieces, start + n < last, addresses)
        for k in range(plan.outputs.places.size):
            step = points.target_steps[k]
            scatter(v, plan.outputs.places[k], n, np.int64(points.targets[k]) + start * step, step)


class Lanes(Executor):
    """The executor; `strict` asks for the bits of the interpreter, which calls libm for scalars.

    Sums of products of a matrix product are rounded one after another, where BLAS has an order of its own.
    """

    def __init__(self, program: Program, *, strict: bool = False):
        super().__init__(program)
        self.strict, self.plans, self.operations = strict, {}, operations(program)
        self.ready = {b"": self.arranged(np.empty(0, np.int64))}  # what a plan will be made of, by the shared inputs
        fitting = BLOCK // (max(self.ready[b""][1].count, 1) * UNIT)
        self.lanes = min((max(fitting, 1) - 1) | 1, MOST) * UNIT // program.dtype.itemsize

    @quiet
    def run(self, points: Points, first: int, last: int) -> None:
        plan = self.plan(np.flatnonzero(points.source_steps == 0))
        memory = POOL.take(1 + plan.size, self.program.dtype)
        ends = plan.inputs.places.size + plan.outputs.places.size
        pieces = np.empty((ends * -(-self.lanes // LINES), 4), np.int64)
        work = Work(memory[1:], pieces, np.full(self.lanes, HELD))
        sweep_lanes.now(plan, points, first, last, self.lanes, work, table(self.program.dtype))
        POOL.give(memory)

    def plan(self, shared) -> Plan:
        """The plan for points that share some inputs."""
        key = shared.tobytes()
        if key not in self.plans:
            self.plans[key] = self.make_plan(shared)
        return self.plans[key]

    def arranged(self, shared) -> tuple[Operations, Arrangement]:
        """The operations for points that share some inputs, and their order and cells."""
        own = depending(self.program, self.operations, shared)
        found, own = paired(self.operations, own, self.program.outputs)
        return found, arrange(self.program, found, own)

    def make_plan(self, shared) -> Plan:
        program = self.program
        found, (order, once, cells, count) = self.ready.pop(shared.tobytes(), None) or self.arranged(shared)
        exact = VECTOR[found.ops] & ~found.arrays if self.strict else np.zeros(found.ops.size, bool)
        rows = found.ops != GUARD
        for kind, chosen in ((LANES_FORWARD, rows & ~exact), (LANES_STRICT, rows & exact)):
            link_rows(np.unique(found.ops[chosen]).tolist(), kind, program.dtype)
        places = (cells * self.lanes).astype(np.uint32)
        operands = places[found.operands[:, order]]
        code = found.ops[order], exact[order], places[found.results[order]], *operands
        code = Code(*code, found.parameters[order], found.instructions[order])
        constants = np.concatenate((np.zeros(1, program.dtype), program.constants))
        slots = np.concatenate(([0], np.arange(1 + program.inputs, program.first_result)))
        needed = cells[slots] != NOWHERE
        own = np.setdiff1d(np.arange(program.inputs), shared)
        ends = (numbers[cells[numbers + 1] != NOWHERE] for numbers in (shared, own))
        return Plan(
            code,
            once,
            Ends(constants[needed], places[slots[needed]]),
            *(Ends(numbers, places[numbers + 1]) for numbers in ends),
            Ends(program.outputs, places[program.outputs]),
            count * self.lanes,
        )
