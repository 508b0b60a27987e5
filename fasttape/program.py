"""Program: one recorded computation as frozen flat arrays (a Wengert list), and nothing that runs it.

Slots: 0 is the passive zero, then the inputs, the constants, and the results in order of the instructions. The
encoding of instructions is described in `layout`.
"""

from typing import Any, NamedTuple

import numpy as np


class Site(NamedTuple):
    """A place in the user's source."""

    file: str
    line: int


class Program(NamedTuple):
    """Opcodes and operands of every instruction, the side records, the constants and what comes in and out."""

    dtype: np.dtype
    ops: np.ndarray  # (instructions,) uint8
    a: np.ndarray  # (instructions,) uint32
    b: np.ndarray  # (instructions,) uint32
    aux: np.ndarray  # int64
    constants: np.ndarray  # dtype
    inputs: int  # number of input slots
    slots: int  # number of slots in all
    outputs: np.ndarray  # slots of the outputs, uint32
    guards: np.ndarray  # (guards, 2) int64: an instruction, and the number of the site of its condition
    sites: tuple[Site, ...]
    differentiated: tuple[tuple[int, int], ...]  # (start, stop) of the input slots that are differentiated
    rules: tuple[Any, ...] = ()  # what CALL instructions run, each an `execute.calls.Rule`

    @property
    def columns(self):
        """What the sweeps read of a program."""
        return self.ops, self.a, self.b, self.aux

    @property
    def first_result(self) -> int:
        return 1 + self.inputs + self.constants.size

    def site(self, instruction: int) -> Site:
        """Where the condition of a guard stands in the user's source."""
        return self.sites[self.guards[np.searchsorted(self.guards[:, 0], instruction), 1]]

    @property
    def nbytes(self) -> int:
        """Bytes of the program: what one instruction costs besides its value and its adjoint."""
        return sum(x.nbytes for x in (*self.columns, self.constants, self.outputs, self.guards))
