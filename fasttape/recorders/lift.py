"""Lifted copies of Python functions: the same code run with names that resolve to recording stand-ins.

NumPy dispatches on traced values by its own protocols; `math.sin` and `np.array` do not. A lifted copy shares the
code object (so tracebacks show the user's lines), looks its globals up live, writes `global`s through, and shares
every closure cell that holds nothing to lift. Functions, classes and modules are lifted when they are looked up.
Nothing global is patched: all of this belongs to one `Lifting`, which lives as long as one call.
"""

import builtins
import functools
import sys
import types

import numpy as np

from fasttape.errors import ArgumentError
from fasttape.recorders.dependencies import Dependencies
from fasttape.recorders.stand_ins import either, stand_ins

FOREIGN = sys.stdlib_module_names | {"numpy", "scipy", "numba", "fasttape", "optree"}
RECORDED = {"math", "numpy", "scipy", "scipy.special"}  # modules with functions that need a stand-in
DATA = {int, float, bool, str, bytes, complex, type(None), np.ndarray, np.float64, np.float32}
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, functools.partial)
UNTOUCHED = ("__new__", "__getattribute__", "__init_subclass__", "__class_getitem__")


def foreign(module) -> bool:
    """Whether a module is not the user's: its functions dispatch on traced values or never see them."""
    if module is None or module.startswith("fasttape.demo"):  # the demonstration is a user like any other
        return False
    return module.partition(".")[0] in FOREIGN


def installed(module) -> bool:
    """Whether a module is foreign or comes from an installed package, whose classes are left as they are."""
    return foreign(module) or "site-packages" in (getattr(sys.modules.get(module), "__file__", None) or "")


class Globals(dict):
    """The globals of one module as lifted code sees them: data is looked up live, code is lifted and kept.

    `global` statements bind here; `settle` writes what they bound into the real globals.
    """

    def __init__(self, lifting, real: dict):
        super().__init__(__name__=real.get("__name__", ""), __builtins__=BUILTINS)
        self.lifting = lifting
        self.real = real
        self.kept = dict(self)

    def __missing__(self, name):
        if name in self.real:
            value = self.real[name]
            if type(value) in DATA:
                self.lifting.read(name, self.real, value)
                return value
            seen = self.lifting.lift(value)
            if not isinstance(value, CODE):
                return seen
        elif name == "super":
            seen = self.lifting.parent
        elif hasattr(builtins, name):
            seen = getattr(builtins, name)
        else:
            raise KeyError(name)
        self[name] = self.kept[name] = seen
        return seen

    def prefetch(self, code):
        """Look up what class statements in some code name: their bodies ask a dict without `__missing__`."""
        for inner in code.co_consts:
            if type(inner) is types.CodeType:
                self.prefetch(inner)
                if not inner.co_flags & 1:  # not CO_OPTIMIZED: the body of a class
                    for name in inner.co_names:
                        if name in self.real and name not in self:
                            self.kept[name] = self[name] = self[name]

    def settle(self):
        """Write bindings through and forget what was looked up."""
        for name in self.keys() - {"__name__", "__builtins__"}:
            value = self.pop(name)
            if self.kept.pop(name, self) is not value:
                self.real[name] = self.lifting.unlift(value)


def load(name, globals=None, locals=None, fromlist=(), level=0):
    """What `import` statements in lifted code call; `globals` is the view of their module."""
    return globals.lifting.lift(builtins.__import__(name, globals.real, locals, fromlist, level))


BUILTINS = vars(builtins) | {"__import__": load}


class Module:
    """A module seen through recording eyes; attributes are looked up live."""

    def __init__(self, lifting, module):
        self.__dict__.update(_lifting=lifting, _module=module)

    def __getattr__(self, name):
        value = getattr(self._module, name)
        if type(value) in DATA:
            self._lifting.read(name, self._module.__dict__, value)
            return value
        seen = self._lifting.lift(value)
        if self._module.__name__ in RECORDED:
            self.__dict__[name] = seen
        return seen

    def __setattr__(self, name, value):
        setattr(self._module, name, self._lifting.unlift(value))

    def __dir__(self):
        return dir(self._module)


class Member:
    """A method or property of a lifted class, lifted when it is looked up."""

    def __init__(self, lifting, member):
        self.lifting, self.member = lifting, member

    def __get__(self, instance, owner=None):
        lift, x = self.lifting.lift, self.member
        if type(x) is property:
            return x if instance is None else lift(x.fget)(instance)
        if type(x) is staticmethod:
            return lift(x.__func__)
        if type(x) is classmethod:
            return types.MethodType(lift(x.__func__), owner)
        return lift(x).__get__(instance, owner)


