"""Entries: what a sweep calls for opcodes that it does not hold itself, compiled when a tape first needs them.

`link` looks at a program and fills in the addresses that a sweep over it will use. An entry is one row, or one
structural opcode, for one kind of work and one dtype; like the sweeps it is kept in the cache on disk.
"""

import functools
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.compiler.blas import addresses
from fasttape.compiler.calling import capi
from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import entry
from fasttape.compiler.late import DISABLED
from fasttape.compiler.structural import STRUCTURAL
from fasttape.compiler.sweeps import sweep
from fasttape.execute.arrays import STEPS
from fasttape.execute.blocks import BLOCK, BUFFERS
from fasttape.layout import (
    BLAS,
    CALL,
    CODE,
    CONST,
    DOT,
    ELEMENTWISE,
    ENTRIES,
    FIRST_STRUCTURAL,
    FORWARD,
    GEMM,
    GUARD,
    LANES_FORWARD,
    LANES_PARTIALS,
    LANES_STRICT,
    PARTIALS,
    REDUCE,
    REVERSE,
    STRUCTURAL_NAMES,
    TANGENT,
)

STRUCTURAL.update(STEPS)
ALL = 1 << 40  # the length of arrays that come as pointers; a program that verifies stays inside its memory
HELD = [ops.INLINE in op.traits for op in ops.OPS] + [False] * (256 - len(ops.OPS))  # by opcode: the sweeps' own code
HELD[CONST] = HELD[GUARD] = HELD[CALL] = True


