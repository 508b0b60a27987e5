"""Optimization: common subexpressions are computed once, identities that are exact drop out, dead code goes.

`share` lets every operand read the first of equal results; nothing is removed. `prune` keeps what outputs and guards
need and numbers the slots anew. Both are linear in the length of a program, keep the order of instructions, and change
no value by a bit: operands trade places only where the row says that the result is the same.

Value numbering: Cocke and Schwartz (1970), "Programming languages and their compilers".
"""

import numpy as np

from fasttape import ops
from fasttape.decode import Instruction, instructions
from fasttape.layout import (
    A_IS_SLOT,
    ADJOINT,
    B_IS_SLOT,
    CALL,
    CODE,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LENGTH,
    LIST,
    NDIM,
    REGULAR,
    SHAPE,
    STRIDES,
    TERNARY,
)
from fasttape.program import Program

COPIES = {ops.CODE["positive"]}
# Rows that return an operand unchanged where the other is a constant: (row, place of the constant): the constant
NEUTRAL = {(ops.CODE["mul"], 0): 1.0, (ops.CODE["mul"], 1): 1.0, (ops.CODE["div"], 1): 1.0, (ops.CODE["sub"], 1): 0.0}


def optimize(program: Program) -> Program:
    """The program with shared subexpressions and without what nothing needs."""
    return prune(share(program))


def share(program: Program) -> Program:
    """Let operands read the first of equal results."""
    same = np.arange(program.slots, dtype=np.uint32)
    a, b, aux = program.a.copy(), program.b.copy(), program.aux.copy()
    first_constant, known = 1 + program.inputs, {}
    constants = {}
    for k, bits in enumerate(program.constants.view(f"u{program.constants.itemsize}").tolist()):
        same[first_constant + k] = constants.setdefault(bits, first_constant + k)
    for x in instructions(program):
        i = x.index
        if x.opcode >= FIRST_STRUCTURAL and x.opcode != GUARD:
            share_record(aux, x, same)
            if not is_pure(program, x):
                continue
            key = x.opcode, aux[x.record : x.record + aux[x.record + LENGTH]].tobytes()
        else:
            slots = [int(same[s[0]]) for s in x.operands]
            write_scalar(a, b, aux, i, slots)
            if x.opcode == GUARD:
                continue
            copied = unchanged(program, x, slots)
            if copied is not None:
                same[x.slot] = copied
                continue
            ordered = sorted(slots) if ops.COMMUTATIVE in ops.OPS[x.opcode].traits else slots
            key = x.opcode, *ordered, x.parameter
        found = known.setdefault(key, x.slot)
        if found != x.slot:
            same[x.slot : x.slot + x.size] = same[found : found + x.size]
    return program._replace(a=a, b=b, aux=aux, outputs=same[program.outputs])


def is_pure(program, x: Instruction) -> bool:
    """Whether nobody can tell how often an instruction runs, as with all but the calls of a user's functions."""
    return x.opcode != CALL or program.rules[int(program.aux[x.record + CODE])].pure


def write_scalar(a, b, aux, i, slots):
    """Give a scalar instruction other operands."""
    a[i] = slots[0]
    if len(slots) == 2:
        b[i] = slots[1]
    elif len(slots) == 3:
        aux[int(b[i]) : int(b[i]) + 2] = slots[1:]


def unchanged(program, x: Instruction, slots):
    """The slot that a scalar instruction only copies, or None."""
    if x.opcode in COPIES:
        return slots[0]
    first = 1 + program.inputs
    for place, slot in enumerate(slots):
        neutral = NEUTRAL.get((x.opcode, place))
        if neutral is None:
            continue
        value = program.constants[slot - first] if first <= slot < program.first_result else 0.0 if slot == 0 else None
        if value is not None and value == neutral and not np.signbit(value):
            return slots[1 - place]
    return None


def operands(aux, record, count):
    """(place in aux, its strides) of each operand of an array instruction."""
    ndim = int(aux[record + NDIM])
    for k in range(count):
        yield record + SHAPE + ndim + k * (STRIDES + ndim)


