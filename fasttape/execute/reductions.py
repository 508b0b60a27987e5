"""REDUCE: an associative row of the table folded over some dimensions of an iteration space.

Sums, products and extrema share one fold; what differs is the derivative of the result by one element, its weight:
1 in a sum, the product of the others in a product, an even share among the ties in an extremum.
"""

from fasttape import ops
from fasttape.compiler.dispatch import lanes_forward
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import BLOCK, accumulate, block, operand, points
from fasttape.layout import CODE, PARAM, SIZE

ADD, MUL = ops.CODE["add"], ops.CODE["mul"]


@kernel
def fold(code, v, aux, p, q, start, count, scratch, entries):
    """Reduce `count` points from `start` on: lanes across blocks, then halves of the lanes (pairwise, as NumPy)."""
    if count == 0:
        return v.dtype.type(code == MUL)
    acc, spare = scratch[0], scratch[1]
    width = min(count, BLOCK)
    acc[:width] = block(v, aux, p, q, start, width, scratch[2])
    for at in range(width, count, BLOCK):
        n = min(BLOCK, count - at)
        x = block(v, aux, p, q, start + at, n, scratch[2])
        lanes_forward(code, 0, acc[:n], x, x, spare[:n], entries)
        acc[:n] = spare[:n]
    while width > 1:
        half = width // 2
        lanes_forward(code, 0, acc[:half], acc[half : 2 * half], acc[:half], spare[:half], entries)
        if width % 2:
            spare[half] = acc[width - 1]
        width -= half
        acc, spare = spare, acc
    return acc[0]


@kernel
def fold_columns(code, v, aux, p, q, out, scratch, entries):
    """Reduce over the leading dimensions, with lanes along the contiguous rest."""
    rows = points(aux, p) // out.size
    for start in range(0, out.size, BLOCK):
        n = min(BLOCK, out.size - start)
        acc = scratch[0, :n]
        acc[:] = code == MUL
        for row in range(rows):
            x = block(v, aux, p, q, row * out.size + start, n, scratch[2])
            lanes_forward(code, 0, acc, x, x, scratch[1, :n], entries)
            acc[:] = scratch[1, :n]
        out[start : start + n] = acc


@kernel
def weigh(code, v, aux, p, q, start, count, r, scratch):
    """What the weights of one result share: how many elements decide it, and the product of the nonzero ones."""
    decisive, product = 0, v.dtype.type(1.0)
    if code == ADD:
        return decisive, product
    for at in range(0, count, BLOCK):
        x = block(v, aux, p, q, start + at, min(BLOCK, count - at), scratch[2])
        for i in range(x.size):
            if code == MUL:
                decisive += x[i] == 0.0
                product *= x[i] if x[i] != 0.0 else 1.0
            else:
                decisive += x[i] == r or (x[i] != x[i] and r != r)
    return decisive, product


@kernel
def weights(code, x, r, decisive, product, out):
    """The derivative of the result r by each element of the block x."""
    for i in range(x.size):
        if code == ADD:
            out[i] = 1.0
        elif code == MUL:
            others = r / x[i] if x[i] != 0.0 else product
            out[i] = others if decisive == 0 or (decisive == 1 and x[i] == 0.0) else 0.0
        else:
            out[i] = 1.0 / decisive if x[i] == r or (x[i] != x[i] and r != r) else 0.0


@kernel
def reduce_forward(values, others, slot, p, b, aux, scratch, entries):
    size, q, code = aux[p + SIZE], operand(aux, p, 0), aux[p + CODE]
    if aux[p + PARAM] and size:
        fold_columns(code, values, aux, p, q, values[slot : slot + size], scratch, entries)
        return
    for j in range(size):
        count = points(aux, p) // size
        values[slot + j] = fold(code, values, aux, p, q, j * count, count, scratch, entries)


@kernel
def reduce_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    size, q, code = aux[p + SIZE], operand(aux, p, 0), aux[p + CODE]
    if aux[p + PARAM]:
        for start in range(0, points(aux, p), size):
            for at in range(0, size, BLOCK):
                n = min(BLOCK, size - at)
                accumulate(adjoints, aux, p, q, start + at, n, adjoints[slot + at : slot + at + n])
        return
    for j in range(size):
        count, w, r = points(aux, p) // size, adjoints[slot + j], values[slot + j]
        if w == 0.0:
            continue
        decisive, product = weigh(code, values, aux, p, q, j * count, count, r, scratch)
        for at in range(0, count, BLOCK):
            n = min(BLOCK, count - at)
            x = block(values, aux, p, q, j * count + at, n, scratch[2])
            c = scratch[3, :n]
            weights(code, x, r, decisive, product, c)
            for i in range(n):
                c[i] = w * c[i] if c[i] != 0.0 else 0.0
            accumulate(adjoints, aux, p, q, j * count + at, n, c)


@kernel
def reduce_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    size, q, code = aux[p + SIZE], operand(aux, p, 0), aux[p + CODE]
    if code == ADD:
        reduce_forward(tangents, values, slot, p, b, aux, scratch, entries)
        return
    for j in range(size):
        count, r = points(aux, p) // size, values[slot + j]
        decisive, product = weigh(code, values, aux, p, q, j * count, count, r, scratch)
        total = values.dtype.type(0.0)
        for at in range(0, count, BLOCK):
            n = min(BLOCK, count - at)
            x = block(values, aux, p, q, j * count + at, n, scratch[2])
            t = block(tangents, aux, p, q, j * count + at, n, scratch[4])
            c = scratch[3, :n]
            weights(code, x, r, decisive, product, c)
            for i in range(n):
                if c[i] != 0.0 and t[i] != 0.0:
                    total += c[i] * t[i]
        tangents[slot + j] = total
