"""Reading a program back: its instructions one by one with names of variables, operand slots and edges of the graph."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fasttape.layout import (
    CALL,
    CODE,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    LENGTH,
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
from fasttape.ops import INTEGER, OPS
from fasttape.program import Program

FOLDS = {"add": "sum", "mul": "prod", "maximum": "max", "minimum": "min"}


class Instruction(NamedTuple):
    """One instruction in words: its operation, where its results stand, and the slots that each operand reads."""

    index: int
    opcode: int
    row: int  # the row of the table that it applies
    operation: str
    slot: int  # first result
    size: int  # number of results
    operands: tuple[np.ndarray, ...]  # slots of each operand, in the order of the iteration space
    parameter: int | None  # of an INTEGER row
    record: int  # place of the side record in aux, or -1


def instructions(program: Program) -> Iterator[Instruction]:
    """The instructions of a program in order."""
    slot = program.first_result
    for i, opcode in enumerate(program.ops.tolist()):
        a, b = int(program.a[i]), int(program.b[i])
        if opcode == GUARD:
            yield Instruction(i, opcode, -1, f"guard {bool(b)}", slot, 0, (np.array([a]),), None, -1)
        elif opcode < FIRST_STRUCTURAL:
            yield scalar(program, i, opcode, a, b, slot)
            slot += 1
        else:
            made = array(program, i, opcode, a, slot)
            yield made
            slot += made.size


def scalar(program, i, opcode, a, b, slot) -> Instruction:
    slots, parameter = scalar_operands(program.aux, opcode, a, b)
    operands = tuple(np.array([s]) for s in slots)
    return Instruction(i, opcode, opcode, OPS[opcode].name, slot, 1, operands, parameter[0] if parameter else None, -1)


def scalar_operands(aux, opcode, a, b):
    """The slots of a scalar instruction's operands, and its integer as a tuple of zero or one items."""
    op = OPS[opcode]
    if op.arity == 3:
        return (a, *aux[b : b + 2].tolist()), ()
    if INTEGER in op.traits:
        return (a,), (int(np.uint32(b).astype(np.int32)),)
    return (a, b)[: op.arity], ()


def array(program, i, opcode, p, slot) -> Instruction:
    aux = program.aux
    operands = tuple(operand_slots(aux, p, k, opcode) for k in range(int(aux[p + OPERANDS])))
    row, size = int(aux[p + CODE]), int(aux[p + SIZE])
    shape = tuple(extents(aux, p))
    if opcode == ELEMENTWISE:
        parameter = int(aux[p + PARAM]) if INTEGER in OPS[row].traits else None
        return Instruction(i, opcode, row, OPS[row].name, slot, size, operands, parameter, p)
    if opcode == CALL:
        return Instruction(i, opcode, -1, f"call {program.rules[row].name}", slot, size, operands, None, p)
    name = FOLDS.get(OPS[row].name, OPS[row].name) if opcode == REDUCE else f"gemm {'x'.join(map(str, shape[-3:]))}"
    return Instruction(i, opcode, row, name, slot, size, operands, None, p)


def extents(aux, p) -> list[int]:
    """The shape of the iteration space of the record at p."""
    found: list[int] = aux[p + SHAPE : p + SHAPE + aux[p + NDIM]].tolist()
    return found


def operand_slots(aux, p, k, opcode) -> np.ndarray:
    """The slots that operand k of the record at p reads, over its iteration space in C order."""
    ndim = int(aux[p + NDIM])
    q = p + SHAPE + ndim + k * (STRIDES + ndim)
    place = np.array(aux[q + FIRST])
    for d in range(ndim) if opcode != CALL else (k,):
        place = place[..., None] + np.arange(aux[p + SHAPE + d]) * aux[q + STRIDES + d]
    place = place.reshape(-1)
    return place if aux[q + LIST] == REGULAR else aux[p + aux[q + LIST] + place]


def result_starts(program: Program) -> np.ndarray:
    """The first result slot of every instruction, and behind them the number of slots."""
    return program.first_result + np.concatenate(([0], np.cumsum(sizes(program))))


def sizes(program: Program) -> np.ndarray:
    """The number of results of every instruction."""
    found = np.ones(program.ops.size, np.int64)
    found[program.ops == GUARD] = 0
    arrays = (program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)
    found[arrays] = program.aux[program.a[arrays].astype(np.int64) + SIZE]
    return found


def count_operations(program: Program) -> int:
    """The number of scalar operations in one evaluation.

    A scalar instruction is one, an elementwise instruction and a reduction one for each point of their iteration space,
    a matrix product two, a product and a sum; a guard is none, a call what its rule says.
    """
    total = np.count_nonzero(program.ops < FIRST_STRUCTURAL)
    for i in np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist():
        p = int(program.a[i])
        if program.ops[i] == CALL:
            total += program.rules[int(program.aux[p + CODE])].operations
            continue
        points = math.prod(extents(program.aux, p))
        total += points * (2 if program.ops[i] == GEMM else 1)
    return int(total)


def count_listed(program: Program) -> int:
    """The number of slots in the index lists of all operands."""
    total = 0
    for i in np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist():
        p = int(program.a[i])
        ndim, count = int(program.aux[p + NDIM]), int(program.aux[p + OPERANDS])
        total += int(program.aux[p + LENGTH]) - (SHAPE + ndim + count * (STRIDES + ndim))
    return total


def result_slots(program, instruction: Instruction) -> np.ndarray:
    """The result that each point of the iteration space contributes to."""
    size, slot = instruction.size, instruction.slot
    if instruction.opcode not in (REDUCE, GEMM):
        return np.arange(slot, slot + size)
    points = instruction.operands[0].size
    if instruction.opcode == REDUCE and program.aux[instruction.record + PARAM]:
        return slot + np.arange(points) % max(size, 1)
    return slot + np.arange(points) // max(points // max(size, 1), 1)


def count_paths(program: Program) -> int:
    """The number of paths from differentiated inputs to outputs, by one pass over the graph.

    A chain rule that multiplies out every path does this many products; a sweep visits each instruction once. Exact
    for programs of a moderate size, rounded beyond.
    """
    exact = program.slots < 1 << 20
    paths = np.zeros(program.slots, object if exact else np.float64)
    for start, stop in program.differentiated:
        paths[start:stop] = 1
    for x in instructions(program):
        if x.opcode == CALL:  # every result may depend on every operand
            paths[x.slot : x.slot + x.size] = sum(paths[operand].sum() for operand in x.operands)
        elif x.opcode != GUARD:
            results = result_slots(program, x)
            for operand in x.operands:
                np.add.at(paths, results, paths[operand])
    total = paths[program.outputs].sum() if program.outputs.size else 0
    return int(total) if exact or np.isfinite(total) else -1
