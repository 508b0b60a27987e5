"""Matrix products on a linear tape: each lane through BLAS, by the values of the operands.

The lanes of adjoints, or tangents, are taken apart into one matrix for each, since BLAS wants neighbors in a row or a
column. Floating-point exceptions follow IEEE in the products, as in all sweeps; coefficients absorb zeros.
"""

from fasttape.compiler.blas import multiply_add
from fasttape.compiler.dispatch import cell_steps
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import operand
from fasttape.execute.products import matrix, sizes
from fasttape.execute.terms import LEFT, RECORD, RESULTS, RIGHT
from fasttape.layout import FIRST
from fasttape.ops import times as absorbing

times = kernel(absorbing)


@kernel
def take_lanes(cells, node, size, lanes, width, buffer):
    """The cells of some nodes as one vector for each lane; the cells are zero then."""
    for i in range(size):
        for lane in range(lanes):
            buffer[lane * size + i] = cells[(node + i) * len(width) + lane]
        cell_steps.clear(cells, node + i, width)


@kernel
def scatter(cells, buffer, listed, first, size, lanes, width):
    """Add one vector for each lane to the nodes that an operand leads to."""
    for i in range(size):
        node, c = listed[first + i]["node"], listed[first + i]["coefficient"]
        for lane in range(lanes if node else 0):
            cells[node * len(width) + lane] += times(buffer[lane * size + i], c)


@kernel
def gather(cells, buffer, listed, first, size, lanes, width):
    """The tangents of an operand as one vector for each lane; the mirror of `scatter`."""
    for i in range(size):
        node, c = listed[first + i]["node"], listed[first + i]["coefficient"]
        for lane in range(lanes):
            buffer[lane * size + i] = times(cells[node * len(width) + lane], c) if node else 0.0


@kernel
def pull_product(product, listed, values, aux, cells, lanes, width, spare, result, entries):
    """Pass the adjoints of a product's results on; `spare` and `result` hold a matrix for each lane."""
    p = product[RECORD]
    m, n, k, batch = sizes(aux, p)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, operand(aux, p, 0), FIRST, i, 0, 2)
        y, yr, yc = matrix(aux, p, operand(aux, p, 1), FIRST, i, 2, 1)
        take_lanes(cells, product[RESULTS] + i * m * n, m * n, lanes, width, spare)
        if product[LEFT] >= 0:
            for lane in range(lanes):
                w, to = lane * m * n, lane * m * k
                multiply_add(entries, m, k, n, spare, w, n, 1, values, y, yc, yr, result, to, k, 1, 0.0)
            scatter(cells, result, listed, product[LEFT] + i * m * k, m * k, lanes, width)
        if product[RIGHT] >= 0:
            for lane in range(lanes):
                w, to = lane * m * n, lane * k * n
                multiply_add(entries, k, n, m, values, x, xc, xr, spare, w, n, 1, result, to, n, 1, 0.0)
            scatter(cells, result, listed, product[RIGHT] + i * k * n, k * n, lanes, width)


@kernel
def push_product(product, listed, values, aux, cells, lanes, width, spare, result, entries):
    """The tangents of a product's results."""
    p = product[RECORD]
    m, n, k, batch = sizes(aux, p)
    for i in range(batch):
        x, xr, xc = matrix(aux, p, operand(aux, p, 0), FIRST, i, 0, 2)
        y, yr, yc = matrix(aux, p, operand(aux, p, 1), FIRST, i, 2, 1)
        beta = 0.0
        if product[LEFT] >= 0:
            gather(cells, spare, listed, product[LEFT] + i * m * k, m * k, lanes, width)
            for lane in range(lanes):
                dx, to = lane * m * k, lane * m * n
                multiply_add(entries, m, n, k, spare, dx, k, 1, values, y, yr, yc, result, to, n, 1, beta)
            beta = 1.0
        if product[RIGHT] >= 0:
            gather(cells, spare, listed, product[RIGHT] + i * k * n, k * n, lanes, width)
            for lane in range(lanes):
                dy, to = lane * k * n, lane * m * n
                multiply_add(entries, m, n, k, values, x, xr, xc, spare, dy, n, 1, result, to, n, 1, beta)
        first = (product[RESULTS] + i * m * n) * len(width)
        for place in range(m * n):
            for lane in range(lanes):
                cells[first + place * len(width) + lane] = result[lane * m * n + place]
