"""Linearization: one pass over a program and its values that leaves the linear tape of `linear`.

Each slot leads to a node by a coefficient. An operation with one active operand takes no entry: its result leads to the
node of the operand, by the product of the coefficients. Where two active operands meet an entry with a node of its own
is appended. Array instructions become entries, element by element, except matrix products. Node 0 is passive.

What a reverse sweep adds up before it multiplies stays a node. So zeros absorb here as there: a coefficient that is
infinite, nan, or so large or small that a product of it might not be what the sweep has, is never folded into another.
"""

import numpy as np

from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import inlined, kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.blocks import BLOCK, block, inner_stride, operand, points, run
from fasttape.execute.elementwise import CX, SEED, contributions
from fasttape.execute.linear_pruning import prune
from fasttape.execute.products import matrix, sizes
from fasttape.execute.reductions import ELEMENTS, WEIGHTS, weigh, weigh_block
from fasttape.execute.terms import (
    ENTRIES,
    LEFT,
    LISTED,
    NODE,
    NODES,
    PRODUCT,
    PRODUCTS,
    RECORD,
    RESULTS,
    SEGMENTS,
    START,
    STOP,
)
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

LARGEST, SMALLEST = 2.0**40, 2.0**-40  # of a coefficient that is folded; products of three stay far inside float32


@kernel
def ordinary(x):
    """Whether a coefficient may be folded into another."""
    return SMALLEST <= abs(x) <= LARGEST


@inlined
def append(terms, used, a, da, b, db):
    """The node of a new entry."""
    entry, node = used[ENTRIES], used[NODES]
    term = terms[entry]
    term["a"], term["da"] = a, da
    term["b"], term["db"] = b, db
    used[ENTRIES], used[NODES] = entry + 1, node + 1
    return node


@inlined
def factor(leads, terms, used, slot, d):
    """Where `d` times a slot leads: a node and a coefficient, which is zero for node 0."""
    lead = leads[slot]
    p, c = np.int64(lead["node"]), lead["coefficient"]
    if p == 0 or d == 0.0:
        return 0, 0.0
    if c == 1.0:
        return p, d
    if ordinary(c * d):
        return p, c * d
    p = append(terms, used, p, c, 0, 0.0)
    lead["node"], lead["coefficient"] = p, 1.0
    return p, d


@inlined
def join(terms, used, p, c, q, d):
    """Where the sum of two leads."""
    if q == 0:
        return p, c
    if p == 0:
        return q, d
    if p == q and ordinary(c + d):
        return p, c + d
    return append(terms, used, p, c, q, d), 1.0


@inlined
def add_operand(leads, terms, used, result, slot, d):
    """Let a result lead to `d` times a slot besides what it leads to."""
    q, d = factor(leads, terms, used, slot, d)
    lead = leads[result]
    p, c = join(terms, used, np.int64(lead["node"]), lead["coefficient"], q, d)
    lead["node"], lead["coefficient"] = p, c


@inlined
def settle(terms, used, p, c):
    """Where a result leads that other coefficients may be multiplied to."""
    if p == 0 or c == 1.0 or ordinary(c):
        return p, c
    return append(terms, used, p, c, 0, 0.0), 1.0


@inlined
def linearize_scalar(op, a, b, aux, partials, leads, terms, used):
    """Where the result of a scalar instruction leads."""
    p, c = factor(leads, terms, used, a, partials[0])
    if B_IS_SLOT[op]:
        q, d = factor(leads, terms, used, b, partials[1])
        p, c = join(terms, used, p, c, q, d)
    elif TERNARY[op]:
        for k in range(2):
            q, d = factor(leads, terms, used, aux[b + k], partials[1 + k])
            p, c = join(terms, used, p, c, q, d)
    return settle(terms, used, p, c)


@kernel
def start_results(leads, slot, size):
    for s in range(slot, slot + size):
        leads[s]["node"] = 0


@kernel
def finish_results(leads, terms, used, slot, size):
    for s in range(slot, slot + size):
        lead = leads[s]
        p, c = settle(terms, used, np.int64(lead["node"]), lead["coefficient"])
        lead["node"], lead["coefficient"] = p, c


@inlined
def slot_at(aux, p, q, place):
    """The slot that stands at a place of an operand, as `run` gives it."""
    return place if aux[q + LIST] == REGULAR else aux[p + aux[q + LIST] + place]