class Property(Member):
    """A property: a data descriptor, so that the object's own attributes do not hide it."""

    def __set__(self, instance, value):
        if self.member.fset is None:
            raise AttributeError("property has no setter")
        self.lifting.lift(self.member.fset)(instance, value)


class Parent:
    """What `super()` is in lifted code."""

    def __init__(self, lifting, parent):
        self.__dict__.update(_lifting=lifting, _parent=parent)

    def __getattr__(self, name):
        return self._lifting.lift(getattr(self._parent, name))


def original(x):
    """The user's object for one that shares its state."""
    try:
        return object.__getattribute__(x, "_original")
    except AttributeError:
        return x


class LiftedClass(type):
    """The class of lifted classes: to `isinstance` and for class attributes they are the user's class."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls.__base__)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, cls.__base__)

    def __setattr__(cls, name, value):
        setattr(cls.__base__, name, value)


class Lifting:
    """The lifted copies that one call has made, and what to write back when it ends."""

    def __init__(self, *, watch=False):
        self.views = {}  # id of a module's globals: its view
        self.made = {}  # id of an object: (the object, its lifted copy)
        self.originals = {}  # id of a lifted copy: (the copy, the object)
        self.cells = {}  # id of a closure cell: (the cell, its copy, what the copy was made with)
        self.dependencies = Dependencies() if watch else None

    def read(self, name, place, value):
        """Note that the call read a variable."""
        if self.dependencies is not None:
            self.dependencies.add(name, place, value)

    def lift(self, x):
        """What lifted code should see in place of x."""
        if not liftable(x):
            return x
        if id(x) in self.made:
            return self.made[id(x)][1]
        kind = type(x)
        if id(x) in stand_ins():
            return stand_ins()[id(x)][1]
        if kind is types.FunctionType:
            return self.function(x)
        if kind is types.ModuleType:
            shared = LASTING if x.__name__ in RECORDED else self
            return shared.made.get(id(x), (x, None))[1] or shared.keep(x, Module(shared, x))
        if kind is types.MethodType:
            return types.MethodType(self.lift(x.__func__), self.lift(x.__self__))
        if kind is functools.partial:
            keywords = {name: self.lift(value) for name, value in x.keywords.items()}
            return functools.partial(self.lift(x.func), *map(self.lift, x.args), **keywords)
        if kind is dict:
            return types.MappingProxyType({name: self.lift(value) for name, value in x.items()})
        if kind in (list, tuple):
            return tuple(map(self.lift, x))
        if foreign(kind.__module__) and kind is not type:
            return self.keep(x, either(x, self.lift(inner_function(x))))
        return self.keep(x, self.copy_of_class(x) if isinstance(x, type) else self.shadow(x))

    def unlift(self, x):
        """The user's object for a lifted copy of it, anything else as it is."""
        return self.originals.get(id(x), (x, x))[1]

    def keep(self, x, copy):
        """Remember a copy, so that an object has one and the way back is known."""
        self.made[id(x)] = x, copy
        self.originals[id(copy)] = copy, x
        return copy

    def function(self, x):
        """A copy of a function whose globals and closure resolve to stand-ins."""
        view = self.views.get(id(x.__globals__))
        if view is None:
            view = self.views[id(x.__globals__)] = Globals(self, x.__globals__)
        view.prefetch(x.__code__)
        closure = [self.cell(*named) for named in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True)]
        copy = self.keep(x, types.FunctionType(x.__code__, view, x.__name__, None, tuple(closure)))
        for cell in x.__closure__ or ():
            self.fill(cell)
        copy.__defaults__ = x.__defaults__ and tuple(map(self.lift, x.__defaults__))
        copy.__kwdefaults__ = x.__kwdefaults__ and {name: self.lift(value) for name, value in x.__kwdefaults__.items()}
        copy.__qualname__, copy.__module__ = x.__qualname__, x.__module__
        copy.__dict__.update(x.__dict__)
        return copy

    def cell(self, name, cell):
        """The cell that a lifted copy has in place of one: the same unless it holds something to lift."""
        if id(cell) in self.cells:
            return self.cells[id(cell)][1]
        held = contents(cell)
        if name == "__class__":  # for super()
            return cell
        if held is not cell:
            self.read(name, cell, held)
        if not liftable(held):
            return cell
        new = types.CellType()
        self.cells[id(cell)] = cell, new, new
        return new

    def fill(self, cell):
        """Put the lifted contents into a cell's copy; done after the function is kept, because it may name itself."""
        _, new, seen = self.cells.get(id(cell), (cell, None, None))
        if new is not None and seen is new:
            self.cells[id(cell)] = cell, new, None
            new.cell_contents = self.lift(cell.cell_contents)
            self.cells[id(cell)] = cell, new, new.cell_contents

    def copy_of_class(self, kind):
        """A subclass of a class whose methods are lifted; to its users it is the class."""
        members = {"__slots__": ("_original",), "__qualname__": kind.__qualname__, "__module__": kind.__module__}
        members["__getattribute__"] = lambda x, name: self.lift(kind.__getattribute__(x, name))
        if kind.__hash__ is object.__hash__:
            members["__eq__"] = lambda x, y: original(x) is original(y)
            members["__hash__"] = lambda x: object.__hash__(original(x))
        for base in reversed(kind.__mro__):
            if not foreign(base.__module__):
                members |= {name: (Property if type(x) is property else Member)(self, x) for name, x in vars(base).items() if is_method(name, x)}
        return LiftedClass(kind.__name__, (kind,), members)

    def shadow(self, x):
        """An object that shares the state of x and whose methods are lifted."""
        kind = type(x)
        copy = object.__new__(self.made[id(kind)][1] if id(kind) in self.made else self.keep(kind, self.copy_of_class(kind)))
        copy.__dict__ = x.__dict__
        copy._original = x
        return copy

    def parent(self, owner=None, instance=None):
        """What `super` is in lifted code."""
        if owner is None:
            frame = sys._getframe(1)
            owner, instance = frame.f_locals["__class__"], frame.f_locals[frame.f_code.co_varnames[0]]
        return Parent(self, super(self.unlift(owner), instance))

    def settle(self):
        """Write through what `global` and `nonlocal` statements bound."""
        for view in self.views.values():
            view.settle()
        for cell, new, seen in self.cells.values():
            now = contents(new)
            if now is not seen and now is not new:
                cell.cell_contents = self.unlift(now)
        for x in (self.views, self.made, self.originals, self.cells):  # of cycles that only the collector would find
            x.clear()


