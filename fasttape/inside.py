"""Calls of functions that Numba compiled, recorded from inside of the compiled code on a linear tape.

This is the way of plain numbers through `grad` and its kin. Where it does not lead (traced arguments, dtypes other
than float64, trees, code that Numba cannot compile for active numbers) the Python function under the compiled one is
recorded like any other, with the same result.
"""

from typing import Any, NamedTuple

import numpy as np

from fasttape import binding, trees
from fasttape.errors import OutputError
from fasttape.execute.linear import PlainTape
from fasttape.recorders.array import TracedArray
from fasttape.recorders.liftable import inner_function
from fasttape.recorders.scalar import TracedScalar
from fasttape.recording import Output, auxiliary, name_of, own
from fasttape.transform import nested

MOST_KINDS = 256  # kinds of arguments that a transform remembers


def is_compiled(f) -> bool:
    """Whether f is a function that Numba compiles, from Python code of the user's."""
    return hasattr(f, "targetoptions") and type(f).__module__.startswith("numba.") and inner_function(f) is not None


class Call(NamedTuple):
    """A call recorded on a linear tape: what derivatives of it want to know of a `Recording`."""

    signature: binding.Signature
    outputs: tuple[Output, ...]
    structure: Any
    aux: Any


def read(f, args, keywords, argnums):
    """The signature of a call of a compiled function and its arguments by position; None where it is for Python."""
    from fasttape.compiler.compiled_gradient import positional

    if nested.enclosing((args, keywords)) is not None:
        return None
    signature, values = binding.read(name_of(f), args, keywords, argnums, passive=False)
    if not all(map(fits, signature.leaves, values)) or not all(map(is_plain_structure, signature.structures)):
        return None
    numbers = [float(x) if leaf.kind == binding.SCALAR else x for leaf, x in zip(signature.leaves, values, strict=True)]
    arguments = positional(f, binding.rebuild(signature, numbers), keywords)
    return arguments and (signature, arguments)


class ValueAndGradient:
    """(value, gradient, aux) of calls of a compiled scalar function; None where one has to be recorded as Python.

    A call with numbers and arrays of kinds that were met before goes straight to compiled code.
    """

    def __init__(self, f, argnums, has_aux, what):
        from fasttape.compiler.compiled_gradient import record_inside, value_and_adjoints_of

        self.f, self.argnums, self.has_aux, self.what = f, argnums, has_aux, what
        self.record, self.driver = record_inside, value_and_adjoints_of
        self.known: dict[Any, Known] = {}  # by the kinds of all arguments

    def __call__(self, args, keywords):
        kinds = None if keywords else tuple(map(kind_of, args))
        known = self.known.get(kinds)
        if known is not None:
            found = self.record(known.driver, args)
        else:
            given = read(self.f, args, keywords, self.argnums)
            if given is None:
                return None
            signature, arguments = given
            driver = self.driver(self.f, signature.argnums, self.has_aux)
            found = self.record(driver, arguments)
        if found is None:
            return None
        value, adjoints = found
        aux = None
        if self.has_aux:
            value, aux = auxiliary(value, name_of(self.f))
        if type(value) is not float:
            check_scalar(value, self.what, name_of(self.f))
        if known is not None:
            return value, known.gradient(adjoints), aux
        if kinds and None not in kinds and not any(type(args[n]) is int for n in signature.argnums):
            self.known[kinds] = Known(driver, signature)
            if len(self.known) > MOST_KINDS:
                self.known.pop(next(iter(self.known)), None)
        return value, binding.gradient(signature, adjoints, {}), aux


class Known:
    """What all calls with arguments of some kinds have in common, each of which is a number or an array."""

    def __init__(self, driver, signature):
        self.driver, self.single = driver, signature.single
        leaves = [signature.leaves[n] for n in signature.argnums]
        self.places = [(x.start, x.stop, None if x.kind == binding.SCALAR else x.shape) for x in leaves]

    def gradient(self, adjoints):
        """The adjoints of the inputs, whose memory is nobody else's, like the differentiated arguments."""
        chosen = [
            adjoints.item(start) if shape is None else adjoints[start:stop].reshape(shape)
            for start, stop, shape in self.places
        ]
        return chosen[0] if self.single else tuple(chosen)


def kind_of(x):
    """What of an argument decides how a call is recorded; None where that takes a closer look."""
    kind = type(x)
    if kind is np.ndarray:
        return x.dtype, x.shape
    return kind if kind in (float, int, bool, str) else None


def linear_tape(f, args, keywords, argnums, has_aux):
    """(call, value, linear tape) of a call of a compiled function; None where it has to be recorded as Python."""
    from fasttape.compiler.compiled_gradient import record_inside, value_and_records_of

    given = read(f, args, keywords, argnums)
    if given is None:
        return None
    signature, arguments = given
    found = record_inside(value_and_records_of(f, signature.argnums, has_aux), arguments)
    if found is None:
        return None
    value, active, leads, records = found
    aux = None
    if has_aux:
        value, aux = auxiliary(value, signature.name)
    leaves, structure = trees.flatten(value)
    outputs, at = [], 0
    for x, mark in zip(leaves, flat_marks(value, active), strict=True):
        stop = at + np.size(x) * mark
        shape = x.shape if isinstance(x, np.ndarray) and mark else None
        outputs.append(Output(at, stop, shape, False, None if mark else own(x)))
        at = stop
    call = Call(signature, tuple(outputs), structure, aux)
    return call, value, PlainTape(records, leads, sum(stop - start for start, stop in signature.differentiated()))


def flat_marks(tree, marks):
    """For each leaf of a tree whether it is active, of `marks` that say so for the items of tuples in it."""
    if isinstance(marks, tuple):
        return [mark for x, inner in zip(tree, marks, strict=True) for mark in flat_marks(x, inner)]
    return [marks] * len(trees.flatten(tree)[0])


def fits(leaf, x) -> bool:
    """Whether compiled code takes an argument: no traced value; where it is differentiated, numbers in float64.

    Of arrays without dimensions Numba makes scalars by rules of its own, so they are left to Python.
    """
    if leaf.kind == binding.STATIC:
        return not isinstance(x, TracedScalar | TracedArray)
    return leaf.dtype in (float, np.dtype(np.float64)) and (leaf.kind == binding.SCALAR or leaf.shape != ())


def is_plain_structure(structure) -> bool:
    """Whether an argument is a leaf or a tuple of leaves."""
    return structure is None or isinstance(structure, int)


def check_scalar(value, what, name):
    """Check that a compiled function returned one number."""
    if isinstance(value, float | int | np.floating | np.integer):
        return
    if isinstance(value, np.ndarray):
        if value.shape == ():
            return
        raise OutputError(
            f"{what} needs a scalar output, but {name} returned an array of shape {value.shape}; "
            "sum it, or use jvp for a directional derivative"
        )
    raise OutputError(f"{what} needs a scalar output, but {name} returned {describe_output(value)}")


def describe_output(value) -> str:
    return "several values; return one, or use has_aux=True" if isinstance(value, tuple | list) else repr(value)
