"""Programs to programs: a frozen program is opened again, a transform appends to it, and it is frozen anew."""

import numpy as np

from fasttape.execute.calls import Calls, sites
from fasttape.layout import (
    A_IS_SLOT,
    B_IS_SLOT,
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
from fasttape.transform.optimize import operands, prune, reach
from fasttape.transform.tangent import tangent


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
    builder.numbers = {id(rule): code for code, rule in enumerate(program.rules)}
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


def places_of_slots(program: Program) -> np.ndarray:
    """The places in aux that hold slots."""
    ternary = program.b[TERNARY[program.ops]].astype(np.int64)
    found = [(place, place + 2) for place in ternary.tolist()]
    for i in np.flatnonzero((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).tolist():
        found += references(program.aux, int(program.a[i]))
    return np.concatenate([np.empty(0, np.int64), *(np.arange(*pair) for pair in found)])


def renamed(program: Program, new, inputs: int) -> Program:
    """The program with other numbers for its slots, `new(slots)`, and all of its `inputs` differentiated."""
    a, b, aux, places = program.a.copy(), program.b.copy(), program.aux.copy(), places_of_slots(program)
    for column, chosen in ((a, A_IS_SLOT[program.ops]), (b, B_IS_SLOT[program.ops]), (aux, places)):
        column[chosen] = new(column[chosen].astype(np.int64))
    slots = program.slots - program.inputs + inputs
    outputs = new(program.outputs.astype(np.int64)).astype(np.uint32)
    differentiated = ((1, 1 + inputs),)
    return program._replace(
        a=a, b=b, aux=aux, inputs=inputs, slots=slots, outputs=outputs, differentiated=differentiated
    )


def widened(program: Program, more: int) -> Program:
    """The program with more inputs behind those that it has."""
    return renamed(program, lambda slots: slots + more * (slots > program.inputs), program.inputs + more)


def narrowed(program: Program) -> tuple[Program, np.ndarray]:
    """The program with those inputs only that it reads, and the (start, stop) of each piece of them in order."""
    spans = spans_of_inputs(program)
    starts, sizes = spans[:, 0], spans[:, 1] - spans[:, 0]
    before = np.cumsum(sizes) - sizes

    total = int(sizes.sum())

    def new(slots):
        moved = slots - (program.inputs - total)
        at = np.flatnonzero(slots <= program.inputs)
        inputs = slots[at]
        k = np.searchsorted(starts, inputs, "right") - 1
        moved[at] = np.where(inputs > 0, 1 + before[k] + inputs - starts[k], 0) if total else 0
        return moved

    return renamed(program, new, total), spans


def spans_of_inputs(program: Program) -> np.ndarray:
    """The (start, stop) of inputs that are read; an operand that is a run reads one of these, or a part of one."""
    ops, a, b, aux = program.columns
    runs, singles = [], [a[A_IS_SLOT[ops]], b[B_IS_SLOT[ops]], program.outputs]
    singles += [aux[place : place + 2] for place in b[TERNARY[ops]].tolist()]
    for i in np.flatnonzero((ops >= FIRST_STRUCTURAL) & (ops != GUARD)).tolist():
        for q in operands(aux, int(a[i]), int(aux[a[i] + np.uint32(OPERANDS)])):
            low, high = reach(aux, int(a[i]), q)
            start = int(a[i]) + int(aux[q + LIST])
            if aux[q + LIST] != REGULAR:
                singles.append(aux[start + low : start + high + 1])
            elif 0 < low <= program.inputs:
                runs.append((low, high + 1))
    chosen = [listed[(listed > 0) & (listed <= program.inputs)] for listed in singles]  # few of many
    runs += [(slot, slot + 1) for slot in np.unique(np.concatenate(chosen)).tolist()]
    merged: list[list[int]] = []
    for start, stop in sorted(runs):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(stop, merged[-1][1])
        else:
            merged.append([start, stop])
    return np.array(merged, np.int64).reshape(-1, 2)


def pullback_program(program: Program) -> Program:
    """From inputs x, y and w to the adjoints of the inputs x of a program whose outputs y have the adjoints w."""
    n, m = program.inputs, program.outputs.size

    def transform(stretch, wide):
        seeds = np.arange(n + m + 1, n + 2 * m + 1, dtype=np.uint32)
        return adjoint(stretch, np.arange(1, n + 1), wide.outputs, seeds, wide.ops.size)

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
    """The program that computes the output of a program and, behind it, its gradient by the differentiated inputs."""
    builder = thaw(program)
    stretch = whole(builder, program)
    seeds = np.full(program.outputs.size, builder.constant(1.0), np.uint32)  # none for an output that is a constant
    try:
        gradient = adjoint(stretch, input_slots(program), program.outputs, seeds, program.ops.size)
        return freeze(builder, np.concatenate([program.outputs, gradient]), program.differentiated)
    finally:
        builder.close()
