"""The geometry of array operands: blocks of values gathered from slots, contributions spread back to adjoints.

The iteration space of an instruction is visited in blocks of BLOCK points. An operand that is not contiguous there is
packed into a buffer in cache, so that rows run over contiguous lanes and know nothing about strides or index lists.
The record of an instruction in `aux` is described in `layout`.
"""

import numpy as np

from fasttape import ops
from fasttape.compiler.jit import kernel
from fasttape.layout import ADJOINT, ADJOINTS, LIST, NDIM, REGULAR, SETS, SHAPE, STRIDES

BLOCK = 512
LINE = 64  # bytes of a cache line, and of the widest registers
BUFFERS = 8  # rows of BLOCK numbers in the scratch memory, a flat array
times = kernel(ops.times)


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
def run(aux, p, q, field, start):
    """The place of point `start` in operand q (a slot, or an index into its list), and how far its inner row goes.

    `field` is FIRST for values, ADJOINT for adjoints and tangents.
    """
    ndim = aux[p + NDIM]
    place, rest, left = aux[q + field], start, 1
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
def block(v, aux, p, q, field, start, n, scratch, row):
    """The numbers of operand q at points start .. start + n, as an array and the offset where they stand in it.

    `field` is that of `run`. The array is `v` itself where they are contiguous, else a row of the scratch memory into
    which they are packed.
    """
    stride, listed = inner_stride(aux, p, q), aux[q + LIST]
    place, left = run(aux, p, q, field, start)
    if listed == REGULAR and stride == 1 and left >= n:
        return v, place
    done, buffer = 0, row * BLOCK
    while done < n:
        place, left = run(aux, p, q, field, start + done)
        m = min(left, n - done)
        if listed == REGULAR:
            copy(v, place, stride, m, scratch, buffer + done)
        else:
            for i in range(m):
                scratch[buffer + done + i] = v[aux[p + listed + place + i * stride]]
        done += m
    return scratch, buffer


@kernel
def accumulate(w, aux, p, q, start, n, c, c0):
    """Pass the contributions c[c0:] at points start .. start + n on to operand q; the mirror of `block`."""
    stride, listed = inner_stride(aux, p, q), aux[q + LIST]
    done = 0
    while done < n:
        place, left = run(aux, p, q, ADJOINT, start + done)
        m = min(left, n - done)
        at = c0 + done
        if listed != REGULAR:
            for i in range(m):
                w[aux[p + listed + place + i * stride]] += c[at + i]
        else:
            pass_on(w, place, stride, m, c, at, aux[q + ADJOINTS])
        done += m


@kernel
def pass_on(w, place, stride, m, c, at, how):
    """Set w[place::stride] to the contributions c[at:], m of them, or add them to it."""
    if how == SETS:
        spread(w, place, stride, m, c, at)
    elif stride == 0:
        w[np.uint64(place)] += total(c, at, m)
    else:
        add(w, place, stride, m, c, at)


@kernel
def copy(v, place, stride, m, out, at):
    """out[at:] = v[place::stride], m elements; unsigned indices let LLVM vectorize where the stride is one."""
    place, at, m = np.uint64(place), np.uint64(at), np.uint64(m)
    if stride == 1:
        for i in range(m):
            out[at + i] = v[place + i]
    elif stride == 0:
        for i in range(m):
            out[at + i] = v[place]
    else:
        for i in range(m):
            out[at + i] = v[place + i * np.uint64(stride)]


@kernel
def add(w, place, stride, m, c, at):
    """w[place::stride] += c[at:], m elements."""
    place, at, m = np.uint64(place), np.uint64(at), np.uint64(m)
    if stride == 1:
        for i in range(m):
            w[place + i] += c[at + i]
    else:
        for i in range(m):
            w[place + i * np.uint64(stride)] += c[at + i]


@kernel
def spread(w, place, stride, m, c, at):
    """w[place::stride] = c[at:], m elements; the inverse of `copy`."""
    place, at, m = np.uint64(place), np.uint64(at), np.uint64(m)
    if stride == 1:
        for i in range(m):
            w[place + i] = c[at + i]
    else:
        for i in range(m):
            w[place + i * np.uint64(stride)] = c[at + i]


@kernel
def number(x, place):
    """x[place], where a place that lies outside of x is taken as the distance of another array's element."""
    return x[np.uint64(place)]


@kernel
def total(x, start, n):
    """The sum of a block, in interleaved partial sums so that rounding errors stay small."""
    s0 = s1 = s2 = s3 = x.dtype.type(0.0)
    start = np.uint64(start)
    whole = np.uint64(n - n % 4)
    for i in range(start, start + whole, np.uint64(4)):
        s0 += x[i]
        s1 += x[i + np.uint64(1)]
        s2 += x[i + np.uint64(2)]
        s3 += x[i + np.uint64(3)]
    for i in range(start + whole, start + np.uint64(n)):
        s0 += x[i]
    return (s0 + s1) + (s2 + s3)