def share_record(aux, x: Instruction, same):
    """Let the operands of an array instruction read the first of equal results, where these are as regular."""
    for q, slots in zip(operands(aux, x.record, len(x.operands)), x.operands, strict=True):
        if not slots.size:
            continue
        shared = same[slots]
        if aux[q + LIST] != REGULAR:
            start = x.record + int(aux[q + LIST])
            low, high = reach(aux, x.record, q)
            aux[start + low : start + high + 1] = same[aux[start + low : start + high + 1]]
        elif (shared.astype(np.int64) - slots == int(shared[0]) - int(slots[0])).all():
            aux[q + FIRST] = aux[q + ADJOINT] = int(aux[q + FIRST]) + int(shared[0]) - int(slots[0])


def reach(aux, record, q):
    """The lowest and the highest place that an operand reads, in its list or among the slots."""
    ndim, first = int(aux[record + NDIM]), int(aux[q + FIRST])
    extents, strides = aux[record + SHAPE : record + SHAPE + ndim], aux[q + STRIDES : q + STRIDES + ndim]
    spans = (extents - 1) * strides
    return first + int(np.minimum(spans, 0).sum()), first + int(np.maximum(spans, 0).sum())


def prune(program: Program) -> Program:
    """Keep the instructions and constants that outputs and guards need."""
    listed = list(instructions(program))
    live = np.zeros(program.slots, bool)
    live[: 1 + program.inputs] = True
    live[program.outputs] = True
    kept = []
    for x in reversed(listed):
        if x.opcode != GUARD and is_pure(program, x) and not live[x.slot : x.slot + x.size].any():
            continue
        live[x.slot : x.slot + x.size] = True
        kept.append(x)
        for k, slots in enumerate(x.operands):
            if x.record >= 0 and slots.size and is_regular(program.aux, x, k):
                live[slots.min() : slots.max() + 1] = True  # what lies between as well: its strides stay
            else:
                live[slots] = True
    kept.reverse()
    return rebuilt(program, kept, live)


def is_regular(aux, x: Instruction, k) -> bool:
    """Whether an array instruction reads an operand by strides."""
    q = list(operands(aux, x.record, len(x.operands)))[k]
    return bool(aux[q + LIST] == REGULAR)


def rebuilt(program: Program, kept, live) -> Program:
    """The program of the instructions that are kept, with the slots that are live numbered anew."""
    moved = np.cumsum(live) - 1
    index = [x.index for x in kept]
    ops, a, b = program.ops[index], program.a[index].astype(np.int64), program.b[index].astype(np.int64)
    scalar_a, scalar_b = A_IS_SLOT[ops], B_IS_SLOT[ops]
    a[scalar_a], b[scalar_b] = moved[a[scalar_a]], moved[b[scalar_b]]
    records, at, guards = [np.empty(0, np.int64)], 0, []
    sites = dict(program.guards.tolist())
    for i, x in enumerate(kept):
        if x.opcode == GUARD:
            guards.append((i, sites[x.index]))
            continue
        if x.record >= 0:
            record, a[i] = moved_record(program.aux, x, moved), at
        elif TERNARY[x.opcode]:
            record, b[i] = moved[program.aux[int(b[i]) : int(b[i]) + 2]], at
        else:
            continue
        records.append(record)
        at += record.size
    first = 1 + program.inputs
    return program._replace(
        ops=ops,
        a=a.astype(np.uint32),
        b=b.astype(np.uint32),
        aux=np.concatenate(records),
        constants=program.constants[live[first : program.first_result]],
        slots=int(live.sum()),
        outputs=moved[program.outputs].astype(np.uint32),
        guards=np.array(guards, np.int64).reshape(-1, 2),
    )


def moved_record(aux, x: Instruction, moved):
    """The side record of an array instruction, whose operands have moved."""
    record = aux[x.record : x.record + aux[x.record + LENGTH]].copy()
    for q in operands(record, 0, len(x.operands)):
        if record[q + LIST] == REGULAR:
            record[q + FIRST] = record[q + ADJOINT] = moved[record[q + FIRST]]
        else:
            low, high = reach(record, 0, q)
            start = int(record[q + LIST])
            record[start + low : start + high + 1] = moved[record[start + low : start + high + 1]]
    return record
