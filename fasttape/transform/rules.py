"""The partials of the table's rows on traced values: the rows' own rules, run where the helpers that they name record.

A rule is a branch-free expression over operations of the table. Operators and NumPy's functions record by themselves; a
helper of the same name as a row, such as `select` or `digamma`, is replaced by a function that records that row.
"""

import functools
import math
from types import FunctionType

from fasttape import ops
from fasttape.recorders.array import as_traced, builder_of
from fasttape.recorders.instructions import elementwise
from fasttape.transform.operands import number


@functools.cache
def partials_of(opcode: int):
    """The partials rule of a row as a function of traced values."""
    return ops.rebound(ops.OPS[opcode].partials, recording)


def recording(name, value):
    """What records in the place of a helper that a rule names."""
    if name == "times":
        return product
    return helper(name, value) if isinstance(value, FunctionType) and name in ops.CODE else None


def helper(name, function):
    """What a helper does in a rule that is recorded."""
    integer = ops.INTEGER in ops.OPS[ops.CODE[name]].traits

    def record(*operands):
        return apply(name, operands[:-1], operands[-1]) if integer else apply(name, operands)

    @functools.wraps(function)
    def chosen(*operands):
        return function(*operands) if builder_of(operands) is None else record(*operands)

    return chosen


def apply(name, operands, parameter=0):
    """Record a row on operands of any kind, of which at least one is traced."""
    builder = builder_of(operands)
    return elementwise(builder, ops.CODE[name], [as_traced(builder, x) for x in operands], parameter)


def product(w, d):
    """`times` as rules call it."""
    made = times(w, d)
    return 0.0 if made is None else made


def times(w, d):
    """The contribution of an adjoint `w` by a partial `d`, exactly 0 where either is, with no instruction to spare."""
    for x, y in ((w, d), (d, w)):
        c = number(x)
        if c in (0.0, 1.0, -1.0):
            return None if c == 0.0 else y if c == 1.0 else -y
        if c is not None and math.isfinite(c):
            return y * c
    if number(w) is not None and number(d) is not None:
        return ops.times(number(w), number(d))
    return apply("times", (w, d))
