"""CALL: where a sweep stops and Python goes on, with a rule that a program keeps; and what every rule can do.

A rule is a function of `inputs` numbers with `outputs` results, and its derivatives. A sweep gathers the numbers from
the operands of the instruction in order, so a rule never sees a slot, nor memory that anybody else has, unless it has
`fill` and `spread` of its own.
"""

import bisect
import itertools
from typing import Any, NamedTuple

import numpy as np

from fasttape.compiler.memory import view
from fasttape.layout import (
    ADJOINT,
    ADJOINTS,
    CALL,
    CLEAN,
    CODE,
    FIRST,
    FIRST_STRUCTURAL,
    GUARD,
    LIST,
    NDIM,
    PASSIVE,
    REGULAR,
    SETS,
    SHAPE,
    SIZE,
    STRIDES,
)


class Rule:
    """What a CALL runs, on flat arrays: x are the inputs, y the results, w adjoints of y, dx tangents of x.

    The same rule serves many evaluations and threads, so what one evaluation keeps is passed in and out.
    """

    name: str
    inputs: int
    outputs: int
    operations = 1  # that one evaluation counts as
    one_way = False  # whether reverse mode may be all that it can do
    pure = False  # whether equal inputs give equal results, and nobody can tell how often it ran

    def verify(self) -> None:
        """Raise `InvalidTapeError` if the rule came from outside and is broken."""

    def forward(self, x: np.ndarray, *, keep: bool) -> tuple[np.ndarray, Any]:
        """y, and what `reverse` can use of this evaluation; None unless the caller will `keep` it."""
        raise NotImplementedError

    def fill(self, operands: list[np.ndarray], y: np.ndarray, *, keep: bool) -> Any:
        """Write y, where results belong, for operands where they are; return the second of what `forward` returns."""
        y[:], kept = self.forward(np.concatenate([y[:0], *operands]), keep=keep)
        return kept

    def reverse(self, x, y, w, kept, totals) -> None:
        """Add the adjoints of x to `totals`; `kept` is what `forward` returned, or None."""
        raise NotImplementedError

    def spread(self, operands: list[np.ndarray], y, w, kept, totals: list[np.ndarray | None]) -> None:
        """As `reverse`, for operands where they are; None stands for totals that nobody wants."""
        x = np.concatenate([y[:0], *operands])
        pairs = zip(operands, totals, strict=True)
        flat = np.concatenate([y[:0], *(np.zeros_like(z) if total is None else total for z, total in pairs)])
        self.reverse(x, y.copy(), w.copy(), kept, flat)
        at = 0
        for z, total in zip(operands, totals, strict=True):
            if total is not None:
                total[:] = flat[at : at + z.size]
            at += z.size

    def tangent(self, x, y, dx) -> np.ndarray:
        """The tangents of y."""
        raise NotImplementedError

    def pullback(self) -> "Rule":
        """The rule from (x, y, w) to the adjoints of x."""
        raise NotImplementedError

    def pushforward(self) -> "Rule":
        """The rule from (x, y, dx) to the tangents of y."""
        raise NotImplementedError


class Site(NamedTuple):
    """A CALL of a program."""

    instruction: int
    slot: int  # of its first result
    number: int  # of those before it
    distinct: bool  # whether no operand reads a slot that another one, or itself, reads as well


def sites(columns, first_result) -> list[Site]:
    """The CALL instructions of some columns in order."""
    ops, a, _, aux = columns
    where = np.flatnonzero(ops == CALL)
    if not where.size:
        return []
    sizes = np.ones(ops.size, np.int64)
    sizes[ops == GUARD] = 0
    structural = (ops >= FIRST_STRUCTURAL) & (ops != GUARD)
    sizes[structural] = aux[a[structural].astype(np.int64) + SIZE]
    slots = first_result + np.cumsum(sizes) - sizes
    found = enumerate(where.tolist())
    return [Site(i, int(slots[i]), number, distinct(operands(aux, int(a[i])))) for number, i in found]


def operands(aux, p, field=FIRST) -> list:
    """The slots of each operand of the CALL whose record is at p: a slice, or an array where they are listed.

    The field ADJOINT says where adjoints and tangents are, if values are elsewhere.
    """
    count, found = int(aux[p + NDIM]), []
    for k in range(count):
        q, size = operand(aux, p, k), int(aux[p + SHAPE + k])
        first, listed = int(aux[q + field]), int(aux[q + LIST])
        start = first if listed == REGULAR else p + listed + first
        found.append(slice(start, start + size) if listed == REGULAR else aux[start : start + size])
    return found


def operand(aux, p, k) -> int:
    """The place of operand k in the record at p."""
    ndim = int(aux[p + NDIM])
    return p + SHAPE + ndim + k * (STRIDES + ndim)