@kernel
def linearize_elementwise(values, slot, p, aux, scratch, entries, leads, terms, used):
    for i in range(SEED * BLOCK, (SEED + 1) * BLOCK):
        scratch[i] = 1.0
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        contributions(values, scratch, SEED * BLOCK, slot + start, p, aux, start, n, scratch, entries)
        first = True
        for k in range(aux[p + OPERANDS]):
            q = operand(aux, p, k)
            if aux[q + ADJOINTS] != PASSIVE:
                add_block(leads, terms, used, slot + start, aux, p, q, start, n, scratch, (CX + k) * BLOCK, first)
                first = False


@kernel
def add_block(leads, terms, used, result, aux, p, q, start, n, partials, at, first):
    """Let results lead to an operand times its partials, only or besides what they lead to."""
    stride, listed, done = inner_stride(aux, p, q), aux[q + LIST], 0
    while done < n:
        place, left = run(aux, p, q, ADJOINT, start + done)
        m = min(left, n - done)
        for i in range(m):
            s = place + i * stride
            if listed != REGULAR:
                s = aux[p + listed + s]
            if first:
                node, c = factor(leads, terms, used, s, partials[at + done + i])
                leads[result + done + i]["node"], leads[result + done + i]["coefficient"] = node, c
            else:
                add_operand(leads, terms, used, result + done + i, s, partials[at + done + i])
        done += m


@kernel
def linearize_columns(slot, p, q, aux, leads, terms, used):
    """A sum over leading dimensions, row after row."""
    size, done, total = aux[p + SIZE], 0, points(aux, p)
    stride = inner_stride(aux, p, q)
    while done < total:
        place, left = run(aux, p, q, ADJOINT, done)
        for i in range(left):
            add_operand(leads, terms, used, slot + (done + i) % size, slot_at(aux, p, q, place + i * stride), 1.0)
        done += left


@kernel
def gather_weighted(values, slot, p, q, aux, j, count, scratch, leads, terms, used, leaves):
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
                node, c = factor(leads, terms, used, slot_at(aux, p, q, place + i * stride), weight)
                leaves[kept]["node"], leaves[kept]["coefficient"] = node, c
                kept += node != 0
            done += m
    return kept


