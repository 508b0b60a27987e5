"""Machine: the interpreter with its scratch memory; Workspace: the numbers of one evaluation of a program."""

import threading

import numpy as np

from fasttape.compiler.jit import quiet
from fasttape.execute import sweep
from fasttape.execute.blocks import BLOCK, BUFFERS
from fasttape.execute.entries import link
from fasttape.layout import FIRST_STRUCTURAL, FORWARD, REVERSE, TANGENT
from fasttape.program import Program


LINE = 64  # bytes of a cache line, and of the widest registers


class Machine:
    """Runs the sweeps over instructions `first` .. `last` of some columns, with scratch memory of its own."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.scratch = np.empty(BUFFERS * BLOCK, dtype)

    @quiet
    def forward(self, columns, values, first, last, slot, entries) -> int:
        return sweep.forward.now(*columns, values, first, last, slot, self.scratch, entries)

    @quiet
    def reverse(self, columns, values, adjoints, first, last, slot, keep, entries):
        sweep.reverse.now(*columns, values, adjoints, first, last, slot, keep, self.scratch, entries)

    @quiet
    def tangent(self, columns, values, tangents, first, last, slot, entries):
        sweep.tangent.now(*columns, values, tangents, first, last, slot, self.scratch, entries)


def aligned_zeros(slots, dtype) -> np.ndarray:
    """Zeros whose second element begins a cache line, because inputs are copied there from arrays that do.

    A copy to 8 bytes past the source's place in a page takes ten times as long: each load seems to need the last store.
    """
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(slots + LINE // itemsize, dtype)
    skipped = -(memory.ctypes.data + itemsize) % LINE // itemsize
    return memory[skipped : skipped + slots]


class Pool(threading.local):
    """Memory of finished evaluations, kept by each thread: a tape that runs once does not pay for new pages."""

    KEPT = 2
    LARGEST = 1 << 23  # numbers in one piece

    def __init__(self):
        self.free = []

    def take(self, slots, dtype) -> np.ndarray:
        """At least `slots` numbers: zeros if new, else as they were given."""
        for k, memory in enumerate(self.free):
            if memory.dtype == dtype and memory.size >= slots:
                return self.free.pop(k)
        return aligned_zeros(slots, dtype)

    def give(self, memory):
        """Keep some memory for the next one that asks."""
        if memory.size <= self.LARGEST:
            self.free = [memory, *self.free][: self.KEPT]


ANY, ZEROS = Pool(), Pool()


class Workspace:
    """Values, adjoints and tangents of one evaluation; adjoints are all zero between evaluations."""

    adjoints = tangents = None
    clean = True

    def __init__(self, program: Program):
        self.program = program
        self.machine = Machine(program.dtype)
        self.values = ANY.take(program.slots, program.dtype)
        self.values[0] = 0.0
        self.values[1 + program.inputs : program.first_result] = program.constants
        self.entries = {}
        # Scalar instructions add to any operand, array instructions to active ones only.
        any_slot = (program.ops < FIRST_STRUCTURAL).any() or (program.outputs < program.first_result).any()
        self.touched = ((0, program.first_result),) if any_slot else program.differentiated

    def __del__(self):
        ANY.give(self.values)
        if self.adjoints is not None and self.clean:
            ZEROS.give(self.adjoints)

    @property
    def inputs(self) -> np.ndarray:
        """The part of `values` that the caller fills before `forward`."""
        return self.values[1 : 1 + self.program.inputs]

    def linked(self, kind) -> np.ndarray:
        """The table of entries, complete for one kind of sweep over the program."""
        if kind not in self.entries:
            self.entries[kind] = link(self.program.columns, kind, self.program.dtype)
        return self.entries[kind]

    def forward(self) -> int:
        """Compute all values; return the number of instructions, or of the guard that does not hold."""
        p = self.program
        return self.machine.forward(p.columns, self.values, 0, p.ops.size, p.first_result, self.linked(FORWARD))

    def reverse(self, seed, keep=False) -> np.ndarray:
        """Adjoints for the adjoint `seed` of every output; those of the inputs are right until `clear`.

        With `keep` those of all slots are.
        """
        p = self.program
        if self.adjoints is None:
            self.adjoints = ZEROS.take(p.slots, p.dtype)
        self.clean = False
        for slot in p.outputs.tolist():
            self.adjoints[slot] += seed
        self.machine.reverse(p.columns, self.values, self.adjoints, 0, p.ops.size, p.slots, keep, self.linked(REVERSE))
        return self.adjoints

    def clear(self):
        """Set the adjoints that `reverse` left in front of the results to zero."""
        for start, stop in self.touched:
            self.adjoints[start:stop] = 0.0
        self.clean = True

    def tangent(self, seed) -> np.ndarray:
        """The tangents of the outputs for tangents `seed` of the inputs."""
        p = self.program
        if self.tangents is None:
            self.tangents = np.zeros(p.slots, p.dtype)
        self.tangents[1 : 1 + p.inputs] = seed
        entries = self.linked(TANGENT)
        self.machine.tangent(p.columns, self.values, self.tangents, 0, p.ops.size, p.first_result, entries)
        return self.tangents[p.outputs]
