"""Lifted copies of Python functions: the same code run with names that resolve to recording stand-ins.

NumPy dispatches on traced values by its own protocols; `math.sin` and `np.array` do not. A lifted copy shares the
code object (so tracebacks show the user's lines), looks its globals up live, writes `global`s through, and shares
every closure cell that holds nothing to lift. Functions, classes and modules are lifted when they are looked up.
Nothing global is patched: all of this belongs to one `Lifting`, which lives as long as one call.
"""

import functools
import sys
import types

import numpy as np

from fasttape.compiler.refusals import is_refusal, refused_under_recording
from fasttape.errors import ArgumentError, ConversionError, UnsupportedError
from fasttape.recorders.array import any_traced
from fasttape.recorders.compiled import Either
from fasttape.recorders.dependencies import current
from fasttape.recorders.fresh import FreshArray
from fasttape.recorders.liftable import (
    borrowable,
    contents,
    foreign,
    inner_function,
    is_method,
    lent,
    liftable,
    scalar_function,
)
from fasttape.recorders.numpy_classes import vectorized
from fasttape.recorders.numpy_names import unsupported
from fasttape.recorders.reads import is_read, names_read
from fasttape.recorders.scalar import Recording
from fasttape.recorders.scipy_names import methods
from fasttape.recorders.stand_ins import stand_ins
from fasttape.recorders.views import Globals, LiftedClass, Member, Module, Parent, Property, is_recorded, original


class Lifting:
    """The lifted copies that one call has made, and what to write back when it ends."""

    def __init__(self):
        self.views = {}  # id of a module's globals: its view
        self.made = {}  # id of an object: (the object, its lifted copy)
        self.originals = {}  # id of a lifted copy: (the copy, the object)
        self.cells = {}  # id of a closure cell: (the cell, its copy, what the copy was made with)
        self.dependencies = current()

    def read(self, name, place, value):
        """Note that the call read a variable."""
        if self.dependencies is not None:
            self.dependencies.variable(name, place, value)

    def reach(self, name, kind, x):
        """Note that the call reached an object that no variable holds."""
        if self.dependencies is not None:
            self.dependencies.add(name, kind, x)

    def lift(self, x):
        """What lifted code should see in place of x."""
        if not liftable(x):
            return x
        if id(x) in stand_ins():
            return stand_ins()[id(x)][1]
        if borrowable(x):
            return LASTING.once(x, borrowed)
        kind = type(x)
        if id(x) in self.made:
            return self.made[id(x)][1]
        if kind is types.FunctionType:
            return self.function(x)
        if kind is types.ModuleType:
            shared = LASTING if is_recorded(x.__name__) else self
            return shared.once(x, lambda x: Module(shared, x))
        if lent(kind):
            return Lent(x)
        if kind is type and lent(x):
            return LASTING.once(x, lambda x: Lending(x.__name__, (x,), {}))
        if kind is np.vectorize:
            return self.keep(x, vectorized(x, self.lift(x.pyfunc)))
        if scalar_function(x) is not None:
            return self.keep(x, vectorized(x, self.lift(scalar_function(x))))
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
            return self.keep(x, Either(x, self.lift(inner_function(x))))
        return self.keep(x, self.copy_of_class(x) if isinstance(x, type) else self.shadow(x))

    def unlift(self, x):
        """The user's object for a lifted copy of it, anything else as it is."""
        if isinstance(x, FreshArray):
            return x.resolve()
        if type(x) is Lent:
            return returned(x)
        if isinstance(x, Recording):
            return getattr(x.function, "__wrapped__", x.function)
        return self.originals.get(id(x), (x, x))[1]

    def keep(self, x, copy):
        """Remember a copy, so that an object has one and the way back is known."""
        self.made[id(x)] = x, copy
        self.originals[id(copy)] = copy, x
        return copy

    def once(self, x, make):
        """The copy of an object, made if there is none."""
        return self.made[id(x)][1] if id(x) in self.made else self.keep(x, make(x))

    def function(self, x):
        """A copy of a function whose globals and closure resolve to stand-ins."""
        view = self.views.get(id(x.__globals__))
        if view is None:
            view = self.views[id(x.__globals__)] = Globals(self, x.__globals__)
        view.prefetch(x.__code__)
        names = names_read(x.__code__)
        view.names |= names
        closure = [self.cell(*named, names) for named in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True)]
        copy = self.keep(x, types.FunctionType(x.__code__, view, x.__name__, None, tuple(closure)))
        for cell in x.__closure__ or ():
            self.fill(cell)
        if x.__defaults__ or x.__kwdefaults__:
            self.reach(x.__name__, "default arguments of", [x.__defaults__, x.__kwdefaults__])
        copy.__defaults__ = x.__defaults__ and tuple(map(self.lift, x.__defaults__))
        copy.__kwdefaults__ = x.__kwdefaults__ and {name: self.lift(value) for name, value in x.__kwdefaults__.items()}
        copy.__qualname__, copy.__module__ = x.__qualname__, x.__module__
        copy.__dict__ = x.__dict__
        return copy

    def cell(self, name, cell, names):
        """The cell that a lifted copy has in place of one: the same unless it holds something to lift."""
        if id(cell) in self.cells:
            return self.cells[id(cell)][1]
        held = contents(cell)
        if name == "__class__":  # for super()
            return cell
        if held is not cell and is_read(name, held, names):
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
                methods = ((name, x) for name, x in vars(base).items() if is_method(name, x))
                members |= {name: (Property if type(x) is property else Member)(self, x) for name, x in methods}
        return LiftedClass(kind.__name__, (kind,), members)

    def shadow(self, x):
        """An object that shares the state of x and whose methods are lifted."""
        kind = type(x)
        known = self.made.get(id(kind))
        copy = object.__new__(known[1] if known else self.keep(kind, self.copy_of_class(kind)))
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


