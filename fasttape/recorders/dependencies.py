"""What a recording read besides its inputs: variables and objects as they were, which a replay must find again.

A `Snapshot` holds what an object was, by value all the way down: a list, a dict or an object that is written to later
is found changed. Numbers, strings, functions, classes and modules are leaves. What cannot be looked into, and what
comes after the first `MOST` objects, is OPAQUE: whoever needs certainty must record anew.
"""

import contextlib
import functools
import hashlib
import marshal
import pickle
import random
import threading
import types
from typing import Any, NamedTuple

import numpy as np

from fasttape.errors import RandomnessError, ReplayError

MOST = 1000  # objects that one recording looks into
MOST_NUMBERS = 100_000  # and the like in one list that holds nothing else
MOST_BYTES = 1 << 23  # of an array that is kept; of a larger one there is a digest

# Kinds: the same object, an equal value, and what has parts or a content
SAME, EQUAL, ARRAY, LIST, TUPLE = "same", "equal", "array", "list", "tuple"
DICT, SET, FLAT, INSTANCE, RANDOM, OPAQUE = "dict", "set", "flat", "instance", "random", "opaque"
CONTAINERS = {list: LIST, tuple: TUPLE, dict: DICT}
SETS = (set, frozenset)
BUILTIN = {int, float, complex, str, bytes, bool, type(None)}
PLAIN = (*BUILTIN, np.generic)
REAL = (float, complex, np.inexact)
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type, np.ufunc, np.dtype, range, slice)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
PARTS = {functools.partial: ("func", "args", "keywords"), types.MethodType: ("__func__", "__self__")}


class Snapshot(NamedTuple):
    """What an object was: itself, and by value what could have changed in it."""

    kind: str
    value: Any
    content: Any = None  # of an array or a long list its bytes, of a set a copy, of a generator its state
    children: tuple[tuple[Any, "Snapshot"], ...] = ()  # by key, index or attribute

    def holds(self, now) -> bool:
        """Whether an object is still what it was."""
        if self.kind in (SAME, RANDOM, OPAQUE):
            return now is self.value
        if type(now) is not type(self.value):
            return False
        if self.kind == EQUAL:
            return now is self.value or equal(now, self.value)
        if self.kind == ARRAY:
            return now.dtype == self.value.dtype and now.shape == self.value.shape and bytes_of(now) == self.content
        if self.kind == SET:
            return now == self.content
        if self.kind == FLAT:
            return len(now) == len(self.value) and flat(now) and marshal.dumps(now, 2) == self.content
        if self.kind == DICT and list(now) != [key for key, _ in self.children]:
            return False
        if self.kind in (LIST, TUPLE, DICT):
            return len(now) == len(self.children) and all(child.holds(now[key]) for key, child in self.children)
        return all(child.holds(part(now, key)) for key, child in self.children)

    @property
    def opaque(self) -> bool:
        """Whether it may change without being found out."""
        return any(x.kind == OPAQUE for x in self.inside())

    def was(self):
        """The value then, as far as it is known."""
        if self.kind == ARRAY and len(self.content) == self.value.nbytes:
            return np.frombuffer(self.content, self.value.dtype).reshape(self.value.shape)
        return self.value

    def check_random(self, source):
        """Raise if somebody drew from a generator that is part of this."""
        for x in self.inside():
            if x.kind == RANDOM and state_of(x.value) != x.content:
                raise drawn(source)

    def inside(self):
        """This snapshot and those inside of it."""
        yield self
        for _, child in self.children:
            yield from child.inside()


MISSING = object()


def equal(x, y) -> bool:
    """Whether two values of one class are the same; of numbers the sign of zero counts, and nan is nan."""
    if isinstance(x, REAL):
        return repr(x) == repr(y)
    try:
        return bool(x == y)
    except Exception:  # a user's __eq__ may do anything
        return False


def part(x, key):
    """An attribute of an instance, or, without a name, the dict of all that are its own."""
    return vars(x) if key is None else getattr(x, key, MISSING)


def bytes_of(x) -> bytes:
    """The content of an array, or a digest of it."""
    return x.tobytes() if x.nbytes <= MOST_BYTES else hashlib.blake2b(np.ascontiguousarray(x)).digest()


def flat(x) -> bool:
    """Whether a container holds nothing but numbers, strings and the like."""
    items = [*x, *x.values()] if type(x) is dict else x
    return BUILTIN.issuperset(map(type, items))


def state_of(generator) -> bytes:
    """Where a generator of random numbers is in its sequence."""
    if isinstance(generator, np.random.Generator):
        return pickle.dumps(generator.bit_generator.state)
    return pickle.dumps(generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate())


def attributes(x):
    """The names of what an instance of a Python class holds outside of its dict: slots, and data of its classes."""
    for base in type(x).__mro__[:-1]:
        for name, member in vars(base).items():
            data = not (callable(member) or hasattr(type(member), "__get__") or name.startswith("__"))
            if data or isinstance(member, types.MemberDescriptorType):
                yield name


class Dependency(NamedTuple):
    """Something that a recording read: how to name it, where it lives, what it was."""

    name: str
    kind: str  # "global variable", "closure variable", or another word for it
    place: Any  # a namespace, a closure cell, or the object itself
    snapshot: Snapshot

    def changed(self) -> bool:
        try:
            if type(self.place) is types.CellType:
                now = self.place.cell_contents
            else:
                now = self.place[self.name] if isinstance(self.place, dict) else self.place
        except (KeyError, ValueError):
            return True
        return not self.snapshot.holds(now)


