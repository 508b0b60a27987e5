"""Entries: what a sweep calls for opcodes that it does not hold itself, compiled when a tape first needs them.

`link` looks at a program and fills in the addresses that a sweep over it will use. An entry is one row, or one
structural opcode, for one kind of work and one dtype; like the sweeps it is kept in the cache on disk.
"""

import functools
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.compiler.blas import addresses
from fasttape.compiler.dispatch import steps
from fasttape.compiler.jit import entry
from fasttape.compiler.late import DISABLED, capi
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
    FIRST_PAIR,
    FIRST_STRUCTURAL,
    FORWARD,
    GEMM,
    GUARD,
    LANES_FORWARD,
    LANES_PARTIALS,
    LANES_STRICT,
    PAIRS,
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


def forward_entry(opcode, dtype):
    def forward(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.numbers(values, ALL, dtype), capi.numbers(others, ALL, dtype), capi.words(aux, ALL)
        room, called = capi.numbers(scratch, BUFFERS * BLOCK, dtype), capi.words(entries, ENTRIES)
        steps.step_forward(opcode, v, w, slot, a, b, x, room, called)

    return forward


def reverse_entry(opcode, dtype):
    def reverse(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.numbers(values, ALL, dtype), capi.numbers(others, ALL, dtype), capi.words(aux, ALL)
        room, called = capi.numbers(scratch, BUFFERS * BLOCK, dtype), capi.words(entries, ENTRIES)
        steps.step_reverse(opcode, v, w, slot, a, b, x, room, called)

    return reverse


def tangent_entry(opcode, dtype):
    def tangent(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.numbers(values, ALL, dtype), capi.numbers(others, ALL, dtype), capi.words(aux, ALL)
        room, called = capi.numbers(scratch, BUFFERS * BLOCK, dtype), capi.words(entries, ENTRIES)
        steps.step_tangent(opcode, v, w, slot, a, b, x, room, called)

    return tangent


def partials_entry(opcode, dtype):
    def partials(values, others, slot, a, b, aux, scratch, entries):
        v, w, x = capi.numbers(values, ALL, dtype), capi.numbers(others, ALL, dtype), capi.words(aux, ALL)
        room, called = capi.numbers(scratch, BUFFERS * BLOCK, dtype), capi.words(entries, ENTRIES)
        steps.step_partials(opcode, v, w, slot, a, b, x, room, called)

    return partials


def lanes_forward_entry(opcode, dtype):
    def lanes(parameter, size, x, y, z, out):
        x, y, z = capi.numbers(x, ALL, dtype), capi.numbers(y, ALL, dtype), capi.numbers(z, ALL, dtype)
        steps.lanes_forward(opcode, parameter, size, x, 0, y, 0, z, 0, capi.numbers(out, ALL, dtype), 0, x)

    return lanes


def lanes_strict_entry(opcode, dtype):
    def lanes(parameter, size, x, y, z, out):
        x, y, z = capi.numbers(x, ALL, dtype), capi.numbers(y, ALL, dtype), capi.numbers(z, ALL, dtype)
        steps.lanes_strict(opcode, parameter, size, x, 0, y, 0, z, 0, capi.numbers(out, ALL, dtype), 0, x)

    return lanes


def lanes_partials_entry(opcode, dtype):
    def lanes(parameter, size, x, y, z, r, w, cx, cy, cz):
        x, y, z = capi.numbers(x, ALL, dtype), capi.numbers(y, ALL, dtype), capi.numbers(z, ALL, dtype)
        cx, cy, cz = capi.numbers(cx, ALL, dtype), capi.numbers(cy, ALL, dtype), capi.numbers(cz, ALL, dtype)
        r, w = capi.numbers(r, ALL, dtype), capi.numbers(w, ALL, dtype)
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


@functools.cache
def table(dtype) -> np.ndarray:
    """The addresses for one dtype, 0 where nothing is compiled yet."""
    return np.zeros(ENTRIES, np.int64)


@functools.cache
def compiled(kind, opcode, dtype):
    factory = FACTORIES[kind]
    work = factory.__name__.removesuffix("_entry").replace("_", " ")
    return entry(factory, (opcode, np.dtype(dtype).type), f"{name_of(opcode)}, {work}")


def name_of(opcode) -> str:
    """What users are told that an entry does."""
    if opcode < len(ops.OPS):
        return ops.OPS[opcode].name
    if opcode >= FIRST_STRUCTURAL:
        return STRUCTURAL_NAMES[opcode]
    return " and ".join(ops.OPS[row].name for row in PAIRS[opcode - FIRST_PAIR][:2])


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


def link_rows(rows, kind, dtype) -> None:
    """Fill in the entries of one kind for some rows."""
    if not DISABLED:
        require(table(dtype), kind, rows, dtype)


def require(addresses_of, kind, opcodes, dtype):
    for opcode in opcodes:
        if not addresses_of[kind * 256 + opcode]:
            addresses_of[kind * 256 + opcode] = compiled(kind, opcode, dtype).address


assert len(ops.OPS) <= FIRST_PAIR
