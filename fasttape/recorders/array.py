"""TracedArray: a NumPy array under recording, a root (slots) and a geometry (a NumPy array of positions in it).

Indexing, reshaping and assignment are NumPy's own work on positions: a view shares its root, so that it sees later
assignments, and nothing of this appends an instruction. Functions with arithmetic are found in `numpy_names`.
"""

import functools
import math

import numpy as np

from fasttape.errors import ArgumentError, ConversionError, MutationError, UnsupportedError
from fasttape.recorders.scalar import TracedScalar, here, is_number, mixed, traced


@functools.lru_cache(maxsize=32)
def _numbers(size: int) -> np.ndarray:
    numbers = np.arange(size, dtype=np.uint32)
    numbers.flags.writeable = False
    return numbers


def numbers(size: int) -> np.ndarray:
    """0, 1, 2, ..., size - 1, in the memory that all geometries of about that size are views of."""
    return _numbers(max(1024, 1 << (size - 1).bit_length()))[:size]


@functools.lru_cache(maxsize=256)
def ordered(shape: tuple[int, ...]) -> np.ndarray:
    """The geometry of a new array: its elements in C order."""
    return numbers(math.prod(shape)).reshape(shape)


class Root:
    """Where the elements of an array live: a run of slots, or a table of slots after the first assignment."""

    __slots__ = ("argument", "builder", "first", "numbers", "size", "table")

    def __init__(self, builder, size, first=None, table=None, argument=False):
        self.builder = builder
        self.size = size
        self.first = first
        self.table = table
        self.argument = argument
        self.numbers = ordered((size,))

    def slots(self, geometry) -> np.ndarray:
        """The slots of the elements that a geometry names."""
        return geometry + np.uint32(self.first) if self.table is None else self.table[geometry]

    def tabulate(self) -> np.ndarray:
        """The table of slots, made where there is none yet."""
        if self.table is None:
            self.table = self.numbers + np.uint32(self.first)
        return self.table

    def assign(self, geometry, slots):
        """Let the elements that a geometry names live in other slots."""
        if self.argument:
            raise MutationError("assignment into an argument of the recorded function; assign into x.copy()")
        if self.builder.inner is not None:
            raise MutationError("assignment, in a checkpointed function, into an array from outside; return its values")
        self.tabulate()[geometry] = slots


class TracedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array whose elements are slots of a recording; answers to NumPy's functions, operators and indexing."""

    __slots__ = ("boolean", "geometry", "root")
    __hash__ = None

    def __init__(self, root: Root, geometry: np.ndarray, *, boolean: bool = False):
        self.root = root
        self.geometry = geometry
        self.boolean = boolean  # whether the elements are truth values, as comparisons return them

    @classmethod
    def run(cls, builder, first, shape, *, argument=False, boolean=False):
        """The array of the given shape whose elements are the slots from `first` on, in C order."""
        geometry = ordered(shape)
        return cls(Root(builder, geometry.size, first, argument=argument), geometry, boolean=boolean)

    @classmethod
    def listed(cls, builder, slots, *, boolean=False):
        """The array whose elements are the given slots, one by one."""
        root = Root(builder, slots.size, table=np.ascontiguousarray(slots, np.uint32).reshape(-1))
        return cls(root, ordered(slots.shape), boolean=boolean)

    # ---- what it looks like

    builder = property(lambda self: self.root.builder)
    ndim = property(lambda self: self.geometry.ndim)
    size = property(lambda self: self.geometry.size)
    dtype = property(lambda self: np.dtype(bool) if self.boolean else self.root.builder.dtype)
    T = property(lambda self: self.transpose())
    mT = property(lambda self: np.matrix_transpose(self))
    real = property(lambda self: self)
    imag = property(lambda self: np.imag(self))
    itemsize = property(lambda self: self.dtype.itemsize)
    device = "cpu"
    flags = property(lambda self: self.geometry.flags)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    @property
    def shape(self):
        return self.geometry.shape

    @shape.setter
    def shape(self, shape):
        geometry = self.geometry.reshape(shape)
        if geometry.size and not np.may_share_memory(geometry, self.root.numbers):
            raise AttributeError("incompatible shape for in-place modification; use x.reshape(shape)")
        self.geometry = geometry

    @property
    def flat(self):
        """All elements in C order under the same root, so that assigning to them assigns to this array."""
        positions = self.geometry.reshape(-1)
        if positions.size and not np.may_share_memory(positions, self.root.numbers):
            self.root.tabulate()  # positions of their own can only be looked up in a table
        return TracedArray(self.root, positions, boolean=self.boolean)

    @property
    def slots(self) -> np.ndarray:
        """The slots of the elements, an array of the same shape."""
        return self.root.slots(self.geometry)

    @property
    def primal(self) -> np.ndarray:
        """The numbers at the point of the recording."""
        return self.builder.evaluate()[self.slots].astype(self.dtype)

    def __repr__(self):
        return f"Traced{self.primal!r}"

    def __len__(self):
        return len(self.geometry)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getattr__(self, name):
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise UnsupportedError(f"numpy.ndarray.{name} of a traced array cannot be recorded")
        raise AttributeError(f"a traced array has no attribute {name!r}", name=name, obj=self)

    def __contains__(self, x):
        return bool((self == x).any())

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __bool__(self):
        if self.size != 1:
            raise ValueError(
                "the truth value of an array with more than one element is ambiguous; use x.any() or x.all()"
            )
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        raise ConversionError("float() of a traced value would lose its derivative; use the value as it is")

    def __complex__(self):
        raise ConversionError("complex() of a traced value would lose its derivative; complex numbers are not recorded")

    def __array__(self, dtype=None, copy=None):
        raise ConversionError(
            "a traced value was turned into a plain array, or written into one, which would lose its derivative; call "
            "a NumPy function that can be recorded, with the value as its argument, and join values by np.stack"
        )

    def inside(self, builder):
        """The same array in a stretch that is recorded apart."""
        root = Root(builder, self.root.size, self.root.first, self.root.table, self.root.argument)
        return TracedArray(root, self.geometry, boolean=self.boolean)

    # ---- indexing and assignment

    def through(self, geometry):
        """The same root seen through another geometry; a geometry with memory of its own becomes a root of its own."""
        if not isinstance(geometry, np.ndarray):
            return traced(self.builder, int(self.root.slots(geometry)))
        if geometry.size == 0 or np.may_share_memory(geometry, self.root.numbers):
            return TracedArray(self.root, geometry, boolean=self.boolean)
        return TracedArray.listed(self.builder, self.root.slots(geometry), boolean=self.boolean)

    def __getitem__(self, key):
        return self.through(self.geometry[plain_index(key)])

    def __setitem__(self, key, value):
        if isinstance(key, TracedArray) and key.boolean and key.shape == self.shape and np.ndim(value) == 0:
            key, value = ..., np.where(key, value, self)  # right whatever the mask is
        at = self.geometry[plain_index(key)]
        shape = at.shape if isinstance(at, np.ndarray) else ()
        if self.writes_twice():
            raise MutationError("assignment into a broadcast view, whose elements share memory; assign into x.copy()")
        value = as_traced(self.builder, value)
        if self.boolean and not value.boolean:
            value = as_traced(self.builder, value != 0.0)
        slots = value.slots
        if slots.ndim > len(shape):
            slots = slots.reshape(slots.shape[slots.ndim - len(shape) :]) if slots.size <= at.size else slots
        self.root.assign(at, np.broadcast_to(slots, shape))

    def writes_twice(self):
        """Whether a broadcast made one element stand in several places."""
        return any(stride == 0 and n > 1 for stride, n in zip(self.geometry.strides, self.shape, strict=True))

    def item(self, *index):
        if index:
            return self[index if len(index) > 1 else np.unravel_index(index[0], self.shape)]
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return traced(self.builder, int(self.slots.reshape(-1)[0]))

    def copy(self, order="C"):
        """The same slots under a root of their own; nothing is appended to the tape."""
        builder = here(self.builder)
        if self.root.table is None and self.geometry is self.root.numbers:
            return TracedArray.run(builder, self.root.first, self.shape, boolean=self.boolean)
        if self.root.table is None and self.geometry.flags.c_contiguous and self.size:
            first = self.root.first + int(self.geometry.flat[0])
            return TracedArray.run(builder, first, self.shape, boolean=self.boolean)
        return TracedArray.listed(builder, self.slots, boolean=self.boolean)

    def view(self, *args, **kwargs):
        if args or kwargs:
            raise UnsupportedError("numpy.ndarray.view of a traced array as another type cannot be recorded")
        return TracedArray(self.root, self.geometry, boolean=self.boolean)

    def astype(self, dtype, **kwargs):
        wanted = np.dtype(dtype)
        if wanted.kind == "b" and not self.boolean:
            return as_traced(self.builder, self != 0.0)
        if wanted not in (self.dtype, self.builder.dtype):
            raise UnsupportedError(f"astype({wanted.name}) of a traced {self.dtype} array cannot be recorded")
        made = self.copy()
        made.boolean = wanted.kind == "b"
        return made

    def tolist(self):
        return self.item() if self.ndim == 0 else [x.tolist() if isinstance(x, TracedArray) else x for x in self]

    def conjugate(self):
        return self

    conj = conjugate

    def reshape(self, *shape, **kwargs):
        if not shape and not kwargs:
            raise TypeError("reshape() needs a shape")
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes):
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def flatten(self, order="C"):
        return self.ravel(order).copy()

    def sort(self, axis=-1, kind=None, order=None, *, stable=None):
        self[...] = np.sort(self, axis, kind)

    def partition(self, kth, axis=-1, kind="introselect", order=None):
        self[...] = np.partition(self, kth, axis)

    def put(self, indices, values, mode="raise"):
        np.put(self, indices, values, mode)

    def compress(self, condition, axis=None, out=None):
        return np.compress(condition, self, axis=axis, out=out)

    def fill(self, value):
        self[...] = value


