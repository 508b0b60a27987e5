"""The executable definition of a well-formed program: what no sweep checks, because this has checked it.

`verify` runs on every program that comes from outside, and in tests on every program that is made.
"""

import math

import numpy as np

from fasttape.errors import InvalidTapeError
from fasttape.layout import (
    A_IS_SLOT,
    ADJOINT,
    ADJOINTS,
    B_IS_SLOT,
    CALL,
    CLEAN,
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
    TERNARY,
)
from fasttape.ops import INTEGER, OPS
from fasttape.program import Program

COLUMNS = {"ops": np.uint8, "a": np.uint32, "b": np.uint32, "aux": np.int64, "outputs": np.uint32}


def verify(program: Program) -> Program:
    """Return the program if it is well formed; raise `InvalidTapeError` naming the first thing that is not."""
    check_columns(program)
    slots = result_slots(program)
    require(slots[-1] == program.slots, f"the instructions fill {slots[-1]} slots, not {program.slots}")
    check_scalars(program, slots[:-1])
    for i in np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist():
        check_record(program, i, int(slots[i]))
    check_borders(program)
    for rule in program.rules:
        rule.verify()
    return program


def require(holds, message):
    if not holds:
        raise InvalidTapeError(f"not a valid tape: {message}")


def check_columns(program):
    for name, dtype in COLUMNS.items():
        column = getattr(program, name)
        require(isinstance(column, np.ndarray) and column.dtype == dtype and column.ndim == 1, f"{name} is not {dtype}")
    require(program.dtype in (np.float32, np.float64), f"dtype {program.dtype}")
    require(program.constants.dtype == program.dtype, "the constants have another dtype than the tape")
    require(program.ops.size == program.a.size == program.b.size, "columns of different lengths")
    known = (program.ops < len(OPS)) | np.isin(program.ops, [ELEMENTWISE, REDUCE, GEMM, CALL, GUARD])
    require(known.all(), "an unknown opcode")


def result_slots(program) -> np.ndarray:
    """The first result slot of every instruction, and behind them the number of slots."""
    sizes = np.ones(program.ops.size, np.int64)
    sizes[program.ops == GUARD] = 0
    arrays = np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD))
    records = program.a[arrays].astype(np.int64)
    require((records + SHAPE <= program.aux.size).all(), "a record begins outside aux")
    sizes[arrays] = program.aux[records + SIZE]
    require((sizes >= 0).all(), "an instruction of negative size")
    return program.first_result + np.concatenate(([0], np.cumsum(sizes)))


def check_scalars(program, slots):
    """Every operand stands before its result: single assignment, in order."""
    ops = program.ops
    require((program.a < slots)[A_IS_SLOT[ops]].all(), "operand a is not before its result")
    require((program.b < slots)[B_IS_SLOT[ops]].all(), "operand b is not before its result")
    ternary = TERNARY[ops]
    places = program.b[ternary].astype(np.int64)
    require((places + 2 <= program.aux.size).all(), "operands of a ternary row outside aux")
    for k in range(2):
        others = program.aux[places + k]
        require(((others >= 0) & (others < slots[ternary])).all(), "operand of a ternary row is not before its result")
    require((program.b[ops == GUARD] <= 1).all(), "a guard whose outcome is neither 0 nor 1")


def check_record(program, i, slot):
    """The side record of an array instruction: sizes that agree, operands that stand before the result."""
    aux, p, opcode = program.aux, int(program.a[i]), int(program.ops[i])
    length, ndim, count = (int(aux[p + field]) for field in (LENGTH, NDIM, OPERANDS))
    where = f"instruction {i}"
    require(ndim >= 0 and count >= 0 and 0 < length <= aux.size - p, f"{where}: a record outside aux")
    require(SHAPE + ndim + count * (STRIDES + ndim) <= length, f"{where}: a record shorter than its fields")
    shape = aux[p + SHAPE : p + SHAPE + ndim].tolist()
    require(all(n >= 0 for n in shape), f"{where}: a negative extent")
    if opcode == CALL:
        check_call(program, p, shape, count, where)
    else:
        check_size(aux, p, opcode, shape, count, where)
    for k in range(count):
        check_operand(aux[p : p + length], SHAPE + ndim + k * (STRIDES + ndim), shape, slot, where)


