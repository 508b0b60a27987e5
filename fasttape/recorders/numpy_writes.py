"""NumPy's functions that write into their first argument: assignments to places that NumPy finds among positions."""

import numpy as np

from fasttape.recorders.array import any_traced, ordered, plain_index


def cycled(values, size):
    """The first elements of some values, begun again when they end."""
    return np.resize(values, size) if np.size(values) != size else np.reshape(values, size)


def copyto(target, source, casting="same_kind", where=True):
    if where is True:
        target[...] = source
    elif any_traced(where):
        target[...] = np.where(where, source, target)
    else:
        where = np.broadcast_to(where, target.shape)
        target[where] = np.broadcast_to(source, target.shape)[where]


def put(target, indices, values, mode="raise"):
    at = ordered((target.size,)).take(plain_index(indices), mode=mode).reshape(-1)
    if at.size:
        target.flat[at] = cycled(values, at.size)


def place(target, mask, values):
    at = np.flatnonzero(mask)
    if np.size(mask) != target.size:
        raise ValueError("place: mask and data must be the same size")
    if at.size:
        target.flat[at] = cycled(values, at.size)


def putmask(target, mask, values):
    at = np.flatnonzero(mask)
    target.flat[at] = cycled(values, target.size)[at]


def fill_diagonal(target, values, wrap=False):
    marks = np.zeros(target.shape, np.int8)
    np.fill_diagonal(marks, 1, wrap)
    put(target, np.flatnonzero(marks), values)


def put_along_axis(target, indices, values, axis):
    if axis is None:
        target.flat[indices] = values
    else:
        target.flat[np.take_along_axis(ordered(target.shape), indices, axis)] = values


def ufunc_at(ufunc, target, key, *operand):
    """`ufunc.at`: an element that is named several times is changed as often, in order."""
    at = ordered(np.shape(target))[plain_index(key)]
    operand = [np.broadcast_to(x, at.shape).reshape(-1) for x in operand]
    at = at.reshape(-1)
    order = np.argsort(at, kind="stable")
    first = np.flatnonzero(np.diff(at[order], prepend=-1))  # where the places of each element begin in that order
    turn = np.empty(at.size, int)
    turn[order] = np.arange(at.size) - np.repeat(first, np.diff(first, append=at.size))
    for n in range(turn.max(initial=-1) + 1):
        now = np.flatnonzero(turn == n)
        target.flat[at[now]] = ufunc(target.flat[at[now]], *(x[now] for x in operand))


WRITES = {np.copyto: copyto, np.put: put, np.place: place, np.putmask: putmask, np.fill_diagonal: fill_diagonal}
WRITES[np.put_along_axis] = put_along_axis
