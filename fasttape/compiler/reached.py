"""A name for everything that a user's compiled function is made of, whichever files that comes from.

Numba's cache on disk watches the file of one function. What is compiled for active numbers holds the code of every
function reached and the values of their globals and closures, so the key of its cache has to name them all.
"""

import builtins
import hashlib
import types

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.np.ufunc.dufunc import DUFunc

from fasttape.compiler import jit

NUMBERS = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype, types.EllipsisType, slice)
LIBRARIES = ("numpy", "math", "cmath", "operator", "numba", "builtins", "scipy")


class UnnamedError(Exception):
    """Something whose value cannot be named; what uses it is compiled in every process."""


class Reached:
    """A walk over a function and what it names."""

    def __init__(self):
        self.text = hashlib.sha256(f"{jit.digest()} {numba.__version__} {np.__version__}".encode())
        self.seen: set[int] = set()

    def add(self, *words):
        for x in words:
            self.text.update(x if isinstance(x, bytes) else str(x).encode())
            self.text.update(b"\0")

    def value(self, x, names=()):
        """Add a value; `names` are the attributes that may be read of a module."""
        if isinstance(x, DUFunc):
            x = x._dispatcher
        if isinstance(x, Dispatcher):
            self.add("njit", sorted(x.targetoptions.items(), key=str))
            self.function(x.py_func)
        elif isinstance(x, types.FunctionType) and not library(x.__module__):
            self.function(x)
        elif isinstance(x, types.ModuleType):
            self.module(x, names)
        elif isinstance(x, NUMBERS):
            self.add(type(x).__name__, repr(x))
        elif isinstance(x, tuple | list | frozenset):
            self.add(type(x).__name__, len(x))
            for item in x:
                self.value(item)
        elif isinstance(x, np.ndarray) and not x.dtype.hasobject:
            self.add(x.dtype.str, x.shape, x.tobytes())
        elif isinstance(x, types.CodeType):
            self.code(x)
        elif library(getattr(x, "__module__", None)) and hasattr(x, "__name__"):
            self.add(x.__module__, x.__name__)
        elif isinstance(x, types.BuiltinFunctionType | np.ufunc | type | numba.types.Type):
            self.add(repr(x))
        else:
            raise UnnamedError(repr(x))

    def module(self, x, names):
        self.add("module", x.__name__)
        if not library(x.__name__):
            for name in names:
                if name in vars(x):
                    self.add(name)
                    self.value(vars(x)[name], names)

    def code(self, x):
        self.add(x.co_name, x.co_code, *x.co_names, *x.co_varnames)
        for constant in x.co_consts:
            self.value(constant)

    def function(self, f):
        """Add the code of a function and what its names stand for."""
        if id(f) in self.seen:
            return
        self.seen.add(id(f))
        self.add(f.__module__, f.__qualname__)
        self.code(f.__code__)
        self.value((f.__defaults__, tuple(sorted((f.__kwdefaults__ or {}).items()))))
        names = names_in(f.__code__)
        for name in names:
            if name in f.__globals__:
                self.add(name)
                self.value(f.__globals__[name], names)
        for cell in f.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise UnnamedError("an empty cell") from None
            self.value(content, names)


def names_in(code):
    """The names of globals and attributes in a code object and in those inside of it."""
    inner = [x for x in code.co_consts if isinstance(x, types.CodeType)]
    return sorted({*code.co_names, *(name for x in inner for name in names_in(x))} - set(vars(builtins)))


def library(module):
    """Whether a module is named well enough by its name and version."""
    return module is not None and module.partition(".")[0] in LIBRARIES


def digest_of(dispatcher):
    """The name of a compiled function and all that it reaches; None where something cannot be named."""
    reached = Reached()
    try:
        reached.value(dispatcher)
    except UnnamedError:
        return None
    return reached.text.hexdigest()
