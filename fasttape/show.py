"""What a reader sees of a tape: the listing of its program, the table of one evaluation, the computational graph."""

import bisect
from typing import NamedTuple

import numpy as np

from fasttape import decode
from fasttape.layout import FIRST_STRUCTURAL, GUARD
from fasttape.ops import OPS

HEADER = ("variable", "operation", "primal", "partials", "adjoint")


class Names:
    """Names of slots: inputs by letters, constants by their value, results by v1, v2, ... in order."""

    def __init__(self, program, signature):
        self.constants = program.constants
        self.first_constant = 1 + program.inputs
        self.starts, self.labels = [0], [("0", ())]
        for leaf, letter in zip(signature.leaves, parameter_names(signature), strict=True):
            if leaf.stop > leaf.start:
                self.add(leaf.start, letter, leaf.shape)
        self.add(self.first_constant, None, ())

    def add(self, slot, label, shape):
        """Name the run of slots that begins at `slot`."""
        self.starts.append(slot)
        self.labels.append((label, shape))

    def __getitem__(self, slot) -> str:
        run = bisect.bisect_right(self.starts, slot) - 1
        label, shape = self.labels[run]
        if label is None:
            return f"{self.constants[slot - self.first_constant]:g}"
        if shape == ():
            return label
        return f"{label}[{', '.join(map(str, np.unravel_index(slot - self.starts[run], shape)))}]"

    def of_run(self, slots) -> str:
        """The name of one slot, or of the first and last of many."""
        if slots.size == 1:
            return self[int(slots[0])]
        return f"{self[int(slots[0])]}..{self[int(slots[-1])]}" if slots.size else "[]"


def parameter_names(signature):
    """x, y, z, ... for the leaves of the arguments."""
    alphabet = "xyzuvwst"
    return [alphabet[k] if len(signature.leaves) <= len(alphabet) else f"x{k}" for k in range(len(signature.leaves))]


def named(program, signature):
    """Every instruction with the names of its result and of its operands; and the names of all slots."""
    known, rows, count = Names(program, signature), [], 0
    for x in decode.instructions(program):
        operands = [known.of_run(slots) for slots in x.operands]
        name = ""
        if x.opcode != GUARD:
            count += 1
            one = x.opcode < FIRST_STRUCTURAL
            name = f"v{count}" if one else f"v{count}[{x.size}]"
            known.add(x.slot, f"v{count}", () if one else (max(x.size, 1),))
        rows.append((x, name, operands))
    return rows, known


def written(x, operands) -> str:
    """An instruction as text."""
    parameter = "" if x.parameter is None else f" {x.parameter}"
    return f"{x.operation} {' '.join(operands)}{parameter}"


def listing(program, signature) -> str:
    """The program, one instruction a line."""
    lines = [
        f"tape of {signature.name}: {program.inputs} inputs, {program.constants.size} constants, "
        f"{program.ops.size} instructions, {program.dtype}, {program.nbytes} bytes"
    ]
    rows, known = named(program, signature)
    for x, name, operands in rows:
        line = f"{name:8} = {written(x, operands)}" if name else f"{'':8}   {written(x, operands)}"
        if x.opcode == GUARD:
            line += "  # {}:{}".format(*program.site(x.index))
        lines.append(line)
    outputs = program.outputs
    shown = ", ".join(known[s] for s in outputs[:6].tolist()) + (", ..." if outputs.size > 6 else "")
    return "\n".join([*lines, f"return {shown}"])


class Row(NamedTuple):
    """One variable of the trace."""

    variable: str
    operation: str
    primal: np.ndarray
    partials: tuple[tuple[str, float], ...]  # (operand, partial of this variable by it)
    adjoint: np.ndarray


class Trace(NamedTuple):
    """A program at one point: what an exercise sheet on backpropagation asks for.

    `rows` has the inputs and then the variables in order of evaluation; `paths` is the number of input-output paths
    that a chain rule without memory would multiply out, `instructions` what the sweep visited. `str()` is the table,
    `dot()` the computational graph in Graphviz' language.
    """

    rows: tuple[Row, ...]
    instructions: int
    paths: int

    def __str__(self) -> str:
        cells = [HEADER]
        for row in self.rows:
            partials = ", ".join(f"{name}: {value:.6g}" for name, value in row.partials) or "-"
            cells.append((row.variable, row.operation, short(row.primal), partials, short(row.adjoint)))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        paths = f"{self.paths:,}" if self.paths >= 0 else "more than 1e308"
        return "\n".join([*lines, "", f"{paths} input-output paths, {self.instructions:,} instructions in the sweep"])

    def dot(self) -> str:
        """The computational graph: nodes carry primal and adjoint, edges the local partials."""
        lines = ["digraph tape {", "  rankdir=LR;", "  node [shape=box, fontname=monospace];"]
        drawn = set()
        for row in self.rows:
            label = f"{row.variable} = {row.operation}\\n{short(row.primal)}\\nadjoint {short(row.adjoint)}"
            lines.append(f'  "{row.variable}" [label="{label}"];')
            drawn.add(row.variable)
            for name, value in row.partials:
                if name in drawn:
                    lines.append(f'  "{name}" -> "{row.variable}" [label="{value:.6g}"];')
        return "\n".join([*lines, "}"])


def short(x) -> str:
    """A number, or the ends of an array."""
    x = np.atleast_1d(x)
    if x.size == 1:
        return f"{x[0]:.8g}"
    return np.array2string(x, precision=4, threshold=4, edgeitems=2, separator=", ").replace("\n", "")


def trace(recording, values, adjoints) -> Trace:
    """The trace of one evaluation from the numbers of all slots."""
    program, signature = recording.program, recording.signature
    rows = []
    for leaf, letter in zip(signature.leaves, parameter_names(signature), strict=True):
        if leaf.stop > leaf.start:
            part = slice(leaf.start, leaf.stop)
            rows.append(Row(letter, "input", values[part], (), adjoints[part]))
    for x, name, operands in named(program, signature)[0]:
        if x.opcode != GUARD:
            part = slice(x.slot, x.slot + x.size)
            partials = local_partials(x, operands, values) if x.opcode < FIRST_STRUCTURAL else ()
            rows.append(Row(name, written(x, operands), values[part], partials, adjoints[part]))
    return Trace(tuple(rows), program.ops.size, decode.count_paths(program))


def local_partials(x, operands, values):
    """The partials of a scalar instruction by each of its operands."""
    at = [values[slots[0]] for slots in x.operands]
    parameter = () if x.parameter is None else (x.parameter,)
    with np.errstate(all="ignore"):
        partials = OPS[x.row].partials(*at, *parameter, values[x.slot])
    return tuple((name, float(d)) for name, d in zip(operands, partials, strict=False))
