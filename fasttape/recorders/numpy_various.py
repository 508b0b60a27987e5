"""NumPy's functions that are neither shapes, nor reductions, nor products: selection and clipping."""

import numpy as np

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, as_traced, builder_of
from fasttape.recorders.instructions import elementwise
from fasttape.recorders.scalar import TracedScalar

SELECT = ops.CODE["select"]
NONE = (None, np._NoValue)


def where(condition, *branches):
    """Choose between two operands; the derivative goes to the chosen one only, whatever the other one is."""
    if not branches:
        return np.nonzero(condition)
    if len(branches) == 1:
        raise ValueError("either both or neither of x and y should be given")
    builder = builder_of((condition, *branches))
    chosen = elementwise(builder, SELECT, [as_traced(builder, x) for x in (condition, *branches)])
    return as_traced(builder, chosen)  # of no dimension where NumPy returns such an array, too


def clip(x, a_min=None, a_max=None, *, min=None, max=None):
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if not any(low is none for none in NONE):
        x = np.maximum(x, low)
    return x if any(high is none for none in NONE) else np.minimum(x, high)


def diff(x, n=1, axis=-1, prepend=np._NoValue, append=np._NoValue):
    """numpy.diff: differences of neighbors, n times."""
    ends = [end if end is np._NoValue else beside(x, axis, end) for end in (prepend, append)]
    x = np.concatenate([part for part in (ends[0], x, ends[1]) if part is not np._NoValue], axis)
    for _ in range(n):
        x = np.moveaxis(x, axis, -1)
        x = np.moveaxis(x[..., 1:] - x[..., :-1], -1, axis)
    return x


def beside(x, axis, end):
    """What is put before or after x: a number stands for a slice of it."""
    if np.ndim(end):
        return end
    shape = list(np.shape(x))
    shape[axis] = 1
    return np.broadcast_to(end, shape)


def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    """numpy.linspace of two numbers, which gives exactly the last one where that belongs to it."""
    if np.ndim(start) or np.ndim(stop) or axis or dtype not in (None, float, np.float64):
        raise UnsupportedError("numpy.linspace of traced arrays, or with dtype=, cannot be recorded")
    step = (stop - start) / max(num - bool(endpoint), 1)
    inner = np.arange(num - 1 if endpoint and num > 1 else num) * step + start
    made = np.append(inner, stop) if endpoint and num > 1 else inner
    return (made, step) if retstep else made


def interp(x, xp, fp, left=None, right=None, period=None):
    """numpy.interp: the line between two points is chosen by guards."""
    if period is not None:
        raise UnsupportedError("numpy.interp with period= cannot be recorded; take x modulo the period")
    x, xp, fp = (p if isinstance(p, TracedScalar | TracedArray) else np.asarray(p) for p in (x, xp, fp))
    at = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, len(xp) - 2)
    y = (fp[at + 1] - fp[at]) / (xp[at + 1] - xp[at]) * (x - xp[at]) + fp[at]
    y = np.where(x < xp[0], fp[0] if left is None else left, y)
    y = np.where(x >= xp[-1], np.where(x > xp[-1], fp[-1] if right is None else right, fp[-1]), y)
    return y if np.ndim(x) else y[()]


def nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    """numpy.nan_to_num: what is put in a number's place has no derivative."""
    if not copy:
        raise UnsupportedError("numpy.nan_to_num with copy=False cannot be recorded")
    largest = np.finfo(x.dtype).max
    x = np.where(np.isnan(x), nan, x)
    x = np.where(x == np.inf, largest if posinf is None else posinf, x)
    return np.where(x == -np.inf, -largest if neginf is None else neginf, x)


VARIOUS = {np.where: where, np.clip: clip, np.diff: diff, np.linspace: linspace}
VARIOUS |= {np.interp: interp, np.nan_to_num: nan_to_num}
