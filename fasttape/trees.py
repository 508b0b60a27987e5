"""Argument trees: any nesting of dicts, lists, tuples and registered nodes, through optree when one comes in.

A structure is None for a single leaf, an int for a tuple of that many leaves, else optree's tree specification.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fasttape.recorders.array import TracedArray
from fasttape.recorders.fresh import resolved
from fasttape.recorders.scalar import TracedScalar

LEAVES = (float, int, np.ndarray, np.generic, complex, str, bytes, type(None), TracedScalar, TracedArray)


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree and its structure."""
    if isinstance(tree, LEAVES):
        return [resolved(tree)], None
    if type(tree) is tuple and all(isinstance(x, LEAVES) for x in tree):
        return [resolved(x) for x in tree], len(tree)
    if not isinstance(tree, dict | list | tuple) and is_leaf(tree):
        return [tree], None
    import optree

    leaves, structure = optree.tree_flatten(tree, none_is_leaf=True)
    return [resolved(x) for x in leaves], structure


def is_leaf(x: Any) -> bool:
    """Whether optree would not look inside x."""
    import optree

    return optree.tree_is_leaf(x, none_is_leaf=True)


def unflatten(structure: Any, leaves: Any) -> Any:
    """The tree of a structure with other leaves; the inverse of `flatten`."""
    if structure is None:
        (leaf,) = leaves
        return leaf
    if isinstance(structure, int):
        return tuple(leaves)
    import optree

    return optree.tree_unflatten(structure, leaves)


def same_order(structure: Any, tree: Any) -> bool:
    """Whether dicts have their keys in the order of those that the structure of the tree was taken from."""
    if structure is None or isinstance(structure, int):
        return True
    return list(key_orders(unflatten(structure, range(structure.num_leaves)))) == list(key_orders(tree))


def key_orders(tree: Any) -> Iterator[tuple[Any, ...]]:
    """The keys of each dict in a tree."""
    if isinstance(tree, dict):
        yield tuple(tree)
        tree = tuple(tree.values())
    if isinstance(tree, list | tuple):
        for part in tree:
            yield from key_orders(part)


def cut(array: Any, sizes: Sequence[int]) -> Iterator[Any]:
    """Consecutive parts of the last axis, of some sizes."""
    at = 0
    for size in sizes:
        yield array[..., at : at + size]
        at += size


def blocks(matrix: Any, shapes: Sequence[tuple[int, ...]], structure: Any, make: Callable[[Any, Any], Any]) -> Any:
    """The tree whose leaves are made of consecutive rows of a matrix, as many as each shape holds, and the shape."""
    rows = cut(matrix.T, [math.prod(shape) for shape in shapes])
    return unflatten(structure, [make(part.T, shape) for part, shape in zip(rows, shapes, strict=True)])
