"""A long recurrence of one number, recorded and differentiated, with and without checkpoints."""

import functools
import math
from typing import NamedTuple

import fasttape as ft
from benchmarks.harness import Figure, Problem, relative
from benchmarks.processes import python


class Case(NamedTuple):
    """The start, the steps, and how many of them are in a block."""

    x: float
    count: int
    size: int


def case(rng) -> Case:
    """10⁶ steps in blocks near the square root of that, or a variant."""
    if rng is None:
        return Case(2.0, 1_000_000, 1_000)
    size = int(rng.integers(900, 1_400))
    return Case(float(rng.uniform(1.5, 3.0)), size * round(rng.uniform(0.7, 0.9) * 1e6 / size), size)


def steps(x, count):
    """Two operations each; the factor stays so close to 1 that adjoints neither vanish nor overflow."""
    for _ in range(count):
        x = x * 0.9999999 + 1e-7
    return x


block = ft.checkpoint(steps)


def plain(x, count, size):
    return steps(x, count)


def apart(x, count, size):
    for _ in range(count // size):
        x = block(x, size)
    return x


def differentiated(f, x, count, size):
    """Everything that a user pays for once: the recording, the value and the gradient."""
    return ft.record(f, x, count, size).value_and_grad(x, count, size)


def by_formula(x, count):
    """The recurrence goes to 1, by the same factor in every step."""
    factor = math.exp(count * math.log(0.9999999))
    return 1.0 + (x - 1.0) * factor, factor


def timed(f):
    return lambda case: lambda: differentiated(f, *case)


@functools.lru_cache
def peak(count, size) -> float:
    """Bytes at the peak of a process of its own."""
    return float(python("recurrence.py", count, size))


PROBLEMS = (
    Problem(
        "recurrence",
        "a scalar recurrence of 10⁶ steps: recorded, value and gradient",
        case,
        {"plain tape": timed(plain), "checkpointed blocks": timed(apart)},
        (relative("checkpointed blocks", "plain tape", 3.0),),
        oracle=lambda case: by_formula(case.x, case.count),
        count=lambda case: case.count,
        per="step",
        tolerance=1e-6,
    ),
    Problem(
        "recurrence-memory",
        "the same in a process of its own: bytes at its peak",
        case,
        {
            "plain tape": lambda case: lambda: peak(case.count, 0),
            "checkpointed blocks": lambda case: lambda: peak(case.count, case.size),
        },
        (
            Figure(
                "checkpointed blocks: peak relative to plain tape",
                lambda t: t["checkpointed blocks"] / t["plain tape"],
                0.05,
            ),
        ),
        count=lambda case: case.count,
        per="step",
        counts="bytes",
    ),
)
