"""Stand-ins for functions that cannot dispatch on traced values by themselves: those of `math`, and `numpy.array`."""

import functools
import math
import sys

import numpy as np

from fasttape import ops
from fasttape.recorders.array import TracedArray, any_traced, as_traced
from fasttape.recorders.instructions import elementwise
from fasttape.recorders.numpy_shapes import array
from fasttape.recorders.scalar import TracedScalar, append

TRACED = (TracedScalar, TracedArray)


def stand_in(function, opcode, arity, integer):
    """A function that records its row for traced arguments and is the real one for all others."""
    if arity == 1:

        @functools.wraps(function)
        def one(x):
            if type(x) is TracedScalar:
                return append(x.builder, opcode, x.slot)
            return elementwise(x.builder, opcode, [x]) if isinstance(x, TracedArray) else function(x)

        return one

    @functools.wraps(function)
    def recording(*args):
        traced = next((x for x in args if isinstance(x, TRACED)), None)
        if traced is None or len(args) != arity:
            return function(*args)
        builder = traced.builder
        if integer:
            n, x = args
            return elementwise(builder, opcode, [as_traced(builder, x)], int(n))
        return elementwise(builder, opcode, [as_traced(builder, x) for x in args])

    return recording


def make_array(function):
    """numpy.array and its kin, which do not dispatch on traced values inside lists."""

    @functools.wraps(function)
    def recording(x, *args, **kwargs):
        return array(x, *args, copy=function is np.array, **kwargs) if any_traced(x) else function(x, *args, **kwargs)

    return recording


@functools.wraps(math.log)
def log(x, base=None):
    if base is None:
        return np.log(x) if isinstance(x, TRACED) else math.log(x)
    return log(x) / log(base) if any_traced((x, base)) else math.log(x, base)


@functools.wraps(math.pow)
def power(x, y):
    return x**y if any_traced((x, y)) else math.pow(x, y)


def either(function, inner):
    """`function` for plain arguments, `inner`, the lifted Python code under it, for traced ones."""

    @functools.wraps(inner)
    def recording(*args, **kwargs):
        return (inner if any_traced((args, tuple(kwargs.values()))) else function)(*args, **kwargs)

    return recording


def stand_ins() -> dict:
    """By id of a function that cannot dispatch by itself: the function and its stand-in."""
    return _stand_ins("scipy.special" in sys.modules)


@functools.cache
def _stand_ins(special: bool) -> dict:
    found = {id(f): (f, make_array(f)) for f in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray)}
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            function = getattr(sys.modules.get(module), attribute, None)
            if module != "operator" and function is not None and not isinstance(function, np.ufunc):
                found[id(function)] = function, stand_in(function, opcode, op.arity, ops.INTEGER in op.traits)
    found[id(math.log)] = math.log, log
    found[id(math.pow)] = math.pow, power
    return found
