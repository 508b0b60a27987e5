"""A program as one straight line of scalar operations.

Array instructions are taken apart, in the order in which the interpreter rounds. What has no such line is refused with
a reason: calls of Python, and programs that would take too long to compile.
"""

import itertools
import operator

from fasttape import ops
from fasttape.compiler.machine import Operation
from fasttape.decode import Instruction, count_operations, instructions, result_slots, scalar_operands
from fasttape.execute.blocks import BLOCK
from fasttape.layout import CALL, DOT, ELEMENTWISE, FIRST_STRUCTURAL, GEMM, GUARD, PARAM, REDUCE
from fasttape.program import Program

MOST = 20_000  # scalar operations: compiling more takes longer than a second
ADD, MUL = ops.CODE["add"], ops.CODE["mul"]


def refusal(program: Program, *, strict: bool) -> str:
    """Why a program has no straight line, or nothing."""
    used = set(program.ops.tolist())
    if CALL in used:
        return "it calls a function with a rule of its own, which Python runs"
    if DOT in used:
        return "its sums of products are gathered for the interpreter"
    if GEMM in used and strict:
        return "BLAS rounds its matrix products in an order of its own"
    count = count_operations(program)
    return f"it has {count:,} operations, of which machine code takes {MOST:,}" if count > MOST else ""


def operations(program: Program) -> list[Operation]:
    """The operations of a program that is not refused; results that only they have get slots behind all others."""
    more = itertools.count(program.slots)
    found: list[Operation] = []
    if not (program.ops[program.ops != GUARD] >= FIRST_STRUCTURAL).any():
        return scalars(program)
    for x in instructions(program):
        if x.opcode == GUARD:
            found.append(Operation(x.index, GUARD, (int(x.operands[0][0]),), (int(program.b[x.index]),)))
        elif x.opcode < FIRST_STRUCTURAL or x.opcode == ELEMENTWISE:
            found += pointwise(x)
        elif x.opcode == REDUCE:
            found += reduction(program, x, more)
        else:
            found += product(program, x, more)
    return found


def scalars(program: Program) -> list[Operation]:
    """The operations of a program without array instructions."""
    found, slot = [], program.first_result
    for i, (code, a, b) in enumerate(zip(*(x.tolist() for x in program.columns[:3]), strict=True)):
        if code == GUARD:
            found.append(Operation(i, GUARD, (a,), (b,)))
            continue
        operands = scalar_operands(program.aux, code, a, b)
        found.append(Operation(slot, code, *operands))
        slot += 1
    return found


def pointwise(x: Instruction):
    """A row at each point of the iteration space."""
    parameter = () if x.parameter is None else (x.parameter,)
    columns = [operand.tolist() for operand in x.operands]
    for i in range(x.size):
        operands = tuple(column[i] for column in columns)
        yield Operation(x.slot + i, x.row, operands, parameter, x.opcode == ELEMENTWISE)


def reduction(program, x: Instruction, more):
    """The folds of `execute.reductions`: of leading dimensions one after another, of trailing ones in lanes."""
    leading, elements = bool(program.aux[x.record + PARAM]), x.operands[0]
    rows = elements.reshape(-1, x.size).T if leading else elements.reshape(x.size, -1)
    for j, row in enumerate(rows.tolist()):
        left, made = row, []
        if leading:
            made, left = one_by_one(x.row, [0, *left] if x.row == ADD else left, more)
        while len(left) > BLOCK:
            width = min(BLOCK, len(left) - BLOCK)
            step = fold_step(x.row, left[:width], left[BLOCK : BLOCK + width], more)
            made += step
            left = [y.slot for y in step] + left[width:BLOCK] + left[BLOCK + width :]
        while len(left) > 1:
            half = len(left) // 2
            step = fold_step(x.row, left[:half], left[half : 2 * half], more)
            made += step
            left = [y.slot for y in step] + left[2 * half :]
        yield from ended(x.row, made, left, x.slot + j)


def one_by_one(row, elements, more):
    """A fold from the first element on."""
    made, total = [], elements[:1]
    for element in elements[1:]:
        made += fold_step(row, total, [element], more)
        total = [made[-1].slot]
    return made, total


def fold_step(row, left, right, more):
    return [Operation(next(more), row, pair) for pair in zip(left, right, strict=True)]


def ended(row, made, left, slot):
    """A fold with its result in its own slot; of nothing it is 1 for a product, else 0."""
    if made:
        return [*made[:-1], made[-1]._replace(slot=slot)]
    if left:
        return [Operation(slot, ops.CODE["positive"], (left[0],))]
    return [Operation(slot, ops.CODE["equal" if row == MUL else "not_equal"], (0, 0))]


def product(program, x: Instruction, more):
    """A matrix product: for each result the products in order, added up."""
    pairs: dict[int, list[tuple[int, int]]] = {}
    columns = map(operator.methodcaller("tolist"), (result_slots(program, x), *x.operands))
    for target, *pair in zip(*columns, strict=True):
        pairs.setdefault(target, []).append(tuple(pair))
    for j in range(x.slot, x.slot + x.size):
        products = [Operation(next(more), MUL, pair) for pair in pairs.get(j, ())]
        made, left = one_by_one(ADD, [y.slot for y in products], more)
        yield from products
        yield from ended(ADD, made, left, j)
