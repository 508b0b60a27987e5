"""Stand-ins for functions that cannot dispatch on traced values by themselves, those of `math` and `numpy.array`, and
for ufuncs, which can, but take long to; and for clocks and sources of randomness, which no replay finds again.
"""

import datetime
import functools
import math
import os
import sys
import time

import numpy as np

from fasttape import ops
from fasttape.recorders import scipy_names
from fasttape.recorders.array import TracedArray, any_traced, as_traced
from fasttape.recorders.dependencies import current, drawn
from fasttape.recorders.fresh import MADE, FreshArray, fresh, making
from fasttape.recorders.instructions import elementwise
from fasttape.recorders.numpy_classes import CLASSES
from fasttape.recorders.numpy_names import FUNCTIONS
from fasttape.recorders.numpy_shapes import SEQUENCES, array, full_like
from fasttape.recorders.scalar import TracedScalar, recording

TRACED = (TracedScalar, TracedArray)
POW = ops.CODE["pow"]


def stand_in(function, opcode, arity, integer):
    """A function that records its row for traced arguments and is the real one for all others."""
    if arity == 1:

        @functools.wraps(function)
        def one(x):
            return elementwise(x.builder, opcode, [as_traced(x.builder, x)]) if isinstance(x, TRACED) else function(x)

        return recording(opcode, arity, one)

    @functools.wraps(function)
    def several(*args):
        traced = next((x for x in args if isinstance(x, TRACED)), None)
        if traced is None or len(args) != arity:
            return (function if traced is None else OF_MATH.get(function, function))(*args)
        builder = traced.builder
        if integer:
            n, x = args
            return elementwise(builder, opcode, [as_traced(builder, x)], int(n))
        return elementwise(builder, opcode, [as_traced(builder, x) for x in args])

    return several if integer else recording(opcode, arity, several)


def make_array(function):
    """numpy.array and its kin, which do not dispatch on traced values inside lists."""

    @functools.wraps(function)
    def of_traced(x, *args, **kwargs):
        if any_traced(x):
            return array(x, *args, **({"copy": True} if function is np.array else {}) | kwargs)
        made = function(x, *args, **kwargs)
        if made.base is not None or made is x:  # memory of somebody else
            return x if isinstance(x, FreshArray) and np.shape(x) == made.shape and x.dtype == made.dtype else made
        return fresh(made)

    return of_traced


def for_traced(function, other):
    """A function, or another one for traced arguments."""

    @functools.wraps(function)
    def chosen(*args, **kwargs):
        return (other if any_traced((args, kwargs)) else function)(*args, **kwargs)

    return chosen


def of_lists(function):
    """A function of NumPy that also takes lists of traced values for arrays; NumPy dispatches on arrays only."""

    @functools.wraps(function)
    def of_arrays(*args, **kwargs):
        args = [array(x) if isinstance(x, list | tuple) and any_traced(x) else x for x in args]
        if kwargs.get("out") is ... and any_traced(args):  # an array, even of no dimension
            return array(function(*args, **kwargs | {"out": None}))
        return function(*args, **kwargs)

    return of_arrays


@functools.wraps(np.full)
def full(shape, fill_value, dtype=None, order="C", **kwargs):
    if any_traced(fill_value):
        return full_like(np.empty(shape), fill_value, dtype)
    return fresh(np.full(shape, fill_value, dtype, order, **kwargs))


@functools.wraps(math.log)
def log(x, base=None):
    if base is None:
        return np.log(x) if isinstance(x, TRACED) else math.log(x)
    return log(x) / log(base) if any_traced((x, base)) else math.log(x, base)


@functools.wraps(math.pow)
def power(x, y):
    return x**y if any_traced((x, y)) else math.pow(x, y)


def fsum(values):
    return sum(values)


def hypot(*coordinates):
    return coordinates[0] if len(coordinates) == 1 else functools.reduce(np.hypot, coordinates, 0.0)


