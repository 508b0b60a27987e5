"""How Python arguments become input slots, and slots Python results: leaves, dtypes, what a replay must repeat."""

from typing import Any, NamedTuple

import numpy as np

from fasttape import trees
from fasttape.errors import ArgnumsError, ArgumentError, ReplayError, UnsupportedError
from fasttape.recorders.array import TracedArray
from fasttape.recorders.dependencies import Dependencies, Snapshot
from fasttape.recorders.scalar import TracedScalar, traced

SCALAR, ARRAY, STATIC = "scalar", "array", "static"
NOTHING = object()  # argnums of a recording that is only evaluated
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
PLAIN = {True: frozenset({float}), False: frozenset({float, int})}  # by whether floats only may stand for floats


class Leaf(NamedTuple):
    """One leaf of the arguments: an input of the tape, or a value that a replay must repeat."""

    kind: str
    start: int  # first input slot
    stop: int
    shape: tuple[int, ...]
    dtype: Any  # of the argument: float for a Python number, else a NumPy dtype
    value: Snapshot | None  # what a static leaf held
    argument: int  # position of the argument that the leaf belongs to


class Signature(NamedTuple):
    """The arguments of a recording: their leaves, their structure, and which are differentiated."""

    name: str  # of the recorded function
    leaves: tuple[Leaf, ...]
    structures: tuple  # of each argument
    counts: tuple[int, ...]  # leaves of each argument
    argnums: tuple[int, ...]
    single: bool  # whether argnums was one number
    keywords: dict
    dtype: np.dtype
    plain: bool  # whether every leaf is an input that came as a Python number

    @property
    def size(self) -> int:
        return self.leaves[-1].stop - 1 if self.leaves else 0

    def differentiated(self):
        """(start, stop) of the runs of input slots that are differentiated."""
        runs: list[tuple[int, int]] = []
        for x in self.leaves:
            if x.argument in self.argnums:
                joins = bool(runs) and runs[-1][1] == x.start
                runs.append((runs.pop()[0] if joins else x.start, x.stop))
        return tuple(runs)


def describe(x) -> str:
    """An argument as an error message names it."""
    return f"an array of {x.dtype}" if isinstance(x, np.ndarray | TracedArray) else f"a {type(x).__name__}"


def check_argnums(name, argnums, count) -> tuple[int, ...]:
    """argnums as a tuple of positions."""
    wanted = tuple(argnums) if isinstance(argnums, tuple | list | range) else (argnums,)
    called = f"{name} was called with {count} positional argument{'' if count == 1 else 's'}"
    for n in wanted:
        if not isinstance(n, int | np.integer):
            raise ArgnumsError(f"argnums={argnums!r} names {n!r}, which is not a position; write an int or a tuple")
        if not -count <= n < count:
            raise ArgnumsError(f"argnums={argnums!r} names argument {n}, but {called}")
    positions = tuple(int(n) % count for n in wanted)
    if not positions or len(set(positions)) < len(positions):
        raise ArgnumsError(f"argnums={argnums!r} must name at least one argument, and none of them twice")
    return positions


def is_float(x) -> bool:
    """Whether a leaf holds floating-point numbers."""
    return isinstance(x, float | np.floating) or (isinstance(x, np.ndarray) and x.dtype.kind == "f")


def float_kind(x, name, argument):
    """(kind, dtype) of a leaf that is differentiated; raises for what has no derivative."""
    if isinstance(x, TracedScalar | TracedArray):
        raise UnsupportedError(f"{name} was recorded with traced values: a tape inside of a recorded function")
    if type(x) in (float, int):
        return SCALAR, float
    dtype = getattr(x, "dtype", None)
    if isinstance(x, np.ndarray | np.generic) and dtype in FLOATS:
        return (ARRAY, dtype) if isinstance(x, np.ndarray) else (SCALAR, dtype)
    message = f"argument {argument} of {name} is {describe(x)}, which has no derivative"
    if isinstance(x, np.ndarray | np.generic) and dtype.kind in "iubf":
        message += "; write x.astype(np.float64)"
    raise ArgumentError(message)