def check_size(aux, p, opcode, shape, count, where):
    """The number of results and of operands that an instruction must have."""
    size, code, points = int(aux[p + SIZE]), int(aux[p + CODE]), math.prod(shape)
    require(opcode == GEMM or 0 <= code < len(OPS), f"{where}: an unknown row")
    if opcode == ELEMENTWISE:
        op = OPS[code]
        require(size == points, f"{where}: {size} results over {points} points")
        require(count == op.arity - (INTEGER in op.traits), f"{where}: {count} operands of {op.name}")
    elif opcode == REDUCE:
        require(OPS[code].arity == 2 and count == 1, f"{where}: {OPS[code].name} over {count} operands is no reduction")
        require(points == 0 or (size > 0 and points % size == 0), f"{where}: {size} results of {points} points")
    else:
        require(len(shape) >= 3 and count == 2, f"{where}: a product of {count} operands in {len(shape)} dimensions")
        require(size == math.prod(shape[:-1]), f"{where}: {size} results of a product of shape {shape}")


def check_call(program, p, shape, count, where):
    """The rule of a call, and operands that are runs or lists of as many slots as it takes."""
    aux, code = program.aux, int(program.aux[p + CODE])
    require(0 <= code < len(program.rules), f"{where}: an unknown rule")
    rule = program.rules[code]
    require(count == len(shape) and all(shape), f"{where}: {count} operands of a call in {len(shape)} dimensions")
    require(sum(shape) == rule.inputs, f"{where}: {sum(shape)} numbers for {rule.name}, which takes {rule.inputs}")
    require(aux[p + SIZE] == rule.outputs, f"{where}: {aux[p + SIZE]} results of {rule.name}")
    require(aux[p + PARAM] == rule.pure, f"{where}: a call of {rule.name} of another kind")
    for k in range(count):
        strides = aux[p + SHAPE + count + k * (STRIDES + count) + STRIDES :][:count].tolist()
        require(strides == [int(d == k) for d in range(count)], f"{where}: an operand that is neither a run nor a list")


def check_operand(record, q, shape, slot, where):
    """Every slot that an operand reads is there and stands before the result."""
    require(record[CLEAN] == record[q + ADJOINTS] == 0, f"{where}: a field of a plan that is set")
    require(record[q + ADJOINT] == record[q + FIRST], f"{where}: adjoints elsewhere than values")
    if math.prod(shape) == 0:
        return
    strides = record[q + STRIDES : q + STRIDES + len(shape)].tolist()
    reach = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    low = int(record[q + FIRST]) + sum(r for r in reach if r < 0)
    high = int(record[q + FIRST]) + sum(r for r in reach if r > 0)
    start = int(record[q + LIST])
    if start == REGULAR:
        require(low >= 0 and high < slot, f"{where}: an operand is not before its result")
        return
    require(start >= q and low >= 0 and start + high < record.size, f"{where}: an index list outside its record")
    listed = record[start + low : start + high + 1]
    require((listed >= 0).all() and (listed < slot).all(), f"{where}: an operand is not before its result")


def check_borders(program):
    """Inputs, outputs and guards."""
    require(program.inputs >= 0 and program.first_result <= program.slots, "more inputs than slots")
    require((program.outputs < program.slots).all(), "an output that no slot holds")
    for start, stop in program.differentiated:
        require(1 <= start <= stop <= 1 + program.inputs, "a differentiated input that is none")
    guards = program.guards
    require(np.array_equal(guards[:, 0], np.flatnonzero(program.ops == GUARD)), "guards without their instructions")
    require(((guards[:, 1] >= 0) & (guards[:, 1] < len(program.sites))).all(), "a guard without a site")
