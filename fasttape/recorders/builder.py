"""The one place where instructions are appended: preallocated columns that double when full.

While recording, constants take slots in order of appearance through CONST instructions, so that a value is known for
every slot when one is asked for. `freeze` makes the program from what is here.
"""

import bisect
import math
import operator
import os
import struct
import sys
import threading

import numpy as np

from fasttape.compiler.objects import extend
from fasttape.compiler.operators import MEMORY
from fasttape.errors import LeakError
from fasttape.execute.calls import Calls, Site
from fasttape.execute.entries import HELD, link, needs, table
from fasttape.execute.interpreter import Machine
from fasttape.layout import CALL, CODE, CONST, FORWARD, GUARD
from fasttape.recorders.scalar import scalar_class

INITIAL = 4096  # instructions
AUX = 256  # numbers in side records, at first
KEPT = 16  # constants, at first
MOST_SLOTS = 2**31
START = operator.itemgetter(0)
CONST_OF_ONE = 0  # the record in aux that all single constants share
INSIDE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Columns:
    """Opcodes and operands of a recording, with room to grow."""

    __slots__ = ("addresses", "arrays", "views")

    def __init__(self):
        self.arrays = [np.empty(INITIAL, kind) for kind in (np.uint8, np.uint32, np.uint32)]
        self.look()

    def double(self):
        self.views = None  # resize wants no view of what it moves
        for array in self.arrays:
            array.resize(2 * array.size, refcheck=False)
        self.look()

    def look(self):
        """Find out where the arrays are now."""
        self.addresses = [array.__array_interface__["data"][0] for array in self.arrays]
        self.views = tuple(map(memoryview, self.arrays))


class Spare(threading.local):
    """The columns of a finished recording, kept by each thread for its next one."""

    LARGEST = 1 << 20  # instructions

    def __init__(self):
        self.columns = None

    def take(self) -> Columns:
        columns, self.columns = self.columns, None
        return columns or Columns()

    def give(self, columns):
        if columns.arrays[0].size <= self.LARGEST:
            self.columns = columns


SPARE = Spare()


class Memory:
    """The part of a recording that compiled operators know; the pool has the slot of each constant by its number."""

    __slots__ = ("pool",)


