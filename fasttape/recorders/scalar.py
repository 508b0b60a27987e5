"""TracedScalar: a Python number under recording. Its operators, made from the table, append instructions.

What is written here defines what an operator does; `compiler.operators` has the same for the frequent cases, compiled.
"""

import numbers
import sys
from typing import Any

import numpy as np

from fasttape import ops
from fasttape.compiler.objects import COMPARISONS
from fasttape.compiler.operators import classes, flagged
from fasttape.errors import ArgumentError, ConversionError, LeakError, UnsupportedError

NUMBERS = (float, int, np.floating, np.integer, np.bool_)
POWI, SQUARE, POSITIVE, EQUAL = (ops.CODE[name] for name in ("powi", "square", "positive", "equal"))
MAX_EXPONENT = 2**31
ROUNDINGS = {"__trunc__": "trunc", "__floor__": "floor", "__ceil__": "ceil"}


class TracedScalar:
    """One slot of a recording; behaves as the float that it holds, except that it cannot become one.

    The objects are of a subclass that adds the field `slot` and, where that is possible, compiled operators.
    """

    __slots__ = ("builder",)
    __hash__ = None  # == records an instruction, so a traced value cannot be a key
    shape, ndim, size = (), 0, 1

    @property
    def dtype(self):
        return self.builder.dtype

    @property
    def primal(self) -> float:
        """The number at the point of the recording."""
        return self.builder.evaluate().item(self.slot)

    def __repr__(self):
        return f"TracedScalar({self.primal!r})"

    def __format__(self, spec):
        return format(self.primal, spec)

    def __bool__(self):
        builder, slot = here(self.builder), self.slot
        outcome = builder.evaluate().item(slot) != 0.0
        builder.guard(slot, outcome)
        return outcome

    def __int__(self):
        return whole(self, ops.CODE["trunc"])

    def __round__(self, ndigits=None):
        if ndigits is not None:
            raise UnsupportedError("round(x, ndigits) cannot be recorded; the nearest that can: round(x)")
        return whole(self, ops.CODE["rint"])

    def __float__(self):
        message = "float() of a traced value would lose its derivative; use the value as it is"
        frame = sys._getframe(1)
        if type(frame.f_globals) is dict:  # lifted code has a view of them, and functions of math that record
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            message += f", and at {place}, which is called out of reach, numpy's functions instead of math's"
        raise ConversionError(message)

    def __complex__(self):
        raise ConversionError("complex() of a traced value would lose its derivative; complex numbers are not recorded")

    def __pow__(self, n, modulo=None):
        if modulo is not None:
            raise UnsupportedError("pow(x, n, modulo) cannot be recorded; the nearest that can: x**n % modulo")
        if is_number(n):
            return power(self, n)
        return POW(self, n)

    def __divmod__(self, y):
        return self // y, self % y

    def __rdivmod__(self, y):
        return y // self, y % self

    def conjugate(self):
        return self

    def item(self):
        return self

    @property
    def real(self):
        return self


def is_number(x: Any) -> bool:
    return isinstance(x, NUMBERS)


def power(x, n):
    """x**n for a plain number n: an integer power keeps its integer, which is faster and right at a zero base."""
    if not (abs(n) < MAX_EXPONENT and n == int(n)):
        return POW(x, n)
    if n == 2:
        return append(here(x.builder), SQUARE, x.slot)
    return append(here(x.builder), POWI, x.slot, int(n) & 0xFFFFFFFF)


def traced(builder, slot) -> TracedScalar:
    """The traced number that lives in a slot."""
    x = builder.scalar()
    x.builder, x.slot = builder, slot
    return x


def here(builder):
    """The recording that takes part for one: itself, or the innermost stretch that is recorded apart from it."""
    while builder.inner is not None:
        builder = builder.inner
    return builder


def append(builder, opcode, a, b=0) -> TracedScalar:
    """Record a row on slots."""
    return traced(builder, builder.emit(opcode, a, b))


def whole(x, rounding) -> int:
    """A Python int from a traced value; the tape holds only where it comes out the same."""
    builder = here(x.builder)
    rounded = append(builder, rounding, x.slot)
    number = int(rounded.primal)
    same = append(builder, EQUAL, rounded.slot, builder.constant(float(number)))
    builder.evaluate()
    builder.guard(same.slot, outcome=True)
    return number


def mixed(*recordings) -> LeakError:
    """The error for values of two recordings in one operation."""
    error = LeakError("values of two recordings were mixed; each recording has its own traced values")
    error.recordings = recordings
    return error


def slot_of(builder, y):
    """The slot of another operand of an operator, or None where Python should ask the other operand."""
    if type(y) is float or type(y) is int:
        return builder.constant(y)
    if isinstance(y, TracedScalar):
        if here(y.builder) is builder:
            return y.slot
        raise mixed(builder, y.builder)
    if is_number(y):
        if isinstance(y, np.generic) and np.result_type(y, builder.dtype) != builder.dtype:
            raise ArgumentError(f"{y!r} would make a {builder.dtype} recording {y.dtype}; write float(...) around it")
        return builder.constant(y)
    if isinstance(y, numbers.Number):
        raise ArgumentError(f"{type(y).__name__} numbers cannot be mixed with traced values; write float(...)")
    return None


def unary(opcode):
    """The operator method that records a row of one operand."""

    def method(x):
        return append(here(x.builder), opcode, x.slot)

    return method


def binary(opcode):
    """The operator method that records a row of two operands."""

    def method(x, y):
        builder = here(x.builder)
        b = slot_of(builder, y)
        return NotImplemented if b is None else append(builder, opcode, x.slot, b)

    return method


def reflected(opcode):
    """The method for a plain number on the left."""

    def method(y, x):
        builder = here(y.builder)
        a = slot_of(builder, x)
        return NotImplemented if a is None else append(builder, opcode, a, y.slot)

    return method


def define_operators():
    """Give TracedScalar a method for every row that answers to a name of the operator module."""
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rstrip("_").rpartition(".")
            if module != "operator" or f"__{attribute}__" in vars(TracedScalar):
                continue
            setattr(TracedScalar, f"__{attribute}__", (unary if op.arity == 1 else binary)(opcode))
            if op.arity == 2 and attribute not in COMPARISONS:
                setattr(TracedScalar, f"__r{attribute}__", reflected(opcode))
    for method, name in ROUNDINGS.items():
        setattr(TracedScalar, method, lambda x, opcode=ops.CODE[name]: whole(x, opcode))


class Recording:
    """A function that records its row for traced scalars; for all other arguments it is the function that it holds."""

    __slots__ = ("function",)

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(getattr(self.function, "__wrapped__", self.function), name)

    def __repr__(self):
        return repr(self.function)


def scalar_class():
    """The class of the objects that stand for slots."""
    return classes(TracedScalar, Recording)[0]


def recording(opcode, arity, function) -> Recording:
    """`function` with a short way for traced scalars."""
    made = classes(TracedScalar, Recording)[1]()
    made.function, made.opcode, made.arity = function, flagged(opcode), arity
    return made


POW = binary(ops.CODE["pow"])
TracedScalar.__rpow__ = reflected(ops.CODE["pow"])
define_operators()
