"""Programs to programs: a frozen program is opened again, a transform appends to it, and it is frozen anew."""

import numpy as np

from fasttape.layout import (
    CONST,
    FIRST,
    FIRST_STRUCTURAL,
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
from fasttape.transform.optimize import optimize


def thaw(program: Program) -> Builder:
    """A recording in progress that has recorded a program; slots keep their numbers."""
    builder = Builder(program.dtype, program.inputs, None)
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
    builder.extend(program.ops, a, b, program.slots)
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
    program, _ = optimize(program)  # an expression that stands twice would have two adjoints
    builder = thaw(program)
    stretch = Stretch(builder, 1 if program.constants.size else 0, program.first_result)
    seeds = np.full(program.outputs.size, builder.constant(1.0), np.uint32)  # none for an output that is a constant
    try:
        gradient = adjoint(stretch, input_slots(program), program.outputs, seeds, program.ops.size)
        return freeze(builder, np.concatenate([program.outputs, gradient]), program.differentiated)
    finally:
        builder.close()
