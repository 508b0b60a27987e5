"""`python -m benchmarks.vector_accuracy [--points N] [--seed N]`: writes docs/accuracy.md.

The largest errors of the functions of libmvec that rows of the table name, and of the same rows in the interpreter, in
units of the last place of the exact result. This is not in the package since exact numbers are from the tests' oracles.
A function is measured as machine code calls it: by the program of one row, for all registers that this processor has.
"""

import argparse
import datetime
import importlib
import math
import pathlib
import platform
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import fasttape as ft
from benchmarks import report
from benchmarks.batches import lines_of
from fasttape.compiler import vector
from fasttape.compiler.loading import Target, host
from fasttape.execute.native import Native
from fasttape.execute.points import PointByPoint, Points
from fasttape.ops import EXPONENT, OPS, POSITIVE, REAL, Op
from fasttape.program import Program
from tests import oracles

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "accuracy.md"
ROWS = [op for op in OPS if op.vector]
DTYPES = (np.float64, np.float32)
REGISTERS = {
    "e": ("AVX-512", "x86-64-v4"),
    "d": ("AVX2", "x86-64-v3"),
    "b": ("SSE4.1", "x86-64-v2"),
}  # by letter in the ABI
# The table's way to say that a domain has no end there
OPEN = {REAL.low: -math.inf, REAL.high: math.inf, POSITIVE.low: 0.0, EXPONENT.low: -math.inf, EXPONENT.high: math.inf}
KINDS = ("range", "edges", "subnormal")


class Drawn(NamedTuple):
    """Operands, one point in each row, where the exact result is a number of the dtype."""

    x: np.ndarray
    exact: list[Any]
    kinds: np.ndarray  # of the point: an index into KINDS


def targets() -> list[Target]:
    """Processors with the registers that this one has, the widest first; none where there is no libmvec."""
    own, letters = host(), [letter for _, letter, _ in vector.REGISTERS]
    if vector.library() is None or not own.registers:
        return []
    lower = letters[letters.index(own.registers) + 1 :]
    return [own, *(Target(REGISTERS[letter][1], "", letter) for letter in lower)]


def program(op: Op, dtype: type) -> Program:
    """The program that applies one row."""
    module, _, name = op.names[0].rpartition(".")
    middle = [dtype(0.5 * (max(low, -1.0) + min(high, 1.0))) if low < 1.0 else dtype(1.5) for low, high in op.domain]
    made: Program = ft.record(getattr(importlib.import_module(module), name), *middle).program
    assert [OPS[code].name for code in made.ops] == [op.name]
    return made


def results(executor: Any, x: np.ndarray) -> np.ndarray:
    """What a program of one output gives at the rows of x."""
    out, failed = np.empty((len(x), 1), x.dtype), np.empty(len(x), np.int64)
    executor.run(Points(len(x), *lines_of(x, 0), *lines_of(out, 0), failed), 0, len(x))
    return out[:, 0]


def exact(op: Op, operands: np.ndarray) -> Any:
    """The exact result; None where there is none."""
    try:
        number = oracles.value(op.name, operands)
    except (ValueError, ZeroDivisionError):
        return None
    return number if oracles.m.im(number) == 0 and oracles.m.isfinite(number) else None


def error(number: Any, found: Any, dtype: type) -> float:
    """The distance of a result from the exact number, in units of the last place of the latter."""
    if not np.isfinite(found):
        return math.inf
    limits = np.finfo(dtype)
    exponent = oracles.m.mag(number) - 1 if number else limits.minexp
    unit = oracles.m.ldexp(1, max(exponent, limits.minexp) - limits.nmant)
    return float(abs(oracles.m.mpf(float(found)) - number) / unit)


# ---- points


def ends(op: Op) -> list[tuple[float, float]]:
    return [(OPEN.get(low, low), OPEN.get(high, high)) for low, high in op.domain]


def crossing(op: Op, sign: float, level: float) -> float | None:
    """Where, from 1 to 10⁴ or from −1 to −10⁴, the magnitude of a function of one operand passes a level."""

    def above(x: float) -> bool | None:
        number = exact(op, np.array([sign * x]))
        return None if number is None else bool(abs(number) > level)

    low, high = 1.0, 1e4
    if None in (above(low), above(high)) or above(low) == above(high):
        return None
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if above(middle) == above(low) else (low, middle)
    return sign * low


def passed(op: Op, level: float) -> list[float]:
    found = [crossing(op, sign, level) for sign in (1.0, -1.0)] if op.arity == 1 else []
    return [x for x in found if x is not None]