LASTING = Lifting()  # what all calls share: the modules whose functions need stand-ins, and functions of libraries
BORROWED = Lifting()  # the lifted code of the latter


def borrowed(x):
    """A Python function of NumPy or SciPy: itself for plain arguments, and its lifted code for traced ones."""

    @functools.wraps(x)
    def call(*args, **kwargs):
        if not any_traced((args, kwargs)):
            return x(*map(returned, args), **{name: returned(value) for name, value in kwargs.items()})
        return lifted_call(x, getattr(x, "_implementation", x), args, kwargs)

    return call


def lifted_call(name, function, args, kwargs):
    """Call a library's function lifted; what is in the way of that is an operation that cannot be recorded."""
    known = BORROWED.made.get(id(function))
    try:
        return (known[1] if known else BORROWED.function(function))(*args, **kwargs)
    except (ConversionError, UnsupportedError, TypeError, AttributeError) as error:
        raise unsupported(name) from error


def on_loan(x):
    """What a method returned; objects of SciPy among it keep their eyes for traced values."""
    if type(x) is tuple:
        return tuple(map(on_loan, x))
    return Lent(x) if lent(type(x)) else x


def returned(x):
    """SciPy's own object for one on loan, anything else as it is."""
    return object.__getattribute__(x, "_object") if type(x) is Lent else x


class Lending(LiftedClass):
    """The class of stand-ins for classes of SciPy, which make objects on loan."""

    def __call__(cls, *args, **kwargs):
        return Lent(cls.__base__(*args, **kwargs))


class Lent:
    """An object of SciPy, such as a distribution, whose methods are lifted where they meet traced values."""

    __slots__ = ("_object",)

    def __init__(self, x):
        object.__setattr__(self, "_object", x)

    @property
    def __class__(self):
        return type(self._object)

    def __getattr__(self, name):
        value = getattr(self._object, name)
        if type(value) is not types.MethodType:
            return BORROWED.lift(value)

        @functools.wraps(value)
        def call(*args, **kwargs):
            if not any_traced((args, kwargs, vars(self._object))):
                return on_loan(value(*args, **kwargs))
            kind = type(self._object)
            for base, method, formula in methods():
                if method == name and issubclass(kind, base):
                    return formula(self._object, *args, **kwargs)
            named = f"{kind.__module__}.{kind.__qualname__}.{name}"
            try:
                return on_loan(lifted_call(named, value.__func__, (self, *args), kwargs))
            except ValueError as error:  # of compiled code, which tells so what is no plain array
                raise unsupported(named) from error

        return call

    def __setattr__(self, name, value):
        setattr(self._object, name, value)

    def __call__(self, *args, **kwargs):
        return self.__getattr__("__call__")(*args, **kwargs)


def run_lifted(function, args, kwargs):
    """Call a function lifted; what it bound outside of itself is written through even if it raises."""
    if not callable(function):
        raise ArgumentError(f"expected a function, got {type(function).__name__}")
    lifting = Lifting()
    lifting.reach(getattr(function, "__name__", type(function).__name__), "object behind", function)
    try:
        keywords = {name: lifting.lift(value) for name, value in kwargs.items()}
        return lifting.lift(function)(*map(lifting.lift, args), **keywords)
    except Exception as error:
        if is_refusal(error):
            raise refused_under_recording(error) from None
        raise
    finally:
        lifting.settle()
