"""Jacobians of recordings as trees of arrays, and pullbacks and pushforwards that keep the derivative at one point."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fasttape import binding, trees
from fasttape.direct import BOTH, VALUE
from fasttape.errors import ArgumentError, OutputError
from fasttape.evaluation import Evaluator, forward_only
from fasttape.execute.schedule import is_elementwise
from fasttape.recording import Output, Recording, outputs_of
from fasttape.transform import nested
from fasttape.transform.optimize import optimize
from fasttape.transform.programs import gradient_program, jacobian_program, sparsity, tangent_program


def jacobian(evaluator, values, mode=None):
    """The Jacobian at some leaves: for each leaf of the output a tree like the differentiated arguments.

    A block has the shape of the output followed by that of the input. `mode` is "fwd", which takes a lane for each
    input, or "rev", one for each output that depends on an input; without it the one that costs less is taken.
    """
    check_outputs(evaluator.recording)
    _, linear = evaluator.linearize(values, keep=mode != "fwd")
    return assemble(evaluator.recording, linear.jacobian(mode))


def check_outputs(recording: Recording):
    """Refuse outputs that are no real numbers."""
    for out in recording.outputs:
        if is_constant(out) and np.asarray(out.value).dtype.kind not in "fiub":
            raise OutputError(
                f"{recording.signature.name} returned {out.value!r}, which has no derivative; return it as auxiliary "
                "output, with has_aux=True"
            )


def is_constant(out: Output) -> bool:
    """Whether an output depends on no input, so that no slot holds it."""
    return out.start == out.stop and out.shape is None


def shape_of(out: Output) -> tuple[int, ...]:
    return np.shape(out.value) if is_constant(out) else out.shape or ()


def assemble(recording: Recording, matrix):
    """The blocks of a Jacobian matrix as a tree of trees; constants have no rows in the matrix."""
    shapes = [shape_of(out) for out in recording.outputs]
    if any(map(is_constant, recording.outputs)):
        zeros = np.zeros((max(map(math.prod, shapes)), matrix.shape[1]), matrix.dtype)
        pairs = zip(recording.outputs, map(math.prod, shapes), strict=True)
        matrix = np.concatenate([zeros[:n] if is_constant(out) else matrix[out.start : out.stop] for out, n in pairs])
    return trees.blocks(matrix, shapes, recording.structure, functools.partial(cut_inputs, recording.signature))


def differentiated(signature) -> list[binding.Leaf]:
    """The leaves of the arguments that are differentiated."""
    return [leaf for leaf in signature.leaves if leaf.argument in signature.argnums]


def like_inputs(signature, values):
    """Trees like the differentiated arguments, of one value for each of their leaves."""
    values = iter(values)
    leaves = [next(values) if leaf.argument in signature.argnums else None for leaf in signature.leaves]
    return binding.like_differentiated(signature, leaves)


def cut_inputs(signature, numbers, before=()):
    """Numbers for the differentiated inputs, along the last axis, as trees; `before` is the shape in front."""
    leaves = differentiated(signature)
    parts = trees.cut(numbers, [leaf.stop - leaf.start for leaf in leaves])
    made = (result(leaf, part.reshape(before + leaf.shape)) for leaf, part in zip(leaves, parts, strict=True))
    return like_inputs(signature, made)


def result(leaf, x):
    """An array in the type of the input that it belongs to."""
    if x.shape == () and leaf.kind == binding.SCALAR:
        return float(x) if leaf.dtype is float else leaf.dtype.type(x)
    return x if leaf.dtype is float else x.astype(leaf.dtype, copy=False)


def gradient_recording(recording: Recording, *, with_value: bool) -> Recording:
    """The recording that returns the gradient, or (value, gradient), where a recording returns one value."""
    signature, program = recording.signature, gradient_program(optimize(recording.program))
    outputs = list(recording.outputs) if with_value else []
    places = itertools.count(len(outputs))
    at = size = recording.program.outputs.size
    if not with_value:
        program, at = program._replace(outputs=program.outputs[size:]), 0
    for leaf in differentiated(signature):
        shape = None if leaf.kind == binding.SCALAR else leaf.shape
        outputs.append(Output(at, at := at + leaf.stop - leaf.start, shape, False, None))
    gradient = like_inputs(signature, places)
    order, structure = trees.flatten((0, gradient) if with_value else gradient)
    return recording._replace(program=program, outputs=tuple(outputs[k] for k in order), structure=structure)


def replayed(evaluator: Evaluator, what: str) -> tuple[Evaluator, str]:
    """An evaluator that returns `what` of a recording many times, and the name under which it does.

    Where elementwise operations on long arrays are most of the work, a gradient is a forward sweep over a program of
    its own, whose loops over the elements hold value and derivative together.
    """
    if what == VALUE:
        return forward_only(evaluator), what
    recording = evaluator.recording
    same_type = all(leaf.dtype in (float, recording.program.dtype) for leaf in differentiated(recording.signature))
    if same_type and is_elementwise(recording.program):
        made = gradient_recording(recording, with_value=what == BOTH)
        alone = Evaluator(made._replace(program=optimize(made.program)), again=True, only_forward=True)
        if alone.looped is not None:
            return alone, VALUE
    return evaluator, what


def tangent_recording(recording: Recording) -> Recording:
    """The recording of a function of the arguments and tangents of the differentiated ones: tangents of the outputs."""
    signature, at = recording.signature, recording.signature.size + 1
    positions = sorted(signature.argnums)
    leaves = list(signature.leaves)
    for leaf in signature.leaves:
        if leaf.argument in signature.argnums:
            argument = len(signature.structures) + positions.index(leaf.argument)
            leaves.append(leaf._replace(start=at, stop=(at := at + leaf.stop - leaf.start), argument=argument))
    of_tangents = {name: getattr(signature, name) for name in ("structures", "counts")}
    doubled = {name: x + tuple(x[n] for n in positions) for name, x in of_tangents.items()}
    program = tangent_program(recording.program)
    return recording._replace(program=program, signature=signature._replace(leaves=tuple(leaves), **doubled))


FEW = 4  # colors; with more a linear tape takes less time
MOST_INSTRUCTIONS = 1 << 11  # that are worth recording several times
MOST_NUMBERS = 1 << 20  # in a Jacobian


def jacobian_recording(recording: Recording) -> Recording | None:
    """The recording that returns the Jacobian, where that is so sparse that a few tangents make all of it; or None."""
    signature, program = recording.signature, recording.program
    inputs = differentiated(signature)
    columns = sum(leaf.stop - leaf.start for leaf in inputs)
    same_type = all(leaf.dtype == (float if leaf.kind == binding.SCALAR else program.dtype) for leaf in inputs)
    small = program.ops.size <= MOST_INSTRUCTIONS and program.outputs.size * columns <= MOST_NUMBERS
    if not (small and same_type) or any(map(is_constant, recording.outputs)):
        return None
    sparse = sparsity(program)
    if sparse is None or sparse.count > FEW or sparse.count == columns:
        return None
    numbers = np.arange(program.outputs.size * columns).reshape(-1, columns)
    outputs, order, at = [], [], 0
    for out in recording.outputs:
        rows = numbers[out.start : out.stop]
        for leaf, block in zip(inputs, trees.cut(rows, [leaf.stop - leaf.start for leaf in inputs]), strict=True):
            shape = None if out.shape is None and leaf.kind == binding.SCALAR else (out.shape or ()) + leaf.shape
            outputs.append(Output(at, at := at + block.size, shape, False, None))
            order.append(block.reshape(-1))
    places = itertools.count()
    blocks = [like_inputs(signature, places) for _ in recording.outputs]
    kept, structure = trees.flatten(trees.unflatten(recording.structure, blocks))
    return recording._replace(
        program=jacobian_program(program, sparse, np.concatenate(order)),
        outputs=tuple(outputs[k] for k in kept),
        structure=structure,
    )


class LinearMap(NamedTuple):
    """A derivative at one point, as a function of a direction.

    `many` takes several directions at once, stacked along a leading axis of every leaf, and returns results stacked
    alike. It costs far less than as many calls. It has a name of its own because shapes do not tell a stack from
    a direction of the wrong shape: three numbers are a stack of scalars, or a vector where there should be a scalar.
    """

    one: Callable[..., Any]
    many: Callable[..., Any]

    def __call__(self, *directions: Any) -> Any:
        return self.one(*directions)


def recorded(call: nested.Inner) -> tuple[LinearMap, LinearMap]:
    """The pullback and the pushforward of a call on the tape around it."""

    def pull_many(cotangents):
        return call.stacked(call.pullback, (cotangents,), stacked(cotangents))

    def push_many(*tangents):
        return call.stacked(call.pushforward, tangents, stacked(tangents))

    return LinearMap(call.pullback, pull_many), LinearMap(call.pushforward, push_many)


class Linearization:
    """The derivative at one point, kept: as many pullbacks and pushforwards as one likes, of any thread."""

    def __init__(self, recording, value, linear):
        """`value` is that of the outputs which the rows of `linear` belong to."""
        check_outputs(recording)
        self.recording, self.value, self.linear = recording, value, linear
        self.pullback = LinearMap(self.pull, self.pull_many)
        self.pushforward = LinearMap(self.push, self.push_many)

    @classmethod
    def at(cls, evaluator, values):
        """The derivative of a recording at some leaves."""
        made = cls(evaluator.recording, *evaluator.linearize(values))
        made.linear.compact()
        return made

    def jacobian(self, mode):
        """The Jacobian, as the function of this name returns it."""
        return assemble(self.recording, self.linear.jacobian(mode))

    def pull(self, cotangent):
        """The cotangents of the arguments, for one of the output."""
        seeds = self.cotangents(cotangent, 1, ())
        return cut_inputs(self.recording.signature, self.linear.pull(seeds)[0])

    def pull_many(self, cotangents):
        """The same for several, along a leading axis."""
        count = stacked(cotangents)
        seeds = self.cotangents(cotangents, count, (count,))
        return cut_inputs(self.recording.signature, self.linear.pull(seeds), (count,))

    def push(self, *tangents):
        """The tangent of the output, for those of the arguments."""
        made = self.linear.push(self.tangents(tangents, 1, ()))
        return outputs_of(self.recording, made[:, 0], tangent=True)

    def push_many(self, *tangents):
        """The same for several, along a leading axis."""
        count = stacked(tangents)
        made = self.linear.push(self.tangents(tangents, count, (count,)))
        return outputs_of(self.recording, np.ascontiguousarray(made.T), tangent=True, before=(count,))

    def cotangents(self, tree, count, before) -> np.ndarray:
        """Rows of adjoints of the output slots from a tree like the output, or a stack of such trees."""
        recording = self.recording
        leaves, structure = trees.flatten(tree)
        if structure != recording.structure:
            raise ArgumentError(f"the cotangent has another structure than the output of {recording.signature.name}")
        seeds = np.empty((count, self.linear.outputs.size), recording.signature.dtype)
        for out, x in zip(recording.outputs, leaves, strict=True):
            binding.check_direction("a cotangent", "output", x, before + shape_of(out), seeds.dtype)
            seeds[:, out.start : out.stop] = 0.0 if is_constant(out) else np.reshape(x, (count, out.stop - out.start))
        return seeds

    def tangents(self, directions, count, before) -> np.ndarray:
        """Rows of tangents of the differentiated inputs."""
        signature = self.recording.signature
        leaves = binding.match_tangents(signature, directions, before)
        chosen = [
            np.reshape(x, (count, leaf.stop - leaf.start))
            for leaf, x in zip(signature.leaves, leaves, strict=True)
            if leaf.argument in signature.argnums
        ]
        return np.concatenate([np.empty((count, 0)), *chosen], axis=1, dtype=signature.dtype)


def stacked(directions) -> int:
    """How many directions are stacked along the leading axis of every leaf of a tree."""
    leaves, _ = trees.flatten(directions)
    counts = {np.shape(x)[:1] for x in leaves}
    if len(counts) != 1 or () in counts:
        shapes = ", ".join(str(np.shape(x)) for x in leaves)
        raise ArgumentError(f"directions are stacked along a leading axis of one length in every leaf, not {shapes}")
    return counts.pop()[0]
