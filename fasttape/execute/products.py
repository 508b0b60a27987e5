"""GEMM: batches of matrix products through BLAS; floating-point exceptions follow IEEE, zeros do not absorb."""

import numpy as np

from fasttape.compiler.blas import multiply_add
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import operand
from fasttape.layout import ACTIVE, FIRST, NDIM, SHAPE, STRIDES


@kernel
def sizes(aux, p):
    """m, n, k and the number of products."""
    last = p + SHAPE + aux[p + NDIM]
    batch = 1
    for d in range(aux[p + NDIM] - 3):
        batch *= aux[p + SHAPE + d]
    return aux[last - 3], aux[last - 2], aux[last - 1], batch


@kernel
def matrix(aux, p, q, number, row, column):
    """First slot, row stride and column stride of operand q in product `number`; row, column: its dimensions of 3."""
    ndim = aux[p + NDIM]
    first, rest = aux[q + FIRST], number
    for d in range(ndim - 4, -1, -1):
        first += rest % aux[p + SHAPE + d] * aux[q + STRIDES + d]
        rest //= aux[p + SHAPE + d]
    strides = q + STRIDES + ndim - 3
    return first, aux[strides + row], aux[strides + column]


@kernel
def gemm_forward(values, others, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    first = np.int64(slot)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, operand(aux, p, 0), i, 0, 2)
        y, yr, yc = matrix(aux, p, operand(aux, p, 1), i, 2, 1)
        multiply_add(entries, m, n, k, values, x, xr, xc, values, y, yr, yc, values, first + i * m * n, n, 1, 0.0)


@kernel
def gemm_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    p0, p1 = operand(aux, p, 0), operand(aux, p, 1)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, p0, i, 0, 2)
        y, yr, yc = matrix(aux, p, p1, i, 2, 1)
        w = np.int64(slot) + i * m * n
        if aux[p0 + ACTIVE]:
            multiply_add(entries, m, k, n, adjoints, w, n, 1, values, y, yc, yr, adjoints, x, xr, xc, 1.0)
        if aux[p1 + ACTIVE]:
            multiply_add(entries, k, n, m, values, x, xc, xr, adjoints, w, n, 1, adjoints, y, yr, yc, 1.0)


@kernel
def gemm_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    m, n, k, batch = sizes(aux, p)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, operand(aux, p, 0), i, 0, 2)
        y, yr, yc = matrix(aux, p, operand(aux, p, 1), i, 2, 1)
        t = np.int64(slot) + i * m * n
        multiply_add(entries, m, n, k, tangents, x, xr, xc, values, y, yr, yc, tangents, t, n, 1, 0.0)
        multiply_add(entries, m, n, k, values, x, xr, xc, tangents, y, yr, yc, tangents, t, n, 1, 1.0)
