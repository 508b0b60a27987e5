"""NumPy's functions that are neither shapes, nor reductions, nor products: selection and clipping."""

import numpy as np

from fasttape import ops
from fasttape.errors import UnsupportedError
from fasttape.recorders.array import as_traced, builder_of
from fasttape.recorders.instructions import elementwise

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


def rounded(x, decimals=0, out=None):
    if decimals != 0:
        raise UnsupportedError("numpy.round with decimals cannot be recorded; write np.rint(x * 10.0**n) / 10.0**n")
    return np.rint(x)


def linspace(*args, **kwargs):
    raise UnsupportedError("numpy.linspace of traced values cannot be recorded; write a + (b - a) * t")


VARIOUS = {np.where: where, np.clip: clip, np.diff: diff, np.round: rounded, np.around: rounded, np.linspace: linspace}
