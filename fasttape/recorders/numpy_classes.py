"""Stand-ins for classes of NumPy that would make plain arrays of traced ones."""

import functools

import numpy as np
from numpy._core._multiarray_umath import _array_converter

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import TracedArray, any_traced, as_traced, builder_of
from fasttape.recorders.fresh import resolved


@functools.wraps(np.broadcast)
def broadcast(*arrays):
    """numpy.broadcast, of which the shape is asked for; traced arrays are there with their geometry."""
    arrays = resolved(arrays)
    return np.broadcast(*(x.geometry if isinstance(x, TracedArray) else x for x in arrays))


class Converter:
    """What NumPy's Python functions ask of its `_array_converter`, for traced arrays."""

    def __init__(self, *given):
        builder = builder_of(given)
        self.arrays = tuple(as_traced(builder, x) for x in given)
        self.scalar_input = tuple(np.ndim(x) == 0 for x in given)

    def __getitem__(self, key):
        return self.arrays[key]

    def __len__(self):
        return len(self.arrays)

    def as_arrays(self, *, subok=True, pyscalars="convert"):
        return self.arrays

    def result_type(self, extra_dtype=None, ensure_inexact=False):
        return self.arrays[0].builder.dtype

    def wrap(self, x, to_scalar=None):
        return x[()] if to_scalar and isinstance(x, TracedArray) else x


@functools.wraps(_array_converter, assigned=("__name__", "__doc__"))
def converter(*given):
    given = resolved(given)
    return Converter(*given) if any_traced(given) else _array_converter(*given)


def vectorized(vectorize, function):
    """A call of what numpy.vectorize or numba.vectorize made of a function, whose lifted copy takes traced elements."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        if not any_traced((args, kwargs)):
            return vectorize(*args, **kwargs)
        if kwargs or vectorize.signature or getattr(vectorize, "excluded", None):
            name = getattr(function, "__name__", "function")
            raise UnsupportedError(f"the vectorized {name} cannot be recorded with keywords, signature= or excluded=")
        arrays = np.broadcast_arrays(*args)
        results = [function(*elements) for elements in zip(*(x.reshape(-1) for x in arrays), strict=True)]
        builder = builder_of(results) or builder_of(args)
        return as_traced(builder, results).reshape(arrays[0].shape)[()]

    return call


@functools.wraps(np.vectorize, assigned=("__name__", "__doc__"), updated=())
def vectorize(function, *args, **kwargs):
    return vectorized(np.vectorize(function, *args, **kwargs), function)


CLASSES = {np.broadcast: broadcast, np.vectorize: vectorize, _array_converter: converter}