def forward_entry(opcode):
    def forward(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.carray(values, ALL), capi.carray(others, ALL), capi.carray(aux, ALL)
        steps.step_forward(
            opcode, v, w, slot, a, b, x, capi.carray(scratch, BUFFERS * BLOCK), capi.carray(entries, ENTRIES)
        )

    return forward


def reverse_entry(opcode):
    def reverse(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.carray(values, ALL), capi.carray(others, ALL), capi.carray(aux, ALL)
        steps.step_reverse(
            opcode, v, w, slot, a, b, x, capi.carray(scratch, BUFFERS * BLOCK), capi.carray(entries, ENTRIES)
        )

    return reverse


def tangent_entry(opcode):
    def tangent(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.carray(values, ALL), capi.carray(others, ALL), capi.carray(aux, ALL)
        steps.step_tangent(
            opcode, v, w, slot, a, b, x, capi.carray(scratch, BUFFERS * BLOCK), capi.carray(entries, ENTRIES)
        )

    return tangent


def partials_entry(opcode):
    def partials(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.carray(values, ALL), capi.carray(others, ALL), capi.carray(aux, ALL)
        steps.step_partials(
            opcode, v, w, slot, a, b, x, capi.carray(scratch, BUFFERS * BLOCK), capi.carray(entries, ENTRIES)
        )

    return partials


def lanes_forward_entry(opcode):
    def lanes(parameter, size, x, y, z, out):
        x, y, z, out = capi.carray(x, ALL), capi.carray(y, ALL), capi.carray(z, ALL), capi.carray(out, ALL)
        steps.lanes_forward(opcode, parameter, size, x, 0, y, 0, z, 0, out, 0, x)

    return lanes


def lanes_strict_entry(opcode):
    def lanes(parameter, size, x, y, z, out):
        x, y, z, out = capi.carray(x, ALL), capi.carray(y, ALL), capi.carray(z, ALL), capi.carray(out, ALL)
        steps.lanes_strict(opcode, parameter, size, x, 0, y, 0, z, 0, out, 0, x)

    return lanes


def lanes_partials_entry(opcode):
    def lanes(parameter, size, x, y, z, r, w, cx, cy, cz):
        x, y, z, r, w = (
            capi.carray(x, ALL),
            capi.carray(y, ALL),
            capi.carray(z, ALL),
            capi.carray(r, ALL),
            capi.carray(w, ALL),
        )
        cx, cy, cz = capi.carray(cx, ALL), capi.carray(cy, ALL), capi.carray(cz, ALL)
        steps.lanes_partials(opcode, parameter, size, x, 0, y, 0, z, 0, r, 0, w, 0, cx, 0, cy, 0, cz, 0, x)

    return lanes


FACTORIES = {
    FORWARD: forward_entry,
    REVERSE: reverse_entry,
    TANGENT: tangent_entry,
    PARTIALS: partials_entry,
    LANES_FORWARD: lanes_forward_entry,
    LANES_STRICT: lanes_strict_entry,
    LANES_PARTIALS: lanes_partials_entry,
}


def signature(kind, dtype):
    """The C signature of the entries of one kind, as Numba writes it."""
    real, word = f"CPointer({dtype})", "CPointer(int64)"
    if kind in (LANES_FORWARD, LANES_STRICT):
        arguments = ["int64", "int64", *[real] * 4]
    elif kind == LANES_PARTIALS:
        arguments = ["int64", "int64", *[real] * 8]
    else:
        arguments = [real, real, "int64", "int64", "int64", word, real, word]
    return f"void({', '.join(arguments)})"


@functools.cache
def table(dtype) -> np.ndarray:
    """The addresses for one dtype, 0 where nothing is compiled yet."""
    return np.zeros(ENTRIES, np.int64)


@functools.cache
def compiled(kind, opcode, dtype):
    factory = FACTORIES[kind]
    work = factory.__name__.removesuffix("_entry").replace("_", " ")
    name = ops.OPS[opcode].name if opcode < len(ops.OPS) else STRUCTURAL_NAMES[opcode]
    return entry(factory, opcode, signature(kind, dtype), f"{name}, {work}")


class Needs(NamedTuple):
    """The opcodes whose entries a program calls: of instructions, and of the rows that array instructions apply."""

    called: list[int]
    elementwise: list[int]
    rows: list[int]
    products: bool
    arrays: bool  # whether there are array instructions at all


@sweep
def opcodes_in(ops, found):
    for i in range(ops.size):
        found[ops[i]] = True


def needs(columns) -> Needs:
    """What sweeps over some columns call."""
    opcodes, a, _, aux = columns
    found = np.zeros(256, np.bool_)
    opcodes_in.now(opcodes, found)
    used = np.flatnonzero(found).tolist()
    rows = {kind: aux[a[opcodes == kind] + np.uint32(CODE)].tolist() for kind in (ELEMENTWISE, REDUCE) if kind in used}
    elementwise = set(rows.get(ELEMENTWISE, ()))
    called = [opcode for opcode in used if not HELD[opcode]]
    arrays = any(opcode >= FIRST_STRUCTURAL and opcode not in (GUARD, CONST, DOT) for opcode in used)
    return Needs(called, list(elementwise), list(elementwise | set(rows.get(REDUCE, ()))), GEMM in used, arrays)


def link(needed: Needs, kind, dtype) -> np.ndarray:
    """The table of entries, with all that a sweep of this kind calls."""
    addresses_of = table(dtype)
    if DISABLED:
        return addresses_of
    called = needed.called
    if kind == PARTIALS:  # of rows; the linear tape has its own ways with array instructions
        called = [opcode for opcode in called if opcode < FIRST_STRUCTURAL]
    require(addresses_of, kind, called, dtype)
    require(addresses_of, LANES_FORWARD, needed.rows, dtype)
    if kind != FORWARD:
        require(addresses_of, LANES_PARTIALS, needed.elementwise, dtype)
    if needed.products and not addresses_of[BLAS * 256]:
        addresses_of[BLAS * 256 : BLAS * 256 + 2] = addresses(dtype)
    return addresses_of


def link_rows(rows, kind, dtype) -> np.ndarray:
    """The table of entries, with those of one kind for some rows."""
    if not DISABLED:
        require(table(dtype), kind, rows, dtype)
    return table(dtype)


def require(addresses_of, kind, opcodes, dtype):
    for opcode in opcodes:
        if not addresses_of[kind * 256 + opcode]:
            addresses_of[kind * 256 + opcode] = compiled(kind, opcode, dtype).address


assert len(ops.OPS) <= FIRST_STRUCTURAL