def anywhere(op: Op, which: int, dtype: type, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers of everyday size, of the domain of an operand, and of every magnitude."""
    (low, high), limits = op.domain[which], np.finfo(dtype)
    sign = rng.choice((1.0, -1.0), count) if ends(op)[which][0] < 0.0 else 1.0
    ways = [
        rng.uniform(low, high, count),
        rng.uniform(max(low, -20.0), min(high, 20.0), count),
        sign * np.exp2(rng.uniform(-30.0, 10.0, count)),
        sign * np.exp2(rng.uniform(limits.minexp, limits.maxexp, count)),
    ]
    return np.choose(rng.integers(len(ways), size=count), ways)


def at_edges(op: Op, which: int, dtype: type, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers next to the ends of a domain, to special points, and to where the result overflows."""
    limits = np.finfo(dtype)
    places = {1.0, *ends(op)[which], *(point[which] for point, _ in op.special), *passed(op, float(limits.max))}
    if ends(op)[which][0] < 0.0:
        places |= {-x for x in places}
    chosen = rng.choice(sorted(x for x in places if np.isfinite(x)), count)
    away = rng.choice((1.0, -1.0), count) * np.exp2(-rng.uniform(1.0, limits.nmant + 1.0, count))
    return chosen + away * np.where(chosen == 0.0, 1.0, chosen)


def below_normal(op: Op, which: int, dtype: type, rng: np.random.Generator, count: int) -> np.ndarray:
    """Subnormal numbers, and where the result is one."""
    limits = np.finfo(dtype)
    sign = rng.choice((1.0, -1.0), count) if ends(op)[which][0] < 0.0 else 1.0
    ways = [sign * np.exp2(rng.uniform(limits.minexp - limits.nmant, limits.minexp, count))]
    first, last = passed(op, float(limits.tiny)), passed(op, float(limits.smallest_subnormal))
    ways += [rng.uniform(min(pair), max(pair), count) for pair in zip(first, last, strict=True)]
    if op.arity > 1:
        ways.append(anywhere(op, which, dtype, rng, count))
    return np.choose(rng.integers(len(ways), size=count), ways)


def points(op: Op, dtype: type, rng: np.random.Generator, count: int) -> Drawn:
    """`count` points anywhere, a quarter as many at edges and where numbers are subnormal; none beyond the largest."""
    limits, ways = np.finfo(dtype), ((anywhere, count), (at_edges, count // 4), (below_normal, count // 4))
    parts, numbers, kinds = [], [], []
    for kind, (way, size) in enumerate(ways):
        with np.errstate(over="ignore"):
            x = np.stack([way(op, which, dtype, rng, size).astype(dtype) for which in range(op.arity)], axis=1)
        for operands in x[np.isfinite(x).all(axis=1) & inside(op, x)]:
            number = exact(op, operands)
            if number is None or abs(number) > limits.max:
                continue
            low = [0 < abs(v) < limits.tiny for v in (*operands, number)]
            parts.append(operands)
            numbers.append(number)
            kinds.append(KINDS.index("subnormal") if any(low) else min(kind, 1))
    return Drawn(np.array(parts, dtype), numbers, np.array(kinds))


def inside(op: Op, x: np.ndarray) -> np.ndarray:
    low, high = np.array(ends(op)).T
    return ((low <= x) & (x <= high)).all(axis=1)


# ---- the page


def largest(executor: Any, drawn: Drawn) -> list[float]:
    """The largest error at the points of each kind; nan where none was drawn."""
    found, dtype = results(executor, drawn.x), drawn.x.dtype.type
    errors = np.array([error(number, r, dtype) for number, r in zip(drawn.exact, found, strict=True)])
    groups = [errors[drawn.kinds == kind] for kind in range(len(KINDS))]
    return [float(group.max()) if group.size else math.nan for group in groups]


def measured(dtype: type, seed: int, count: int) -> Iterator[list[str]]:
    """The lines of a table."""
    for k, op in enumerate(ROWS):
        made = program(op, dtype)
        drawn = points(op, dtype, np.random.default_rng([seed, k]), count)
        executors = [*(Native(made, target=target) for target in targets()), PointByPoint(made)]
        yield [op.name, op.vector, *(" / ".join(map(written, largest(x, drawn))) for x in executors)]


def written(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}" if value < 100 else f"{value:.1e}"


def page(command: str, seed: int, count: int) -> str:
    """The text of docs/accuracy.md."""
    versions = ", ".join(f"{name} {report.version(name)}" for name in ("numba", "llvmlite", "numpy", "mpmath"))
    made = HEAD.format(
        command=command,
        date=datetime.date.today(),
        processor=report.processor(),
        libc=" ".join(platform.libc_ver()),
        python=platform.python_version(),
        versions=versions,
        seed=seed,
        count=count,
    )
    head = ["row", "libmvec", *(REGISTERS[target.registers][0] for target in targets()), "interpreter"]
    lines = [made]
    for dtype in DTYPES:
        lines += [f"\n## {np.dtype(dtype).name}\n", cells(head), cells(["---"] * len(head))]
        lines += map(cells, measured(dtype, seed, count))
    return "\n".join(lines) + "\n"


def cells(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


HEAD = """\
# How accurate functions are

Machine code (`tape.native()`, large batches, long arrays) and lanes compute functions by glibc's libmvec, for several
numbers at once; the interpreter computes one number at a time, and so does `native(strict=True)`. This is the largest
error found of each, in units of the last place of the exact result; correct rounding is off by up to half a unit.
[glibc](https://sourceware.org/glibc/wiki/libmvec) tests its functions for 4 units, and a test here holds each that
fasttape calls to that.

Each cell has three numbers: anywhere in the domain; next to its ends, to special points and to where the result
overflows; where an operand or the result is subnormal. Points are drawn, so larger errors may lie between them. The
columns of libmvec are its functions for registers of 512, 256 and 128 bits.

Written by `{command}` on {date}: {processor},
{libc}, Python {python}, {versions}; seed {seed}, {count:,}
points drawn anywhere for each row and a quarter as many of each other kind."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vector_accuracy", description=__doc__)
    parser.add_argument(
        "--points", type=int, default=20_000, help="drawn for each row, before those without a result go"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    command = " ".join(["python -m benchmarks.vector_accuracy", *sys.argv[1:]])
    PAGE.write_text(page(command, arguments.seed, arguments.points), encoding="utf-8")


if __name__ == "__main__":
    main()
