"""A batch inside a recording: the program of all points, recorded there, for each way that the function takes.

Where that would be too large, or calls rules, it is a call of a `Mapped` rule instead.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fasttape import trees
from fasttape.batches import Batch, another_way, placed_axis, spread, ways
from fasttape.errors import OutputError
from fasttape.execute.batch import block_in_recording, fits_memory
from fasttape.mapped import Mapped, Places, Use
from fasttape.program import Program
from fasttape.recorders.array import TracedArray, as_traced
from fasttape.recorders.calls import call
from fasttape.recorders.freeze import freeze
from fasttape.recorders.instructions import copied
from fasttape.recorders.lift import run_lifted
from fasttape.recording import OPEN
from fasttape.transform.map import Map, Slots, pieces_of
from fasttape.transform.nested import fresh_input
from fasttape.transform.operands import gathered, slots_of
from fasttape.transform.optimize import optimize
from fasttape.transform.programs import narrowed, spans_of_inputs


class Way(NamedTuple):
    """A recording at one point: its program, where its inputs come from, and what it returns."""

    program: Program
    shared: Any  # slots of the inputs that all points share
    taken: list[Any]  # for each leaf of the arguments the numbers of the elements that are inputs
    leaf: Any  # of each input, or -1
    rank: Any  # of each input among `shared` or `taken`
    structure: Any
    shapes: list[tuple[int, ...]]
    booleans: list[bool]


def record_inside(builder: Any, f: Any, keywords: Any, batch: Batch, out_axes: Any) -> Any:
    """Record a batch; the tree of its results."""

    def record(args: Any) -> Way:
        return record_way(builder, f, args, keywords, batch)

    def evaluate(way: Way, chosen: Any) -> Any:
        inner = [rule for rule in way.program.rules if isinstance(rule, Mapped)]
        if not way.program.guards.size and all(rule.pure for rule in inner):
            return np.empty(0, np.int64)
        parts = [np.ravel(part.primal) for part in operands(builder, way, batch, chosen)]
        rule = rule_of(batch, way, len(chosen), again=False)
        return rule.evaluate(parts, np.empty(rule.outputs, way.program.dtype))

    found = list(ways(batch, record, evaluate))
    first = found[0][0]
    if any(way[-3:] != first[-3:] for way, _ in found):
        raise OutputError(f"{batch.name} returns results of other shapes or types at other points of the batch")
    parts = [results(builder, way, batch, chosen) for way, chosen in found if len(chosen)]
    order = np.argsort(np.concatenate([chosen for _, chosen in found])) if len(parts) > 1 else None
    axes = spread(out_axes, trees.unflatten(first.structure, range(len(first.shapes))), "out_axes")
    leaves = []
    for k, (shape, boolean, axis) in enumerate(zip(first.shapes, first.booleans, axes, strict=True)):
        rows = parts[0][k] if parts else TracedArray.run(builder, 0, (0, math.prod(shape)))
        rows = rows if order is None else np.concatenate([part[k] for part in parts])[order]
        leaf = np.moveaxis(rows.reshape((batch.size, *shape)), 0, placed_axis(batch.name, axis, shape))
        leaf.boolean = boolean
        leaves.append(leaf)
    return trees.unflatten(first.structure, leaves)


def record_way(builder: Any, f: Any, args: Any, keywords: Any, batch: Batch) -> Way:
    """Record a call at one point apart."""
    leaves, structure = trees.flatten(tuple(args))
    fresh = []
    for k, (x, axis) in enumerate(zip(leaves, batch.axes, strict=True)):
        if axis is not None and batch.leaves[k].dtype.kind == "f":
            leaves[k] = fresh_input(builder, x, batch.name, k)
            fresh.append((k, slots_of(leaves[k]).reshape(-1)))
    body = builder.suspend()
    OPEN.recordings.append(body)
    try:
        returned, its = trees.flatten(run_lifted(f, trees.unflatten(structure, leaves), keywords))
        made = [copied(as_traced(body, x)) for x in returned]
        slots = np.concatenate([np.empty(0, np.uint32), *(x.slots.reshape(-1) for x in made)])
        program, spans = narrowed(freeze(body, slots, ()))
    finally:
        OPEN.recordings.pop()
        builder.resume()
    read = np.concatenate([np.arange(*span) for span in [(0, 0), *spans.tolist()]])
    leaf, number = np.full(builder.next, -1), np.arange(builder.next)
    for k, own in fresh:
        leaf[own], number[own] = k, np.arange(own.size)
    leaf, number, rank = leaf[read], number[read], np.empty_like(read)
    for k in range(-1, len(leaves)):
        rank[leaf == k] = np.arange(np.count_nonzero(leaf == k))
    shared, taken = number[leaf < 0].astype(np.uint32), [number[leaf == k] for k in range(len(leaves))]
    shapes, booleans = [x.shape for x in made], [x.boolean for x in made]
    return Way(optimize(program), shared, taken, leaf, rank, its, shapes, booleans)


def operands(builder: Any, way: Way, batch: Batch, chosen: Any) -> list[Any]:
    """What the rule takes at some points: what they share, then the rows of each leaf."""
    found = [TracedArray.listed(builder, way.shared)] if way.shared.size else []
    for x, axis, taken in zip(batch.leaves, batch.axes, way.taken, strict=True):
        if taken.size:
            rows = np.moveaxis(as_traced(builder, x), axis, 0)
            rows = rows.reshape((batch.size, -1)) if rows.ndim != 2 else rows
            rows = rows if len(chosen) == batch.size else rows[piece(chosen)]
            found.append(rows if np.array_equal(taken, np.arange(rows.shape[1])) else rows[:, taken])
    return found


def piece(chosen: Any) -> Any:
    """Some points as an index, a slice where they follow one another."""
    first, last = int(chosen[0]), int(chosen[-1])
    return slice(first, last + 1) if last - first == len(chosen) - 1 else chosen


def rule_of(batch: Batch, way: Way, points: int, *, again: bool) -> Mapped:
    """The rule of some points."""
    widths = np.array([taken.size for taken in way.taken], np.int64)
    starts = way.shared.size + points * (np.cumsum(widths) - widths)
    inputs = int(way.shared.size + points * widths.sum())
    sources = Places(inputs, way.rank + np.append(starts, 0)[way.leaf], np.append(widths, 0)[way.leaf])
    sizes = np.array([math.prod(shape) for shape in way.shapes], np.int64)
    number, before = np.arange(sizes.sum()), np.repeat(np.cumsum(sizes) - sizes, sizes)
    targets = Places(points * number.size, points * before + number - before, np.repeat(sizes, sizes))
    return Mapped(batch.name, way.program, points, sources, targets, Use(batch.threads, again))


def results(builder: Any, way: Way, batch: Batch, chosen: Any) -> list[Any]:
    """The results at some points: for each leaf its numbers, one row for each point."""
    points, sizes = len(chosen), [math.prod(shape) for shape in way.shapes]
    if fits_memory(way.program, points, way.shared.size):
        slots = recorded(builder, way, batch, operands(builder, way, batch, chosen), points)
        return [gathered(builder, part) for part in trees.cut(slots, sizes)]
    lanes, parts = block_in_recording(way.program, points, way.shared.size), []
    for some, size in ((chosen[: points - points % lanes], lanes), (chosen[points - points % lanes :], points % lanes)):
        if len(some):
            rule = rule_of(batch, way, len(some), again=not builder.once)
            rule = rule if size == 1 else rule.in_blocks(size)
            made = call(builder, rule, operands(builder, way, batch, some))
            leaves = trees.cut(made, [len(some) * size for size in sizes])
            parts.append([x.reshape((len(some), size)) for x, size in zip(leaves, sizes, strict=True)])
    return parts[0] if len(parts) == 1 else [np.concatenate(pair) for pair in zip(*parts, strict=True)]


def recorded(builder: Any, way: Way, batch: Batch, given: Any, points: int) -> Any:
    """Record a program at some points on the tape that is there; the slots of its outputs, a row for each point."""
    program, inputs = way.program, sources(builder, way, given)
    borders = np.diff(inputs.first, prepend=0) != 1
    pieces = pieces_of(inputs.step == 0, spans_of_inputs(program).tolist()) + np.cumsum(borders)
    before = len(builder.guards)
    made = Map(builder, program, points, inputs, pieces)
    made.record()
    if before < len(builder.guards):
        values = builder.evaluate()
        at = [instruction for instruction, _ in builder.guards[before:]]
        _, conditions, outcomes = (column[at] for column in builder.columns.arrays)
        if ((values[conditions] != 0.0) != (outcomes != 0)).any():
            raise another_way(batch.name)
    return Slots(made.first, made.step).at(program.outputs).of(points)


def sources(builder: Any, way: Way, given: Any) -> Slots:
    """The slots of the inputs."""
    found, rows = np.zeros((2, way.leaf.size), np.int64), iter(given)
    found[0, way.leaf < 0] = next(rows).slots if way.shared.size else 0
    for k in np.unique(way.leaf[way.leaf >= 0]).tolist():
        x, own = next(rows), way.leaf == k
        beside = x.root.table is None and (x.shape[1] < 2 or x.geometry.strides[1] == x.geometry.itemsize)
        slots = (x if beside else copied(x))[:: max(len(x) - 1, 1)].slots.astype(np.int64)
        found[0, own] = slots[0, way.rank[own]]
        found[1, own] = (slots[-1, 0] - slots[0, 0]) // max(len(x) - 1, 1)
    return Slots(*found)
