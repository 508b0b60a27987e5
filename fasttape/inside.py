"""Calls of functions that Numba compiled, recorded from inside of the compiled code on a linear tape.

This is the way of plain numbers through `grad` and its kin. Where it does not lead (traced arguments, dtypes other
than float64, trees, code that Numba cannot compile for active numbers) the Python function under the compiled one is
recorded like any other, with the same result.
"""

import numpy as np

from fasttape import binding
from fasttape.errors import OutputError
from fasttape.recorders.array import TracedArray
from fasttape.recorders.liftable import inner_function
from fasttape.recorders.scalar import TracedScalar
from fasttape.recording import auxiliary, name_of


def is_compiled(f) -> bool:
    """Whether f is a function that Numba compiles, from Python code of the user's."""
    return hasattr(f, "targetoptions") and type(f).__module__.startswith("numba.") and inner_function(f) is not None


def value_and_gradient(f, args, keywords, argnums, has_aux, what):
    """(value, gradient, aux) of a call of a compiled scalar function; None where it has to be recorded as Python."""
    from fasttape.compiler.compiled_gradient import positional, record_inside

    signature, values = binding.read(name_of(f), args, keywords, argnums, passive=False)
    if not all(map(fits, signature.leaves, values)) or not all(map(is_plain_structure, signature.structures)):
        return None
    numbers = [float(x) if leaf.kind == binding.SCALAR else x for leaf, x in zip(signature.leaves, values, strict=True)]
    arguments = positional(f, binding.rebuild(signature, numbers), keywords)
    found = arguments and record_inside(f, signature.argnums, has_aux, arguments)
    if not found:
        return None
    value, adjoints = found
    aux = None
    if has_aux:
        value, aux = auxiliary(value, signature.name)
    check_scalar(value, what, signature.name)
    return value, binding.gradient(signature, adjoints, {}), aux


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
