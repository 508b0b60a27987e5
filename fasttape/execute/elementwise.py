"""ELEMENTWISE: a row of the table applied over a broadcast iteration space."""

from fasttape.compiler.dispatch import lanes_forward, lanes_partials
from fasttape.compiler.jit import kernel
from fasttape.execute.blocks import BLOCK, accumulate, block, operand
from fasttape.layout import ACTIVE, CODE, OPERANDS, PARAM, SIZE


@kernel
def operands(v, aux, p, start, n, scratch):
    """The blocks of three operands; those that an instruction does not have repeat its first."""
    count = aux[p + OPERANDS]
    x = block(v, aux, p, operand(aux, p, 0), start, n, scratch[0])
    y = block(v, aux, p, operand(aux, p, 1), start, n, scratch[1]) if count > 1 else x
    z = block(v, aux, p, operand(aux, p, 2), start, n, scratch[2]) if count > 2 else x
    return x, y, z


@kernel
def elementwise_forward(values, others, slot, p, b, aux, scratch, entries):
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        x, y, z = operands(values, aux, p, start, n, scratch)
        out = values[slot + start : slot + start + n]
        lanes_forward(aux[p + CODE], aux[p + PARAM], x, y, z, out, entries)


@kernel
def elementwise_reverse(values, adjoints, slot, p, b, aux, scratch, entries):
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        x, y, z = operands(values, aux, p, start, n, scratch)
        r, w = values[slot + start : slot + start + n], adjoints[slot + start : slot + start + n]
        cx, cy, cz = scratch[3, :n], scratch[4, :n], scratch[5, :n]
        lanes_partials(aux[p + CODE], aux[p + PARAM], x, y, z, r, w, cx, cy, cz, entries)
        for k in range(aux[p + OPERANDS]):
            q = operand(aux, p, k)
            if aux[q + ACTIVE]:
                accumulate(adjoints, aux, p, q, start, n, scratch[3 + k])


@kernel
def elementwise_tangent(values, tangents, slot, p, b, aux, scratch, entries):
    for start in range(0, aux[p + SIZE], BLOCK):
        n = min(BLOCK, aux[p + SIZE] - start)
        x, y, z = operands(values, aux, p, start, n, scratch)
        r, t = values[slot + start : slot + start + n], tangents[slot + start : slot + start + n]
        t[:] = 0.0
        ones, cx, cy, cz = scratch[6, :n], scratch[3, :n], scratch[4, :n], scratch[5, :n]
        ones[:] = 1.0
        lanes_partials(aux[p + CODE], aux[p + PARAM], x, y, z, r, ones, cx, cy, cz, entries)
        for k in range(aux[p + OPERANDS]):
            d = block(tangents, aux, p, operand(aux, p, k), start, n, scratch[7])
            c = scratch[3 + k]
            for i in range(n):
                if d[i] != 0.0 and c[i] != 0.0:
                    t[i] += c[i] * d[i]
