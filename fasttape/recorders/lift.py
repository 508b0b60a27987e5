"""Lifted copies of Python functions: the same code run with names that resolve to recording stand-ins.

NumPy dispatches on traced values by its own protocols; `math.sin` and `np.array` do not. A lifted copy shares the
code object (so tracebacks show the user's lines), looks its globals up live, writes `global`s through, and shares
every closure cell that holds nothing to lift. Helper functions are lifted when they are looked up. Nothing global is
patched.
"""

import builtins
import functools
import math
import sys
import types
import weakref

import numpy as np

from fasttape import ops
from fasttape.errors import ArgumentError
from fasttape.recorders.array import TracedArray, any_traced, as_traced
from fasttape.recorders.instructions import elementwise
from fasttape.recorders.numpy_shapes import array
from fasttape.recorders.scalar import TracedScalar

TRACED = (TracedScalar, TracedArray)
FOREIGN = sys.stdlib_module_names | {"numpy", "scipy", "numba", "fasttape", "optree"}
RECORDED = {"math", "numpy", "scipy", "scipy.special"}  # modules with functions that need a stand-in
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)


class Globals(dict):
    """The globals of one module as lifted code sees them: data is looked up live, code is lifted and kept for one call.

    `global` statements bind here; `settle` writes what they bound into the real globals.
    """

    def __init__(self, real: dict):
        super().__init__(__builtins__=builtins, __name__=real.get("__name__", ""))
        self.real = real
        self.kept = dict(self)

    def __missing__(self, name):
        if name in self.real:
            value = self.real[name]
            seen = lift(value)
            if not isinstance(value, CODE):
                return seen
        elif hasattr(builtins, name):
            seen = getattr(builtins, name)
        else:
            raise KeyError(name)
        self[name] = self.kept[name] = seen
        return seen

    def settle(self):
        """Write bindings through and forget what was kept."""
        for name, value in list(self.items()):
            if self.kept.get(name, self) is not value:
                self.real[name] = unlift(value)
            if name not in ("__builtins__", "__name__"):
                del self[name]
                self.kept.pop(name, None)


def stand_in(function, opcode, arity, integer):
    """A function that records its row for traced arguments and is the real one for all others."""

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


@functools.cache
def stand_ins() -> dict:
    """By id of a function that cannot dispatch by itself: the function and its stand-in."""
    found = {id(f): (f, make_array(f)) for f in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray)}
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            function = getattr(sys.modules.get(module), attribute, None)
            if module != "operator" and function is not None and not isinstance(function, np.ufunc):
                made = stand_in(function, opcode, op.arity, ops.INTEGER in op.traits)
                found[id(function)] = function, made
    found[id(math.log)] = math.log, log
    found[id(math.pow)] = math.pow, lambda x, y: x**y if any_traced((x, y)) else math.pow(x, y)
    return found


def log(x, base=None):
    """math.log with one or two arguments."""
    if base is None:
        return np.log(x) if isinstance(x, TRACED) else math.log(x)
    return log(x) / log(base) if any_traced((x, base)) else math.log(x, base)


class Module:
    """A module seen through recording eyes; those of the user's modules are looked up live."""

    def __init__(self, module):
        self.__dict__["_module"] = module

    def __getattr__(self, name):
        value = lift(getattr(self._module, name))
        if self._module.__name__ in RECORDED:
            self.__dict__[name] = value
        return value

    def __setattr__(self, name, value):
        setattr(self._module, name, unlift(value))


LIFTED = weakref.WeakKeyDictionary()  # function: (what its cells held, the lifted copy)
GLOBALS = {}  # id of a module's globals: their lifted view


@functools.cache
def module_stand_in(module):
    return Module(module)