class Builder(extend(Memory, MEMORY)):
    """A program in the making: opcode and operand columns, side records, constants, and the values so far."""

    __slots__ = ("arrays", "aux", "columns", "done", "dtype", "entries", "fill", "guards", "held", "kept")
    __slots__ += ("known_sites", "machine", "placed", "references", "runs", "scalar", "sites", "size")
    __slots__ += ("calls", "codes", "inner", "once", "outer", "used", "values")

    def __init__(self, dtype, size: int, fill, outer=None):
        """`fill(out)` writes the `size` inputs, when values are asked for.

        A stretch that is recorded apart has every slot of its `outer` recording as an input, under the same number.
        """
        self.dtype = np.dtype(dtype)
        self.scalar = scalar_class()
        self.columns = SPARE.take()
        self.n = 0  # instructions
        self.next = 1 + size  # slot of the next result
        self.unlinked = 0  # whether instructions need entries that may not be compiled yet
        self.open()
        self.aux = np.empty(AUX, np.int64)
        self.aux[:2] = 2, 1  # the record of CONST_OF_ONE
        self.used = 2  # of aux
        self.references = []  # (start, stop): places in aux that hold slots
        self.pool = {0: 0}  # 0.0 is slot 0
        self.arrays = {}  # id of an array constant: (the array, its first slot, its place in `kept`)
        self.guards = []  # (instruction, number of its site)
        self.known_sites = ()  # of guards that were there before
        self.sites = {}  # of guards, by code and place: (number, code or file and line, place or None)
        self.kept = np.empty(KEPT, self.dtype)  # the constants, in order of appearance
        self.held = 0  # numbers in `kept`
        self.runs = []  # (start, stop, place in `kept`): their slots
        self.size = size
        self.fill = fill
        self.values = None
        self.placed = 0  # runs that are in `values`
        self.machine = Machine(self.dtype)
        self.entries = table(self.dtype)
        self.calls = Calls([], [])
        self.outer, self.inner = outer, None
        self.once = False  # whether the program will run at this point only
        self.codes = {}  # by identity of a rule: its place in `calls.rules`
        self.done = (0, self.next)  # instruction and slot up to which `values` is evaluated

    # ---- appending

    def emit(self, opcode: int, a: int, b: int = 0, size: int = 1) -> int:
        """Append one instruction and return the first of the `size` slots that it fills."""
        n, slot = self.n, self.next
        if n >= self.capacity or slot + size > MOST_SLOTS:
            self.grow(slot + size)
        ops, operands_a, operands_b = self.columns.views
        ops[n], operands_a[n], operands_b[n] = opcode, a, b
        self.n = n + 1
        self.next = slot + size
        if not HELD[opcode]:
            self.unlinked = 1
        return slot

    def call(self, rule, fields, references) -> int:
        """Append a CALL with a record of these fields, of which the number of the rule is filled in here."""
        rules, n = self.calls.rules, self.n
        fields[CODE] = self.codes.setdefault(id(rule), len(rules))
        rules += [rule] * (fields[CODE] == len(rules))
        slot = self.emit(CALL, self.side(fields, references), size=rule.outputs)
        self.calls.sites.append(Site(n, slot, len(self.calls.sites), False))
        return slot

    def extend(self, ops, a, b, slots: int):
        """Append instructions of another program, up to the slot behind their results."""
        stop = self.n + ops.size
        while stop > self.capacity:
            self.grow(slots)
        for column, part in zip(self.columns.arrays, (ops, a, b), strict=True):
            column[self.n : stop] = part
        self.n, self.next, self.unlinked = stop, slots, 1

    def grow(self, slots: int):
        """Make room for more instructions; the end of a recording and of the numbers for slots are noticed here."""
        if self.columns is None:
            raise LeakError(ENDED)
        if self.inner is not None:
            raise LeakError("a recording went on while a part of it was being recorded apart")
        if slots > MOST_SLOTS:
            raise MemoryError("a tape holds at most 2**31 slots")
        self.columns.double()
        self.open()

    def open(self):
        """Let compiled operators see the columns where they are now."""
        self.capacity = self.columns.arrays[0].size
        self.ops, self.a, self.b = self.columns.addresses

    def side(self, record, references=()) -> int:
        """Append a record to `aux` and return its place; `references` are the (start, stop) in it that hold slots."""
        place = self.used
        self.used += len(record)
        if self.used > self.aux.size:
            self.aux.resize(max(self.used, 2 * self.aux.size), refcheck=False)
        self.aux[place : self.used] = record
        self.references.extend((place + start, place + stop) for start, stop in references)
        return place

    # ---- constants

    def constant(self, x: float) -> int:
        """The slot of a scalar constant; signs of zero and payloads of nan are kept apart."""
        plain = x == x and (x != 0 or math.copysign(1.0, x) > 0)
        key = x if plain else struct.pack("d", x)
        slot = self.pool.get(key)
        if slot is None:
            slot = self.pool[key] = self.emit(CONST, CONST_OF_ONE)
            self.keep(slot, x, 1)
        return slot

    def constants(self, x: np.ndarray) -> int:
        """The first slot of an array constant in C order; an array met again is stored once while it is unchanged."""
        known, first, at = self.arrays.get(id(x), (None, 0, 0))
        if known is x and same_bits(x, self.kept[at : at + x.size].reshape(x.shape)):
            return first
        at = self.held
        first = self.emit(CONST, self.side((2, x.size)), size=x.size)
        self.keep(first, x.reshape(-1), x.size)
        self.arrays[id(x)] = x, first, at
        return first

    def keep(self, slot, x, size):
        """Store a constant, a number or a flat array, for the slots from `slot` on."""
        stop = self.held + size
        if stop > self.kept.size:
            grown = np.empty(stop + stop // 4, self.dtype)
            grown[: self.held] = self.kept[: self.held]
            self.kept = grown
        self.kept[self.held : stop] = x
        self.runs.append((slot, slot + size, self.held))
        self.held = stop

    def number(self, slot: int) -> float | None:
        """The number in a slot of a constant, None where there is none."""
        if slot == 0:
            return 0.0
        k = bisect.bisect_right(self.runs, slot, key=START) - 1
        start, stop, at = self.runs[k] if k >= 0 else (0, 0, 0)
        return float(self.kept[at + slot - start]) if start <= slot < stop else None

    # ---- values

    def evaluate(self) -> np.ndarray:
        """The values of all slots so far; what was recorded since the last time is run now."""
        if self.columns is None:
            raise LeakError(ENDED)
        first, slot = self.done
        last, slots = self.n, self.next
        if first < last or self.values is None:
            if self.values is None or slots > self.values.size:
                self.reserve(slots)
            for start, stop, at in self.runs[self.placed :]:
                self.values[start:stop] = self.kept[at : at + stop - start]
            self.placed = len(self.runs)
            if self.unlinked:
                link(needs((*(column[first:last] for column in self.columns.arrays), self.aux)), FORWARD, self.dtype)
                self.unlinked = 0
            columns = (*self.columns.arrays, self.aux)
            self.machine.forward(columns, self.values, first, last, slot, self.entries, self.calls)
            self.done = last, slots
        return self.values

    def reserve(self, slots: int):
        """Make room for the values of some slots."""
        if self.values is None and self.outer is not None:
            self.values = self.outer.evaluate()  # the same array, so that slots of both are in it
        elif self.values is None:
            self.values = np.zeros(2 * slots, self.dtype)
            self.fill(self.values[1 : 1 + self.size])
        if slots > self.values.size:
            self.values.resize(2 * slots, refcheck=False)

    def settle(self, slot: int, numbers):
        """Take the values of the last instruction, whose results begin at `slot`, from who has computed them."""
        if self.next > self.values.size:
            self.reserve(self.next)
        self.values[slot : self.next] = numbers
        self.done = self.n, self.next

    def guard(self, slot: int, outcome: bool):
        """Make the tape hold only where the truth value in `slot` is `outcome`."""
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
            frame = frame.f_back
        self.guards.append((self.n, self.site(frame.f_code, frame.f_lasti)))
        self.emit(GUARD, slot, int(outcome), size=0)

    def site(self, where, place=None) -> int:
        """The number of a place in some code, or of a file and a line."""
        key = where if place is None else (id(where), place)
        number, _, _ = self.sites.setdefault(key, (len(self.known_sites) + len(self.sites), where, place))
        return number

    # ---- the end of a recording

    def suspend(self) -> "Builder":
        """Begin to record a stretch apart; every operation is recorded there until `resume`."""
        self.inner = Builder(self.dtype, self.next - 1, None, self)
        self.capacity = 0
        return self.inner

    def resume(self):
        """Go on behind a stretch that was recorded apart."""
        self.inner.close()
        self.inner = None
        self.open()

    def close(self):
        """Whatever still holds a traced value gets an error from now on."""
        if self.columns is not None:
            SPARE.give(self.columns)
            self.capacity, self.columns = 0, None


def same_bits(x, y) -> bool:
    """Whether two arrays hold the same numbers, nan and the sign of zero included, once they have one dtype."""
    x = np.ascontiguousarray(x, y.dtype)
    return np.array_equal(x.view(np.uint8), y.view(np.uint8))


ENDED = "a traced value was used after its recording ended; return it from the function instead"
