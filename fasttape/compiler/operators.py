"""Recording without the interpreter: the operators of traced scalars as compiled methods, from a loop over the table.

`record` is the short way: both operands are scalars of one recording, or one is a number that its pool of constants
knows, and there is room in the columns. It appends the instruction and makes the scalar that stands for its result.
In every other case the method calls its twin, the Python function that defines what the operator does.
"""

import functools

import numpy as np

from fasttape import ops
from fasttape.compiler.late import Late
from fasttape.compiler.objects import (
    CALL_SLOT,
    COMPARE_SLOT,
    COMPARISONS,
    NATIVE,
    NUMBER_SLOTS,
    address_of,
    extend,
)
from fasttape.compiler.sweeps import sweep

methods_of = Late("fasttape.compiler.methods")

SCALAR = ("slot",)  # the fields of a traced scalar
MEMORY = ("n", "next", "capacity", "ops", "a", "b", "unlinked")  # of a recording
FUNCTION = ("opcode", "arity")  # of a function that records

API = ("PyDict_GetItemWithError", "PyLong_AsLongLong", "_PyObject_GC_New", "Py_IncRef")
API += ("PyObject_CallFunctionObjArgs", "PyObject_Call", "PyTuple_Size", "PyTuple_GetItem")
CLASSES = len(API)  # where the addresses of the three classes begin: scalars, float, int
TWINS = CLASSES + 3  # where those of the twins begin, two for each method
NOT_HELD = 256  # added to an opcode whose row the sweeps do not hold


def arithmetic():
    """(name, opcode, arity) of each row that answers to an operator with a slot of its own."""
    found = {}
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, operator = name.rstrip("_").rpartition(".")
            if module == "operator" and operator in NUMBER_SLOTS:
                found.setdefault(operator, (operator, opcode, op.arity))
    return list(found.values())


def comparisons():
    """The opcodes of the comparisons in the order of the C API."""
    named = {name: opcode for opcode, op in enumerate(ops.OPS) for name in op.names}
    return [named[f"operator.{name}"] for name in COMPARISONS]


def flagged(opcode) -> int:
    return opcode if ops.INLINE in ops.OPS[opcode].traits else opcode | NOT_HELD


@sweep
def operators(table, methods):
    methods_of.install(table, methods)


def twin_names():
    """The Python methods behind the compiled ones, two for each: in order, and reflected."""
    for name, _, arity in arithmetic():
        yield f"__{name}__"
        yield f"__r{name}__" if arity == 2 else f"__{name}__"
    for name in COMPARISONS:
        yield from (f"__{name}__",) * 2


@functools.cache
def classes(scalar, function):
    """The class of traced scalars and that of functions which record, from the Python classes that define them."""
    if not NATIVE:
        return extend(scalar, SCALAR), extend(function, FUNCTION)
    twins = [getattr(scalar, name, None) for name in twin_names()]
    table = np.zeros(TWINS + len(twins), np.int64)
    table[:CLASSES] = [address_of(name) for name in API]
    table[TWINS:] = [id(twin) for twin in twins]
    rows = arithmetic()
    methods = np.zeros(len(rows) + 2, np.int64)
    operators.now(table, methods)
    *numbers, compare, call = methods.tolist()
    slots = [(NUMBER_SLOTS[name], address) for (name, _, _), address in zip(rows, numbers, strict=True)]
    made = extend(scalar, SCALAR, [*slots, (COMPARE_SLOT, compare)]), extend(function, FUNCTION, [(CALL_SLOT, call)])
    table[CLASSES:TWINS] = [id(kind) for kind in (made[0], float, int)]
    made[1].kept = table, twins  # for as long as the classes live
    return made
