"""Running a function under recording: arguments in, program and the shape of its outputs out."""

import contextlib
import functools
import threading
from typing import Any, NamedTuple

import numpy as np

from fasttape import binding, trees
from fasttape.errors import OutputError
from fasttape.program import Program
from fasttape.recorders.array import TracedArray, any_traced
from fasttape.recorders.builder import Builder
from fasttape.recorders.dependencies import Dependency, watching
from fasttape.recorders.freeze import freeze
from fasttape.recorders.lift import run_lifted
from fasttape.recorders.scalar import TracedScalar, mixed

FEW = 64  # numbers that are all turned into Python numbers at once


class Output(NamedTuple):
    """One leaf of the outputs: a place in the vector of output slots, or a value that depends on no input."""

    start: int
    stop: int
    shape: tuple[int, ...] | None  # None for a scalar
    boolean: bool
    value: Any


class Recording(NamedTuple):
    """A recorded call."""

    program: Program
    signature: binding.Signature
    outputs: tuple[Output, ...]
    structure: Any
    aux: Any
    dependencies: tuple[Dependency, ...]  # what the call read besides its arguments
    known: dict  # what calls of rules gave, by number, if the recording is for the point of its recording only


def name_of(f) -> str:
    return getattr(f, "__name__", None) or type(f).__name__


def record_call(f, args, keywords, argnums, *, passive, has_aux=False):
    """Record one call; the recording, and the leaves of its arguments."""
    signature, values = binding.read(name_of(f), args, keywords, argnums, passive=passive)
    builder = Builder(signature.dtype, signature.size, functools.partial(binding.fill, signature, values))
    builder.once = not passive
    OPEN.recordings.append(builder)
    try:
        with watching() if passive else contextlib.nullcontext() as dependencies:
            returned = run_lifted(f, binding.trace(signature, values, builder), keywords)
        aux = None
        if has_aux:
            returned, aux = auxiliary(returned, signature.name)
            aux = untraced(aux)
        leaves, structure = trees.flatten(returned)
        outputs, slots = read_outputs(builder, leaves)
        program = freeze(builder, slots, signature.differentiated())
    except Exception as error:
        if any_traced(error.args):  # they are read when the recording is over
            error.args = tuple(untraced(list(error.args)))
        raise
    finally:
        OPEN.recordings.pop()
        builder.close()
    for leaf in signature.leaves:
        if leaf.value is not None:
            leaf.value.check_random(f"argument {leaf.argument}")
    read = dependencies.settle() if passive else ()
    return Recording(program, signature, outputs, structure, aux, read, builder.calls.known), values


def auxiliary(returned, name):
    """The output and the auxiliary output of a function that returns both."""
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise OutputError(f"has_aux=True needs {name} to return (output, aux)")
    return returned


class Recordings(threading.local):
    """The builders of the recordings of a thread that are in progress, the outermost first."""

    def __init__(self):
        self.recordings = []


OPEN = Recordings()


def read_outputs(builder, leaves):
    """Where each leaf of the outputs stands in the vector of output slots, and that vector."""
    outputs, slots, at = [], [np.empty(0, np.uint32)], 0
    for x in leaves:
        if isinstance(x, TracedScalar | TracedArray):
            if x.builder is not builder:
                raise mixed(builder, x.builder)
            array = isinstance(x, TracedArray)
            taken = x.slots.reshape(-1) if array else np.array([x.slot], np.uint32)
            shape = x.shape if array else None
            outputs.append(Output(at, at + taken.size, shape, array and x.boolean, None))
            slots.append(taken)
            at += taken.size
        else:
            outputs.append(Output(at, at, None, False, own(x)))
    return tuple(outputs), np.concatenate(slots)


def untraced(tree):
    """Auxiliary output with plain numbers in place of traced values."""
    leaves, structure = trees.flatten(tree)
    plain = [x.primal if isinstance(x, TracedScalar | TracedArray) else x for x in leaves]
    return trees.unflatten(structure, plain)


def outputs_of(recording, numbers, *, tangent=False, before=()):
    """The outputs as the function returns them, from the numbers in the output slots (or their tangents).

    These stand along the last axis; `before` is the shape in front of it, that of a stack of tangents.
    """
    floats = numbers.dtype == np.float64 and len(recording.outputs) > 1 and numbers.size <= FEW and not before
    leaves, plain = [], numbers.tolist() if floats else None
    for out in recording.outputs:
        if plain and out.shape is None and out.stop > out.start:
            leaves.append(plain[out.start])
            continue
        part = numbers[..., out.start : out.stop]
        if out.start == out.stop and out.shape is None:
            leaves.append(zero_like(out.value, before) if tangent else own(out.value))
        elif out.shape is None and not before:
            leaves.append(part[0].item() if part.dtype == np.float64 else part[0])
        else:
            part = part.reshape(before + (out.shape or ()))
            leaves.append(part.astype(bool) if out.boolean and not tangent else part)
    return trees.unflatten(recording.structure, leaves)


def own(value):
    """A value that nobody else can write to."""
    return value.copy() if isinstance(value, np.ndarray) else value


def zero_like(value, before=()):
    """The tangent of an output that depends on no input."""
    return np.zeros(before + np.shape(value)) if before or isinstance(value, np.ndarray) else 0.0


def scalar_output(recording, what):
    """Check that the recording has one real scalar output."""
    name, out = recording.signature.name, recording.outputs[0] if recording.outputs else None
    if recording.structure is not None or len(recording.outputs) != 1:
        kind = "nothing" if not recording.outputs else "several values"
        raise OutputError(f"{what} needs a scalar output, but {name} returned {kind}; return one, or use has_aux=True")
    if out.shape not in (None, ()) or (isinstance(out.value, np.ndarray) and out.value.shape != ()):
        shape = out.shape or out.value.shape
        raise OutputError(
            f"{what} needs a scalar output, but {name} returned an array of shape {shape}; "
            "sum it, or use jvp for a directional derivative"
        )
    if out.start == out.stop and not isinstance(out.value, float | int | np.floating | np.integer | np.ndarray):
        raise OutputError(f"{what} needs a scalar output, but {name} returned {out.value!r}")