def distinct(parts) -> bool:
    """Whether no slot stands twice in the operands of a call."""
    runs = sorted((x.start, x.stop) for x in parts if isinstance(x, slice))
    if any(stop > start for (_, stop), (start, _) in itertools.pairwise(runs)):
        return False
    listed = np.concatenate([np.empty(0, np.int64), *(x for x in parts if not isinstance(x, slice))])
    if not listed.size:
        return True
    borders = np.array(runs, np.int64).reshape(-1)  # a slot inside of a run has an odd number of them before it
    inside = np.searchsorted(borders, listed, "right") % 2
    return not inside.any() and np.unique(listed).size == listed.size


def numbers(v, part) -> np.ndarray:
    """The numbers of one operand, where they are: slots outside of v stand for memory of the caller."""
    if isinstance(part, slice) and not 0 <= part.start <= part.stop <= v.size:
        start = v.__array_interface__["data"][0] + part.start * v.itemsize
        return view(start, (part.stop - part.start,), (v.itemsize,), v.dtype)
    return v[part]


def gathered(v, parts) -> np.ndarray:
    """The numbers of some operands, in memory of their own."""
    return np.concatenate([v[:0], *(numbers(v, part) for part in parts)])


class Calls:
    """The CALL instructions of a program in one evaluation, and what this one keeps for them."""

    def __init__(self, found: list[Site], rules):
        self.sites, self.rules = found, rules
        self.kept: dict[int, Any] = {}  # by number of the call
        self.known: dict[int, tuple[np.ndarray, np.ndarray, Any]] = {}  # (x, y, kept) of some that need not run at x
        self.handed: dict[int, np.ndarray] = {}  # where results go that nobody looks for in their slots

    def between(self, first, last):
        """Those among some instructions, in order."""
        return self.sites[bisect.bisect_left(self.sites, (first,)) : bisect.bisect_left(self.sites, (last,))]

    def read(self, columns, site):
        """(rule, place of the record, slots of the operands, slots of the results) of a CALL."""
        _, a, _, aux = columns
        p = int(a[site.instruction])
        rule = self.rules[int(aux[p + CODE])]
        return rule, p, operands(aux, p), slice(site.slot, site.slot + int(aux[p + SIZE]))

    def forward(self, columns, values, site, *, keep) -> int:
        """Run one CALL; return the slot behind its results."""
        rule, _, parts, results = self.read(columns, site)
        y = self.handed.pop(site.number, values[results])
        at, known, kept = self.known.get(site.number, (None, None, None))
        if at is not None and at.tobytes() == gathered(values, parts).tobytes():
            y[:] = known
        else:
            kept = rule.fill([numbers(values, part) for part in parts], y, keep=keep)
        if keep:
            self.kept[site.number] = kept
        return results.stop

    def reverse(self, columns, values, adjoints, site, *, keep) -> int:
        """Pass the adjoints of the results on; return the first of their slots.

        Contributions go on top of what the operands have so far, so that a rule may add to it in an order of its own.
        """
        rule, p, parts, results = self.read(columns, site)
        aux, w = columns[3], adjoints[results]
        places = operands(aux, p, ADJOINT)
        how = [int(aux[operand(aux, p, k) + ADJOINTS]) for k in range(len(parts))]
        for part, mode in zip(places, how, strict=True):
            if mode == SETS:
                adjoints[part] = 0.0
        if w.any():
            given = [numbers(values, part) for part in parts]
            triples = list(zip(given, places, how, strict=True))
            totals = [
                None if mode == PASSIVE else adjoints[part] if site.distinct else np.zeros_like(x)
                for x, part, mode in triples
            ]
            rule.spread(given, values[results], w, self.kept.get(site.number), totals)
            for total, (_, part, _) in zip(totals, triples, strict=True):
                if total is not None and not (site.distinct and isinstance(part, slice)):
                    put(adjoints, part, total, distinct=site.distinct)
        if not (keep or aux[p + CLEAN]):
            adjoints[results] = 0.0
        return results.start

    def tangent(self, columns, values, tangents, site) -> int:
        """The tangents of the results of one CALL; return the slot behind them."""
        rule, p, parts, results = self.read(columns, site)
        dx = gathered(tangents, operands(columns[3], p, ADJOINT))
        moves = dx.any()
        tangents[results] = rule.tangent(gathered(values, parts), values[results].copy(), dx) if moves else 0.0
        return results.stop


def put(adjoints, part, numbers, *, distinct):
    """Let the adjoints of some slots be numbers that hold all of them, or add to them where slots repeat."""
    if distinct:
        adjoints[part] = numbers
    elif isinstance(part, slice):
        adjoints[part] += numbers
    else:
        np.add.at(adjoints, part, numbers)


NONE = Calls([], ())
