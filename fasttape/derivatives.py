"""Jacobians of recordings as trees of arrays, and pullbacks and pushforwards that keep the values of one point."""

import threading

import numpy as np

from fasttape import binding, trees
from fasttape.errors import ArgumentError
from fasttape.evaluation import Evaluator
from fasttape.recording import Output, Recording, outputs_of
from fasttape.transform.programs import gradient_program, input_slots


def jacobian(evaluator, values, mode=None):
    """The Jacobian at some leaves: for each leaf of the output a tree like the differentiated arguments.

    A block has the shape of the output followed by that of the input. `mode` is "fwd", one sweep for each input, or
    "rev", one for each output; without it the one with fewer sweeps is taken, if all rules can go it.
    """
    starts = evaluator.program.differentiated
    columns = sum(stop - start for start, stop in starts)
    rows = evaluator.program.outputs.size
    one_way = any(rule.one_way for rule in evaluator.program.rules)
    forward = mode == "fwd" if mode else columns <= rows and not one_way
    matrix = evaluator.run(values, (forward_matrix if forward else reverse_matrix)(evaluator), keep=not forward)
    return assemble(evaluator.recording, matrix)


def forward_matrix(evaluator):
    def run(workspace):
        program = evaluator.program
        slots = input_slots(program) - 1
        matrix = np.empty((program.outputs.size, slots.size), program.dtype)
        seed = np.zeros(program.inputs, program.dtype)
        for column, slot in enumerate(slots.tolist()):
            seed[slot] = 1.0
            matrix[:, column] = workspace.tangent(seed)
            seed[slot] = 0.0
        return matrix

    return run


def reverse_matrix(evaluator):
    def run(workspace):
        program = evaluator.program
        slots = input_slots(program)
        matrix = np.empty((program.outputs.size, slots.size), program.dtype)
        for row, seed in enumerate(np.eye(program.outputs.size, dtype=program.dtype)):
            matrix[row] = workspace.reverse(seed)[slots]
            workspace.clear()
        return matrix

    return run


def assemble(recording: Recording, matrix):
    """The blocks of a Jacobian matrix as a tree of trees."""
    signature = recording.signature
    parts = []
    for out in recording.outputs:
        shape = out.shape or ()
        count = out.stop - out.start
        if out.shape is None and not count:
            shape, count = np.shape(out.value), int(np.prod(np.shape(out.value)))
            rows = np.zeros((count, matrix.shape[1]), matrix.dtype)
        else:
            rows = matrix[out.start : out.stop]
        leaves, at = [None] * len(signature.leaves), 0
        for k, leaf in enumerate(signature.leaves):
            if leaf.argument in signature.argnums:
                size = leaf.stop - leaf.start
                block = rows[:, at : at + size].reshape(shape + leaf.shape).astype(matrix.dtype)
                leaves[k] = float(block) if block.shape == () and leaf.dtype is float else block
                at += size
        parts.append(binding.like_differentiated(signature, leaves))
    return trees.unflatten(recording.structure, parts)


def gradient_recording(recording: Recording) -> Recording:
    """The recording that returns (value, gradient) where a recording returns one value."""
    signature = recording.signature
    outputs, places = list(recording.outputs), [None] * len(signature.leaves)
    for k, leaf in enumerate(signature.leaves):
        if leaf.argument in signature.argnums:
            shape = None if leaf.kind == binding.SCALAR else leaf.shape
            at = outputs[-1].stop
            places[k] = len(outputs)
            outputs.append(Output(at, at + leaf.stop - leaf.start, shape, False, None))
    order, structure = trees.flatten((0, binding.like_differentiated(signature, places)))
    return recording._replace(
        program=gradient_program(recording.program), outputs=tuple(outputs[k] for k in order), structure=structure
    )


class Linearization:
    """The values of one point, kept: as many pullbacks and pushforwards as one likes, of any thread."""

    def __init__(self, recording, values):
        self.evaluator = Evaluator(recording, whole=True)
        self.lock = threading.Lock()
        self.value = self.evaluator.run(values, self.evaluator.outputs, keep=True)
        (self.workspace,) = self.evaluator.idle

    def pullback(self, cotangent):
        """The cotangents of the arguments, for one of the output."""
        seed = output_seed(self.evaluator.recording, cotangent)
        with self.lock:
            adjoints = self.workspace.reverse(seed)
            gradient = binding.gradient(self.evaluator.signature, adjoints, {})
            self.workspace.clear()
        return gradient

    def pushforward(self, *tangents):
        """The tangent of the output, for those of the arguments."""
        signature = self.evaluator.signature
        seed = np.zeros(signature.size, signature.dtype)
        binding.fill(signature, binding.match_tangents(signature, tangents), seed)
        with self.lock:
            numbers = self.workspace.tangent(seed)
        return outputs_of(self.evaluator.recording, numbers, tangent=True)


def output_seed(recording, cotangent):
    """The adjoints of the output slots from a tree like the output."""
    leaves, structure = trees.flatten(cotangent)
    if structure != recording.structure:
        raise ArgumentError(f"the cotangent has another structure than the output of {recording.signature.name}")
    program = recording.program
    seed = np.zeros(program.outputs.size, program.dtype)
    for out, x in zip(recording.outputs, leaves, strict=True):
        shape = np.shape(out.value) if out.start == out.stop and out.shape is None else out.shape or ()
        if np.shape(x) != shape:
            raise ArgumentError(f"a cotangent has shape {np.shape(x)}, but its output has {shape}")
        if out.stop > out.start:
            if not (binding.is_float(x) or type(x) is int):
                raise ArgumentError(f"a cotangent is {binding.describe(x)}, but outputs are floats")
            seed[out.start : out.stop] = np.ravel(x)
    return seed