def read(name, args, keywords, argnums, *, passive: bool) -> tuple[Signature, list]:
    """The signature of a call and its leaves; `passive` makes inputs of floats that are not differentiated as well.

    With NOTHING for argnums nothing is differentiated.
    """
    positions = () if argnums is NOTHING else check_argnums(name, argnums, len(args))
    leaves, values, structures, counts, at = [], [], [], [], 1
    for argument, tree in enumerate(args):
        flat, structure = trees.flatten(tree)
        structures.append(structure)
        counts.append(len(flat))
        for x in flat:
            if argument in positions or (passive and is_float(x)):
                kind, dtype = float_kind(x, name, argument)
                shape, size = ((), 1) if kind == SCALAR else (x.shape, x.size)
                leaf = Leaf(kind, at, at + size, shape, dtype, None, argument)
                at = leaf.stop
            else:
                kept = Dependencies().snapshot(x) if passive else None
                leaf = Leaf(STATIC, at, at, (), None, kept, argument)
            leaves.append(leaf)
            values.append(x)
    dtypes = {leaf.dtype for leaf in leaves if leaf.kind != STATIC} - {float}
    dtype = FLOATS[1] if dtypes == {FLOATS[1]} else FLOATS[0]
    single = isinstance(argnums, int | np.integer)
    plain = all(leaf.dtype is float for leaf in leaves)
    shapes = tuple(leaves), tuple(structures), tuple(counts)
    return Signature(name, *shapes, positions, single, keywords, dtype, plain), values


def trace(signature, values, builder):
    """The arguments with traced values in place of the inputs."""
    leaves = []
    for leaf, x in zip(signature.leaves, values, strict=True):
        if leaf.kind == SCALAR:
            leaves.append(traced(builder, leaf.start))
        elif leaf.kind == ARRAY:
            leaves.append(TracedArray.run(builder, leaf.start, leaf.shape, argument=True))
        else:
            leaves.append(x)
    return rebuild(signature, leaves)


def rebuild(signature, leaves):
    """Leaves in order as a list of arguments."""
    arguments, start = [], 0
    for structure, count in zip(signature.structures, signature.counts, strict=True):
        arguments.append(trees.unflatten(structure, leaves[start : start + count]))
        start += count
    return arguments


def fill(signature, values, out, placed=()):
    """Write the inputs into their slots, except leaves that are `placed`; `out` is the part of the slots for inputs."""
    if signature.plain:
        out[:] = values
        return
    for k, (kind, start, stop, shape, *_) in enumerate(signature.leaves):
        if kind == SCALAR:
            out[start - 1] = values[k]
        elif kind == ARRAY and k not in placed:
            out[start - 1 : stop - 1].reshape(shape)[...] = values[k]


def flatten(signature, args):
    """The leaves of new arguments, of whatever kind; raises where they have another structure."""
    if len(args) != len(signature.structures):
        message = f"this tape takes {len(signature.structures)} arguments, not {len(args)}"
        raise ReplayError(message, "another number of arguments")
    values = []
    for position, tree in enumerate(args):
        flat, structure = trees.flatten(tree)
        if structure != signature.structures[position]:
            message = f"argument {position} has another structure than the one that was recorded"
            raise ReplayError(message, f"argument {position} has another structure")
        if not trees.same_order(signature.structures[position], tree):
            message = f"argument {position} has the keys of a dict in another order than the one that was recorded"
            raise ReplayError(message, f"argument {position} has keys in another order")
        values += flat
    return values


def match(signature, args, *, exact=False):
    """The leaves of new arguments for a replay; raises where the recording does not hold for them.

    With `exact` it holds for the classes of numbers and the dtypes that were recorded only.
    """
    values = flatten(signature, args)
    if not (signature.plain and PLAIN[exact].issuperset(map(type, values))):
        for leaf, x in zip(signature.leaves, values, strict=True):
            if leaf.kind != ARRAY or x.__class__ is not np.ndarray or x.dtype != leaf.dtype or x.shape != leaf.shape:
                match_leaf(signature, leaf, x, exact)
    return values