def dist(p, q):
    return hypot(*(x - y for x, y in zip(p, q, strict=True)))


def isclose(x, y, *, rel_tol=1e-09, abs_tol=0.0):
    return bool(x == y) or bool(abs(x - y) <= max(rel_tol * max(abs(x), abs(y)), abs_tol))


def remainder(x, y):
    return x - np.rint(x / y) * y


OF_MATH = {math.fsum: fsum, math.hypot: hypot, math.dist: dist, math.isclose: isclose, math.remainder: remainder}
OF_MATH |= {math.ldexp: np.ldexp, math.modf: np.modf}


def clock(name, function):
    """A function that tells the time."""

    @functools.wraps(function)
    def read(*args, **kwargs):
        if current() is not None:
            current().clock(name)
        return function(*args, **kwargs)

    return read


def random_source(name, function):
    """A function that draws from what the system offers, at least while it is not given a seed."""

    @functools.wraps(function)
    def draw(*args, **kwargs):
        seeded = function is np.random.default_rng and (*args, *kwargs.values()) not in ((), (None,))
        if current() is not None and not seeded:
            raise drawn(name)
        return function(*args, **kwargs)

    return draw


class Calendar(type):
    """The class of the stand-in for `datetime.datetime`, which is it to `isinstance` and makes its objects."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls.__base__)

    def __call__(cls, *args, **kwargs):
        return cls.__base__(*args, **kwargs)


def unrepeatable():
    """Pairs (function, stand-in) of clocks and sources of randomness."""
    ticking = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    for name in (*ticking, *(f"{name}_ns" for name in ticking)):
        yield getattr(time, name), clock(f"time.{name}()", getattr(time, name))
    real = datetime.datetime
    members = {
        name: staticmethod(clock(f"datetime.{name}()", getattr(real, name))) for name in ("now", "utcnow", "today")
    }
    yield real, Calendar("datetime", (real,), members)
    yield os.urandom, random_source("os.urandom", os.urandom)
    yield np.random.default_rng, random_source("numpy.random.default_rng() without a seed", np.random.default_rng)
    for module, names in (("uuid", ("uuid1", "uuid4")), ("secrets", ("randbelow", "token_bytes", "choice"))):
        for name in names if module in sys.modules else ():
            function = getattr(sys.modules[module], name)
            yield function, random_source(f"{module}.{name}", function)


def stand_ins() -> dict:
    """By id of a function that cannot dispatch by itself: the function and its stand-in."""
    return _stand_ins("scipy.special" in sys.modules, "scipy.linalg" in sys.modules)


@functools.cache
def _stand_ins(special: bool, linalg: bool) -> dict:
    found = {id(f): (f, make_array(f)) for f in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray)}
    found |= {id(f): (f, of_lists(f)) for f in FUNCTIONS if f not in SEQUENCES and not isinstance(f, np.ufunc)}
    found |= {id(f): (f, making(f)) for f in MADE}
    found |= {id(f): (f, for_traced(f, other)) for f, other in OF_MATH.items()}
    found |= {id(kind): (kind, other) for kind, other in CLASSES.items()}
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            function = getattr(sys.modules.get(module), attribute, None)
            if module == "operator" or function is None:
                continue
            if not isinstance(function, np.ufunc):
                found[id(function)] = function, stand_in(function, opcode, op.arity, ops.INTEGER in op.traits)
            elif opcode != POW and ops.INTEGER not in op.traits:  # a power may have an integer exponent to keep
                found[id(function)] = function, recording(opcode, op.arity, of_lists(function))
    found |= {id(function): (function, other) for function, other in unrepeatable()}
    for name, other in scipy_names.FUNCTIONS.items():
        module, _, attribute = name.rpartition(".")
        function = getattr(sys.modules.get(module), attribute, None)
        if function is not None:
            found[id(function)] = function, for_traced(function, other)
    found[id(np.full)] = np.full, full
    found[id(math.log)] = math.log, log
    found[id(math.pow)] = math.pow, power
    return found