class Dependencies:
    """Collects what a call reads, each place once, as it was when it was first read."""

    def __init__(self):
        self.found = {}
        self.left = MOST
        self.known = {}  # snapshots by id of the object

    def variable(self, name, place, value):
        """A variable was read from a namespace or a closure cell."""
        if (name, id(place)) not in self.found:
            kind = "global variable" if isinstance(place, dict) else "closure variable"
            self.found[name, id(place)] = Dependency(name, kind, place, self.snapshot(value))

    def add(self, name, kind, x):
        """An object was read that is always reached in the same way."""
        if (name, id(x)) not in self.found:
            snapshot = self.snapshot(x)
            if snapshot.kind != SAME:
                self.found[name, id(x)] = Dependency(name, kind, x, snapshot)

    def clock(self, name):
        """The time was read, which no replay finds again."""
        self.found[name, 0] = Dependency(name, "clock", None, Snapshot(OPAQUE, MISSING))

    def snapshot(self, x) -> Snapshot:
        """What an object is now."""
        if isinstance(x, (*PLAIN, *CODE)):
            return Snapshot(EQUAL if isinstance(x, PLAIN) else SAME, x)
        if id(x) in self.known:
            return self.known[id(x)]
        self.left -= 1
        if self.left < 0:
            return Snapshot(OPAQUE, x)
        self.known[id(x)] = Snapshot(SAME, x)  # for objects that hold themselves
        made = self.known[id(x)] = self.look_into(x)
        return made

    def look_into(self, x) -> Snapshot:
        kind = type(x)
        if kind is np.ndarray and not x.dtype.hasobject:
            return Snapshot(ARRAY, x, bytes_of(x))
        if isinstance(x, GENERATORS):
            return Snapshot(RANDOM, x, state_of(x))
        if kind in SETS:
            return Snapshot(SET if all(isinstance(item, (*PLAIN, *CODE)) for item in x) else OPAQUE, x, kind(x))
        if kind in CONTAINERS and MOST // 10 < len(x) <= MOST_NUMBERS and flat(x):
            return Snapshot(FLAT, x, marshal.dumps(x, 2))
        if kind in CONTAINERS and len(x) <= self.left:
            items = x.items() if kind is dict else enumerate(x)
            return Snapshot(CONTAINERS[kind], x, None, tuple((key, self.snapshot(value)) for key, value in items))
        if kind in PARTS:
            return Snapshot(INSTANCE, x, None, tuple((name, self.snapshot(getattr(x, name))) for name in PARTS[kind]))
        if isinstance(x, tuple) and hasattr(kind, "_fields") and len(x) <= self.left:
            return Snapshot(TUPLE, x, None, tuple((k, self.snapshot(value)) for k, value in enumerate(x)))
        if kind.__module__.partition(".")[0] in ("fasttape", "numba"):
            return Snapshot(SAME, x)
        if kind.__flags__ >> 9 & 1 and kind not in CONTAINERS:  # Py_TPFLAGS_HEAPTYPE: made by a class statement
            return self.look_into_instance(x)
        value = kind.__hash__ not in (None, object.__hash__)  # who defines that tells that it does not change
        return Snapshot(EQUAL if value else OPAQUE, x)

    def look_into_instance(self, x) -> Snapshot:
        if isinstance(x, list | dict | tuple | set | np.ndarray):
            return Snapshot(OPAQUE, x)
        if type(x).__getattribute__ is not object.__getattribute__:  # it may answer with an object of the moment
            return Snapshot(OPAQUE, x)
        names = [name for name in attributes(x) if hasattr(x, name)]
        parts = [(name, self.snapshot(getattr(x, name))) for name in names]
        if hasattr(x, "__dict__"):
            parts.append((None, self.snapshot(vars(x))))
        return Snapshot(INSTANCE, x, None, tuple(parts))

    def settle(self) -> tuple[Dependency, ...]:
        """What the call read; raises if it drew random numbers."""
        for x in self.found.values():
            x.snapshot.check_random(f"the {x.kind} {x.name}")
        return tuple(x for x in self.found.values() if x.kind != "module")


def drawn(source) -> RandomnessError:
    """The error for a call that drew random numbers."""
    return RandomnessError(
        f"the function draws random numbers from {source}, and a replay would repeat them; "
        "draw them outside and pass them as an argument"
    )


def check(dependencies):
    """Raise where something is not what it was when it was recorded."""
    for x in dependencies:
        if x.changed():
            raise ReplayError(
                f"the {x.kind} {x.name} is part of this recording and has changed since; "
                "record again, or make it an argument",
                cause=f"the {x.kind} {x.name} has changed",
            )


class Watches(threading.local):
    """What collects the reads of a thread: of nested recordings the innermost that must be able to repeat itself."""

    def __init__(self):
        self.stack = []


WATCHES = Watches()


@contextlib.contextmanager
def watching():
    """Collect what is read meanwhile."""
    dependencies = Dependencies()
    for name, generator in (("numpy.random", np.random.mtrand._rand), ("random", random._inst)):
        dependencies.add(name, "module", generator)
    WATCHES.stack.append(dependencies)
    try:
        yield dependencies
    finally:
        WATCHES.stack.pop()


def current() -> Dependencies | None:
    """What collects reads now, if anything does."""
    return WATCHES.stack[-1] if WATCHES.stack else None
