"""Transforms inside a function that is being recorded: they record on the tape that is there, so orders compose.

The inner arguments become fresh slots, which are all that the inner derivative is taken by. A value of the outer
recording that the inner function reaches, as an argument or through its closure, is a constant to it, and what comes
out depends on that value like everything else on the tape: there are no perturbations to confuse (Siskind and
Pearlmutter 2005, "Perturbation confusion and referential transparency").
"""

import numpy as np

from fasttape import binding, trees
from fasttape.errors import ArgumentError, OutputError
from fasttape.recorders.array import TracedArray, as_traced
from fasttape.recorders.instructions import copied
from fasttape.recorders.scalar import POSITIVE, TracedScalar, append, slot_of
from fasttape.recording import OPEN, auxiliary, name_of, run
from fasttape.transform.adjoint import Stretch, adjoint
from fasttape.transform.operands import gathered, slots_of
from fasttape.transform.tangent import tangent

TRACED = (TracedScalar, TracedArray)


def enclosing(tree):
    """The recording in progress that some value of a tree belongs to, or None."""
    if not OPEN.recordings:
        return None
    leaves, _ = trees.flatten(tree)
    found = next((x.builder for x in leaves if isinstance(x, TRACED)), None)
    return next((x for x in OPEN.recordings if x.builder is found), None)


def outer_of(error):
    """The recording in progress, around the one that ended with a `LeakError`, whose value was met there; or None."""
    return next((x for x in OPEN.recordings if any(x.builder is builder for builder in error.recordings)), None)


def value_and_gradient(outer, f, args, keywords, argnums, *, has_aux):
    """The value, the gradient and the auxiliary output of f, recorded on the tape of an outer recording."""
    builder, name = outer.builder, name_of(f)
    positions = binding.check_argnums(name, argnums, len(args))
    arguments, inputs, shapes = list(args), [], {}
    for n in positions:
        leaves, structure = trees.flatten(args[n])
        fresh = [fresh_input(builder, x, name, n) for x in leaves]
        arguments[n] = trees.unflatten(structure, fresh)
        inputs += [slots_of(x).reshape(-1) for x in fresh]
        shapes[n] = structure, [(np.shape(x), isinstance(x, TracedArray)) for x in fresh]
    stretch = Stretch(builder, builder.n, builder.next)
    value, aux = run(f, arguments, keywords, outer.read), None
    if has_aux:
        value, aux = auxiliary(value, name)
    slots = np.concatenate(inputs) if inputs else np.empty(0, np.uint32)
    found = adjoint(stretch, slots, output_slot(value, name), one(builder)) if isinstance(value, TRACED) else 0 * slots
    gradients, at = [], 0
    for n in positions:
        structure, made = shapes[n]
        leaves = []
        for shape, array in made:
            size = int(np.prod(shape))
            leaves.append(gathered(builder, found[at : at + size].reshape(shape) if array else found[at]))
            at += size
        gradients.append(trees.unflatten(structure, leaves))
    return value, gradients[0] if isinstance(argnums, int | np.integer) else tuple(gradients), aux


def value_and_tangent(outer, f, primals, tangents, *, has_aux):
    """The output of f, its derivative along tangents, and its auxiliary output, on the tape of an outer recording."""
    builder, name = outer.builder, name_of(f)
    if len(primals) != len(tangents):
        raise ArgumentError(f"jvp needs one tangent per primal, got {len(primals)} and {len(tangents)}")
    arguments, fresh, directions = [], [], []
    for n, (primal, direction) in enumerate(zip(primals, tangents, strict=True)):
        (leaves, structure), (along, same) = trees.flatten(primal), trees.flatten(direction)
        if structure != same:
            raise ArgumentError(f"tangent {n} has another structure than its primal")
        for x, t in zip(leaves, along, strict=True):
            if np.shape(x) != np.shape(t):
                raise ArgumentError(f"tangent {n} has shape {np.shape(t)}, but its primal has {np.shape(x)}")
        inputs = [fresh_input(builder, x, name, n) for x in leaves]
        arguments.append(trees.unflatten(structure, inputs))
        fresh += inputs
        directions += along
    stretch = Stretch(builder, builder.n, builder.next)
    value, aux = run(f, arguments, {}, outer.read), None
    if has_aux:
        value, aux = auxiliary(value, name)
    inputs = np.concatenate([slots_of(x).reshape(-1) for x in fresh])
    along = np.concatenate([slots_of(as_traced(builder, t)).reshape(-1) for t in directions])
    outputs, structure = trees.flatten(value)
    made = [x if isinstance(x, TRACED) else None for x in outputs]
    slots = [np.empty(0, np.uint32), *(slots_of(x).reshape(-1) for x in made if x is not None)]
    found, at, parts = tangent(stretch, inputs, along, np.concatenate(slots)), 0, []
    for x in outputs:
        if not isinstance(x, TRACED):
            parts.append(np.zeros(np.shape(x)) if np.shape(x) else 0.0)
            continue
        size = int(np.prod(np.shape(x)))
        parts.append(gathered(builder, found[at : at + size].reshape(x.shape) if np.shape(x) else found[at]))
        at += size
    return value, trees.unflatten(structure, parts), aux


def one(builder):
    return np.array([builder.constant(1.0)], np.uint32)


def output_slot(value, name):
    """The slot of a scalar output, in an array of one."""
    if np.shape(value) != ():
        raise OutputError(
            f"grad needs a scalar output, but {name} returned an array of shape {np.shape(value)}; sum it, or use jvp "
            "for a directional derivative"
        )
    return slots_of(value).reshape(1)


def fresh_input(builder, x, name, argument):
    """A value as an input of an inner function: slots of its own."""
    if isinstance(x, TracedArray) and not x.boolean:
        made = copied(x)
    elif isinstance(x, TracedScalar):
        return append(builder, POSITIVE, slot_of(builder, x))
    else:
        kind, _ = binding.float_kind(x, name, argument)
        if kind == binding.SCALAR:
            return append(builder, POSITIVE, slot_of(builder, float(x)))
        made = copied(as_traced(builder, x))
    made.root.argument = True
    return made