LASTING = Lifting()  # what all calls share: the modules whose functions need stand-ins


def liftable(x) -> bool:
    """Whether lifted code may see something else in place of x."""
    kind = type(x)
    if kind in DATA:
        return False
    if kind is types.FunctionType:
        return id(x) in stand_ins() or not (type(x.__globals__) is Globals or foreign(x.__module__))
    if kind is types.ModuleType:
        return x.__name__ in RECORDED or not foreign(x.__name__)
    if kind in (types.MethodType, functools.partial):
        return True
    if kind in (dict, list, tuple):
        first = next(iter(x.values() if kind is dict else x), None)
        return type(first) not in (dict, list, tuple) and liftable(first)
    if kind is type:
        return plain_class(x) and has_methods_to_lift(x)
    if kind is types.BuiltinFunctionType or foreign(kind.__module__):
        return id(x) in stand_ins() or inner_function(x) is not None
    return plain_class(kind) and (has_methods_to_lift(kind) or any(map(is_code, vars(x).values())))


def is_code(x) -> bool:
    return isinstance(x, FUNCTIONS) and liftable(x)


def inner_function(x):
    """The user's function under an object that wraps one, as functools.lru_cache and numba.njit make them."""
    inner = None
    if type(x) is functools._lru_cache_wrapper:
        inner = x.__wrapped__
    elif type(x).__module__.startswith("numba."):
        inner = getattr(x, "py_func", None)
    return inner if type(inner) is types.FunctionType and not foreign(inner.__module__) else None


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
    return any(isinstance(x, FUNCTIONS + (types.ModuleType,)) and liftable(x) for x in found if x is not np)


def contents(cell):
    """What a closure cell holds; the cell itself while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def run_lifted(function, args, kwargs, *, watch=False):
    """Call a function lifted; what it bound outside of itself is written through even if it raises.

    Returns what the function returns, and with `watch` the variables that it read.
    """
    if not callable(function):
        raise ArgumentError(f"expected a function, got {type(function).__name__}")
    lifting = Lifting(watch=watch)
    try:
        keywords = {name: lifting.lift(value) for name, value in kwargs.items()}
        returned = lifting.lift(function)(*map(lifting.lift, args), **keywords)
    finally:
        lifting.settle()
    return returned, tuple(lifting.dependencies.found.values()) if watch else ()
