"""ELEMENTWISE: a row of the table applied over a broadcast iteration space."""

import numpy as np

from fasttape import ops
from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import BLOCK, accumulate, block, number, operand
from fasttape.layout import ADJOINT, ADJOINTS, CODE, FIRST, OPERANDS, PARAM, SIZE

ONES = np.array([ops.ONES in op.traits for op in ops.OPS])
X, Y, Z, CX, CY, CZ, SEED, TANGENTS = range(8)  # rows of the scratch memory


@kernel
def operands(v, aux, p, start, n, scratch):
    """The blocks of three operands; those that an instruction does not have repeat its first."""
    count = aux[p + OPERANDS]
    x, x0 = block(v, aux, p, operand(aux, p, 0), FIRST, start, n, scratch, X)
    y, y0 = block(v, aux, p, operand(aux, p, 1), FIRST, start, n, scratch, Y) if count > 1 else (x, x0)
    z, z0 = block(v, aux, p, operand(aux, p, 2), FIRST, start, n, scratch, Z) if count > 2 else (x, x0)
    return x, x0, y, y0, z, z0


@kernel
def contributions(v, w, w0, r0, p, aux, start, n, scratch, entries):
    """Fill the rows CX, CY, CZ with `times(w, partial)` for the operands; r0: where the results stand."""
    x, x0, y, y0, z, z0 = operands(v, aux, p, start, n, scratch)
    cx, cy, cz = CX * BLOCK, CY * BLOCK, CZ * BLOCK
    code, parameter = aux[p + CODE], aux[p + PARAM]
    at = (x, x0, y, y0, z, z0, v, r0, w, w0, scratch, cx, scratch, cy, scratch, cz)
    steps.lanes_partials(code, parameter, n, *at, entries)


@kernel
def elementwise_forward(values, others, slot, p, b, aux, scratch, entries):
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        x, x0, y, y0, z, z0 = operands(values, aux, p, start, n, scratch)
        steps.lanes_forward(aux[p + CODE], aux[p + PARAM], n, x, x0, y, y0, z, z0, values, slot + start, entries)


@kernel
def elementwise_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        unit = ONES[aux[p + CODE]]  # then the contributions are the adjoints of the results
        if not unit:
            contributions(values, adjoints, slot + start, slot + start, p, aux, start, n, scratch, entries)
        for k in range(aux[p + OPERANDS]):
            q = operand(aux, p, k)
            if aux[q + ADJOINTS] and unit:
                accumulate(adjoints, aux, p, q, start, n, adjoints, slot + start)
            elif aux[q + ADJOINTS]:
                accumulate(adjoints, aux, p, q, start, n, scratch, (CX + k) * BLOCK)


@kernel
def elementwise_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    for i in range(SEED * BLOCK, (SEED + 1) * BLOCK):
        scratch[i] = 1.0
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        contributions(values, scratch, SEED * BLOCK, slot + start, p, aux, start, n, scratch, entries)
        for i in range(n):
            tangents[slot + start + i] = 0.0
        for k in range(aux[p + OPERANDS]):
            t, t0 = block(tangents, aux, p, operand(aux, p, k), ADJOINT, start, n, scratch, TANGENTS)
            for i in range(n):
                c = scratch[(CX + k) * BLOCK + i]
                ti = number(t, t0 + i)
                if ti != 0.0 and c != 0.0:
                    tangents[slot + start + i] += c * ti
