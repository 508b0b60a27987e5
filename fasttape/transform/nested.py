"""Transforms inside a function that is being recorded: they record on the tape that is there, so orders compose.

The inner arguments become fresh slots, which are all that the inner derivative is taken by. A value of the outer
recording that the inner function reaches, as an argument or through its closure, is a constant to it, and what comes
out depends on that value like everything else on the tape: there are no perturbations to confuse (Siskind and
Pearlmutter 2005, "Perturbation confusion and referential transparency").
"""

from typing import Any, NamedTuple

import numpy as np

from fasttape import binding, trees
from fasttape.errors import ArgumentError, OutputError
from fasttape.recorders.array import TracedArray, as_traced, stack
from fasttape.recorders.instructions import copied
from fasttape.recorders.lift import run_lifted
from fasttape.recorders.scalar import POSITIVE, TracedScalar, append, here, slot_of
from fasttape.recording import OPEN, auxiliary, name_of
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
    return None if found is None else next((x for x in OPEN.recordings if x is here(found)), None)


def outer_of(error):
    """The recording in progress, around the one that ended with a `LeakError`, whose value was met there; or None."""
    return next((x for x in OPEN.recordings if any(x is here(met) for met in error.recordings)), None)


class Part(NamedTuple):
    """A tree of values, by the slots of its leaves."""

    structure: Any
    shapes: list[tuple[int, ...] | None]  # None for a scalar

    @classmethod
    def of(cls, leaves, structure):
        return cls(structure, [x.shape if isinstance(x, TracedArray | np.ndarray) else None for x in leaves])

    @property
    def sizes(self):
        return [1 if shape is None else int(np.prod(shape)) for shape in self.shapes]

    def tree(self, builder, slots, before=()):
        """The tree whose leaves live in some slots, in order along the last axis; `before` is the shape in front."""
        leaves = []
        for shape, part in zip(self.shapes, trees.cut(slots, self.sizes), strict=True):
            part = part.reshape((*before, *(shape or ())))
            leaves.append(gathered(builder, part) if part.ndim or shape is None else TracedArray.listed(builder, part))
        return trees.unflatten(self.structure, leaves)


class Inner:
    """A call of a function on the tape of an outer recording, with fresh slots for what is differentiated."""

    def __init__(self, outer, f, args, keywords, argnums, *, has_aux=False):
        self.builder, self.name = outer, name_of(f)
        self.single = isinstance(argnums, int | np.integer)
        arguments, self.parts, slots = list(args), [], [np.empty(0, np.uint32)]
        for n in binding.check_argnums(self.name, argnums, len(args)):
            leaves, structure = trees.flatten(args[n])
            fresh = [fresh_input(self.builder, x, self.name, n) for x in leaves]
            arguments[n] = trees.unflatten(structure, fresh)
            self.parts.append(Part.of(fresh, structure))
            slots += [slots_of(x).reshape(-1) for x in fresh]
        self.inputs = np.concatenate(slots)
        self.stretch = Stretch(self.builder, self.builder.n, self.builder.next)
        self.value, self.aux = run_lifted(f, arguments, keywords), None
        if has_aux:
            self.value, self.aux = auxiliary(self.value, self.name)
        self.count = self.builder.n - self.stretch.first
        leaves, structure = trees.flatten(self.value)
        self.output = Part.of(leaves, structure)
        # What is not traced does not depend on the inputs, as if it were in the passive zero
        passive = [np.zeros(np.shape(x), np.uint32) for x in leaves]
        found = [slots_of(x) if isinstance(x, TRACED) else p for x, p in zip(leaves, passive, strict=True)]
        self.outputs = np.concatenate([slots[0], *(x.reshape(-1) for x in found)])

    def check_scalar(self):
        if self.output.structure is not None or self.output.shapes not in ([None], [()]):
            raise OutputError(
                f"grad needs a scalar output, but {self.name} returned an array of shape {np.shape(self.value)}; sum "
                "it, or use jvp for a directional derivative"
            )

    def one(self):
        return np.array([self.builder.constant(1.0)], np.uint32)

    def adjoints(self, outputs, seeds):
        """The slots of the adjoints of the inputs."""
        return adjoint(self.stretch, self.inputs, outputs[outputs > 0], seeds[outputs > 0], self.count)

    def like_inputs(self, slots, before=()):
        """Slots along the last axis as a tree like the differentiated arguments."""
        each = trees.cut(slots, [sum(part.sizes) for part in self.parts])
        made = tuple(part.tree(self.builder, x, before) for part, x in zip(self.parts, each, strict=True))
        return made[0] if self.single else made

    def gradient(self):
        self.check_scalar()
        return self.like_inputs(self.adjoints(self.outputs, self.one()))

    def pullback(self, cotangent):
        """The cotangents of the arguments for one of the output."""
        return self.like_inputs(self.adjoints(self.outputs, self.matching(cotangent, [self.output], "cotangent")))

    def pushforward(self, *tangents):
        """The tangent of the output for those of the arguments."""
        if len(tangents) != len(self.parts):
            raise ArgumentError(f"jvp needs one tangent per primal, got {len(self.parts)} and {len(tangents)}")
        directions = self.matching(tangents, self.parts, "tangent")
        slots = tangent(self.stretch, self.inputs, directions, self.outputs, self.count)
        return self.output.tree(self.builder, slots)

    def stacked(self, apply, directions, count):
        """What `apply` returns for each of some directions along the leading axis of every leaf, stacked alike."""
        leaves, structure = trees.flatten(directions)
        made = [trees.flatten(apply(*trees.unflatten(structure, [x[i] for x in leaves]))) for i in range(count)]
        columns = zip(*(row for row, _ in made), strict=True)
        return trees.unflatten(made[0][1], [stack(self.builder, column) for column in columns])

    def matching(self, given, parts, what):
        """The slots of the leaves of trees that must be like some parts."""
        slots = [np.empty(0, np.uint32)]
        for tree, part in zip(given if what == "tangent" else (given,), parts, strict=True):
            leaves, structure = trees.flatten(tree)
            if structure != part.structure:
                raise ArgumentError(f"a {what} has another structure than what it belongs to")
            for x, shape in zip(leaves, part.shapes, strict=True):
                if np.shape(x) != (shape or ()):
                    raise ArgumentError(f"a {what} has shape {np.shape(x)}, but belongs to one of shape {shape or ()}")
                slots.append(slots_of(as_traced(self.builder, x)).reshape(-1))
        return np.concatenate(slots)

    def jacobian(self, mode):
        """The Jacobian as a tree of trees; one transform for each input or for each output, whichever are fewer."""
        matrix = np.zeros((self.outputs.size, self.inputs.size), np.uint32)
        one_way = any(rule.one_way for rule in self.builder.calls.rules)
        if mode == "fwd" or (mode is None and self.inputs.size <= self.outputs.size and not one_way):
            for column in range(self.inputs.size):
                chosen = self.inputs[column : column + 1]
                matrix[:, column] = tangent(self.stretch, chosen, self.one(), self.outputs, self.count)
        else:
            for row in np.flatnonzero(self.outputs).tolist():
                matrix[row] = self.adjoints(self.outputs[row : row + 1], self.one())
        shapes = [shape or () for shape in self.output.shapes]
        return trees.blocks(matrix, shapes, self.output.structure, self.like_inputs)


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
