"""The one place where instructions are appended: staged in lists, kept in preallocated columns that double when full.

While recording, constants take slots in order of appearance through CONST instructions, so that a value is known for
every slot when one is asked for. `freeze` makes the program from what is here.
"""

import math
import os
import struct
import sys
from array import array

import numpy as np

from fasttape.errors import LeakError
from fasttape.execute.entries import HELD, link, table
from fasttape.execute.interpreter import Machine
from fasttape.layout import CONST, FORWARD, GUARD

INITIAL = 256
STAGE = 1024  # instructions that wait in lists, which Python fills faster than arrays
MOST_SLOTS = 2**31
CONST_OF_ONE = 0  # the record in aux that all single constants share
INSIDE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Builder:
    """A program in the making: opcode and operand columns, side records, constants, and the values so far."""

    __slots__ = ("a", "arrays", "aux", "b", "base", "columns", "copied", "done", "dtype", "entries", "fill", "guards")
    __slots__ += ("machine", "memory", "n", "ops", "placed", "pool", "references", "runs", "shift", "sites", "size")
    __slots__ += ("unlinked", "used", "values", "view")

    def __init__(self, dtype, size: int, fill):
        """`fill(out)` writes the `size` inputs, when values are asked for."""
        self.dtype = np.dtype(dtype)
        self.columns = [np.empty(INITIAL, kind) for kind in (np.uint8, np.uint32, np.uint32)]
        self.ops, self.a, self.b = ([0] * STAGE for _ in self.columns)
        self.n = 0  # instructions in the stage
        self.copied = 0  # of them, those that are in the columns already
        self.base = 0  # instructions before the stage
        self.shift = 1 + size  # slot of the next result minus n
        self.aux = np.empty(INITIAL, np.int64)
        self.aux[:2] = 2, 1  # the record of CONST_OF_ONE
        self.used = 2  # of aux
        self.open()
        self.references = []  # (start, stop): places in aux that hold slots
        self.pool = {}  # scalar constants other than 0.0, which is slot 0
        self.arrays = {}  # id of an array constant: (the array, its first slot)
        self.guards = []  # (instruction, number of its site)
        self.sites = {}  # by identity of some code and a place in it: (number, code, place)
        self.runs = []  # (first slot, constant): a number or a flat array
        self.size = size
        self.fill = fill
        self.values = None
        self.placed = 0  # constants that are in `values`
        self.machine = Machine(self.dtype)
        self.entries = table(self.dtype)
        self.unlinked = False  # whether instructions need entries that may not be compiled yet
        self.done = (0, self.shift)  # instruction and slot up to which `values` is evaluated

    # ---- appending

    def emit(self, opcode: int, a: int, b: int = 0, size: int = 1) -> int:
        """Append one instruction and return the first of the `size` slots that it fills."""
        n = self.n
        try:
            self.ops[n], self.a[n], self.b[n] = opcode, a, b
        except IndexError:
            self.flush()
            return self.emit(opcode, a, b, size)
        slot = n + self.shift
        self.n = n + 1
        self.shift += size - 1
        if not HELD[opcode]:
            self.unlinked = True
        return slot

    def flush(self):
        """Copy what is staged into the columns; a full stage begins anew."""
        if self.ops is CLOSED:
            raise LeakError(ENDED)
        start, stop = self.base + self.copied, self.base + self.n
        if stop + self.shift > MOST_SLOTS:
            raise MemoryError("a tape holds at most 2**31 slots")
        if stop > self.columns[0].size:
            self.memory = None  # resize wants no view of what it moves
            for column in self.columns:
                column.resize(max(stop, 2 * column.size), refcheck=False)
            self.open()
        ops, a, b = self.memory
        ops[start:stop] = bytes(self.ops[self.copied : self.n])
        a[start:stop] = array("I", self.a[self.copied : self.n])
        b[start:stop] = array("I", self.b[self.copied : self.n])
        self.copied = self.n
        if self.n == STAGE:
            self.base += STAGE
            self.shift += STAGE
            self.n = self.copied = 0

    def open(self):
        """Point the views at the columns as they are now."""
        self.memory = tuple(map(memoryview, self.columns))
        self.view = (*self.columns, self.aux)

    def side(self, record, references=()) -> int:
        """Append a record to `aux` and return its place; `references` are the (start, stop) in it that hold slots."""
        place = self.used
        self.used += len(record)
        if self.used > self.aux.size:
            self.aux.resize(max(self.used, 2 * self.aux.size), refcheck=False)
            self.open()
        self.aux[place : self.used] = record
        self.references.extend((place + start, place + stop) for start, stop in references)
        return place

    # ---- constants

    def constant(self, x: float) -> int:
        """The slot of a scalar constant; signs of zero and payloads of nan are kept apart."""
        if x == 0 and math.copysign(1.0, x) > 0:
            return 0
        key = x if x == x and x != 0 else struct.pack("d", x)
        slot = self.pool.get(key)
        if slot is None:
            slot = self.pool[key] = self.emit(CONST, CONST_OF_ONE)
            self.runs.append((slot, x))
        return slot

    def constants(self, x: np.ndarray) -> int:
        """The first slot of an array constant in C order; an array met again is stored once while it is unchanged."""
        known, first, stored = self.arrays.get(id(x), (None, 0, None))
        if known is x and np.array_equal(stored.view(np.uint8), x.astype(self.dtype, "C").reshape(-1).view(np.uint8)):
            return first
        stored = x.astype(self.dtype, "C").reshape(-1)
        first = self.emit(CONST, self.side((2, x.size)), size=x.size)
        self.runs.append((first, stored))
        self.arrays[id(x)] = x, first, stored
        return first

    # ---- values

    def evaluate(self) -> np.ndarray:
        """The values of all slots so far; what was recorded since the last time is run now."""
        first, slot = self.done
        slots = self.n + self.shift
        self.flush()
        last = self.base + self.n
        if first < last or self.values is None:
            if self.values is None or slots > self.values.size:
                self.reserve(slots)
            for at, x in self.runs[self.placed :]:
                self.values[at : at + np.size(x)] = x
            self.placed = len(self.runs)
            if self.unlinked:
                link((*(column[first:last] for column in self.columns), self.aux), FORWARD, self.dtype)
                self.unlinked = False
            self.machine.forward(self.view, self.values, first, last, slot, self.entries)
            self.done = last, slots
        return self.values

    def reserve(self, slots: int):
        """Make room for the values of some slots."""
        if self.values is None:
            self.values = np.zeros(2 * slots, self.dtype)
            self.fill(self.values[1 : 1 + self.size])
        else:
            self.values.resize(2 * slots, refcheck=False)

    def guard(self, slot: int, outcome: bool):
        """Make the tape hold only where the truth value in `slot` is `outcome`."""
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
            frame = frame.f_back
        code, place = frame.f_code, frame.f_lasti
        number, _, _ = self.sites.setdefault((id(code), place), (len(self.sites), code, place))
        self.guards.append((self.base + self.n, number))
        self.emit(GUARD, slot, int(outcome), size=0)

    # ---- the end of a recording

    def close(self):
        """Whatever still holds a traced value gets an error from now on."""
        self.ops = self.a = self.b = CLOSED


ENDED = "a traced value was used after its recording ended; return it from the function instead"


class _Closed:
    def __setitem__(self, key, value):
        raise LeakError(ENDED)


CLOSED = _Closed()
