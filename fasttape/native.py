"""Machine code of a tape, called with many points at once: arguments and outputs get a leading axis."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttape import binding, trees
from fasttape.binding import STATIC, Leaf
from fasttape.errors import ArgumentError
from fasttape.evaluation import guard_error
from fasttape.execute import batch
from fasttape.execute.native import Native
from fasttape.execute.points import HELD, Points, elements, outcomes
from fasttape.recorders.dependencies import check
from fasttape.recording import Recording
from fasttape.transform.optimize import optimize


class NativeTape:
    """What `Tape.native` returns; threads may share it."""

    def __init__(self, recording: Recording, *, strict: bool):
        self._recording = recording._replace(program=optimize(recording.program))
        self._executor = Native(self._recording.program, strict=strict)

    def __call__(self, *args: Any, threads: int | None = None) -> Any:
        """The outputs at many points, stacked along a leading axis; by at most `threads` threads, else by all cores.

        Each array in the arguments has the recorded shape, and is then shared by all points, or one more axis in front.
        """
        recording = self._recording
        check(recording.dependencies)
        pairs = zip(recording.signature.leaves, binding.flatten(recording.signature, args), strict=True)
        inputs = [x for x in (read(recording, leaf, value) for leaf, value in pairs) if x is not None]
        size = common_size(inputs, recording.signature.name)
        leaves = [result(recording, out, size) for out in recording.outputs]
        live = [Stack(x, True) for x, out in zip(leaves, recording.outputs, strict=True) if out.stop > out.start]
        failed = outcomes(recording.program, size)
        points = Points(size, *addressed(inputs), *addressed(live), failed)
        batch.run(self._executor, points, threads)
        bad = np.flatnonzero(failed != HELD)
        if bad.size:
            raise guard_error(recording.program, int(failed[bad[0]]), f"point {bad[0]}")
        pairs = zip(leaves, recording.outputs, strict=True)
        return trees.unflatten(recording.structure, [x.astype(bool) if out.boolean else x for x, out in pairs])


class Stack(NamedTuple):
    """The numbers of one leaf, and whether they have the axis of the points."""

    numbers: np.ndarray
    stacked: bool


def read(recording, leaf: Leaf, x) -> Stack | None:
    """A leaf of the arguments; None for one that is part of the recording."""
    signature = recording.signature
    if leaf.kind == STATIC:
        binding.match_leaf(signature, leaf, x, exact=False)
        return None
    if not binding.is_float(x) and type(x) is not int:
        binding.float_kind(x, signature.name, leaf.argument)
    if np.shape(x) != leaf.shape and np.shape(x)[1:] != leaf.shape:
        raise ArgumentError(
            f"argument {leaf.argument} has shape {np.shape(x)}; the tape was recorded with {leaf.shape}, so it takes "
            f"{leaf.shape} for all points, or {('n', *leaf.shape)} for n points".replace("'n'", "n")
        )
    dtype = getattr(x, "dtype", leaf.dtype)
    if signature.dtype == binding.FLOATS[1] and dtype is not float and dtype != signature.dtype:
        raise ArgumentError(
            f"argument {leaf.argument} is {dtype}, but the tape was recorded in float32; write x.astype(np.float32)"
        )
    return Stack(np.asarray(x, signature.dtype), np.shape(x) != leaf.shape)


def common_size(inputs: Sequence[Stack], name) -> int:
    """The number of points."""
    sizes = {x.numbers.shape[0] for x in inputs if x.stacked}
    if len(sizes) != 1:
        lengths = " and ".join(map(str, sorted(sizes))) or "no"
        raise ArgumentError(f"{name} is called with {lengths} points; give one number of points along a leading axis")
    return sizes.pop()


def result(recording, out, size) -> np.ndarray:
    """Room for one output at all points; a constant is there already."""
    if out.stop > out.start or out.shape is not None:
        return np.empty((size, *(out.shape or ())), recording.program.dtype)
    return np.broadcast_to(out.value, (size, *np.shape(out.value))).copy()


def addressed(stacks: Sequence[Stack]) -> tuple[np.ndarray, np.ndarray]:
    """The address of each number at the first point, and the steps from one point to the next."""
    places, steps = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for x, stacked in stacks:
        places.append(elements(x if stacked else x[None]))
        steps.append(np.full(places[-1].size, x.strides[0] if stacked else 0))
    return np.concatenate(places), np.concatenate(steps)
