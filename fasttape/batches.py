"""Batch: arguments of which some hold one entry for each point; and the ways that a function takes through them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fasttape import trees
from fasttape.errors import ArgumentError, UnsupportedError
from fasttape.execute.points import HELD
from fasttape.recorders.array import TracedArray

MOST_WAYS = 1_024


class Batch(NamedTuple):
    """The arguments of a batch: leaves in order, of which those with an axis hold one entry for each point."""

    name: str
    leaves: list[Any]
    axes: list[int | None]
    structure: Any
    size: int
    threads: int | None  # that work on it at most; None: as many as Numba uses

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...], in_axes: Any, threads: int | None) -> "Batch":
        leaves, structure = trees.flatten(args)
        axes = [checked(name, x, axis) for x, axis in zip(leaves, spread(in_axes, args, "in_axes"), strict=True)]
        sizes = {x.shape[axis] for x, axis in zip(leaves, axes, strict=True) if axis is not None}
        if len(sizes) != 1:
            found = " and ".join(map(str, sorted(sizes))) or "none"
            raise ArgumentError(f"the arguments of {name} have batch axes of one length, at least one; found {found}")
        return cls(name, leaves, axes, structure, sizes.pop(), threads)

    def at(self, i: int) -> Any:
        """The arguments at one point; of an empty batch ones, so that shapes are known."""
        leaves = []
        for x, axis in zip(self.leaves, self.axes, strict=True):
            if axis is None:
                leaves.append(x)
            elif self.size == 0:
                shape = np.delete(x.shape, axis).tolist()
                leaves.append(np.ones(shape, x.dtype) if shape else x.dtype.type(1))
            else:
                leaves.append(x[(slice(None),) * axis + (i,)])
        plain = [float(x) if type(x) is np.float64 else x for x in leaves]
        return trees.unflatten(self.structure, plain)

    def like(self, i: int, chosen: Any) -> Any:
        """Which of some points have the integers, truth values and strings of point i."""
        for x, axis in zip(self.leaves, self.axes, strict=True):
            if axis is not None and x.dtype.kind != "f":
                rows = np.moveaxis(x, axis, 0)
                same = rows[chosen] == rows[i]
                chosen = chosen[same.reshape(len(chosen), -1).all(axis=1)]
        return chosen

    def taken(self, chosen: Any) -> "Batch":
        """The batch of some points."""
        leaves = [x if axis is None else x.take(chosen, axis) for x, axis in zip(self.leaves, self.axes, strict=True)]
        return self._replace(leaves=leaves, size=len(chosen))


def checked(name: str, x: Any, axis: Any) -> int | None:
    """The axis of a leaf, counted from the front."""
    if axis is None:
        return None
    if not isinstance(axis, int | np.integer):
        raise ArgumentError(f"in_axes of {name} holds {axis!r}; an axis is an integer, or None for no axis")
    if not isinstance(x, np.ndarray | TracedArray):
        raise ArgumentError(f"{name} got {x!r} where a batch belongs; its in_axes says axis {axis}, write None for it")
    if not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"in_axes of {name} says axis {axis} of an array of shape {x.shape}")
    return int(axis) % x.ndim


def spread(axes: Any, tree: Any, what: str) -> list[Any]:
    """An axis for each leaf of a tree, from one for all, or a tree of the upper levels of it."""
    if axes is None or isinstance(axes, int | np.integer):
        return [axes] * len(trees.flatten(tree)[0])
    import optree

    axes = tuple(axes) if isinstance(axes, list) and isinstance(tree, tuple) else axes
    try:
        found: list[Any] = optree.broadcast_prefix(axes, tree, none_is_leaf=True)
    except ValueError as error:
        raise ArgumentError(f"{what}={axes!r} does not have the structure of what it is for: {error}") from None
    return found


def ways(batch: Batch, record: Any, evaluate: Any) -> Iterator[tuple[Any, Any]]:
    """(what `record` made at one point, the points that go the same way) until no point is left.

    `evaluate(recorded, chosen)` runs it at some points and returns `failed` as in `Points`.
    """
    rest, done = np.arange(batch.size), np.zeros(batch.size, bool)
    for _ in range(MOST_WAYS):
        first = int(rest[0]) if rest.size else 0
        made = record(batch.at(first))
        chosen = batch.like(first, rest)
        held = evaluate(made, chosen) == HELD
        if held.size and not held[0]:
            raise another_way(batch.name)
        chosen = chosen if held.all() else chosen[held]
        yield made, chosen
        if len(chosen) == len(rest):
            return
        done[chosen] = True
        rest = rest[~done[rest]]
    raise UnsupportedError(
        f"{batch.name} takes more than {MOST_WAYS:,} different paths through its conditions in one batch; "
        "batch fewer points, or choose with np.where"
    )


def another_way(name: str) -> UnsupportedError:
    """The error where a condition comes out otherwise without cause."""
    return UnsupportedError(f"{name} went another way when it was run again at the same point")


def placed_axis(name: str, axis: Any, shape: tuple[int, ...]) -> int:
    """The axis of the points in a result that has a shape at each, counted from the front."""
    if not isinstance(axis, int | np.integer) or not -len(shape) - 1 <= axis <= len(shape):
        raise ArgumentError(f"out_axes of {name} says {axis!r} for a result of shape {shape} at each point")
    return int(axis) % (len(shape) + 1)
