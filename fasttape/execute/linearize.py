"""Linearization: one pass over a program and its values that leaves the linear tape of `linear`.

Each slot leads to a node by a coefficient. An operation with one active operand takes no entry: its result leads to the
node of the operand, by the product of the coefficients. Where two active operands meet an entry with a node of its own
is appended. Array instructions become entries, element by element, except matrix products. Node 0 is passive.

What a reverse sweep adds up before it multiplies stays a node. So zeros absorb here as there: a coefficient that is
infinite, nan, or so large or small that a product of it might not be what the sweep has, is never folded into another.
"""

from typing import NamedTuple

import numpy as np

from fasttape.compiler.dispatch import step_partials
from fasttape.compiler.jit import kernel, sweep
from fasttape.execute.blocks import BLOCK, block, inner_stride, operand, points, run
from fasttape.execute.elementwise import CX, SEED, contributions
from fasttape.execute.products import matrix, sizes
from fasttape.execute.reductions import ELEMENTS, WEIGHTS, weigh, weigh_block
from fasttape.layout import (
    ADJOINT,
    ADJOINTS,
    B_IS_SLOT,
    CODE,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    LIST,
    OPERANDS,
    PARAM,
    PASSIVE,
    REDUCE,
    REGULAR,
    SIZE,
    TERNARY,
)


class Folded(NamedTuple):
    """Where the slots of a program lead: `coefficient` times what `node` holds."""

    node: np.ndarray  # uint32
    coefficient: np.ndarray

    @classmethod
    def empty(cls, size, dtype):
        return cls(np.empty(size, np.uint32), np.empty(size, dtype))


class Terms(NamedTuple):
    """The linear tape. Entry e is `da[e] * a[e] + db[e] * b[e]`, a and b nodes; b is node 0 where there is one operand.

    A segment is a run of entries, with consecutive nodes, and the matrix product behind them.
    """

    a: np.ndarray  # uint32
    b: np.ndarray
    da: np.ndarray
    db: np.ndarray
    segments: np.ndarray  # (segments, 4) int64: START, STOP, NODE, PRODUCT
    products: np.ndarray  # (products, 4) int64: RECORD, RESULTS, LEFT, RIGHT
    operands: Folded  # where the elements of the operands of products lead
    used: np.ndarray  # int64: numbers of ENTRIES, NODES, SEGMENTS, PRODUCTS and LISTED operands so far


START, STOP, NODE, PRODUCT = range(4)  # of a segment: its entries, the node of the first, its product or -1
RECORD, RESULTS, LEFT, RIGHT = range(4)  # of a product: place in aux, first node, places in `operands` or -1
ENTRIES, NODES, SEGMENTS, PRODUCTS, LISTED = range(5)


LARGEST, SMALLEST = 2.0**40, 2.0**-40  # of a coefficient that is folded; products of three stay far inside float32


@kernel
def ordinary(x):
    """Whether a coefficient may be folded into another."""
    return SMALLEST <= abs(x) <= LARGEST


@kernel
def append(terms, a, da, b, db):
    """The node of a new entry."""
    entry, node = terms.used[ENTRIES], terms.used[NODES]
    terms.a[entry], terms.da[entry] = a, da
    terms.b[entry], terms.db[entry] = b, db
    terms.used[ENTRIES], terms.used[NODES] = entry + 1, node + 1
    return node


@kernel
def factor(folded, terms, slot, d):
    """Where `d` times a slot leads: a node and a coefficient, which is zero for node 0."""
    p, c = np.int64(folded.node[slot]), folded.coefficient[slot]
    if p == 0 or d == 0.0:
        return 0, 0.0
    if c == 1.0:
        return p, d
    if ordinary(c * d):
        return p, c * d
    p = append(terms, p, c, 0, 0.0)
    folded.node[slot], folded.coefficient[slot] = p, 1.0
    return p, d


@kernel
def join(terms, p, c, q, d):
    """Where the sum of two leads."""
    if q == 0:
        return p, c
    if p == 0:
        return q, d
    if p == q and ordinary(c + d):
        return p, c + d
    return append(terms, p, c, q, d), 1.0


@kernel
def add_operand(folded, terms, result, slot, d):
    """Let a result lead to `d` times a slot besides what it leads to."""
    p, c = factor(folded, terms, slot, d)
    p, c = join(terms, np.int64(folded.node[result]), folded.coefficient[result], p, c)
    folded.node[result], folded.coefficient[result] = p, c


@kernel
def start_results(folded, slot, size):
    for s in range(slot, slot + size):
        folded.node[s] = 0


