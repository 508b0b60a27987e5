"""Identities of the table's rows: what an instruction may be replaced by, as pairs of patterns.

A pattern is a row and its operands: a name stands for any operand, a float for a constant of exactly these bits, an int
for the integer of the instruction, a pattern for the result of another row. What takes its place is an operand, 0.0, or
one row on operands. Of a row whose operands may be exchanged one order is enough.

EXACT identities give the same bits for all numbers: zeros of either sign, infinities and subnormals included.
Only of nan there are several, and which one comes out is left open here as IEEE 754 leaves it open. LOOSE ones may
round differently or lose the sign of a zero, an infinity or a nan.
"""

import struct
from typing import Any

import numpy as np

from fasttape import ops
from fasttape.execute import numbering as n
from fasttape.layout import CONST

Pattern = Any  # (row, operand[, operand]), an operand being a name, a number or a (row, name[, name])

EXACT: tuple[tuple[Pattern, Pattern], ...] = (
    (("positive", "x"), "x"),
    (("mul", "x", 1.0), "x"),
    (("div", "x", 1.0), "x"),
    (("pow", "x", 1.0), "x"),
    (("powi", "x", 1), "x"),
    (("sub", "x", 0.0), "x"),
    (("add", "x", -0.0), "x"),
    (("neg", ("neg", "x")), "x"),
    (("maximum", "x", "x"), "x"),
    (("minimum", "x", "x"), "x"),
    (("fmax", "x", "x"), "x"),
    (("fmin", "x", "x"), "x"),
    (("square", "x"), ("mul", "x", "x")),
    (("powi", "x", 2), ("mul", "x", "x")),
    (("powi", "x", -1), ("reciprocal", "x")),
    (("div", 1.0, "x"), ("reciprocal", "x")),
    (("mul", "x", -1.0), ("neg", "x")),
    (("div", "x", -1.0), ("neg", "x")),
    (("sub", -0.0, "x"), ("neg", "x")),
    (("add", "x", ("neg", "y")), ("sub", "x", "y")),
    (("sub", "x", ("neg", "y")), ("add", "x", "y")),
    (("mul", ("neg", "x"), ("neg", "y")), ("mul", "x", "y")),
    (("div", ("neg", "x"), ("neg", "y")), ("div", "x", "y")),
    (("abs", ("neg", "x")), ("abs", "x")),
    (("abs", ("abs", "x")), ("abs", "x")),
    (("cos", ("neg", "x")), ("cos", "x")),
    (("cosh", ("neg", "x")), ("cosh", "x")),
    (("times", "x", 0.0), 0.0),
    (("times", "x", -0.0), 0.0),
    (("times", "x", 1.0), ("add", "x", 0.0)),
    (("times", "x", -1.0), ("sub", 0.0, "x")),
    (("times", ("neg", "x"), ("neg", "y")), ("times", "x", "y")),
)

LOOSE: tuple[tuple[Pattern, Pattern], ...] = (
    (("add", "x", 0.0), "x"),
    (("mul", "x", 0.0), 0.0),
    (("sub", "x", "x"), 0.0),
    (("times", "x", 1.0), "x"),
    (("times", "x", -1.0), ("neg", "x")),
    (("sub", 0.0, "x"), ("neg", "x")),
    (("neg", ("sub", "x", "y")), ("sub", "y", "x")),
    (("mul", "x", ("reciprocal", "y")), ("div", "x", "y")),
    (("div", "x", ("reciprocal", "y")), ("mul", "x", "y")),
    (("reciprocal", ("reciprocal", "x")), "x"),
    (("pow", "x", 2.0), ("mul", "x", "x")),
    (("pow", "x", 0.5), ("sqrt", "x")),
    (("pow", "x", -1.0), ("reciprocal", "x")),
    (("exp", ("log", "x")), "x"),
    (("log", ("exp", "x")), "x"),
)


def bits(x: float) -> int:
    """The bits of a number, as a signed word."""
    return int(struct.unpack("q", struct.pack("d", x))[0])


def rules(identities) -> n.Rules:
    """Identities as `execute.numbering` reads them."""
    found: list[tuple[int, list[int]]] = []
    for pattern, result in identities:
        found += [(ops.CODE[pattern[0]], rule(operands, result)) for operands in orders(pattern)]
    found.sort(key=lambda pair: pair[0])  # stable: what stands first is tried first
    codes, rows = np.array([code for code, _ in found]), np.array([fields for _, fields in found], np.int64)
    kinds, values = rows[:, [n.KIND_X, n.KIND_Y]], rows[:, [n.VALUE_X, n.VALUE_Y]]
    always, told = np.zeros(256, bool), np.zeros(257, bool)
    always[codes[~np.isin(kinds, [n.CONSTANT, n.RESULT_OF]).any(axis=1)]] = True
    told[[CONST, *values[kinds == n.RESULT_OF]]] = True
    starts = np.searchsorted(codes, np.arange(257)).astype(np.int64)
    return n.Rules(rows, starts, always, told, np.append(values[kinds == n.CONSTANT], 0))


def orders(pattern):
    """The operands of a pattern, in both orders where the row allows that."""
    operands = pattern[1:]
    yield operands
    if len(operands) == 2 and ops.COMMUTATIVE in ops.OPS[ops.CODE[pattern[0]]].traits and operands[0] != operands[1]:
        yield operands[::-1]


def rule(operands, result) -> list[int]:
    fields, places = [0] * n.FIELDS, {0.0: n.ZERO}
    inner = ((n.X_OF_X, n.Y_OF_X), (n.X_OF_Y, n.Y_OF_Y))
    for k, operand in enumerate(operands):
        if isinstance(operand, str):
            fields[n.ALIKE] |= operand in places
            places.setdefault(operand, (n.X, n.Y)[k])
            kind, value = n.ANY, 0
        elif isinstance(operand, tuple):
            places |= dict(zip(operand[1:], inner[k], strict=False))
            kind, value = n.RESULT_OF, ops.CODE[operand[0]]
        elif isinstance(operand, int):
            kind, value = n.PARAMETER, operand & 0xFFFFFFFF
        else:
            kind, value = n.CONSTANT, bits(operand)
        fields[n.KIND_X if k == 0 else n.KIND_Y] = kind
        fields[n.VALUE_X if k == 0 else n.VALUE_Y] = value
    if isinstance(result, tuple):
        sources = [places[name] for name in result[1:]]
        fields[n.TARGET], fields[n.FROM_X], fields[n.FROM_Y] = ops.CODE[result[0]], sources[0], sources[-1]
    else:
        fields[n.TARGET], fields[n.FROM_X] = n.COPY, places[result]
    return fields
