"""Optimization: programs to shorter programs that compute the same bits.

`prune` keeps what outputs and guards need; `fold` makes constants of what depends on constants only; `share` computes
equal subexpressions once and applies the identities of `transform.identities`. Each is linear in the length of a
program, keeps the order of instructions, and finds nothing more to do in what it returns. Guards stay, but one that
another has checked already goes.
"""

import functools
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.decode import count_operations, result_starts
from fasttape.execute import pruning
from fasttape.execute.interpreter import Workspace
from fasttape.execute.numbering import number
from fasttape.execute.plan import Plan
from fasttape.layout import CALL, FIRST_STRUCTURAL, GUARD
from fasttape.program import Program
from fasttape.transform import identities

COMMUTES = np.zeros(256, bool)
COMMUTES[[code for code, op in enumerate(ops.OPS) if ops.COMMUTATIVE in op.traits]] = True


class Pass(NamedTuple):
    """What one pass did."""

    name: str
    instructions: int  # left by it
    operations: int


class Report(NamedTuple):
    """What `Tape.optimize` did, pass by pass; the first entry is the tape as it was. `str()` is a table."""

    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        rows = [("", "instructions", "operations"), *((p.name, f"{p[1]:,}", f"{p[2]:,}") for p in self.passes)]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows)


class Stage(NamedTuple):
    """A program behind one pass."""

    name: str
    program: Program


def optimize(program: Program, *, inexact: bool = False) -> Program:
    """The program after all passes."""
    return stages(program, inexact=inexact)[-1].program


def stages(program: Program, *, inexact: bool = False) -> list[Stage]:
    """The program as it is, and as each pass leaves it."""
    done = [Stage("as recorded", program), Stage("dead code", program := prune(program))]
    while True:
        done.append(Stage("constants folded", folded := fold(program)))
        if folded is program and len(done) > 3:
            return done
        done.append(Stage("shared and simplified", program := share(folded, inexact=inexact)))


def report_of(done: list[Stage]) -> Report:
    """What passes did."""
    return Report(tuple(Pass(x.name, x.program.ops.size, count_operations(x.program)) for x in done))


def prune(program: Program) -> Program:
    """Keep the instructions, constants and sites that outputs and guards need."""
    return without(program, np.zeros(program.ops.size, bool))


def without(program: Program, dropped) -> Program:
    """Keep what outputs, guards and impure calls need, except those of both that are `dropped`."""
    live, keep = np.zeros(program.slots, bool), ~dropped
    live[: 1 + program.inputs] = True
    live[program.outputs] = True
    spans = np.zeros(program.slots + 1, np.int64)
    pruning.liveness.now(*program.columns, live, spans, keep, program.slots)
    if live.all() and keep.all():
        return program
    front = slice(1 + program.inputs, program.first_result)
    return rebuilt(program, keep, np.cumsum(live) - 1, program.constants[live[front]])


def rebuilt(program: Program, keep, moved, constants) -> Program:
    """The program of the instructions that are kept; `moved` has the new numbers of slots."""
    n = np.count_nonzero(keep)
    columns = tuple(np.empty(n, column.dtype) for column in program.columns[:3])
    aux = np.empty(program.aux.size, np.int64)
    used = pruning.compaction.now(*program.columns, keep, moved, *columns, aux)
    guards = program.guards[keep[program.guards[:, 0]]]
    numbers, places = np.unique(guards[:, 1], return_inverse=True)
    guards = np.stack([np.cumsum(keep)[guards[:, 0]] - 1, places.reshape(-1)], axis=1).astype(np.int64)
    made = program._replace(
        **dict(zip(("ops", "a", "b"), columns, strict=True)),
        aux=aux[:used].copy(),
        constants=constants,
        outputs=moved[program.outputs].astype(np.uint32),
        guards=guards,
        sites=tuple(program.sites[k] for k in numbers.tolist()),
    )
    return made._replace(slots=int(result_starts(made)[-1]))


def fold(program: Program) -> Program:
    """Make constants of the scalar results that depend on constants only, computed as a sweep computes them."""
    first, slots = program.first_result, program.slots
    fixed, pinned = np.zeros(slots, bool), np.zeros(slots, bool)
    fixed[0] = fixed[1 + program.inputs : first] = True
    if ((program.ops >= FIRST_STRUCTURAL) & (program.ops != GUARD)).any():
        pruning.strided.now(program.ops, program.a, program.aux, pinned, np.zeros(slots + 1, np.int64))
    if not pruning.known.now(*program.columns, fixed, pinned, first):
        return program
    found = np.flatnonzero(fixed[first:]) + first
    values = numbers(program, found)
    moved = np.arange(slots)
    moved[first:] = first + found.size + np.cumsum(~fixed[first:]) - 1
    moved[found] = first + np.arange(found.size)
    keep = np.ones(program.ops.size, bool)
    starts = result_starts(program)[:-1]
    scalar = program.ops < FIRST_STRUCTURAL
    keep[scalar] = ~fixed[starts[scalar]]
    return rebuilt(program, keep, moved, np.concatenate([program.constants, values]))


def numbers(program: Program, slots) -> np.ndarray:
    """The numbers in slots that depend on constants only."""
    bare = program._replace(outputs=slots.astype(np.uint32))
    part = without(bare, (program.ops == GUARD) | (program.ops == CALL))
    workspace = Workspace(Plan(part), part)
    workspace.inputs[:] = 0.0
    workspace.forward()
    return workspace.values[part.outputs]


def share(program: Program, *, inexact: bool = False) -> Program:
    """Compute equal results once, and replace instructions by what identities make of them."""
    columns = tuple(column.copy() for column in program.columns)
    front, stop = 1 + program.inputs, program.first_result
    bits = program.constants.astype(np.float64).view(np.int64)
    same = np.arange(program.slots, dtype=np.uint32)
    _, firsts, kinds = np.unique(bits, return_index=True, return_inverse=True)
    same[front:stop] = np.where(bits == 0, 0, front + firsts[kinds.reshape(-1)])
    number(columns, same, bits, front, tables(inexact), COMMUTES)
    ops, a, b, aux = columns
    made = program._replace(ops=ops, a=a, b=b, aux=aux, outputs=same[program.outputs])
    return without(made, repeated_guards(made))


def repeated_guards(program: Program) -> np.ndarray:
    """Which instructions are guards of what another has checked before."""
    dropped = np.zeros(program.ops.size, bool)
    if len(program.guards) < 2:
        return dropped
    guards = program.guards[:, 0]
    dropped[guards] = True
    checked = np.stack([program.a[guards], program.b[guards]], axis=1)
    dropped[guards[np.unique(checked, axis=0, return_index=True)[1]]] = False
    return dropped


@functools.cache
def tables(inexact: bool):
    """The rules of the identities that may be applied, compiled."""
    return identities.rules(identities.LOOSE + identities.EXACT if inexact else identities.EXACT)
