"""GEMM: batches of matrix products through BLAS; floating-point exceptions follow IEEE, zeros do not absorb.

A product of a plan may have a third operand, to which it is added; it is then no batch.
"""

import numpy as np

from fasttape.compiler.blas import multiply_add
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import copy, operand, pass_on
from fasttape.layout import ADJOINT, ADJOINTS, FIRST, NDIM, OPERANDS, SETS, SHAPE, STRIDES


@kernel
def sizes(aux, p):
    """m, n, k and the number of products."""
    last = p + SHAPE + aux[p + NDIM]
    batch = 1
    for d in range(aux[p + NDIM] - 3):
        batch *= aux[p + SHAPE + d]
    return aux[last - 3], aux[last - 2], aux[last - 1], batch


@kernel
def matrix(aux, p, q, field, number, row, column):
    """First place, row stride and column stride of operand q in product `number`; row, column: its dimensions of 3."""
    ndim = aux[p + NDIM]
    first, rest = aux[q + field], number
    for d in range(ndim - 4, -1, -1):
        first += rest % aux[p + SHAPE + d] * aux[q + STRIDES + d]
        rest //= aux[p + SHAPE + d]
    strides = q + STRIDES + ndim - 3
    return first, aux[strides + row], aux[strides + column]


@kernel
def preload(v, aux, p, field, slot):
    """Put the third operand, where there is one, under the results; return what the product does with what is there."""
    if aux[p + OPERANDS] < 3:
        return 0.0
    (m, n, _, _), q = sizes(aux, p), operand(aux, p, 2)
    first, row, column = matrix(aux, p, q, field, 0, 0, 1)
    for i in range(m):
        copy(v, first + i * row, column, n, v, slot + i * n)
    return 1.0


@kernel
def gemm_forward(values, others, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    first = np.int64(slot)
    beta = preload(values, aux, p, FIRST, first)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, operand(aux, p, 0), FIRST, i, 0, 2)
        y, yr, yc = matrix(aux, p, operand(aux, p, 1), FIRST, i, 2, 1)
        multiply_add(entries, m, n, k, values, x, xr, xc, values, y, yr, yc, values, first + i * m * n, n, 1, beta)


@kernel
def gemm_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    p0, p1 = operand(aux, p, 0), operand(aux, p, 1)
    if aux[p + OPERANDS] > 2 and aux[operand(aux, p, 2) + ADJOINTS]:
        p2 = operand(aux, p, 2)
        to, row, column = matrix(aux, p, p2, ADJOINT, 0, 0, 1)
        for i in range(m):
            pass_on(adjoints, to + i * row, column, n, adjoints, np.int64(slot) + i * n, aux[p2 + ADJOINTS])
    for i in range(batch):
        w = np.int64(slot) + i * m * n
        if aux[p0 + ADJOINTS]:
            y, yr, yc = matrix(aux, p, p1, FIRST, i, 2, 1)
            to, r, c = matrix(aux, p, p0, ADJOINT, i, 0, 2)
            beta = 0.0 if aux[p0 + ADJOINTS] == SETS else 1.0
            multiply_add(entries, m, k, n, adjoints, w, n, 1, values, y, yc, yr, adjoints, to, r, c, beta)
        if aux[p1 + ADJOINTS]:
            x, xr, xc = matrix(aux, p, p0, FIRST, i, 0, 2)
            to, r, c = matrix(aux, p, p1, ADJOINT, i, 2, 1)
            beta = 0.0 if aux[p1 + ADJOINTS] == SETS else 1.0
            multiply_add(entries, k, n, m, values, x, xc, xr, adjoints, w, n, 1, adjoints, to, r, c, beta)


@kernel
def gemm_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    p0, p1 = operand(aux, p, 0), operand(aux, p, 1)
    beta = preload(tangents, aux, p, ADJOINT, np.int64(slot))
    for i in range(batch):
        x, xr, xc = matrix(aux, p, p0, FIRST, i, 0, 2)
        y, yr, yc = matrix(aux, p, p1, FIRST, i, 2, 1)
        dx, _, _ = matrix(aux, p, p0, ADJOINT, i, 0, 2)
        dy, _, _ = matrix(aux, p, p1, ADJOINT, i, 2, 1)
        t = np.int64(slot) + i * m * n
        multiply_add(entries, m, n, k, tangents, dx, xr, xc, values, y, yr, yc, tangents, t, n, 1, beta)
        multiply_add(entries, m, n, k, values, x, xr, xc, tangents, dy, yr, yc, tangents, t, n, 1, 1.0)
