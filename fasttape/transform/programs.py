"""Programs to programs: a frozen program is opened again, a transform appends to it, and it is frozen anew."""

from typing import NamedTuple

import numpy as np

from fasttape.decode import instructions, result_slots
from fasttape.execute.calls import Calls, sites
from fasttape.execute.coloring import coloring
from fasttape.execute.renumber import BITS, inputs_read, relabel
from fasttape.layout import (
    CALL,
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
from fasttape.transform.optimize import prune
from fasttape.transform.tangent import tangent

MOST_WORDS = 1 << 22  # of patterns


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
    columns = (program.ops, a, program.b, builder.aux)
    found = [site._replace(instruction=builder.n + site.instruction) for site in sites(columns, program.first_result)]
    builder.calls = Calls(found, list(program.rules))
    builder.codes = {id(rule): code for code, rule in enumerate(program.rules)}
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


def references_of(program: Program) -> np.ndarray:
    """The (start, stop) of the places in aux that hold slots."""
    found = [(place, place + 2) for place in program.b[TERNARY[program.ops]].tolist()]
    for i in structural(program):
        found += references(program.aux, int(program.a[i]))
    return np.array(found, np.int64).reshape(-1, 2)


def structural(program: Program) -> list[int]:
    """The instructions that have a side record."""
    return np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist()


def with_inputs(program: Program, spans, inputs: int) -> Program:
    """The program with so many inputs, those of some spans in front of any others, and all of them differentiated."""
    ops, a, b, aux = program.ops, program.a.copy(), program.b.copy(), program.aux.copy()
    outputs = program.outputs.copy()
    relabel((ops, a, b, aux), references_of(program), outputs, program.inputs, spans, inputs)
    slots = program.slots - program.inputs + inputs
    changed = {"a": a, "b": b, "aux": aux, "outputs": outputs, "inputs": inputs, "slots": slots}
    return program._replace(**changed, differentiated=((1, 1 + inputs),))


def widened(program: Program, more: int) -> Program:
    """The program with more inputs behind those that it has."""
    return with_inputs(program, np.array([(1, 1 + program.inputs)]), program.inputs + more)


def narrowed(program: Program) -> tuple[Program, np.ndarray]:
    """The program with those inputs only that it reads, and the (start, stop) of each piece of them in order."""
    spans = spans_of_inputs(program)
    return with_inputs(program, spans, int((spans[:, 1] - spans[:, 0]).sum())), spans


def spans_of_inputs(program: Program) -> np.ndarray:
    """The (start, stop) of inputs that are read; an operand that is a run reads one of these, or a part of one."""
    found = np.empty((3 * program.ops.size + program.aux.size, 2), np.int64)
    count = inputs_read.now(*program.columns, program.inputs, found)
    merged: list[list[int]] = []
    for start, stop in sorted(set(map(tuple, found[:count].tolist()))):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(stop, merged[-1][1])
        else:
            merged.append([start, stop])
    return np.array(merged, np.int64).reshape(-1, 2)


def pullback_program(program: Program, wanted=None) -> Program:
    """From inputs x, y and w to the adjoints of the inputs x of a program whose outputs y have the adjoints w.

    Those of all inputs, or of some whose numbers are `wanted`.
    """
    n, m = program.inputs, program.outputs.size
    slots = 1 + (np.arange(n) if wanted is None else wanted)

    def transform(stretch, wide):
        seeds = np.arange(n + m + 1, n + 2 * m + 1, dtype=np.uint32)
        return adjoint(stretch, slots, wide.outputs, seeds, wide.ops.size)

    return transformed(widened(program, 2 * m), transform)


def pushforward_program(program: Program) -> Program:
    """From inputs x, y and dx to the tangents of the outputs y of a program whose inputs x have the tangents dx."""
    n, m = program.inputs, program.outputs.size

    def transform(stretch, wide):
        directions = np.arange(n + m + 1, 2 * n + m + 1, dtype=np.uint32)
        return tangent(stretch, np.arange(1, n + 1), directions, wide.outputs, wide.ops.size)

    return transformed(widened(program, m + n), transform)


def transformed(wide: Program, transform) -> Program:
    """The program that computes what a transform of a program appends to it, and nothing else."""
    builder = thaw(wide)
    try:
        outputs = transform(whole(builder, wide), wide)
        return prune(freeze(builder, outputs, wide.differentiated))
    finally:
        builder.close()


def whole(builder, program: Program) -> Stretch:
    """All instructions of a program in its builder."""
    return Stretch(builder, 1 if program.constants.size else 0, program.first_result)


def input_slots(program: Program) -> np.ndarray:
    """The slots of the differentiated inputs."""
    return np.concatenate([np.arange(start, stop) for start, stop in program.differentiated])


def gradient_program(program: Program) -> Program:
    """The program that computes the output of a program and, behind it, its gradient by the differentiated inputs.

    Scalar instructions contribute in the order, and with the bits, of a reverse sweep.
    """
    builder = thaw(program)
    stretch = whole(builder, program)
    seeds = np.full(program.outputs.size, builder.constant(1.0), np.uint32)  # none for an output that is a constant
    try:
        gradient = adjoint(stretch, input_slots(program), program.outputs, seeds, program.ops.size)
        return freeze(builder, np.concatenate([program.outputs, gradient]), program.differentiated)
    finally:
        builder.close()


def tangent_program(program: Program) -> Program:
    """The program that computes the tangents of the outputs; those of the differentiated inputs are inputs as well."""
    inputs = input_slots(program)
    directions = np.arange(inputs.size, dtype=np.uint32) + np.uint32(1 + program.inputs)

    def transform(stretch, wide):
        return tangent(stretch, inputs, directions, wide.outputs, wide.ops.size)

    made = transformed(widened(program, inputs.size), transform)
    return made._replace(differentiated=program.differentiated)


class Sparse(NamedTuple):
    """Which outputs of a program depend on which of its differentiated inputs, and colors of the latter."""

    depends: np.ndarray  # (outputs, inputs) of bool
    colors: np.ndarray
    count: int


def sparsity(program: Program) -> Sparse | None:
    """The sparsity of the Jacobian as the instructions have it, at every point; None where it is hard to find."""
    inputs = input_slots(program)
    words = -(-inputs.size // BITS)
    if max(program.slots, program.aux.size) * words > MOST_WORDS or np.isin(program.ops, (GEMM, CALL)).any():
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
    count = coloring(bits, program.outputs, colors)
    rows = bits[program.outputs].view(np.uint8)
    depends = np.unpackbits(rows, axis=1, count=inputs.size, bitorder="little").astype(bool)
    return Sparse(depends, colors, count) if count else None


def jacobian_program(program: Program, sparse: Sparse, order: np.ndarray) -> Program:
    """The program that computes the Jacobian, its numbers in some order; the tangents of a color go together."""

    def transform(stretch, program):
        inputs, one = input_slots(program), stretch.builder.constant(1.0)
        slots, partials = np.zeros(sparse.depends.shape, np.uint32), {}
        for color in range(sparse.count):
            chosen = sparse.colors == color
            directions = np.full(np.count_nonzero(chosen), one, np.uint32)
            tangents = tangent(stretch, inputs[chosen], directions, program.outputs, program.ops.size, partials)
            slots[:, chosen] = np.where(sparse.depends[:, chosen], tangents[:, None], 0)
        return slots.reshape(-1)[order]

    return transformed(program, transform)