@kernel
def add_in_pairs(leaves, count, terms, used):
    """Leave in the first leaf where the sum of some leads; neighbors are joined until there is one."""
    while count > 1:
        for i in range(count // 2):
            x, y = leaves[2 * i], leaves[2 * i + 1]
            p, q = np.int64(x["node"]), np.int64(y["node"])
            p, c = join(terms, used, p, x["coefficient"], q, y["coefficient"])
            leaves[i]["node"], leaves[i]["coefficient"] = p, c
        if count % 2:
            leaves[count // 2] = leaves[count - 1]
        count = count // 2 + count % 2


@kernel
def linearize_reduction(values, slot, p, aux, scratch, leads, terms, used, leaves):
    q, size = operand(aux, p, 0), aux[p + SIZE]
    if aux[p + PARAM]:
        linearize_columns(slot, p, q, aux, leads, terms, used)
        return
    count = points(aux, p) // max(size, 1)
    for j in range(size):
        kept = gather_weighted(values, slot, p, q, aux, j, count, scratch, leads, terms, used, leaves)
        add_in_pairs(leaves, kept, terms, used)
        if kept:
            leads[slot + j] = leaves[0]


@kernel
def list_operand(p, k, aux, leads, listed, used):
    """Keep where the elements of an operand of products lead, in order; return the place of the first, or -1."""
    q = operand(aux, p, k)
    if aux[q + ADJOINTS] == PASSIVE:
        return -1
    m, n, depth, batch = sizes(aux, p)
    rows, columns = (m, depth) if k == 0 else (depth, n)
    row, column = (0, 2) if k == 0 else (2, 1)
    first = at = used[LISTED]
    for i in range(batch):
        start, r, c = matrix(aux, p, q, ADJOINT, i, row, column)
        for y in range(rows):
            for x in range(columns):
                listed[at] = leads[start + y * r + x * c]
                at += 1
    used[LISTED] = at
    return first


@kernel
def linearize_product(slot, p, aux, leads, segments, products, listed, used):
    """A product is linear in each operand; its results have nodes of their own."""
    number, first = used[PRODUCTS], used[NODES]
    product = products[number]
    product[RECORD], product[RESULTS] = p, first
    for k in range(2):
        product[LEFT + k] = list_operand(p, k, aux, leads, listed, used)
    end_segment(segments, used, number)
    for i in range(aux[p + SIZE]):
        leads[slot + i]["node"], leads[slot + i]["coefficient"] = first + i, 1.0
    used[PRODUCTS], used[NODES] = number + 1, first + aux[p + SIZE]


@kernel
def end_segment(segments, used, product):
    """Close the segment of entries up to here, in front of a product, or -1 at the end of the tape."""
    number, stop = used[SEGMENTS], used[ENTRIES]
    start = segments[number - 1, STOP] if number else 0
    segment = segments[number]
    segment[START], segment[STOP], segment[PRODUCT] = start, stop, product
    segment[NODE] = used[NODES] - (stop - start)
    used[SEGMENTS] = number + 1


@inlined
def is_passive(op, a, b, aux, leads):
    """Whether no operand of a scalar instruction is active."""
    if leads[a]["node"] != 0 or (B_IS_SLOT[op] and leads[b]["node"] != 0):
        return False
    return not (TERNARY[op] and (leads[aux[b]]["node"] != 0 or leads[aux[b + 1]]["node"] != 0))


@kernel
def is_array_active(aux, p):
    """Whether some operand of an array instruction is active."""
    count = 0
    for k in range(aux[p + OPERANDS]):
        count += aux[operand(aux, p, k) + ADJOINTS] != PASSIVE
    return count > 0


@kernel
def linearize_array(op, p, values, slot, aux, scratch, entries, leads, terms, tables, used, leaves):
    start_results(leads, slot, aux[p + SIZE])
    if not is_array_active(aux, p):
        return
    if op == ELEMENTWISE:
        linearize_elementwise(values, slot, p, aux, scratch, entries, leads, terms, used)
    elif op == REDUCE:
        linearize_reduction(values, slot, p, aux, scratch, leads, terms, used, leaves)
    elif op == GEMM:
        linearize_product(slot, p, aux, leads, *tables, used)
    finish_results(leads, terms, used, slot, aux[p + SIZE])


@kernel
def number_inputs(leads, slots, inputs):
    """Give the differentiated inputs the nodes from 1 on; return the number of the next node."""
    for slot in range(slots):
        leads[slot]["node"] = 0
    node = 1
    for k in range(inputs.shape[0]):
        for slot in range(inputs[k, 0], inputs[k, 1]):
            leads[slot]["node"], leads[slot]["coefficient"] = node, 1.0
            node += 1
    return node


@sweep
def linearize(columns, values, slot, scratch, entries, inputs, leads, slots, outputs, terms, tables, used, memory):
    """Fill `terms`, the `tables` of segments and products, and `used`; `outputs` gets where the slots `slots` lead.

    `inputs` are the pairs (start, stop) of the slots that get the nodes from 1 on; `memory` is three partials, as many
    leads as a reduction has points, and a zero for each node.
    """
    (ops, a, b, aux), (segments, products, listed) = columns, tables
    partials, leaves, numbers = memory
    used[NODES] = number_inputs(leads, slot, inputs)
    active = used[NODES] - 1
    for i in range(ops.size):
        op, p = ops[i], np.int64(a[i])
        if op < FIRST_STRUCTURAL:
            node, c = 0, 0.0
            if not is_passive(op, a[i], b[i], aux, leads):
                steps.step_partials(op, values, partials, slot, a[i], b[i], aux, scratch, entries)
                node, c = linearize_scalar(op, p, np.int64(b[i]), aux, partials, leads, terms, used)
            leads[slot]["node"], leads[slot]["coefficient"] = node, c
            slot += 1
        elif op != GUARD:
            linearize_array(op, p, values, slot, aux, scratch, entries, leads, terms, tables, used, leaves)
            slot += aux[p + SIZE]
    end_segment(segments, used, -1)
    for k in range(slots.size):
        lead = leads[slots[k]]
        outputs[k]["node"], outputs[k]["coefficient"] = lead["node"], lead["coefficient"] if lead["node"] else 0.0
    prune(terms, segments, products, listed, used, aux, active, outputs, numbers)


@sweep
def room(ops, a, aux, bounds):
    """How many entries, products and listed operands there can be, besides one entry for each slot.

    The last bound is of the points of a reduction.
    """
    for i in range(ops.size):
        op, p = ops[i], np.int64(a[i])
        if op < FIRST_STRUCTURAL:
            bounds[0] += 1 + TERNARY[op]
        elif op == ELEMENTWISE:
            bounds[0] += aux[p + SIZE] * max(1, aux[p + OPERANDS] - 1)
        elif op == REDUCE:
            bounds[0] += points(aux, p)
            bounds[3] = max(bounds[3], points(aux, p))
        elif op == GEMM:
            m, n, k, batch = sizes(aux, p)
            bounds[1] += 1
            bounds[2] += batch * (m + n) * k
