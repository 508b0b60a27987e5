"""The geometry of array operands: blocks of values gathered from slots, contributions spread back to adjoints.

The iteration space of an instruction is visited in blocks of BLOCK points. An operand that is not contiguous there is
packed into a buffer in cache, so that rows run over contiguous lanes and know nothing about strides or index lists.
The record of an instruction in `aux` is described in `layout`.
"""

from fasttape.compiler.jit import kernel
from fasttape.layout import FIRST, LIST, NDIM, REGULAR, SHAPE, STRIDES

BLOCK = 512
BUFFERS = 8  # rows of scratch memory, each of BLOCK numbers


@kernel
def operand(aux, p, k):
    """The place in `aux` where operand k of the record at p is described."""
    ndim = aux[p + NDIM]
    return p + SHAPE + ndim + k * (STRIDES + ndim)


@kernel
def points(aux, p):
    """The number of points of the iteration space."""
    total = 1
    for d in range(aux[p + NDIM]):
        total *= aux[p + SHAPE + d]
    return total


@kernel
def run(aux, p, q, start):
    """The place of point `start` in operand q (a slot, or an index into its list), and how far its inner row goes."""
    ndim = aux[p + NDIM]
    place, rest, left = aux[q + FIRST], start, 1
    for d in range(ndim - 1, -1, -1):
        extent = aux[p + SHAPE + d]
        i = rest % extent
        rest //= extent
        place += i * aux[q + STRIDES + d]
        if d == ndim - 1:
            left = extent - i
    return place, left


@kernel
def inner_stride(aux, p, q):
    ndim = aux[p + NDIM]
    return aux[q + STRIDES + ndim - 1] if ndim else 1


@kernel
def block(v, aux, p, q, start, n, buffer):
    """The values of operand q at points start .. start + n: a view where they are contiguous, else packed in buffer."""
    stride, listed = inner_stride(aux, p, q), aux[q + LIST]
    place, left = run(aux, p, q, start)
    if listed == REGULAR and stride == 1 and left >= n:
        return v[place : place + n]
    done = 0
    while done < n:
        place, left = run(aux, p, q, start + done)
        m = min(left, n - done)
        if listed == REGULAR:
            for i in range(m):
                buffer[done + i] = v[place + i * stride]
        else:
            for i in range(m):
                buffer[done + i] = v[aux[p + listed + place + i * stride]]
        done += m
    return buffer[:n]


@kernel
def accumulate(w, aux, p, q, start, n, contributions):
    """Add contributions at points start .. start + n to the adjoints of operand q; the reverse of `block`."""
    stride, listed = inner_stride(aux, p, q), aux[q + LIST]
    done = 0
    while done < n:
        place, left = run(aux, p, q, start + done)
        m = min(left, n - done)
        if listed != REGULAR:
            for i in range(m):
                w[aux[p + listed + place + i * stride]] += contributions[done + i]
        elif stride == 0:
            w[place] += total(contributions[done : done + m])
        elif stride == 1:
            for i in range(m):
                w[place + i] += contributions[done + i]
        else:
            for i in range(m):
                w[place + i * stride] += contributions[done + i]
        done += m


@kernel
def total(x):
    """The sum of a block, in eight interleaved partial sums so that rounding errors stay small and lanes are used."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = x.dtype.type(0.0)
    whole = x.size - x.size % 8
    for i in range(0, whole, 8):
        s0 += x[i]
        s1 += x[i + 1]
        s2 += x[i + 2]
        s3 += x[i + 3]
        s4 += x[i + 4]
        s5 += x[i + 5]
        s6 += x[i + 6]
        s7 += x[i + 7]
    rest = x.dtype.type(0.0)
    for i in range(whole, x.size):
        rest += x[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) + rest