@kernel
def finish_results(folded, terms, slot, size):
    """Give results with a coefficient that may not be folded nodes of their own."""
    for s in range(slot, slot + size):
        c = folded.coefficient[s]
        if folded.node[s] != 0 and c != 1.0 and not ordinary(c):
            folded.node[s] = append(terms, folded.node[s], c, 0, 0.0)
            folded.coefficient[s] = 1.0


@kernel
def linearize_scalar(op, a, b, aux, slot, partials, folded, terms):
    add_operand(folded, terms, slot, a, partials[0])
    if TERNARY[op]:
        add_operand(folded, terms, slot, aux[b], partials[1])
        add_operand(folded, terms, slot, aux[b + 1], partials[2])
    elif B_IS_SLOT[op]:
        add_operand(folded, terms, slot, b, partials[1])


@kernel
def slot_at(aux, p, q, place):
    """The slot that stands at a place of an operand, as `run` gives it."""
    return place if aux[q + LIST] == REGULAR else aux[p + aux[q + LIST] + place]


@kernel
def linearize_elementwise(values, slot, p, aux, scratch, entries, folded, terms):
    for i in range(SEED * BLOCK, (SEED + 1) * BLOCK):
        scratch[i] = 1.0
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        contributions(values, scratch, SEED * BLOCK, slot + start, p, aux, start, n, scratch, entries)
        for k in range(aux[p + OPERANDS]):
            q, done = operand(aux, p, k), 0
            if aux[q + ADJOINTS] == PASSIVE:
                continue
            stride = inner_stride(aux, p, q)
            while done < n:
                place, left = run(aux, p, q, ADJOINT, start + done)
                m, at = min(left, n - done), (CX + k) * BLOCK + done
                for i in range(m):
                    s = slot_at(aux, p, q, place + i * stride)
                    add_operand(folded, terms, slot + start + done + i, s, scratch[at + i])
                done += m


@kernel
def linearize_columns(slot, p, q, aux, folded, terms):
    """A sum over leading dimensions, row after row."""
    size, done, total = aux[p + SIZE], 0, points(aux, p)
    stride = inner_stride(aux, p, q)
    while done < total:
        place, left = run(aux, p, q, ADJOINT, done)
        for i in range(left):
            add_operand(folded, terms, slot + (done + i) % size, slot_at(aux, p, q, place + i * stride), 1.0)
        done += left


@kernel
def gather_weighted(values, slot, p, q, aux, j, count, scratch, folded, terms, leaves):
    """Fill `leaves` with where the elements of result j lead, times their weights; return how many are active."""
    code, r, kept, stride = aux[p + CODE], values[slot + j], 0, inner_stride(aux, p, q)
    decisive, product = weigh(code, values, aux, p, q, j * count, count, r, scratch)
    for start in range(j * count, (j + 1) * count, BLOCK):
        n, done = min(BLOCK, (j + 1) * count - start), 0
        x, x0 = block(values, aux, p, q, FIRST, start, n, scratch, ELEMENTS)
        weigh_block(code, x, x0, n, r, decisive, product, scratch)
        while done < n:
            place, left = run(aux, p, q, ADJOINT, start + done)
            m = min(left, n - done)
            for i in range(m):
                weight = scratch[WEIGHTS * BLOCK + done + i]
                node, c = factor(folded, terms, slot_at(aux, p, q, place + i * stride), weight)
                leaves.node[kept], leaves.coefficient[kept] = node, c
                kept += node != 0
            done += m
    return kept