def _method(name):
    def method(self, *args, **kwargs):
        return getattr(np, name)(self, *args, **kwargs)

    method.__name__ = name
    return method


METHODS = "sum mean prod max min std var dot ravel squeeze swapaxes repeat take diagonal trace clip round all any"
METHODS += " argmax argmin argsort cumsum cumprod searchsorted nonzero ptp choose"
for _name in METHODS.split():
    setattr(TracedArray, _name, _method(_name))
    setattr(TracedScalar, _name, _method(_name))
TracedScalar.__array__ = TracedArray.__array__


def plain_index(key):
    """An index that NumPy can use on positions."""
    for part in key if isinstance(key, tuple) else (key,):
        if any_traced(part) and not (isinstance(part, TracedArray) and part.boolean):
            raise UnsupportedError("a traced value cannot be an index; int(x) makes one, which the tape then holds to")
    if isinstance(key, tuple):
        return tuple(settled(part) if isinstance(part, TracedArray) else part for part in key)
    return settled(key) if isinstance(key, TracedArray) else key


def settled(mask) -> np.ndarray:
    """The outcome of a condition for every element, which the tape then holds to."""
    known = mask.primal.astype(bool)
    hold(mask == known)
    return known


def hold(condition):
    """Let the tape hold to a condition that is true for every element: asking for its truth leaves a guard."""
    if np.size(condition):
        bool(np.all(condition))


def as_traced(builder, x) -> TracedArray:
    """Any operand as an array of the recording: traced as it is, numbers and plain arrays as constants."""
    builder = here(builder)
    if isinstance(x, TracedArray):
        if x.root.builder is builder:
            return x
        if here(x.root.builder) is builder:
            return x.inside(builder)
        raise mixed(builder, x.root.builder)
    if isinstance(x, TracedScalar):
        if here(x.builder) is not builder:
            raise mixed(builder, x.builder)
        return TracedArray.run(builder, x.slot, ())
    if type(x) is float or type(x) is int:
        return TracedArray.run(builder, builder.constant(x), ())
    if isinstance(x, list | tuple) and any_traced(x):
        return stack(builder, x)
    entered = traced_of(x)
    if entered is not None:
        return as_traced(builder, entered)
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"{array.dtype} data cannot be mixed with traced values; only real numbers are recorded")
    if not is_number(x) or isinstance(x, np.floating):
        check_dtype(builder, array)
    if array.ndim == 0:
        return TracedArray.run(builder, builder.constant(float(array)), ())
    return TracedArray.run(builder, builder.constants(array), array.shape, boolean=array.dtype.kind == "b")


def check_dtype(builder, array):
    """Refuse constants with which NumPy would leave the dtype of the recording."""
    promoted = np.result_type(array.dtype, builder.dtype)
    if promoted != builder.dtype:
        raise ArgumentError(
            f"{array.dtype} data would turn this {builder.dtype} recording into {promoted}; "
            f"write x.astype(np.{builder.dtype})"
        )


def any_traced(x) -> bool:
    """Whether a nesting of lists, tuples and dictionaries, such as (args, kwargs), holds a traced value."""
    if isinstance(x, list | tuple | dict):
        return any(any_traced(item) for item in (x.values() if isinstance(x, dict) else x))
    return isinstance(x, TracedScalar | TracedArray) or traced_of(x) is not None


def traced_of(x) -> TracedArray | None:
    """What a fresh array has become, if it holds traced values."""
    return getattr(x, "traced", None) if isinstance(x, np.ndarray) else None


def stack(builder, items) -> TracedArray:
    """A nesting of lists and tuples as one array."""
    slots = np.array([as_traced(builder, item).slots for item in items], np.uint32)
    return TracedArray.listed(builder, slots)


def builder_of(x):
    """The recording of the first traced value in such a nesting, or None."""
    if isinstance(x, TracedArray):
        return here(x.root.builder)
    if isinstance(x, TracedScalar):
        return here(x.builder)
    if isinstance(x, list | tuple | dict):
        for item in x.values() if isinstance(x, dict) else x:
            builder = builder_of(item)
            if builder is not None:
                return builder
    entered = traced_of(x)
    return None if entered is None else here(entered.root.builder)
