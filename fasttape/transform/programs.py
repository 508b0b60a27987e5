"""Programs to programs: a frozen program is opened again, a transform appends to it, and it is frozen anew."""

from typing import NamedTuple

import numpy as np

from fasttape.decode import instructions, result_slots
from fasttape.execute.coloring import coloring
from fasttape.execute.renumber import BITS
from fasttape.layout import (
    A_IS_SLOT,
    B_IS_SLOT,
    CONST,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    LENGTH,
    LIST,
    NDIM,
    OPERANDS,
    REGULAR,
    SHAPE,
    STRIDES,
    TERNARY,
)
from fasttape.program import Program
from fasttape.recorders.builder import Builder
from fasttape.recorders.freeze import freeze
from fasttape.transform.adjoint import Stretch, adjoint
from fasttape.transform.tangent import tangent

MOST_WORDS = 1 << 22  # of patterns


def thaw(program: Program, more: int = 0) -> Builder:
    """A recording in progress that has recorded a program; slots keep their numbers.

    With `more` inputs, which stand behind those of the program, all slots that follow move by as many.
    """
    builder = Builder(program.dtype, program.inputs + more, None)
    if program.constants.size:
        first = builder.emit(CONST, builder.side((2, program.constants.size)), size=program.constants.size)
        builder.keep(first, program.constants, program.constants.size)
    offset = builder.side(program.aux)
    structural = (program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)
    a, b = program.a.astype(np.int64), program.b.astype(np.int64)
    a[structural] += offset
    b[TERNARY[program.ops]] += offset
    builder.references += [(place, place + 2) for place in b[TERNARY[program.ops]].tolist()]
    for place in a[structural].tolist():
        builder.references += references(builder.aux, place)
    builder.guards = [(builder.n + int(i), int(site)) for i, site in program.guards]
    builder.known_sites = program.sites
    if more:
        for start, stop in builder.references:
            part = builder.aux[start:stop]
            part[part > program.inputs] += more
        a[A_IS_SLOT[program.ops] & (a > program.inputs)] += more
        b[B_IS_SLOT[program.ops] & (b > program.inputs)] += more
    builder.extend(program.ops, a, b, program.slots + more)
    return builder


def references(aux, place):
    """The (start, stop) in aux that hold slots of an array instruction's operands."""
    ndim = int(aux[place + NDIM])
    operands = [place + SHAPE + ndim + k * (STRIDES + ndim) for k in range(int(aux[place + OPERANDS]))]
    lists = sorted(int(aux[q + LIST]) for q in operands if aux[q + LIST] != REGULAR)
    for q in operands:
        start = int(aux[q + LIST])
        if start == REGULAR:
            yield q + FIRST, q + STRIDES
        else:
            following = [other for other in lists if other > start]
            yield place + start, place + (following[0] if following else int(aux[place + LENGTH]))


def input_slots(program: Program) -> np.ndarray:
    """The slots of the differentiated inputs."""
    return np.concatenate([np.arange(start, stop) for start, stop in program.differentiated])


def gradient_program(program: Program) -> Program:
    """The program that computes the output of a program and, behind it, its gradient by the differentiated inputs."""
    builder = thaw(program)
    stretch = Stretch(builder, 1 if program.constants.size else 0, program.first_result)
    seeds = np.full(program.outputs.size, builder.constant(1.0), np.uint32)  # none for an output that is a constant
    try:
        gradient = adjoint(stretch, input_slots(program), program.outputs, seeds, program.ops.size)
        return freeze(builder, np.concatenate([program.outputs, gradient]), program.differentiated)
    finally:
        builder.close()


def tangent_program(program: Program) -> Program:
    """The program that computes the tangents of the outputs; those of the differentiated inputs are inputs as well."""
    inputs = input_slots(program)
    builder = thaw(program, inputs.size)
    first = program.first_result + inputs.size
    stretch = Stretch(builder, 1 if program.constants.size else 0, first)
    outputs = program.outputs.astype(np.int64)
    outputs[outputs > program.inputs] += inputs.size
    directions = np.arange(inputs.size, dtype=np.uint32) + np.uint32(1 + program.inputs)
    try:
        tangents = tangent(stretch, inputs, directions, outputs, program.ops.size)
        return freeze(builder, tangents, program.differentiated)
    finally:
        builder.close()


class Sparse(NamedTuple):
    """Which outputs of a program depend on which of its differentiated inputs, and colors of the latter."""

    depends: np.ndarray  # (outputs, inputs) of bool
    colors: np.ndarray
    count: int


def sparsity(program: Program) -> Sparse | None:
    """The sparsity of the Jacobian as the instructions have it, at every point; None where it is hard to find."""
    inputs = input_slots(program)
    words = -(-inputs.size // BITS)
    if max(program.slots, program.aux.size) * words > MOST_WORDS or (program.ops == GEMM).any():
        return None
    bits = np.zeros((program.slots, words), np.uint64)
    columns = np.arange(inputs.size)
    bits[inputs, columns // BITS] = np.uint64(1) << (columns % BITS).astype(np.uint64)
    for x in instructions(program):
        if x.opcode != GUARD:
            results = result_slots(program, x)
            for operand in x.operands:
                np.bitwise_or.at(bits, results, bits[operand])
    colors = np.empty(inputs.size, np.int64)
    count = coloring.now(bits, program.outputs, colors)
    rows = bits[program.outputs].view(np.uint8)
    depends = np.unpackbits(rows, axis=1, count=inputs.size, bitorder="little").astype(bool)
    return Sparse(depends, colors, count) if count else None


def jacobian_program(program: Program, sparse: Sparse, order: np.ndarray) -> Program:
    """The program that computes the Jacobian, its numbers in some order; the tangents of a color go together."""
    builder = thaw(program)
    stretch = Stretch(builder, 1 if program.constants.size else 0, program.first_result)
    inputs, one = input_slots(program), builder.constant(1.0)
    slots, partials = np.zeros(sparse.depends.shape, np.uint32), {}
    try:
        for color in range(sparse.count):
            chosen = sparse.colors == color
            directions = np.full(np.count_nonzero(chosen), one, np.uint32)
            tangents = tangent(stretch, inputs[chosen], directions, program.outputs, program.ops.size, partials)
            slots[:, chosen] = np.where(sparse.depends[:, chosen], tangents[:, None], 0)
        return freeze(builder, slots.reshape(-1)[order], program.differentiated)
    finally:
        builder.close()
