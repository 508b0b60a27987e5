"""NumPy's functions whose result is a position, an order or a shape that depends on values.

They return what they return at the point of the recording, and the tape holds to it: one guard for a call, which says
that every comparison behind the result has the outcome that it had.
"""

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import as_traced, builder_of, hold, settled

UNSET = np._NoValue


def numbered(x):
    """A traced array and which of its elements are numbers; if not all are, the tape holds to that."""
    x = as_traced(builder_of((x,)), x)
    real = ~np.isnan(x.primal)
    return x, real if real.all() else settled(as_traced(x.builder, x == x))


def along(x, axis):
    """x with an axis moved to the end, all in one row for None."""
    return np.reshape(x, (-1,)) if axis is None else np.moveaxis(x, axis, -1)


def extreme(name, better, as_good):
    """argmax or argmin: the first element that no other is better than, or the first that is not a number."""

    def handler(x, axis=None, out=None, *, keepdims=UNSET):
        if out is not None:
            raise UnsupportedError(f"numpy.{name} with out= cannot be recorded")
        x, real = numbered(x)
        found = getattr(np, name)(x.primal, axis=axis)
        row, ranks = along(x, axis), np.asarray(found)[..., None]
        best = taken(row, ranks)
        before = np.arange(row.shape[-1]) < ranks
        holds = np.where(before, better(best, row), as_good(best, row))
        hold(holds[np.broadcast_to(along(real, axis).all(-1, keepdims=True), row.shape)])
        kept = keepdims is not UNSET and keepdims
        return getattr(np, name)(x.primal, axis=axis, keepdims=True) if kept else found

    return handler


def taken(x, ranks):
    """The elements of x at some places along its last axis."""
    grid = np.ix_(*map(np.arange, ranks.shape))
    return x[(*grid[:-1], ranks)]


def ordered(x, axis, kind):
    """A traced array sorted along its last axis, and the order, as which the tape holds to."""
    x, real = numbered(x)
    x, real = along(x, axis), along(real, axis)
    order = np.argsort(x.primal, axis=-1, kind=kind or "stable")
    result = taken(x, order)
    low, high = result[..., :-1], result[..., 1:]
    rising = order[..., :-1] < order[..., 1:]
    both = np.take_along_axis(real, order, -1)[..., 1:]  # what is not a number comes last
    hold(np.where(rising, low <= high, low < high)[both])
    return result, order


def restored(x, axis):
    """The inverse of `along`."""
    return x if axis is None else np.moveaxis(x, -1, axis)


def sort(x, axis=-1, kind=None, order=None, *, stable=None):
    return restored(ordered(x, axis, kind)[0], axis)


def argsort(x, axis=-1, kind=None, order=None, *, stable=None):
    if np.ndim(x) == 0:
        return np.argsort(0.0, axis)
    return restored(ordered(x, axis, kind)[1], axis)


def partition(x, kth, axis=-1, kind=None, order=None):
    """numpy.partition; a sorted array is partitioned at every place."""
    np.partition(x.primal, kth, axis)  # refuses what is not a place
    return sort(x, axis)


def median(x, axis=None, out=None, overwrite_input=False, keepdims=False):
    """numpy.median along one axis, or of all elements."""
    if out is not None or isinstance(axis, tuple):
        raise UnsupportedError("numpy.median with out= or several axes cannot be recorded")
    rank = np.ndim(x)
    row, _ = ordered(x, axis, None)
    n = row.shape[-1]
    if n == 0:
        raise UnsupportedError("numpy.median of an empty array cannot be recorded")
    middle = np.mean(row[..., (n - 1) // 2 : n // 2 + 1], -1)
    if np.isnan(row.primal).any():  # such elements come last, and make the median what they are
        middle = np.where(np.isnan(row[..., -1:].primal)[..., 0], row[..., -1], middle)
    if not keepdims:
        return middle
    return np.reshape(middle, (1,) * rank) if axis is None else np.expand_dims(middle, normalize_axis_index(axis, rank))


def mask_of(x):
    """Where a traced array is not zero; the tape holds to it."""
    x = as_traced(builder_of((x,)), x)
    return settled(x if x.boolean else as_traced(x.builder, x != 0.0))


def nonzero(x):
    return np.nonzero(mask_of(x))


def flatnonzero(x):
    return np.flatnonzero(mask_of(x))


def argwhere(x):
    return np.argwhere(mask_of(x))


def count_nonzero(x, axis=None, *, keepdims=False):
    return np.count_nonzero(mask_of(x), axis, keepdims=keepdims)


def searchsorted(a, v, side="left", sorter=None):
    """numpy.searchsorted: between which elements of a sorted array numbers are."""
    if sorter is not None:
        raise UnsupportedError("numpy.searchsorted with sorter= cannot be recorded")
    builder = builder_of((a, v))
    a, v = as_traced(builder, a), as_traced(builder, v)
    v, real = numbered(v)
    found = np.asarray(np.searchsorted(a.primal, v.primal, side))
    inner, end = real & (found > 0), real & (found < a.size)
    below, above = a[found[inner] - 1], a[found[end]]
    hold(below < v[inner] if side == "left" else below <= v[inner])
    hold(v[end] <= above if side == "left" else v[end] < above)
    return found[()]


ORDERS = {
    np.argmax: extreme("argmax", np.greater, np.greater_equal),
    np.argmin: extreme("argmin", np.less, np.less_equal),
    np.sort: sort,
}
ORDERS |= {np.argsort: argsort, np.partition: partition, np.median: median, np.searchsorted: searchsorted}
ORDERS |= {np.nonzero: nonzero, np.flatnonzero: flatnonzero, np.argwhere: argwhere, np.count_nonzero: count_nonzero}
