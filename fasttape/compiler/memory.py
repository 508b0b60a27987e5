"""Numbers in memory of the caller: some, the first of which is at an address, each so many bytes behind the one before.

Addresses and steps are words that arrive as arguments. The twins see the same memory as arrays.
"""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.late import DISABLED, capi


@kernel
def _gather(address, step, n, out, at):
    size, place = np.uint64(n), np.uint64(at)
    if step == out.itemsize:
        numbers = capi.numbers(np.int64(address), n, out.dtype)
        for i in range(size):
            out[place + i] = numbers[i]
    else:
        for i in range(size):
            out[place + i] = capi.numbers(np.int64(address) + np.int64(i) * step, 1, out.dtype)[0]


@kernel
def _scatter(x, at, n, address, step):
    size, place = np.uint64(n), np.uint64(at)
    if step == x.itemsize:
        numbers = capi.numbers(np.int64(address), n, x.dtype)
        for i in range(size):
            numbers[i] = x[place + i]
    else:
        for i in range(size):
            capi.numbers(np.int64(address) + np.int64(i) * step, 1, x.dtype)[0] = x[place + i]


@kernel
def _fetch(address, step, n):
    for i in range(n):
        capi.prefetch(np.int64(address) + i * step)


def view(address, shape, strides, dtype) -> np.ndarray:
    """Memory as an array."""
    interface = {"data": (int(address), False), "shape": shape, "strides": strides, "typestr": dtype.str}
    return np.asarray(type("Memory", (), {"__array_interface__": interface | {"version": 3}})())


def _gather_twin(address, step, n, out, at):
    out[at : at + n] = view(address, (n,), (int(step),), out.dtype)


def _scatter_twin(x, at, n, address, step):
    view(address, (n,), (int(step),), x.dtype)[:] = x[at : at + n]


def _fetch_twin(address, step, n):
    """Python has no say in what is in the cache."""


twins, kernels = (_gather_twin, _scatter_twin, _fetch_twin), (_gather, _scatter, _fetch)
gather, scatter, fetch = twins if DISABLED else kernels
gather.__doc__ = """out[at : at + n] = the n numbers from an address on."""
scatter.__doc__ = """The n numbers from an address on = x[at : at + n]."""
fetch.__doc__ = """Let n lines be brought into the cache while other work goes on; addresses may be anywhere."""
