"""What lifted code meets in place of namespaces, modules, classes and `super`; made by a `Lifting`, which decides what
it sees in place of each object.
"""

import builtins
import types

import numpy as np

from fasttape.recorders.reads import is_read

# Modules with functions that need a stand-in
RECORDED = {"math", "numpy", "scipy", "time", "datetime", "os", "uuid", "secrets"}
DATA = {int, float, bool, str, bytes, complex, type(None), np.ndarray, np.float64, np.float32}
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, type)


def is_recorded(module) -> bool:
    return module.partition(".")[0] in RECORDED


class Globals(dict):
    """The globals of one module as lifted code sees them: data is looked up live, code is lifted and kept.

    `global` statements bind here; `settle` writes what they bound into the real globals.
    """

    def __init__(self, lifting, real: dict):
        super().__init__(__name__=real.get("__name__", ""), __builtins__=BUILTINS)
        self.lifting = lifting
        self.real = real
        self.kept = dict(self)
        self.names = frozenset()  # that lifted functions of the module read

    def __missing__(self, name):
        if name in self.real:
            value = self.real[name]
            if is_read(name, value, self.names):
                self.lifting.read(name, self.real, value)
            if type(value) in DATA:
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
        recorded = is_recorded(self._module.__name__)
        if not recorded:
            self._lifting.read(name, self._module.__dict__, value)
        if type(value) in DATA:
            return value
        seen = self._lifting.lift(value)
        if recorded:
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
