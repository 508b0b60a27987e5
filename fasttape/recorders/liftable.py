"""Which objects lifted code may see something else in place of; what is not named here stays as it is."""

import functools
import sys
import types

import numpy as np

from fasttape.compiler.calling import Caller
from fasttape.recorders.numpy_names import FUNCTIONS as RECORDED
from fasttape.recorders.stand_ins import stand_ins
from fasttape.recorders.views import DATA, Globals, is_recorded

FOREIGN = sys.stdlib_module_names | {"numpy", "scipy", "numba", "fasttape", "optree"}
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, functools.partial)
UNTOUCHED = ("__new__", "__getattribute__", "__init_subclass__", "__class_getitem__")


def foreign(module) -> bool:
    """Whether a module is not the user's: its functions dispatch on traced values or never see them."""
    if module is None or module.startswith("fasttape.demo"):  # the demonstration is a user like any other
        return False
    return module.partition(".")[0] in FOREIGN


def borrowable(x) -> bool:
    """Whether x is a Python function of NumPy or SciPy, which can be lifted if it is called with traced values."""
    dispatching = type(x) is type(np.sum) and x not in RECORDED
    code = getattr(x, "_implementation", None) if dispatching else x
    return (
        type(code) is types.FunctionType
        and type(code.__globals__) is not Globals
        and scientific(code.__globals__.get("__name__"))
    )


def scientific(module) -> bool:
    return module is not None and module.partition(".")[0] in ("numpy", "scipy")


def lent(kind) -> bool:
    """Whether objects of a class are SciPy's, with methods in Python."""
    return kind.__module__.startswith("scipy.") and kind.__dictoffset__ != 0 and not issubclass(kind, BaseException)


def installed(module) -> bool:
    """Whether a module is foreign or comes from an installed package, whose classes are left as they are."""
    return foreign(module) or "site-packages" in (getattr(sys.modules.get(module), "__file__", None) or "")


def liftable(x) -> bool:
    """Whether lifted code may see something else in place of x."""
    kind = type(x)
    if kind in DATA:
        return False
    if kind is types.FunctionType:
        return id(x) in stand_ins() or borrowable(x) or not (type(x.__globals__) is Globals or foreign(x.__module__))
    if kind is types.ModuleType:
        return is_recorded(x.__name__) or not foreign(x.__name__)
    if kind in (types.MethodType, functools.partial, np.vectorize):
        return True
    if kind in (dict, list, tuple):
        first = next(iter(x.values() if kind is dict else x), None)
        return type(first) not in (dict, list, tuple) and liftable(first)
    if kind is type:
        return id(x) in stand_ins() or lent(x) or (plain_class(x) and has_methods_to_lift(x))
    if lent(kind):
        return True
    if kind is types.BuiltinFunctionType or foreign(kind.__module__):
        return id(x) in stand_ins() or borrowable(x) or inner_function(x) is not None or scalar_function(x) is not None
    return id(x) in stand_ins() or (
        plain_class(kind) and (has_methods_to_lift(kind) or any(map(is_code, vars(x).values())))
    )


def is_code(x) -> bool:
    return isinstance(x, FUNCTIONS) and liftable(x)


def inner_function(x):
    """The user's function under an object that wraps one, as functools.lru_cache and numba.njit make them."""
    inner = None
    if type(x) is functools._lru_cache_wrapper:
        inner = x.__wrapped__
    elif isinstance(x, Caller):
        inner = getattr(x, "__wrapped__", None)
    elif type(x).__module__.startswith("numba."):
        inner = getattr(x, "py_func", None)
    return inner if type(inner) is types.FunctionType and not foreign(inner.__module__) else None


def scalar_function(x):
    """The user's function that numba.vectorize applies to elements."""
    ours = type(x).__module__.startswith("numba.")
    return getattr(getattr(x, "_dispatcher", None), "py_func", None) if ours else None


@functools.lru_cache(maxsize=1024)
def plain_class(kind) -> bool:
    """Whether a class is the user's, and its objects keep all their state in `__dict__`."""
    if type(kind) is not type or installed(kind.__module__) or not kind.__dictoffset__:
        return False
    names = {name for base in kind.__mro__[:-1] for name in vars(base)}
    heap = all(base.__flags__ >> 9 & 1 for base in kind.__mro__[:-1])  # Py_TPFLAGS_HEAPTYPE: made by a class statement
    return heap and not names & {"__init_subclass__", "__slots__"} and not issubclass(kind, BaseException)


@functools.lru_cache(maxsize=1024)
def has_methods_to_lift(kind) -> bool:
    """Whether some code of a class looks up other code."""
    members = [x for base in kind.__mro__ if not foreign(base.__module__) for x in vars(base).items()]
    return any(names_code(f) for name, x in members if is_method(name, x) for f in functions_of(x))


def is_method(name, x) -> bool:
    return name not in UNTOUCHED and isinstance(x, types.FunctionType | property | staticmethod | classmethod)


def functions_of(member):
    """The functions that make up a member of a class."""
    if type(member) is property:
        found = member.fget, member.fset, member.fdel
    else:
        found = (getattr(member, "__func__", member),)
    return [f for f in found if type(f) is types.FunctionType]


def names_code(function) -> bool:
    """Whether some name in a function's code stands for something to lift."""
    codes = [function.__code__]
    for code in codes:
        codes += [x for x in code.co_consts if type(x) is types.CodeType]
    found = [function.__globals__.get(name) for code in codes for name in code.co_names]
    found += [contents(cell) for cell in function.__closure__ or ()]
    return any(isinstance(x, (*FUNCTIONS, types.ModuleType)) and liftable(x) for x in found if x is not np)


def contents(cell):
    """What a closure cell holds; the cell itself while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell
