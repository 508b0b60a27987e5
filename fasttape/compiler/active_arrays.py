"""Array functions of NumPy on active arrays. What is not here works element by element, or is not supported.

Each implementation is a loop over active scalars, so its derivatives come from the table. `FUNCTIONS` maps a function
to what active code calls in its place, which is the function itself unless an argument is active; `METHODS` names the
methods of arrays that are such functions.
"""

import math
import operator

import numpy as np
from numba import types
from numba.extending import overload

from fasttape.compiler import active_ops  # noqa: F401  the scalar operations that the loops here are made of
from fasttape.compiler.active_type import (
    SCALAR,
    active,
    dot_of,
    holds_active,
    kind_of,
    make_active,
    node_of,
    val_of,
)
from fasttape.compiler.choosing import either
from fasttape.compiler.jit import INTERNAL, making_kernel
from fasttape.compiler.wide_records import inner_product, weighted_sum

FUNCTIONS = {}
METHODS = {}


def active_form(original, method=None):
    """Decorator of what computes a function of one or two arrays where one of them is active."""

    def register(function):
        compiled = making_kernel(function)

        def stand_in(*args):
            raise NotImplementedError

        if function.__code__.co_argcount == 1:
            overload(stand_in)(lambda a: (lambda a: compiled(a)) if of_numbers(a) else None)
        else:
            overload(stand_in)(lambda a, b: (lambda a, b: compiled(a, b)) if of_numbers(a, b) else None)
        FUNCTIONS[original] = either(original, stand_in)
        if method is not None:
            METHODS[method] = FUNCTIONS[original]
        return compiled

    return register


def of_numbers(*arrays):
    """Whether some types are those of arrays of numbers that can be active."""
    return all(isinstance(t, types.Array) and isinstance(t.dtype, SCALAR) for t in arrays)


@making_kernel
def total(a):
    return weighted_sum(a, None)


@active_form(np.mean, "mean")
def mean(a):
    return total(a) / a.size


@active_form(np.prod, "prod")
def product(a):
    s = 1.0
    for x in a.flat:
        s = s * x
    return s


@active_form(np.var, "var")
def variance(a):
    center = mean(a)
    s = 0.0
    for x in a.flat:
        s = s + (x - center) ** 2
    return s / a.size


@active_form(np.std, "std")
def deviation(a):
    return math.sqrt(variance(a))


def with_value(x, value):
    """An active number with its value put right, where rounding is all that may differ."""
    raise NotImplementedError


@overload(with_value, jit_options=INTERNAL)
def choose_with_value(x, value):
    return (lambda x, value: make_active(value, dot_of(x), node_of(x))) if x is active else (lambda x, value: x)


def room_for(shape, a, b):
    """An array of active numbers of the kind that is in one of two arrays."""
    raise NotImplementedError


@overload(room_for, jit_options=INTERNAL)
def choose_room_for(shape, a, b):
    kind = kind_of(a, b)
    return lambda shape, a, b: np.empty(shape, kind)


def shared(a, best, largest):
    """The extreme value `best` of an array, with a derivative shared evenly by the elements that have it."""
    raise NotImplementedError


@overload(shared, jit_options=INTERNAL)
def choose_shared(a, best, largest):
    def linear(a, best, largest):
        count = 0
        for x in a.flat:
            count += x == best
        s = 0.0
        for x in a.flat:
            if x == best:
                s = s + x * (1.0 / count)
        return with_value(s, best)

    def replayed(a, best, largest):
        """Without guards, unless more than two elements have it, between which rows of two operands share unevenly."""
        count, top, found = 0, a.flat[0], a.flat[0]
        for k in range(1, a.size):
            found = beyond(found, a.flat[k], largest)
        for x in a.flat:
            count += val_of(x) == best
            if val_of(x) == best:
                top = x
        if count < 3:
            return found
        s = 0.0
        for x in a.flat:
            if x == top:
                s = s + x * (1.0 / count)
            elif beyond(x, top, largest) != top:
                s = s + x
        return s

    return linear if a.dtype is active else replayed


@making_kernel
def beyond(x, y, largest):
    return np.maximum(x, y) if largest else np.minimum(x, y)


@active_form(np.max, "max")
def largest(a):
    best = val_of(a.flat[0])
    for x in a.flat:
        best = best if best > val_of(x) or best != best else val_of(x)
    return shared(a, best, True)


@active_form(np.min, "min")
def smallest(a):
    best = val_of(a.flat[0])
    for x in a.flat:
        best = best if best < val_of(x) or best != best else val_of(x)
    return shared(a, best, False)


@active_form(np.cumsum, "cumsum")
def running_sum(a):
    made, s = room_for(a.size, a, a), 0.0
    for k, x in enumerate(a.flat):
        s = s + x
        made[k] = s
    return made


@active_form(np.cumprod, "cumprod")
def running_product(a):
    made, s = room_for(a.size, a, a), 1.0
    for k, x in enumerate(a.flat):
        s = s * x
        made[k] = s
    return made


@active_form(np.outer)
def outer(a, b):
    made = room_for((a.size, b.size), a, b)
    for i, x in enumerate(a.flat):
        for j, y in enumerate(b.flat):
            made[i, j] = x * y
    return made


@making_kernel
def inner(a, b):
    if a.size != b.size:
        raise ValueError("incompatible array sizes for np.dot(a, b)")
    return inner_product(a, b)


@making_kernel
def vector_matrix(a, b):
    made = room_for(b.shape[1], a, b)
    for j in range(b.shape[1]):
        made[j] = inner(a, b[:, j])
    return made


@making_kernel
def matrix_vector(a, b):
    made = room_for(a.shape[0], a, b)
    for i in range(a.shape[0]):
        made[i] = inner(a[i], b)
    return made


@making_kernel
def matrix_matrix(a, b):
    made = room_for((a.shape[0], b.shape[1]), a, b)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            made[i, j] = inner(a[i], b[:, j])
    return made


PRODUCTS = {(1, 1): inner, (1, 2): vector_matrix, (2, 1): matrix_vector, (2, 2): matrix_matrix}


def matrix_product(a, b):
    """Stands for np.dot and the operator @ of arrays with one or two dimensions."""
    raise NotImplementedError


@overload(matrix_product)
def choose_product(a, b):
    if not of_numbers(a, b) or (a.ndim, b.ndim) not in PRODUCTS:
        return None
    compiled = PRODUCTS[a.ndim, b.ndim]
    return lambda a, b: compiled(a, b)


overload(operator.matmul)(
    lambda a, b: (lambda a, b: matrix_product(a, b)) if holds_active(a) or holds_active(b) else None
)


def choose(condition, x, y):
    """Stands for np.where with three arguments."""
    raise NotImplementedError


@overload(choose)
def choose_where(condition, x, y):
    kind = kind_of(condition, x, y)

    def scalar(condition, x, y):
        if condition:
            return x
        return y

    def array(condition, x, y):
        shape = np.broadcast_shapes(np.shape(condition), np.shape(x), np.shape(y))
        conditions, u, v = np.broadcast_to(condition, shape), np.broadcast_to(x, shape), np.broadcast_to(y, shape)
        made = np.empty(shape, kind)
        for i in np.ndindex(shape):
            made[i] = u[i] if conditions[i] else v[i]
        return made

    if any(isinstance(t, types.Array) for t in (condition, x, y)):
        return array
    return scalar


FUNCTIONS[np.dot] = METHODS["dot"] = either(np.dot, matrix_product)
FUNCTIONS[np.where] = either(np.where, choose)