def lift(x):
    """What lifted code should see in place of x."""
    kind = type(x)
    if kind is types.FunctionType:
        return lifted(x)
    if kind is types.BuiltinFunctionType:
        return stand_ins().get(id(x), (x, x))[1]
    if kind is types.ModuleType:
        return x if foreign(x.__name__) and x.__name__ not in RECORDED else module_stand_in(x)
    if kind is types.MethodType:
        return types.MethodType(lift(x.__func__), shadow(x.__self__))
    if kind is functools.partial:
        return functools.partial(lift(x.func), *map(lift, x.args), **{k: lift(v) for k, v in x.keywords.items()})
    if id(x) in stand_ins():
        return stand_ins()[id(x)][1]
    inner = getattr(x, "__wrapped__", None) or getattr(x, "py_func", None)
    return lift(inner) if type(inner) is types.FunctionType and not foreign(inner.__module__) else x


def foreign(module) -> bool:
    """Whether a module is not the user's: its functions dispatch on traced values or never see them."""
    if module is None or module.startswith("fasttape.demo"):  # the demonstration is a user like any other
        return False
    return module.partition(".")[0] in FOREIGN


def lifted(function):
    """A copy of a function whose globals and closure resolve to stand-ins."""
    if isinstance(function.__globals__, Globals) or foreign(function.__module__):
        return stand_ins().get(id(function), (function, function))[1]
    known = LIFTED.get(function)
    cells = function.__closure__
    if known is not None and cells is None:
        return known[1]
    cells = cells or ()
    held = [contents(cell) for cell in cells]
    if known is not None and all(x is y for x, y in zip(known[0], held, strict=True)):
        return known[1]
    view = GLOBALS.setdefault(id(function.__globals__), Globals(function.__globals__))
    new_cells = tuple(types.CellType() if liftable(x) else cell for cell, x in zip(cells, held, strict=True))
    copy = types.FunctionType(function.__code__, view, function.__name__, None, new_cells)
    LIFTED[function] = held, copy
    for cell, new, x in zip(cells, new_cells, held, strict=True):
        if new is not cell:
            new.cell_contents = lift(x)
    copy.__defaults__ = function.__defaults__ and tuple(map(lift, function.__defaults__))
    copy.__kwdefaults__ = function.__kwdefaults__ and {k: lift(v) for k, v in function.__kwdefaults__.items()}
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    ORIGINAL[copy] = function
    return copy


ORIGINAL = weakref.WeakKeyDictionary()  # lifted copy: function


def contents(cell):
    """What a closure cell holds; the cell itself while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def liftable(x) -> bool:
    """Whether lifted code sees something else in place of x."""
    kind = type(x)
    if kind is types.FunctionType:
        return not isinstance(x.__globals__, Globals) and not foreign(x.__module__) or id(x) in stand_ins()
    return lift(x) is not x


def unlift(x):
    """The user's function for a lifted copy of it, anything else as it is."""
    return ORIGINAL.get(x, x) if type(x) is types.FunctionType else x


def shadow(x):
    """An object that shares the state of x and whose methods are lifted; x itself where it has no `__dict__`."""
    kind = type(x)
    if foreign(kind.__module__) or not hasattr(x, "__dict__") or isinstance(x, type | types.ModuleType):
        return x
    methods = {}
    for base in reversed(kind.__mro__):
        for name, member in vars(base).items():
            if type(member) is types.FunctionType and name not in ("__init__", "__new__", "__getattribute__"):
                methods[name] = lift(member)
            elif type(member) is property:
                methods[name] = property(*(f and lift(f) for f in (member.fget, member.fset, member.fdel)))
            elif type(member) in (staticmethod, classmethod):
                methods[name] = type(member)(lift(member.__func__))
    try:
        copy = object.__new__(type(kind.__name__, (kind,), methods))
        copy.__dict__ = x.__dict__
    except TypeError:
        return x
    return copy


def run_lifted(function, args, kwargs):
    """Call a function lifted; `global` statements that it ran are written through even if it raises."""
    if not callable(function):
        raise ArgumentError(f"expected a function, got {type(function).__name__}")
    target = lift(function)
    if target is function and not isinstance(function, type | types.BuiltinFunctionType | types.FunctionType):
        target = shadow(function)
    try:
        return target(*args, **kwargs)
    finally:
        for view in list(GLOBALS.values()):
            view.settle()