@kernel
def add_in_pairs(terms, leaves, count):
    """Where the sum of some leaves leads, halved until one is left."""
    node, coefficient = leaves
    while count > 1:
        for i in range(count // 2):
            p, q = np.int64(node[2 * i]), np.int64(node[2 * i + 1])
            node[i], coefficient[i] = join(terms, p, coefficient[2 * i], q, coefficient[2 * i + 1])
        if count % 2:
            node[count // 2], coefficient[count // 2] = node[count - 1], coefficient[count - 1]
        count = count // 2 + count % 2


@kernel
def linearize_reduction(values, slot, p, aux, scratch, folded, terms):
    q, size = operand(aux, p, 0), aux[p + SIZE]
    if aux[p + PARAM]:
        linearize_columns(slot, p, q, aux, folded, terms)
        return
    count = points(aux, p) // max(size, 1)
    leaves = Folded(np.empty(count, np.uint32), np.empty(count, values.dtype))
    for j in range(size):
        kept = gather_weighted(values, slot, p, q, aux, j, count, scratch, folded, terms, leaves)
        add_in_pairs(terms, leaves, kept)
        if kept:
            folded.node[slot + j], folded.coefficient[slot + j] = leaves.node[0], leaves.coefficient[0]


@kernel
def list_operand(p, k, aux, folded, terms):
    """Keep where the elements of an operand of products lead, in order; return the place of the first, or -1."""
    q = operand(aux, p, k)
    if aux[q + ADJOINTS] == PASSIVE:
        return -1
    m, n, depth, batch = sizes(aux, p)
    rows, columns = (m, depth) if k == 0 else (depth, n)
    row, column = (0, 2) if k == 0 else (2, 1)
    first = at = terms.used[LISTED]
    for i in range(batch):
        start, r, c = matrix(aux, p, q, ADJOINT, i, row, column)
        for y in range(rows):
            for x in range(columns):
                s = start + y * r + x * c
                terms.operands.node[at] = folded.node[s]
                terms.operands.coefficient[at] = folded.coefficient[s] if folded.node[s] != 0 else 0.0
                at += 1
    terms.used[LISTED] = at
    return first


@kernel
def linearize_product(slot, p, aux, folded, terms):
    """A product is linear in each operand; its results have nodes of their own."""
    number, first = terms.used[PRODUCTS], terms.used[NODES]
    terms.products[number, RECORD], terms.products[number, RESULTS] = p, first
    for k in range(2):
        terms.products[number, LEFT + k] = list_operand(p, k, aux, folded, terms)
    if max(terms.products[number, LEFT], terms.products[number, RIGHT]) < 0:
        return
    for i in range(aux[p + SIZE]):
        folded.node[slot + i], folded.coefficient[slot + i] = first + i, 1.0
    terms.used[PRODUCTS], terms.used[NODES] = number + 1, first + aux[p + SIZE]
    end_segment(terms, number)


@kernel
def end_segment(terms, product):
    """Close the segment of entries up to here, in front of a product or at the end of the tape."""
    number, stop = terms.used[SEGMENTS], terms.used[ENTRIES]
    start = terms.segments[number - 1, STOP] if number else 0
    behind = terms.products[product, RESULTS] if product >= 0 else terms.used[NODES]
    segment = terms.segments[number]
    segment[START], segment[STOP], segment[NODE], segment[PRODUCT] = start, stop, behind - (stop - start), product
    terms.used[SEGMENTS] = number + 1


@kernel
def is_passive(op, a, b, aux, folded):
    """Whether no operand of a scalar instruction is active."""
    if folded.node[a] != 0 or (B_IS_SLOT[op] and folded.node[b] != 0):
        return False
    return not (TERNARY[op] and (folded.node[aux[b]] != 0 or folded.node[aux[b + 1]] != 0))


@sweep
def linearize(digest):
    def linearize(ops, a, b, aux, values, slot, scratch, entries, folded, terms):
        digest
        partials = np.empty(3, values.dtype)
        for i in range(ops.size):
            op, p, size = ops[i], np.int64(a[i]), 1
            if op == GUARD:
                continue
            if op >= FIRST_STRUCTURAL:
                size = aux[p + SIZE]
            start_results(folded, slot, size)
            if op < FIRST_STRUCTURAL:
                if not is_passive(op, a[i], b[i], aux, folded):
                    step_partials(op, values, partials, slot, a[i], b[i], aux, scratch, entries)
                    linearize_scalar(op, p, np.int64(b[i]), aux, slot, partials, folded, terms)
            elif op == ELEMENTWISE and is_array_active(aux, p):
                linearize_elementwise(values, slot, p, aux, scratch, entries, folded, terms)
            elif op == REDUCE and is_array_active(aux, p):
                linearize_reduction(values, slot, p, aux, scratch, folded, terms)
            elif op == GEMM:
                linearize_product(slot, p, aux, folded, terms)
            finish_results(folded, terms, slot, size)
            slot += size
        end_segment(terms, -1)

    return linearize


@kernel
def is_array_active(aux, p):
    """Whether some operand of an array instruction is active."""
    for k in range(aux[p + OPERANDS]):
        if aux[operand(aux, p, k) + ADJOINTS] != PASSIVE:
            return True
    return False


@sweep
def room(digest):
    def room(ops, a, aux, bounds):
        """How many entries, products and listed operands there can be, besides one entry for each slot."""
        digest
        for i in range(ops.size):
            op, p = ops[i], np.int64(a[i])
            if op < FIRST_STRUCTURAL:
                bounds[0] += 1 + TERNARY[op]
            elif op == ELEMENTWISE:
                bounds[0] += aux[p + SIZE] * max(1, aux[p + OPERANDS] - 1)
            elif op == REDUCE:
                bounds[0] += points(aux, p)
            elif op == GEMM:
                m, n, k, batch = sizes(aux, p)
                bounds[1] += 1
                bounds[2] += batch * (m + n) * k

    return room
