"""REDUCE: an associative row of the table folded over some dimensions of an iteration space.

Sums, products and extrema share one fold; what differs is the derivative of the result by one element, its weight:
1 in a sum, the product of the others in a product, an even share among the ties in an extremum.
"""

from fasttape import ops
from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import BLOCK, accumulate, block, number, operand, points, times
from fasttape.layout import ADJOINT, ADJOINTS, CODE, FIRST, PARAM, SETS, SIZE

ADD, MUL = ops.CODE["add"], ops.CODE["mul"]
LEFT, RIGHT, ELEMENTS, WEIGHTS, TANGENTS = range(5)  # rows of the scratch memory


@kernel
def combine(code, n, x, x0, y, y0, scratch, at, entries):
    """One step of a fold: scratch[at:] = row(x, y)."""
    steps.lanes_forward(code, 0, n, x, x0, y, y0, x, x0, scratch, at, entries)


@kernel
def fold(code, v, aux, p, q, field, start, count, scratch, entries):
    """Reduce `count` points from `start` on: lanes across blocks, then halves of the lanes (pairwise, as NumPy)."""
    if count == 0:
        return v.dtype.type(code == MUL)
    acc, spare = LEFT * BLOCK, RIGHT * BLOCK
    width = min(count, BLOCK)
    x, x0 = block(v, aux, p, q, field, start, width, scratch, ELEMENTS)
    for i in range(width):
        scratch[acc + i] = number(x, x0 + i)
    for at in range(width, count, BLOCK):
        n = min(BLOCK, count - at)
        x, x0 = block(v, aux, p, q, field, start + at, n, scratch, ELEMENTS)
        combine(code, n, scratch, acc, x, x0, scratch, spare, entries)
        for i in range(n, width):
            scratch[spare + i] = scratch[acc + i]
        acc, spare = spare, acc
    while width > 1:
        half = width // 2
        combine(code, half, scratch, acc, scratch, acc + half, scratch, spare, entries)
        if width % 2:
            scratch[spare + half] = scratch[acc + width - 1]
        width -= half
        acc, spare = spare, acc
    return scratch[acc]


@kernel
def fold_columns(code, v, aux, p, q, field, slot, size, scratch, entries):
    """Reduce over the leading dimensions, with lanes along the contiguous rest."""
    rows = points(aux, p) // size
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        acc, spare = LEFT * BLOCK, RIGHT * BLOCK
        for i in range(n):
            scratch[acc + i] = code == MUL
        for row in range(rows):
            x, x0 = block(v, aux, p, q, field, row * size + start, n, scratch, ELEMENTS)
            combine(code, n, scratch, acc, x, x0, scratch, spare, entries)
            acc, spare = spare, acc
        for i in range(n):
            v[slot + start + i] = scratch[acc + i]


@kernel
def weigh(code, v, aux, p, q, start, count, r, scratch):
    """What the weights of one result share: how many elements decide it, and the product of the nonzero ones."""
    decisive, product = 0, v.dtype.type(1.0)
    if code == ADD:
        return decisive, product
    for at in range(0, count, BLOCK):
        n = min(BLOCK, count - at)
        x, x0 = block(v, aux, p, q, FIRST, start + at, n, scratch, ELEMENTS)
        for i in range(n):
            xi = number(x, x0 + i)
            if code == MUL:
                decisive += xi == 0.0
                product *= xi if xi != 0.0 else 1.0
            else:
                decisive += xi == r or (xi != xi and r != r)
    return decisive, product


@kernel
def weigh_block(code, x, x0, n, r, decisive, product, scratch):
    """Fill the row WEIGHTS with the derivative of the result r by each element of the block x."""
    for i in range(n):
        xi, weight = number(x, x0 + i), 1.0
        if code == MUL:
            others = r / xi if xi != 0.0 else product
            weight = others if decisive == 0 or (decisive == 1 and xi == 0.0) else 0.0
        elif code != ADD:
            weight = 1.0 / decisive if xi == r or (xi != xi and r != r) else 0.0
        scratch[WEIGHTS * BLOCK + i] = weight


@kernel
def fold_all(code, v, aux, p, q, field, slot, scratch, entries):
    """All results of a reduction, of values or (of a sum) of tangents."""
    size = aux[p + SIZE]
    if aux[p + PARAM] and size:
        fold_columns(code, v, aux, p, q, field, slot, size, scratch, entries)
        return
    for j in range(size):
        count = points(aux, p) // size
        v[slot + j] = fold(code, v, aux, p, q, field, j * count, count, scratch, entries)


@kernel
def reduce_forward(values, others, slot, p, b, aux, scratch, entries):
    fold_all(aux[p + CODE], values, aux, p, operand(aux, p, 0), FIRST, slot, scratch, entries)


@kernel
def reduce_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    size, q, code = aux[p + SIZE], operand(aux, p, 0), aux[p + CODE]
    if aux[p + PARAM]:
        for start in range(0, points(aux, p), max(size, 1)):
            accumulate(adjoints, aux, p, q, start, size, adjoints, slot)
        return
    for j in range(size):
        count, w, r = points(aux, p) // size, adjoints[slot + j], values[slot + j]
        if w == 0.0 and aux[q + ADJOINTS] != SETS:
            continue
        decisive, product = weigh(code, values, aux, p, q, j * count, count, r, scratch)
        for at in range(0, count, BLOCK):
            n = min(BLOCK, count - at)
            x, x0 = block(values, aux, p, q, FIRST, j * count + at, n, scratch, ELEMENTS)
            weigh_block(code, x, x0, n, r, decisive, product, scratch)
            for i in range(WEIGHTS * BLOCK, WEIGHTS * BLOCK + n):
                scratch[i] = times(w, scratch[i])
            accumulate(adjoints, aux, p, q, j * count + at, n, scratch, WEIGHTS * BLOCK)


@kernel
def reduce_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    size, q, code = aux[p + SIZE], operand(aux, p, 0), aux[p + CODE]
    if code == ADD:
        fold_all(code, tangents, aux, p, q, ADJOINT, slot, scratch, entries)
        return
    for j in range(size):
        count, r = points(aux, p) // size, values[slot + j]
        decisive, product = weigh(code, values, aux, p, q, j * count, count, r, scratch)
        tangent = values.dtype.type(0.0)
        for at in range(0, count, BLOCK):
            n = min(BLOCK, count - at)
            x, x0 = block(values, aux, p, q, FIRST, j * count + at, n, scratch, ELEMENTS)
            t, t0 = block(tangents, aux, p, q, ADJOINT, j * count + at, n, scratch, TANGENTS)
            weigh_block(code, x, x0, n, r, decisive, product, scratch)
            for i in range(n):
                tangent += times(number(t, t0 + i), scratch[WEIGHTS * BLOCK + i])
        tangents[slot + j] = tangent
