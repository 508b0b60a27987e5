"""FreshArray: an array that recorded code has made itself, an ordinary one until a traced value is written into it.

People fill the arrays of `numpy.zeros` element by element. NumPy cannot store a traced value, so at the first one the
elements move into the recording: the owner of the memory gets a root there, and every view of it, made before or
after, finds its elements by its place in that memory.
"""

import functools

import numpy as np

from fasttape.errors import ArgumentError
from fasttape.execute.interpreter import address
from fasttape.recorders.array import Root, TracedArray, any_traced, as_traced, builder_of
from fasttape.recorders.numpy_writes import WRITES

MADE = (np.zeros, np.empty, np.ones, np.full, np.eye, np.identity, np.arange, np.linspace, np.copy,
        np.zeros_like, np.empty_like, np.ones_like, np.full_like)  # fmt: skip
DEFINED = {np.empty: np.zeros, np.empty_like: np.zeros_like}  # no recording holds what memory happened to hold


class FreshArray(np.ndarray):
    """An ordinary array, or a view of one, of which `traced` tells the traced array that it has become."""

    root = None  # of an owner of memory: where its elements live once one of them is traced
    __hash__ = None

    @property
    def owner(self):
        return self.base if isinstance(self.base, FreshArray) else self

    @property
    def traced(self) -> TracedArray | None:
        """The elements of this view in the recording, once any element of the memory is traced."""
        owner = self.owner
        root = owner.root
        if root is None:
            return None
        if not self.size:
            return TracedArray.listed(root.builder, np.empty(self.shape, np.uint32))
        offset = (address(self) - address(owner)) // self.itemsize
        strides = [stride // self.itemsize * root.numbers.itemsize for stride in self.strides]
        geometry = np.ndarray(self.shape, np.uint32, root.numbers, offset * root.numbers.itemsize, strides)
        return TracedArray(root, geometry, boolean=self.dtype.kind == "b")

    def resolve(self):
        """The traced array that this one has become, else the ordinary one over the same memory."""
        traced = self.traced
        return np.ndarray.view(self, np.ndarray) if traced is None else traced

    def enter(self, builder) -> TracedArray:
        """Move the elements into a recording, if they are not in one; what is left in memory is nan, not their past."""
        owner = self.owner
        if owner.root is None:
            if self.dtype.kind == "f" and self.dtype != builder.dtype:
                raise ArgumentError(
                    f"{builder.dtype} traced values cannot be written into a {self.dtype} array; "
                    f"make it with dtype=np.{builder.dtype}"
                )
            memory = np.ndarray.view(owner, np.ndarray).ravel("K")
            words = memory.view(f"u{memory.itemsize}")
            if memory.size and (words == words[0]).all():
                slot = builder.constant(float(memory[0]))
                owner.root = Root(builder, memory.size, table=np.full(memory.size, slot, np.uint32))
            else:
                owner.root = Root(builder, memory.size, builder.constants(memory.copy()))
                owner.root.tabulate()
            if memory.dtype.kind == "f":
                memory[...] = np.nan
        return self.traced

    # ---- NumPy's protocols

    def __getitem__(self, key):
        if self.owner.root is not None:
            return self.traced[resolved(key)]
        if any_traced(key):
            return as_traced(builder_of(key), self)[resolved(key)]
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        if self.owner.root is not None or any_traced((value, key)):
            self.enter(builder_of((value, key)))[resolved(key)] = value
        else:
            super().__setitem__(key, value)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **kwargs):
        builder = builder_of((*inputs, *out))
        if builder is not None and (out or method == "at"):
            for x in out if method != "at" else inputs[:1]:
                if isinstance(x, FreshArray):
                    x.enter(builder)
        found = tuple(map(resolved, inputs))
        if out:
            getattr(ufunc, method)(*found, out=tuple(map(resolved, out)), **kwargs)
            return out if len(out) > 1 else out[0]
        return fresh(getattr(ufunc, method)(*found, **kwargs))

    def __array_function__(self, function, types, args, kwargs):
        builder = builder_of((args, kwargs))
        if builder is None:
            return super().__array_function__(function, types, args, kwargs)
        target = args[0] if function in WRITES else kwargs.get("out")
        if isinstance(target, FreshArray):
            target.enter(builder)
        made = function(*map(resolved, args), **{name: resolved(x) for name, x in kwargs.items()})
        return target if target is not None and made is not None else made

    @property
    def flat(self):
        return self.reshape(-1) if self.flags.c_contiguous else resolved(self).flat


def resolved(x):
    """Any nesting of lists and tuples with what fresh arrays have become in their place."""
    if isinstance(x, FreshArray):
        return x.resolve()
    if type(x) in (list, tuple):
        return type(x)(map(resolved, x))
    return x


def fresh(made):
    """An array of memory of its own as a fresh one."""
    return made.view(FreshArray) if type(made) is np.ndarray and made.dtype.kind in "fb" else made


def making(function):
    """A function whose arrays belong to who calls it."""
    defined = DEFINED.get(function, function)

    @functools.wraps(function)
    def make(*args, **kwargs):
        return fresh(defined(*args, **kwargs))

    return make


def method_of(name):
    """A method of an ordinary array that belongs to the traced one once there is one."""
    plain = getattr(np.ndarray, name)

    @functools.wraps(plain)
    def method(self, *args, **kwargs):
        if name in ("fill", "put") and any_traced(args):
            self.enter(builder_of(args))
        here = self.traced
        if here is None and any_traced(args):
            here = as_traced(builder_of(args), self)
        if here is None:
            return plain(self, *args, **kwargs)
        return getattr(here, name)(*map(resolved, args), **kwargs)

    return method


SPECIAL = "bool int float complex contains repr str format copy deepcopy reduce reduce_ex array"
NAMES = [name for name in dir(np.ndarray) if callable(getattr(np.ndarray, name)) and not name.startswith("_")]
for _name in (*NAMES, *(f"__{name}__" for name in SPECIAL.split())):
    setattr(FreshArray, _name, method_of(_name))
