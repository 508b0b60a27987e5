"""What one scalar instruction means in each sweep, in plain Python: the executable definition of `compiler.switch`.

Each function here has an intrinsic of the same name and arguments there; `compiler.dispatch` chooses between them.
Structural entries take signed words, as their compiled forms do: NumPy makes float64 of uint64 + int64.
"""

import numpy as np

from fasttape import ops
from fasttape.compiler.structural import STRUCTURAL
from fasttape.layout import FIRST_PAIR, FIRST_STRUCTURAL, FORWARD, PAIRS, REVERSE, TANGENT

ARITY = tuple(op.arity for op in ops.OPS)
INTEGER = tuple(ops.INTEGER in op.traits for op in ops.OPS)


def operand_slots(opcode, a, b, aux):
    """The slots of the differentiable operands of a scalar instruction."""
    if ARITY[opcode] == 3:
        return a, int(aux[b]), int(aux[b + 1])
    return (a, b) if ARITY[opcode] == 2 and not INTEGER[opcode] else (a,)


def parameter(opcode, b):
    """The integer that an INTEGER row keeps in its instruction, as a tuple of zero or one items."""
    return (int(np.uint32(b).view(np.int32)),) if INTEGER[opcode] else ()


def partials(opcode, values, slot, a, b, aux):
    """Pairs (slot of an operand, partial by it)."""
    slots = operand_slots(opcode, a, b, aux)
    at = (values[s] for s in slots)
    return zip(slots, ops.OPS[opcode].partials(*at, *parameter(opcode, b), values[slot]), strict=False)


def step_forward(opcode, values, others, slot, a, b, aux, scratch, entries):
    """The value of one instruction; `others` is not used."""
    if opcode >= FIRST_STRUCTURAL:
        STRUCTURAL[FORWARD, opcode](values, others, int(slot), int(a), int(b), aux, scratch, entries)
        return
    x = [values[s] for s in operand_slots(opcode, a, b, aux)]
    values[slot] = ops.OPS[opcode].value(*x, *parameter(opcode, b))


def step_reverse(opcode, values, adjoints, slot, a, b, aux, scratch, entries):
    """Add to the adjoints of the operands what the result's adjoint contributes."""
    if opcode >= FIRST_STRUCTURAL:
        STRUCTURAL[REVERSE, opcode](values, adjoints, int(slot), int(a), int(b), aux, scratch, entries)
        return
    for s, d in partials(opcode, values, slot, a, b, aux):
        adjoints[s] += ops.times(adjoints[slot], d)


def step_tangent(opcode, values, tangents, slot, a, b, aux, scratch, entries):
    """The tangent of the result from those of the operands."""
    if opcode >= FIRST_STRUCTURAL:
        STRUCTURAL[TANGENT, opcode](values, tangents, int(slot), int(a), int(b), aux, scratch, entries)
        return
    tangents[slot] = sum(ops.times(tangents[s], d) for s, d in partials(opcode, values, slot, a, b, aux))


def lanes_forward(opcode, parameter, size, x, x0, y, y0, z, z0, out, out0, entries):
    """`out = row(x, y, z)` over lanes, or that of a pair; `parameter` is that of an INTEGER row."""
    if opcode >= FIRST_PAIR:
        first, second, place = PAIRS[opcode - FIRST_PAIR]
        for i in range(size):
            r = ops.OPS[first].value(*(x[x0 + i], y[y0 + i])[: ARITY[first]])
            operands = (z[z0 + i], r) if place else (r, z[z0 + i])[: ARITY[second]]
            out[out0 + i] = ops.OPS[second].value(*operands)
        return
    op = ops.OPS[opcode]
    for i in range(size):
        operands = (x[x0 + i], y[y0 + i], z[z0 + i])[: op.arity - INTEGER[opcode]]
        out[out0 + i] = op.value(*operands, *(parameter,) * INTEGER[opcode])


lanes_strict = lanes_forward


def lanes_partials(opcode, parameter, size, x, x0, y, y0, z, z0, r, r0, w, w0, cx, x1, cy, y1, cz, z1, entries):
    """`c = times(w, partial)` over lanes for each operand; with w the adjoint of the result these are contributions."""
    op = ops.OPS[opcode]
    for i in range(size):
        operands = (x[x0 + i], y[y0 + i], z[z0 + i])[: op.arity - INTEGER[opcode]]
        found = op.partials(*operands, *(parameter,) * INTEGER[opcode], r[r0 + i])
        targets = ((cx, x1), (cy, y1), (cz, z1))
        for (c, start), d in zip(targets[: len(operands)], found, strict=False):
            c[start + i] = ops.times(w[w0 + i], d)


def step_partials(opcode, values, found, slot, a, b, aux, scratch, entries):
    """`found[k]` is the partial by operand k."""
    for k, (_, d) in enumerate(partials(opcode, values, slot, a, b, aux)):
        found[k] = d


def cell(cells, node, width):
    """The lanes of one node."""
    return cells[node * len(width) : (node + 1) * len(width)]


def pull(cells, node, a, da, b, db, width):
    """Pass the adjoint of an entry on to its operands and leave it at zero; a factor is zero only where node 0 is."""
    w = cell(cells, node, width)
    for operand, d in ((a, da), (b, db)):
        cell(cells, operand, width)[:] += np.where(w == 0.0, 0.0, w * d)
    w[:] = 0.0


def push(cells, node, a, da, b, db, width):
    """The tangent of an entry from those of its operands."""
    x, y = cell(cells, a, width), cell(cells, b, width)
    cell(cells, node, width)[:] = np.where(x == 0.0, 0.0, x * da) + np.where(y == 0.0, 0.0, y * db)


def clear(cells, node, width):
    """Set a cell to zero."""
    cell(cells, node, width)[:] = 0.0
