"""Machine: the interpreter with its scratch memory; Workspace: the numbers of one evaluation of a program."""

import threading

import numpy as np

from fasttape.compiler.jit import quiet
from fasttape.execute import sweep
from fasttape.execute.blocks import BLOCK, BUFFERS, LINE
from fasttape.execute.calls import NONE, Calls
from fasttape.execute.plan import Plan
from fasttape.layout import ADJOINT, FIRST, FORWARD, GUARD, REVERSE, TANGENT
from fasttape.program import Program


class Machine:
    """Runs the sweeps over instructions `first` .. `last` of some columns, with scratch memory of its own."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.scratch = np.empty(BUFFERS * BLOCK, dtype)

    def forward(self, columns, values, first, last, slot, entries, calls=NONE, *, keep=False) -> int:
        """Run up to `last`; return it, or the guard that does not hold. With `keep`, calls keep what `reverse` uses."""
        for site in calls.between(first, last):
            stopped = self.forward_part(columns, values, first, site.instruction, slot, entries)
            if stopped < site.instruction:
                return stopped
            first, slot = site.instruction + 1, calls.forward(columns, values, site, keep=keep)
        return self.forward_part(columns, values, first, last, slot, entries)

    def reverse(self, columns, values, adjoints, first, last, slot, keep, entries, calls=NONE):
        for site in reversed(calls.between(first, last)):
            self.reverse_part(columns, values, adjoints, site.instruction + 1, last, slot, keep, entries)
            last, slot = site.instruction, calls.reverse(columns, values, adjoints, site, keep=keep)
        self.reverse_part(columns, values, adjoints, first, last, slot, keep, entries)

    def tangent(self, columns, values, tangents, first, last, slot, entries, calls=NONE):
        for site in calls.between(first, last):
            self.tangent_part(columns, values, tangents, first, site.instruction, slot, entries)
            first, slot = site.instruction + 1, calls.tangent(columns, values, tangents, site)
        self.tangent_part(columns, values, tangents, first, last, slot, entries)

    @quiet
    def forward_part(self, columns, values, first, last, slot, entries) -> int:
        return sweep.forward.now(*columns, values, first, last, slot, self.scratch, entries)

    @quiet
    def reverse_part(self, columns, values, adjoints, first, last, slot, keep, entries):
        sweep.reverse.now(*columns, values, adjoints, first, last, slot, keep, self.scratch, entries)

    @quiet
    def tangent_part(self, columns, values, tangents, first, last, slot, entries):
        sweep.tangent.now(*columns, values, tangents, first, last, slot, self.scratch, entries)


def aligned(size, dtype, element=0) -> np.ndarray:
    """New memory in which one element begins a cache line.

    Of slots that is the first input: a copy to 8 bytes past the source's place in a page takes ten times as long, for
    each load seems to need the last store.
    """
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(size + LINE // itemsize, dtype)
    skipped = -(address(memory) + element * itemsize) % LINE // itemsize
    return memory[skipped : skipped + size]


class Pool(threading.local):
    """Memory of finished evaluations, kept by each thread: a tape that runs once does not pay for new pages."""

    KEPT = 4
    LARGEST = 1 << 23  # numbers in one piece

    def __init__(self):
        self.free = []

    def take(self, slots, dtype) -> np.ndarray:
        """At least `slots` numbers, whatever they are."""
        fitting = [memory for memory in self.free if memory.dtype == dtype and memory.size >= slots]
        if not fitting:
            return aligned(slots, dtype, element=1)
        chosen = min(fitting, key=lambda memory: memory.size)
        # Found by identity: a workspace that the garbage collector takes meanwhile puts its memory in front
        self.free = [memory for memory in self.free if memory is not chosen]
        return chosen

    def give(self, memory):
        """Keep some memory for the next one that asks."""
        if memory.size <= self.LARGEST:
            self.free = [memory, *self.free][: self.KEPT]


POOL = Pool()


class Workspace:
    """Values, adjoints and tangents of one evaluation; between evaluations the adjoints that must be zero are."""

    adjoints = tangents = delivered = None

    def __init__(self, plan: Plan, program: Program):
        self.plan, self.program = plan, program
        self.machine = Machine(self.program.dtype)
        self.calls = Calls(plan.calls, program.rules)
        ops, a, b, aux = plan.columns
        self.columns = (ops, a, b, aux.copy() if plan.elsewhere or plan.constants else aux)
        self.bound: dict = {}  # what loops keep of one evaluation for the next
        self.values = POOL.take(self.program.slots, self.program.dtype)
        self.origin = address(self.values)
        self.values[0] = 0.0
        self.place_constants(self.program.constants, 1 + self.program.inputs)

    def __del__(self):
        POOL.give(self.values)
        if self.adjoints is not None:
            POOL.give(self.adjoints)

    def place_constants(self, constants, first):
        """Copy the constants to the slots from `first` on, or read them where they are."""
        copied = 0
        for segment in self.plan.constants:
            self.shift(segment, FIRST, (address(constants) - self.origin) // constants.itemsize - first)
            at = segment.start - first
            self.values[first + copied : first + at] = constants[copied:at]
            copied = at + segment.size
        self.values[first + copied : first + constants.size] = constants[copied:]

    @property
    def inputs(self) -> np.ndarray:
        """The part of `values` that the caller fills before `forward`."""
        return self.values[1 : 1 + self.program.inputs]

    def place(self, arguments) -> list[int]:
        """Read large arguments where they are; return the numbers of those that `inputs` need not have."""
        placed = []
        for k, segment in self.plan.elsewhere.items():
            x, shift = arguments[k], 0
            if x.dtype == self.program.dtype and x.flags.c_contiguous and x.flags.aligned:
                shift = (address(x) - self.origin) // x.itemsize - segment.start
                placed.append(k)
            self.shift(segment, FIRST, shift)
        return placed

    def shift(self, segment, field, shift):
        """Let the operands that read a segment find it so many numbers farther on than its slots."""
        aux = self.columns[3]
        for place, slot in segment.operands:
            aux[place + field] = slot + shift

    def forward(self, *, keep=False) -> int:
        """Compute all values; return the number of instructions, or of the guard that does not hold.

        With `keep`, calls keep what a reverse sweep over these values can use; without it that may cost them more.
        """
        p = self.program
        ops, entries = self.columns[0], self.plan.linked(FORWARD)
        self.calls.kept.clear()
        stopped = self.machine.forward(
            self.columns, self.values, 0, ops.size, p.first_result, entries, self.calls, keep=keep
        )
        if stopped == ops.size:
            return int(p.ops.size)
        return int(p.guards[np.count_nonzero(ops[:stopped] == GUARD), 0])

    def prepared_adjoints(self) -> np.ndarray:
        """The memory of the adjoints; where it must be, it is zero."""
        if self.adjoints is None:
            self.adjoints = POOL.take(self.program.slots, self.program.dtype)
            self.adjoint_origin = address(self.adjoints)
            for start, stop in self.plan.zeros:
                self.adjoints[start:stop] = 0.0
        return self.adjoints

    def reverse(self, seed, *, keep=False, gradients=()):
        """Adjoints for the adjoint `seed` of each output, or of all; those of the inputs are right until `clear`.

        With `keep` those of all slots are. `gradients` are pairs (segment, array) for adjoints that go elsewhere.
        """
        p = self.program
        self.prepared_adjoints()
        if keep:
            self.adjoints[:] = 0.0
        if isinstance(seed, float):
            for slot in p.outputs.tolist():
                self.adjoints[slot] += seed
        else:
            np.add.at(self.adjoints, p.outputs, seed)
        for segment, array in gradients:
            shift = (address(array) - self.adjoint_origin) // array.itemsize - segment.start
            self.shift(segment, ADJOINT, shift)
        entries, adjoints, last = self.plan.linked(REVERSE), self.adjoints, self.columns[0].size
        self.adjoints = None  # nobody knows what they are if a call raises
        self.machine.reverse(self.columns, self.values, adjoints, 0, last, p.slots, keep, entries, self.calls)
        self.adjoints = adjoints
        for segment, _ in gradients:
            self.shift(segment, ADJOINT, 0)
        return self.adjoints

    def gradient(self, seed):
        """As `reverse`; and, by the number of each large argument, its adjoints in an array of their own."""
        chosen = {k: segment for k, segment in self.plan.elsewhere.items() if segment.gradient}
        made = {k: aligned(segment.size, self.program.dtype) for k, segment in chosen.items()}
        return self.reverse(seed, gradients=[(chosen[k], made[k]) for k in chosen]), made

    def clear(self):
        """Set the adjoints that `reverse` left in front of the results to zero."""
        for start, stop in self.plan.cleared:
            self.adjoints[start:stop] = 0.0

    def tangent(self, seed) -> np.ndarray:
        """The tangents of the outputs for tangents `seed` of the inputs."""
        p = self.program
        if self.tangents is None:
            self.tangents = np.zeros(p.slots, p.dtype)
        self.tangents[1 : 1 + p.inputs] = seed
        entries = self.plan.linked(TANGENT)
        columns, last = self.columns, self.columns[0].size
        self.machine.tangent(columns, self.values, self.tangents, 0, last, p.first_result, entries, self.calls)
        return self.tangents[p.outputs]


def address(x) -> int:
    """Where an array begins."""
    return x.__array_interface__["data"][0]
