"""vmap: one recording of a function at one point, run at all points of a batch.

Points at which another condition holds than at the one that was recorded, or whose integers differ, are recorded once
more, one of them for all that go the same way. Plain batches are read and written where they are in memory; what is
done inside a recording is the business of `inner_batch`.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fasttape import trees
from fasttape.api import named
from fasttape.batches import Batch, placed_axis, spread, ways
from fasttape.binding import NOTHING
from fasttape.derivatives import is_constant, shape_of
from fasttape.errors import ArgumentError, LeakError, OutputError, RandomnessError
from fasttape.execute.batch import count_threads, run
from fasttape.execute.points import Points, elements, outcomes
from fasttape.inner_batch import record_inside
from fasttape.recording import Recording, name_of, record_call
from fasttape.stacked import choose
from fasttape.transform import nested
from fasttape.transform.optimize import optimize

PATIENCE = 4  # recordings in which random numbers were drawn, by f or at the same time, before it must be f


class Results:
    """The arrays that plain results go to."""

    def __init__(self, batch: Batch, out_axes: Any):
        self.batch, self.out_axes = batch, out_axes
        self.recording: Recording | None = None
        self.arrays: list[Any] = []  # the points come first

    def prepare(self, recording: Recording) -> None:
        """Make the arrays for the first recording; check that others have the same results."""
        if self.recording is None:
            self.recording = recording
            leaves = trees.unflatten(recording.structure, range(len(recording.outputs)))
            axes = spread(self.out_axes, leaves, "out_axes")
            self.arrays = [self.made(out, axis, recording) for out, axis in zip(recording.outputs, axes, strict=True)]
        elif self.described(recording) != self.described(self.recording):
            raise OutputError(
                f"{self.batch.name} returns results of other shapes or types at other points of the batch"
            )
        else:
            self.promote(recording)

    def promote(self, recording: Recording) -> None:
        """Let arrays hold the results of another recording as well: where one is an integer, the other a float."""
        for k, (out, (x, axis)) in enumerate(zip(recording.outputs, self.arrays, strict=True)):
            dtype = dtype_of(out, recording)
            if dtype != x.dtype:
                same = (dtype.kind == "f") == (x.dtype.kind == "f")
                wanted = np.promote_types(dtype, x.dtype) if same else max(dtype, x.dtype, key=lambda d: d.kind == "f")
                self.arrays[k] = x.astype(wanted), axis

    def described(self, recording: Recording) -> Any:
        """What all points have to have in common."""
        return recording.structure, [(shape_of(out), dtype_of(out, recording).kind == "b") for out in recording.outputs]

    def made(self, out: Any, axis: Any, recording: Recording) -> Any:
        shape, dtype = shape_of(out), dtype_of(out, recording)
        axis = placed_axis(self.batch.name, axis, shape)
        return np.moveaxis(np.empty((*shape[:axis], self.batch.size, *shape[axis:]), dtype), axis, 0), axis

    def places(self, recording: Recording) -> Any:
        """The results that are computed, and where they go."""
        pairs = zip(recording.outputs, self.arrays, strict=True)
        return [(out, place) for out, place in pairs if not is_constant(out)]

    def part(self, out: Any, x: Any, count: int, whole: bool) -> Any:
        """Memory for the numbers of some points: where they belong, if that is possible."""
        dtype = self.recording.program.dtype
        return x if whole and x.dtype == dtype else np.empty((count, *x.shape[1:]), dtype)

    def settle(self, recording: Recording, arrays: list[Any], chosen: Any) -> None:
        """Put the results of some points where they belong."""
        for (out, (x, _)), numbers in zip(self.places(recording), arrays, strict=True):
            if numbers is not x:
                x[chosen] = numbers != 0.0 if out.boolean else numbers
        for out, (x, _) in zip(recording.outputs, self.arrays, strict=True):
            if is_constant(out):
                x[chosen] = out.value

    def tree(self) -> Any:
        assert self.recording is not None
        return trees.unflatten(self.recording.structure, [np.moveaxis(x, 0, axis) for x, axis in self.arrays])


def dtype_of(out: Any, recording: Recording) -> Any:
    """The dtype of a result; of what is no number there is none."""
    if not is_constant(out):
        return np.dtype(bool) if out.boolean else recording.program.dtype
    dtype = np.asarray(out.value).dtype
    if dtype.kind not in "fiub":
        raise OutputError(f"{recording.signature.name} returned {out.value!r}, of which no array can be made")
    return dtype


def run_plain(f: Any, keywords: Any, batch: Batch, out_axes: Any) -> Any:
    """The results of a batch of plain numbers."""
    results = Results(batch, out_axes)

    def record(args: Any) -> Recording:
        recording = recorded(f, args, keywords)
        recording = recording._replace(program=optimize(recording.program))
        results.prepare(recording)
        return recording

    def evaluate(recording: Recording, chosen: Any) -> Any:
        whole = len(chosen) == batch.size
        inputs = Inputs.of(recording, batch if whole else batch.taken(chosen))
        arrays = [results.part(out, x, len(chosen), whole) for out, (x, _) in results.places(recording)]
        failed = outcomes(recording.program, len(chosen))
        targets = [elements(x) for x in arrays]
        steps = [np.full(a.size, x.strides[0], np.int64) for a, x in zip(targets, arrays, strict=True)]
        ends = joined(targets, np.uint64), joined(steps, np.int64)
        executor = choose(recording.program, len(chosen), inputs.steps == 0).executor
        run(executor, Points(len(chosen), inputs.addresses, inputs.steps, *ends, failed), batch.threads)
        results.settle(recording, arrays, chosen)
        return failed

    for _ in ways(batch, record, evaluate):
        pass
    return results.tree()


def recorded(f: Any, args: Any, keywords: Any) -> Recording:
    """A recording at one point that stands for others, so f must not draw random numbers; another thread may."""
    for _ in range(PATIENCE):
        with contextlib.suppress(RandomnessError):
            return record_call(f, args, keywords, NOTHING, passive=True)[0]
    return record_call(f, args, keywords, NOTHING, passive=True)[0]


class Inputs(NamedTuple):
    """Addresses and steps of the inputs of a program, and the arrays that they belong to."""

    addresses: Any
    steps: Any
    arrays: list[Any]

    @classmethod
    def of(cls, recording: Recording, batch: Batch) -> "Inputs":
        addresses, steps, arrays = [], [], []
        for leaf, x, axis in zip(recording.signature.leaves, batch.leaves, batch.axes, strict=True):
            if leaf.start < leaf.stop:
                x = np.asarray(x, recording.program.dtype)
                arrays.append(x if x.flags.aligned else x.copy())
                rows = arrays[-1][None] if axis is None else np.moveaxis(arrays[-1], axis, 0)
                addresses.append(elements(rows))
                steps.append(np.full(leaf.stop - leaf.start, 0 if axis is None else rows.strides[0], np.int64))
        return cls(joined(addresses, np.uint64), joined(steps, np.int64), arrays)


def joined(parts: list[Any], dtype: Any) -> Any:
    return np.concatenate([np.empty(0, dtype), *parts])


def vmap(
    f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0, *, threads: int | None = None
) -> Callable[..., Any]:
    """A function that applies `f` at every point of a batch: to each entry along an axis of its arguments.

    `in_axes` is the axis of the points, for all arguments, or a tuple with one for each argument, or for trees trees of
    them; None is for what all points share. `out_axes` says the same of the results. Keywords are shared. Of an array
    with one axis, `f` gets a Python float at each point. `f` may be what another transform returned: `vmap(grad(f))`
    has the gradient at every point, and `grad` of a function that calls `vmap` goes through it.

    `f` runs once, at one point, and compiled code at all of them, on `threads` cores (None: as many as Numba uses) with
    the same bits whatever their number. Where conditions of `f` go another way, or integers among its arguments have
    other values, it runs once more for each way; ways are limited to 1,024. An empty batch is recorded at ones.

    Raises `ArgumentError` for axes that do not fit and for what is no number of threads, `OutputError` where results at
    different points have different shapes, and whatever `f` raises.

    >>> import math
    >>> import numpy as np
    >>> import fasttape as ft
    >>> def f(x, rate):
    ...     return math.exp(-rate * x) if x > 0.0 else 1.0 - rate * x
    >>> ft.vmap(ft.grad(f), in_axes=(0, None))(np.array([0.0, 1.0, -1.0]), 1.0).round(3)
    array([-1.   , -0.368, -1.   ])
    """
    if not callable(f):
        raise ArgumentError(f"vmap takes a function, not a {type(f).__name__}")
    count_threads(threads)

    def mapped(*args: Any, **keywords: Any) -> Any:
        batch = Batch.of(name_of(f), args, in_axes, threads)
        outer = nested.enclosing((args, keywords))
        if outer is None:
            try:
                return run_plain(f, keywords, batch, out_axes)
            except LeakError as error:
                outer = nested.outer_of(error)
                if outer is None:
                    raise
        return record_inside(outer, f, keywords, batch, out_axes)

    return named("vmap", f, mapped)
