"""Form: what trees of arguments or results look like, so that their numbers can be one flat array and trees again."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttape import trees
from fasttape.binding import describe
from fasttape.errors import LeakError, OutputError
from fasttape.recorders.array import TracedArray, as_traced, builder_of
from fasttape.recorders.scalar import TracedScalar

TRACED = (TracedScalar, TracedArray)


class Leaf(NamedTuple):
    """One leaf: numbers of the flat array, or a value that stays as it is."""

    size: int  # in the flat array
    shape: tuple[int, ...] | None  # None for a scalar
    boolean: bool  # whether these are the truth values of an array
    varies: bool
    value: Any  # of a leaf that does not vary


class Form(NamedTuple):
    """The structure of each of some trees, and their leaves in order."""

    structures: tuple[Any, ...]
    counts: tuple[int, ...]  # leaves of each tree
    leaves: tuple[Leaf, ...]

    @classmethod
    def of(cls, given: Sequence[Any], leaf_of: Any) -> "Form":
        """The form of some trees; `leaf_of` says what to make of a leaf."""
        flattened = [trees.flatten(tree) for tree in given]
        leaves = [leaf_of(x) for flat, _ in flattened for x in flat]
        return cls(tuple(s for _, s in flattened), tuple(len(flat) for flat, _ in flattened), tuple(leaves))

    @property
    def size(self) -> int:
        """The length of the flat array."""
        return sum(leaf.size for leaf in self.leaves)

    def trees(self, numbers: Any) -> list[Any]:
        """The trees of a flat array, plain or traced; what does not vary is as it was."""
        return self.built(seen(numbers, self.leaves, lambda leaf: leaf.value))

    def directions(self, numbers: Any) -> list[Any]:
        """As `trees`, of tangents: zeros for numbers that do not vary, None for what is no number."""
        return self.built(seen(numbers, [leaf._replace(boolean=False) for leaf in self.leaves], still))

    def built(self, leaves: list[Any]) -> list[Any]:
        """The trees with some leaves."""
        made, at = [], 0
        for structure, count in zip(self.structures, self.counts, strict=True):
            made.append(trees.unflatten(structure, leaves[at : at + count]))
            at += count
        return made

    def flat(self, given: Sequence[Any], what: str, dtype: Any, *, derivative: bool = False) -> Any:
        """The flat array of some trees, traced if any of their leaves is.

        `what` says in an error who returned them. A `derivative` may be None where it is zero, and has no whole
        numbers except Python's.
        """
        leaves: list[Any] = []
        for tree, structure, count in zip(given, self.structures, self.counts, strict=True):
            found, its = trees.flatten(tree)
            if derivative and tree is None:
                found, its = [None] * count, structure
            if its != structure:
                raise OutputError(f"{what} another structure than expected: {tree!r}")
            leaves += found
        pairs = [(leaf, x) for leaf, x in zip(self.leaves, leaves, strict=True) if leaf.varies]
        parts = [checked(x, leaf, what, dtype, derivative) for leaf, x in pairs]
        builder = builder_of(parts)
        if builder is None:
            return np.concatenate([np.empty(0, dtype), *map(np.ravel, parts)])
        slots = [as_traced(builder, x).slots.reshape(-1) for x in parts]
        return TracedArray.listed(builder, np.concatenate(slots))


def seen(numbers: Any, leaves: Sequence[Leaf], fixed: Any) -> list[Any]:
    """The leaves that a flat array holds, and `fixed(leaf)` for the others."""
    made, at = [], 0
    for leaf in leaves:
        part = numbers[at : at + leaf.size]
        at += leaf.size
        if not leaf.varies:
            made.append(fixed(leaf))
        elif leaf.shape is None:
            made.append(part[0].item() if numbers.dtype == np.float64 else part[0])
        else:
            part = part.reshape(leaf.shape)
            made.append(part != 0.0 if leaf.boolean else part)
    return made


def still(leaf: Leaf) -> Any:
    """The tangent of a value that does not vary."""
    if isinstance(leaf.value, np.ndarray) and leaf.value.dtype.kind in "fiub":
        return np.zeros(leaf.value.shape)
    return 0.0 if isinstance(leaf.value, float | int | np.number) else None


def argument_leaf(x: Any) -> Leaf:
    """A leaf of the arguments of a call: what is traced varies."""
    if isinstance(x, TracedArray):
        return Leaf(x.size, x.shape, x.boolean, True, None)
    if isinstance(x, TracedScalar):
        return Leaf(1, None, False, True, None)
    return Leaf(0, None, False, False, x.copy() if isinstance(x, np.ndarray) else x)


def result_leaf(x: Any) -> Leaf:
    """A leaf of results, all of which vary."""
    array = isinstance(x, np.ndarray | TracedArray)
    return Leaf(int(np.size(x)), x.shape if array else None, array and x.dtype.kind == "b", True, None)


def checked(x: Any, leaf: Leaf, what: str, dtype: Any, derivative: bool) -> Any:
    """A leaf of the right shape and dtype."""
    shape = leaf.shape or ()
    if x is None and derivative:
        return np.zeros(shape, dtype)
    if isinstance(x, TracedArray) and x.boolean and derivative:
        raise OutputError(f"{what} {describe(x)} where floats belong")
    if not isinstance(x, TRACED):
        x = numbers_of(x, what, dtype, derivative)
    if np.shape(x) != shape:
        raise OutputError(f"{what} an array of shape {np.shape(x)} where one of shape {shape} belongs")
    return x


def numbers_of(x: Any, what: str, dtype: Any, derivative: bool) -> Any:
    """Plain numbers in the dtype of a recording."""
    kind = x.dtype.kind if isinstance(x, np.ndarray | np.generic) else "p" if type(x) in (float, int, bool) else ""
    if kind not in (("p", "f") if derivative else ("p", "f", "i", "u", "b")):
        raise OutputError(f"{what} {describe(x)} where floats belong")
    if kind == "f" and np.result_type(x.dtype, dtype) != dtype:
        raise OutputError(f"{what} {x.dtype} in a {dtype} recording; write astype(np.{dtype})")
    made = np.asarray(x, dtype)
    if kind in "iu" and not np.array_equal(made, x):
        raise OutputError(f"{what} whole numbers that {dtype} cannot hold")
    return made


def untraced(tree: Any, name: str) -> Any:
    """What a function returned that was called on plain numbers; raise if it met a traced value all the same."""
    if builder_of(trees.flatten(tree)[0]) is not None:
        raise LeakError(
            f"{name} was called on plain numbers and returned a traced value, which it reached through its closure or "
            "a global; pass that value as an argument"
        )
    return tree
