"""Python classes with integer fields in C layout and with compiled methods, made without a C compiler.

`extend` makes a subclass of a Python class through the C API's PyType_FromSpecWithBases. Where that cannot be, because
the JIT is disabled or the interpreter runs without its lock, the subclass is plain Python of the same behavior.
"""

import ctypes
import sys

import numpy as np

from fasttape.compiler.late import DISABLED

NATIVE = not DISABLED and "t" not in getattr(sys, "abiflags", "")  # which stands for a Python without its lock
FIRST_FIELD = object.__basicsize__  # where the one object of a class with one entry in `__slots__` is
WORD = 8
TYPE_FIELD = 8  # of the header: the class
FLOAT_VALUE = object.__basicsize__

# The slots of CPython's stable ABI that are filled here, by the name of the method that Python sees
NUMBER_SLOTS = {"add": 7, "sub": 36, "mul": 29, "truediv": 37, "floordiv": 12, "mod": 34, "and": 8, "or": 31}
NUMBER_SLOTS |= {"neg": 30, "pos": 32, "abs": 6, "invert": 27}
CALL_SLOT, COMPARE_SLOT, MEMBERS_SLOT = 50, 67, 72
COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")  # in the order of the C API
LONG_LONG = 17  # the kind of a member
MAY_BE_SUBCLASSED = 1 << 10


class Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class Member(ctypes.Structure):
    _fields_ = (
        *(("name", ctypes.c_char_p), ("kind", ctypes.c_int), ("offset", ctypes.c_ssize_t)),
        *(("flags", ctypes.c_int), ("doc", ctypes.c_char_p)),
    )


class Spec(ctypes.Structure):
    _fields_ = (
        *(("name", ctypes.c_char_p), ("size", ctypes.c_int), ("itemsize", ctypes.c_int)),
        *(("flags", ctypes.c_uint), ("slots", ctypes.POINTER(Slot))),
    )


KEPT = []  # what classes point to, which must live as long as they do


def extend(base, fields, methods=()):
    """A subclass of a class with one object in its `__slots__`; `methods` are pairs (slot, address)."""
    name = f"{base.__module__}.{base.__name__}"
    if not NATIVE:
        return type(base.__name__, (base,), {"__slots__": fields, "__module__": base.__module__})
    offsets = [offset_of(fields, field) for field in fields]
    members = [Member(f.encode(), LONG_LONG, at, 0, None) for f, at in zip(fields, offsets, strict=True)]
    members = (Member * (len(fields) + 1))(*members)
    slots = [(MEMBERS_SLOT, ctypes.addressof(members)), *methods]
    slots = (Slot * (len(slots) + 1))(*(Slot(slot, address) for slot, address in slots))
    size = FIRST_FIELD + WORD * (1 + len(fields))
    spec = Spec(name.encode(), size, 0, MAY_BE_SUBCLASSED, slots)
    KEPT.append((members, slots, spec))
    make = ctypes.pythonapi.PyType_FromSpecWithBases
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object)
    made = make(ctypes.addressof(spec), (base,))
    made.__name__ = base.__name__
    return made


def offset_of(fields, field) -> int:
    """Where an integer field is in an object: behind the object of the base class."""
    return FIRST_FIELD + WORD * (1 + fields.index(field))


def address_of(function: str) -> int:
    """The address of a function of the C API."""
    return ctypes.cast(getattr(ctypes.pythonapi, function), ctypes.c_void_p).value


# The places of functions in NumPy's table, which belongs to its binary interface
NEW_SCALAR, NEW_ARRAY, SET_BASE = 60, 93, 282


def numpy_function(place) -> int:
    """The address of a function of NumPy's C API."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = get(np._core._multiarray_umath._ARRAY_API, None)
    return (ctypes.c_void_p * (place + 1)).from_address(table)[place]
