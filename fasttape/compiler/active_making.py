"""What makes arrays in active code: with active numbers where the user's code makes float64."""

import numpy as np
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

from fasttape.compiler.active_type import SCALAR, is_active

FLOATS = (float, np.float64)


def is_float_dtype(t):
    """Whether the type of a dtype argument stands for float64, which active numbers take the place of."""
    if isinstance(t, types.Omitted):
        return t.value in (None, *FLOATS)
    if isinstance(t, types.Function):
        return t.typing_key in FLOATS
    return t in FLOATS or t is types.none or getattr(t, "dtype", None) == types.float64


def constructor(make, number):
    """np.zeros and its kin with active numbers in place of float64."""

    def made(shape, dtype=float):
        raise NotImplementedError

    def choose(shape, dtype=float):
        if is_float_dtype(dtype):
            return lambda shape, dtype=float: make(shape, number)
        return lambda shape, dtype=float: make(shape, dtype)

    overload(made)(choose)
    return made


def constructor_like(make, number):
    """np.zeros_like and its kin with active numbers in place of float64."""

    def made(a, dtype=None):
        raise NotImplementedError

    def choose(a, dtype=None):
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        kind = dtype if given else getattr(a, "dtype", a)
        if is_active(kind) or is_active(getattr(kind, "dtype", None)) or is_float_dtype(kind) or kind == types.float64:
            return lambda a, dtype=None: make(np.shape(a), number)
        if given:
            return lambda a, dtype=None: make(np.shape(a), dtype)
        return lambda a, dtype=None: make(np.shape(a), a.dtype)

    overload(made)(choose)
    return made


def fillers(number):
    """What stands for np.full and np.full_like."""

    def filled(shape, fill_value, dtype=None):
        """Stands for np.full."""
        raise NotImplementedError

    @overload(filled)
    def choose_filled(shape, fill_value, dtype=None):
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        if is_float_dtype(dtype) if given else isinstance(fill_value, types.Float) or is_active(fill_value):

            def full(shape, fill_value, dtype=None):
                made = np.empty(shape, number)
                made[...] = fill_value
                return made

            return full
        if given:
            return lambda shape, fill_value, dtype=None: np.full(shape, fill_value, dtype)
        return lambda shape, fill_value, dtype=None: np.full(shape, fill_value)

    def filled_like(a, fill_value, dtype=None):
        """Stands for np.full_like."""
        raise NotImplementedError

    @overload(filled_like)
    def choose_filled_like(a, fill_value, dtype=None):
        if isinstance(dtype, types.Omitted | types.NoneType) or dtype is None:
            if is_active(a.dtype) or a.dtype == types.float64:
                return lambda a, fill_value, dtype=None: filled(np.shape(a), fill_value, float)
            return lambda a, fill_value, dtype=None: np.full_like(a, fill_value)
        return lambda a, fill_value, dtype=None: filled(np.shape(a), fill_value, dtype)

    return {np.full: filled, np.full_like: filled_like}


def numbered(t, number):
    """The type of floats, and of tuples of numbers with a float among them, with active numbers in their place."""
    if isinstance(t, types.BaseTuple):
        items = [numbered(x, number) for x in t]
        wide = any(map(is_active, items))
        return types.BaseTuple.from_types([number if wide and isinstance(x, SCALAR) else x for x in items])
    return number if isinstance(t, types.Float) else t


def alike(number):
    """What makes active numbers of floats and in tuples, whose items then have one type."""

    @intrinsic
    def same(typingctx, x):
        wanted = numbered(x, number)

        def emit(context, builder, sig, args):
            made = context.cast(builder, args[0], sig.args[0], wanted)
            return impl_ret_borrowed(context, builder, wanted, made)

        return wanted(x), emit

    return same


def lists(number):
    """What stands for np.array."""
    same = alike(number)

    def array_of(object, dtype=None):
        """Stands for np.array of numbers, lists and tuples of them, and lists of those."""
        raise NotImplementedError

    @overload(array_of)
    def choose_array_of(object, dtype=None):
        items = getattr(numbered(object, number), "dtype", None)
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        if given and not is_float_dtype(dtype):
            return lambda object, dtype=None: np.array(object, dtype)
        inner = object if isinstance(object, SCALAR) else getattr(items, "dtype", items)
        if not (given or is_active(inner) or inner == types.float64):
            return lambda object, dtype=None: np.array(object)

        def array(object, dtype=None):
            made = np.empty(object.shape, number)
            made[...] = object
            return made

        def single(object, dtype=None):
            made = np.empty((), number)
            made[()] = object
            return made

        def vector(object, dtype=None):
            made = np.empty(len(object), number)
            for k, x in enumerate(same(object)):
                made[k] = x
            return made

        def matrix(object, dtype=None):
            made = np.empty((len(object), len(object[0])), number)
            for i, row in enumerate(same(object)):
                for j, x in enumerate(row):
                    made[i, j] = x
            return made

        if isinstance(object, types.Array):
            return array
        if isinstance(object, SCALAR):
            return single
        return vector if inner is items else matrix

    return {np.array: array_of}