def match_leaf(signature, leaf, x, exact):
    if leaf.kind == STATIC:
        if not leaf.value.holds(x):
            was = f"it was {leaf.value.was()!r} and now is {x!r}"
            message = f"argument {leaf.argument} is part of this recording: {was}; record again"
            raise ReplayError(message, f"argument {leaf.argument} has another value")
        return
    _, dtype = float_kind(x, signature.name, leaf.argument)
    if np.shape(x) != leaf.shape:
        was = f"but the tape was recorded with {leaf.shape}"
        message = f"argument {leaf.argument} has shape {np.shape(x)}, {was}; record again"
        raise ReplayError(message, f"argument {leaf.argument} has another shape")
    if exact and (dtype != leaf.dtype or (type(x) is int and leaf.argument not in signature.argnums)):
        message = f"argument {leaf.argument} is {describe(x)}, and another class of numbers was recorded; record again"
        raise ReplayError(message, f"argument {leaf.argument} has another dtype")
    if dtype is not float and dtype == FLOATS[0] and signature.dtype == FLOATS[1]:
        message = f"argument {leaf.argument} is float64, but the tape was recorded in float32; record again"
        raise ReplayError(message, f"argument {leaf.argument} has another dtype")


def match_tangents(signature, tangents, before=()):
    """The leaves of tangents, one per input, for arguments that the recording holds for.

    Tangents that are stacked have the shape `before` in front of that of the argument.
    """
    if len(tangents) != len(signature.structures):
        raise ArgumentError(f"jvp needs one tangent per primal, got {len(signature.structures)} and {len(tangents)}")
    values = []
    for position, tree in enumerate(tangents):
        flat, structure = trees.flatten(tree)
        if structure != signature.structures[position]:
            raise ArgumentError(f"tangent {position} has another structure than its primal")
        values += flat
    for leaf, x in zip(signature.leaves, values, strict=True):
        if leaf.kind == STATIC:
            continue
        check_direction(f"tangent {leaf.argument}", "primal", x, before + leaf.shape, leaf.dtype)
        if leaf.argument not in signature.argnums and np.any(x):
            raise ArgumentError(
                f"tangent {leaf.argument} is not zero, but the tape does not differentiate argument {leaf.argument}; "
                "name it in argnums when recording"
            )
    return values


def check_direction(what, of, x, shape, dtype):
    """Refuse a tangent or a cotangent that is not of the kind of the primal or the output that it belongs to."""
    if not is_float(x) and type(x) is not int:
        raise ArgumentError(f"{what} is {describe(x)}, but its {of} holds floats")
    if np.shape(x) != shape:
        raise ArgumentError(f"{what} has shape {np.shape(x)}, but its {of} has {shape}")
    if dtype == FLOATS[1] and x.__class__ is not float and getattr(x, "dtype", dtype) != dtype:
        raise ArgumentError(f"{what} is {describe(x)}, but its {of} is {dtype}; write x.astype(np.{dtype})")


def gradient(signature, adjoints, elsewhere):
    """The adjoints of the inputs as trees like the differentiated arguments.

    They are among those of all slots, or by number of the leaf `elsewhere`.
    """
    if signature.plain:
        return like_differentiated(signature, adjoints[1 : 1 + signature.size].tolist())
    leaves = [None] * len(signature.leaves)
    for k, leaf in enumerate(signature.leaves):
        if k in elsewhere:
            x = elsewhere[k].reshape(leaf.shape)
            leaves[k] = x if x.dtype == leaf.dtype else x.astype(leaf.dtype)
        elif leaf.argument in signature.argnums:
            leaves[k] = result(leaf, adjoints)
    return like_differentiated(signature, leaves)


def like_differentiated(signature, leaves):
    """The arguments that are differentiated, with other leaves: one tree, or a tuple of them."""
    chosen = []
    for n in signature.argnums:
        start = sum(signature.counts[:n])
        chosen.append(trees.unflatten(signature.structures[n], leaves[start : start + signature.counts[n]]))
    return chosen[0] if signature.single else tuple(chosen)


def result(leaf, adjoints):
    """The adjoint of one input in the type of that input."""
    numbers = adjoints[leaf.start : leaf.stop]
    if leaf.kind == SCALAR:
        return float(numbers[0]) if leaf.dtype is float else leaf.dtype.type(numbers[0])
    return numbers.reshape(leaf.shape).astype(leaf.dtype)
