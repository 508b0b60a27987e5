"""Checkpoints: a part of a recording that is kept as a program of its own, and run again when it is differentiated.

The calls of a checkpointed function are CALLs of a `Recorded` rule. It keeps no numbers: forward it returns its
results, in reverse it computes its values once more and goes back through them. Its derivatives as rules are recorded
programs in turn, which is all that other transforms need.

Trading memory for a second evaluation: Griewank (1992), "Achieving logarithmic growth of temporal and spatial
complexity in reverse automatic differentiation"; calls inside of calls give schedules of several levels.
"""

import functools
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from fasttape import trees
from fasttape.api import named
from fasttape.decode import count_operations
from fasttape.evaluation import guard_error
from fasttape.execute.calls import Rule
from fasttape.execute.interpreter import Workspace
from fasttape.execute.plan import Plan
from fasttape.program import Program
from fasttape.recorders.array import TracedArray, builder_of
from fasttape.recorders.calls import SHORT, emit, pieces
from fasttape.recorders.freeze import freeze
from fasttape.recorders.lift import run_lifted
from fasttape.recorders.scalar import TracedScalar, mixed
from fasttape.recording import OPEN, name_of
from fasttape.transform.operands import gathered, slots_of
from fasttape.transform.programs import narrowed, pullback_program, pushforward_program
from fasttape.verify import verify


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, of which a recording keeps no values but the results: they are computed again for derivatives.

    For the blocks of a long loop. What f reads, its arguments and traced values in its closure, is an input of the
    block. A tape of n scalar instructions takes 25 n bytes: 9 for the program, 8 for the value and 8 for the adjoint of
    each. In blocks of b instructions it takes r n / b for the calls, where r is some hundred bytes and grows with what
    goes in and out, and 25 b for the values and adjoints of one block at a time and for the program that equal calls
    share; b = √(r n / 25) is best. The price is one more evaluation. A checkpointed function may call others, for loops
    that are longer still. f itself runs at every call that is recorded, so it may do what it likes.

    First derivatives are those of f to the last bit; every order and mode is there. A condition that f decides on
    traced values holds at replays, as it does outside. f must return its results: an assignment from inside into a
    traced array from outside raises `MutationError`.

    >>> import math
    >>> import fasttape as ft
    >>> @ft.checkpoint
    ... def block(x):
    ...     for _ in range(100):
    ...         x = x + 0.001 * math.sin(x)
    ...     return x
    >>> def loop(x):
    ...     for _ in range(50):
    ...         x = block(x)
    ...     return x
    >>> round(ft.grad(loop)(0.1), 9), len(ft.record(loop, 0.1))
    (2.653236534, 50)
    """

    def run_block(*args: Any, **keywords: Any) -> Any:
        if not OPEN.recordings:
            return f(*args, **keywords)
        builder = builder_of(trees.flatten((args, keywords))[0])
        return record(OPEN.recordings[-1] if builder is None else builder, f, args, keywords)

    return named("checkpoint", f, run_block)


def record(builder: Any, f: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Record a call of f apart, and a CALL of what was recorded."""
    body = builder.suspend()
    OPEN.recordings.append(body)
    try:
        leaves, structure = trees.flatten(run_lifted(f, args, keywords))
        places = [own_slots(x, body) for x in leaves]
        listed = np.concatenate([np.empty(0, np.int64), *(x.reshape(-1) for x in places if x is not None)])
        made = np.unique(listed[listed > body.size])
        program, spans = narrowed(freeze(body, made, ()))
    finally:
        OPEN.recordings.pop()
        builder.resume()
    first = 0
    if made.size or program.guards.size or program.rules:
        first = call(builder, shared(program, name_of(f)), spans)
    for k, at in enumerate(places):
        if at is not None:
            inside = at > body.size
            at[inside] = first + np.searchsorted(made, at[inside])
            leaves[k] = like(leaves[k], builder, at)
    return trees.unflatten(structure, leaves)


def own_slots(x: Any, body: Any) -> Any:
    """The slots of a leaf of the results; None for what is not traced."""
    if not isinstance(x, TracedScalar | TracedArray):
        return None
    if builder_of(x) is not body:
        raise mixed(body, builder_of(x))
    return np.array(slots_of(x), np.int64)


def like(x: Any, builder: Any, slots: Any) -> Any:
    """A traced value like x that lives in some slots of a recording."""
    if isinstance(x, TracedScalar):
        return gathered(builder, slots[()])
    made = gathered(builder, slots) if slots.ndim else TracedArray.listed(builder, slots)
    made.boolean = x.boolean
    return made


def call(builder: Any, rule: Rule, spans: Any) -> int:
    """Append a CALL of a rule whose inputs are some spans of slots."""
    parts = [(a, b - a) if b - a >= SHORT else np.arange(a, b) for a, b in spans.tolist()]
    return emit(builder, rule, pieces(builder, parts))


KNOWN: weakref.WeakValueDictionary[bytes, "Recorded"] = weakref.WeakValueDictionary()  # by digest of their programs


def shared(program: Program, name: str) -> "Recorded":
    """The rule of a program; equal programs have one as long as anybody holds it."""
    digest = hashlib.sha256(repr((name, program.dtype.str, program.inputs, program.slots, program.sites)).encode())
    for part in (*program.columns, program.constants, program.outputs, program.guards):
        digest.update(part.size.to_bytes(8, "little"))
        digest.update(part.tobytes())
    digest.update(repr([id(rule) for rule in program.rules]).encode())  # they live as long as the program
    return KNOWN.setdefault(digest.digest(), Recorded(name, program))


class Recorded(Rule):
    """The rule that runs a program."""

    def __init__(self, name: str, program: Program):
        self.name, self.program = name, program
        self.inputs, self.outputs = program.inputs, int(program.outputs.size)
        self.operations = count_operations(program)
        self.pure = not program.guards.size and all(rule.pure for rule in program.rules)

    def __reduce__(self) -> tuple[Any, ...]:
        return shared, (self.program, self.name)

    def verify(self) -> None:
        verify(self.program)

    @functools.cached_property
    def plan(self) -> Plan:
        """How sweeps run the program."""
        return Plan(self.program, (), again=True, continued=True)

    def workspace(self, x: Any, *, keep: bool) -> Workspace:
        """An evaluation of its own, at x."""
        made = Workspace(self.plan, self.program)
        made.inputs[:] = x
        stopped = made.forward(keep=keep)
        if stopped < self.program.ops.size:
            raise guard_error(self.program, stopped)
        return made

    def forward(self, x: Any, *, keep: bool) -> tuple[Any, Any]:
        return self.workspace(x, keep=False).values[self.program.outputs], None

    def reverse(self, x: Any, y: Any, w: Any, kept: Any, totals: Any) -> None:
        made = self.workspace(x, keep=True)
        adjoints = made.prepared_adjoints()[1 : 1 + self.inputs]
        adjoints[:] = totals  # so that sums are in the order that they had without checkpoints
        made.reverse(w)
        totals[:] = adjoints

    def tangent(self, x: Any, y: Any, dx: Any) -> Any:
        return self.workspace(x, keep=False).tangent(dx)

    def pullback(self) -> Rule:
        return self.adjoint

    def pushforward(self) -> Rule:
        return self.along

    @functools.cached_property
    def adjoint(self) -> Rule:
        """The rule of `pullback`."""
        return shared(pullback_program(self.program), f"pullback of {self.name}")

    @functools.cached_property
    def along(self) -> Rule:
        """The rule of `pushforward`."""
        return shared(pushforward_program(self.program), f"pushforward of {self.name}")
