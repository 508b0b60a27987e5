"""Numba's own implementations of functions, compiled for active numbers as a user's code is.

Many of NumPy's functions in Numba are Python code that is chosen by the types of the arguments, and refuses types that
it does not know. Here the code for plain numbers is compiled with active ones in their place.
"""

import functools
import types as python

import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.extending import overload

from fasttape.compiler.active_type import holds_active, is_active
from fasttape.compiler.choosing import either
from fasttape.compiler.jit import INTERNAL

NUMBAS_OWN = INTERNAL | {"error_model": "python"}  # what holds unless the user's options say otherwise
PYTHON = (python.FunctionType, python.BuiltinFunctionType, type(np.sum))  # what Numba may implement by Python code
LIBRARIES = ("numpy", "numba.np", "numba.cpython")  # others have passes of Numba look for them


def plain_like(t):
    """A type with plain numbers in place of active ones."""
    if is_active(t):
        return types.float64
    if not holds_active(t):
        return t
    if isinstance(t, types.Array):
        return t.copy(dtype=types.float64)
    if isinstance(t, types.BaseTuple):
        return types.BaseTuple.from_types(tuple(map(plain_like, t)))
    return types.List(plain_like(t.dtype)) if isinstance(t, types.List) else t


def implementations(function):
    """What of a function's templates chooses Python code by the types of the arguments."""
    known = cpu_target.typing_context.resolve_value_type(function)
    return [t._overload_func for t in getattr(known, "templates", ()) if hasattr(t, "_overload_func")]


@functools.cache
def is_borrowable(function) -> bool:
    """Whether a function of NumPy or Numba is one that Numba implements by Python code."""
    if not isinstance(function, PYTHON) or not str(function.__module__).startswith(LIBRARIES):
        return False
    try:
        return bool(implementations(function))
    except NumbaError:
        return False


def compiled_as(compiler, choose, name):
    """A function that Numba's compiler `compiler` makes of the Python code that `choose` gives for some types."""

    def stand_in(*args, **kws):
        raise NotImplementedError

    stand_in.__name__ = name
    overload(stand_in, strict=False, jit_options=NUMBAS_OWN | {"pipeline_class": compiler})(choose)
    return stand_in


def plainly(function):
    """What gives Numba's Python code for a function of plain numbers in place of active ones."""

    def choose(*args, **kws):
        plain, named = [plain_like(t) for t in args], {name: plain_like(t) for name, t in kws.items()}
        for implementation in implementations(function):
            try:
                found = implementation(*plain, **named)
            except (NumbaError, TypeError):
                continue
            if isinstance(found, python.FunctionType):
                return found
        return None

    return choose


@functools.cache
def borrowed(function, compiler):
    """What active code calls in place of a function that Numba implements by Python code."""
    made = either(function, compiled_as(compiler, plainly(function), function.__name__), reluctant=True)
    cpu_target.typing_context.refresh()  # this runs while a caller is being compiled
    cpu_target.target_context.refresh()
    return made


overload(isinstance)(lambda var, typs: plainly(isinstance)(var, typs) if holds_active(var) else None)
