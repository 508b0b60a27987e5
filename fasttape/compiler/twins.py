"""What one scalar instruction means in each sweep, in plain Python: the executable definition of `compiler.switch`.

Each function here has an intrinsic of the same name and arguments there; `compiler.dispatch` chooses between them.
Structural entries take signed words, as their compiled forms do: NumPy makes float64 of uint64 + int64.
"""

import numpy as np

from fasttape import ops
from fasttape.compiler.structural import STRUCTURAL
from fasttape.layout import FIRST_STRUCTURAL, FORWARD, REVERSE, TANGENT

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
    """`out = row(x, y, z)` over lanes; `parameter` is that of an INTEGER row."""
    op = ops.OPS[opcode]
    for i in range(size):
        operands = (x[x0 + i], y[y0 + i], z[z0 + i])[: op.arity - INTEGER[opcode]]
        out[out0 + i] = op.value(*operands, *(parameter,) * INTEGER[opcode])


def lanes_partials(opcode, parameter, size, x, x0, y, y0, z, z0, r, r0, w, w0, cx, x1, cy, y1, cz, z1, entries):
    """`c = times(w, partial)` over lanes for each operand; with w the adjoint of the result these are contributions."""
    op = ops.OPS[opcode]
    for i in range(size):
        operands = (x[x0 + i], y[y0 + i], z[z0 + i])[: op.arity - INTEGER[opcode]]
        found = op.partials(*operands, *(parameter,) * INTEGER[opcode], r[r0 + i])
        targets = ((cx, x1), (cy, y1), (cz, z1))
        for (c, start), d in zip(targets[: len(operands)], found, strict=False):
            c[start + i] = ops.times(w[w0 + i], d)
