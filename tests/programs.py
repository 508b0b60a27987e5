"""Random programs over the rows of the table: straight lines with shared operands, constants and broadcast shapes.

A program is plain data; `run` computes it by the NumPy and SciPy functions that the rows answer to, on plain numbers,
plain arrays or traced values alike, so that the same program is its own oracle. `programs` is the Hypothesis strategy,
`fixed` makes the same program from a seed in every process.
"""

import importlib
import random
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from fasttape.ops import OPS, PREDICATE, ZERO_DERIVATIVE

SHAPES = ((), (3,), (2, 3), (1, 3), (2, 1))
SINGULAR = (0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, 2.0)
CONSTANTS = (0.0, 1.0, -0.5, 2.0)
BOUND = 1.4  # of operands inside a domain: left of the pole of tan


class Step(NamedTuple):
    """One operation on values that are there already: the arguments, the constants, and the results so far."""

    row: str
    operands: tuple[int, ...]  # counted backwards from the newest value, modulo their number


class Program(NamedTuple):
    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]  # of the arguments
    inside: bool  # whether operands are drawn into the domains of their rows first


def functions():
    """The function of each row that has one which works on all kinds of values."""
    found = {"powi": lambda x: x**3, "select": lambda c, x, y: np.where(c > 0.5, x, y)}
    for op in OPS:
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            if module in ("numpy", "scipy.special") and op.name not in found:
                function = getattr(importlib.import_module(module), attribute)
                if isinstance(function, np.ufunc):
                    found[op.name] = choosing(function) if PREDICATE in op.traits else function
    return found


def choosing(predicate):
    """A number that depends on a truth value."""

    def choose(x, *y):
        truths = [t > 0.5 for t in (x, *y)] if predicate.__name__.startswith("logical") else (x, *y)
        return np.where(predicate(*truths), x, 0.25)

    return choose


FUNCTIONS = functions()
DOMAINS = {op.name: op.domain[:1] if op.name == "powi" else op.domain for op in OPS if op.name in FUNCTIONS}
JUMPS = {op.name for op in OPS if ZERO_DERIVATIVE in op.traits} | {"remainder", "fmod", "copysign", "select", "arctan2"}
KINKS = {"abs", "maximum", "minimum", "fmax", "fmin", "hypot", "cbrt"}
ALL = tuple(FUNCTIONS)
CONTINUOUS = tuple(name for name in ALL if name not in JUMPS)
SMOOTH = tuple(name for name in CONTINUOUS if name not in KINKS)


def into(domain, x):
    """A smooth map into an interval, made of operations that are recorded like all others."""
    low, high = max(domain.low, -BOUND), min(domain.high, BOUND)
    low = low + 0.1 if domain.low > -BOUND else low
    return np.tanh(x) * (0.475 * (high - low)) + 0.5 * (high + low)


def run(program, *args):
    """The last three values that the program computes."""
    values = [*CONSTANTS, *args]
    for row, operands in program.steps:
        chosen = [values[-1 - i % len(values)] for i in operands]
        if program.inside:
            chosen = [into(domain, x) for domain, x in zip(DOMAINS[row], chosen, strict=True)]
        values.append(FUNCTIONS[row](*chosen))
    return values[-3:]


def function(program):
    """The program as a function of its arguments."""
    return lambda *args: run(program, *args)


def loss(program):
    """The program as a scalar function."""
    return lambda *args: sum(np.sum(x) for x in run(program, *args))


@st.composite
def programs(draw, rows=ALL, *, inside=True, shapes=SHAPES, length=8):
    """(program, arguments); outside of the domains arguments are singular points and ties."""
    steps = []
    for _ in range(draw(st.integers(1, length))):
        row = draw(st.sampled_from(rows))
        operands = draw(st.lists(st.integers(0, 7), min_size=len(DOMAINS[row]), max_size=len(DOMAINS[row])))
        steps.append(Step(row, tuple(operands)))
    chosen = draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=3))
    numbers = st.floats(-2.0, 2.0, width=32) if inside else st.sampled_from(SINGULAR)
    args = [argument(shape, lambda: draw(numbers)) for shape in chosen]
    return Program(tuple(steps), tuple(chosen), inside), args


def argument(shape, draw):
    """A Python float, or an array, of numbers drawn one by one."""
    if shape == ():
        return float(draw())
    return np.array([draw() for _ in range(int(np.prod(shape)))], float).reshape(shape)


def fixed(seed, *, inside=True, length=12):
    """(program, arguments) of a seed."""
    rng = random.Random(seed)
    steps = []
    for _ in range(length):
        row = rng.choice(ALL)
        steps.append(Step(row, tuple(rng.randrange(8) for _ in DOMAINS[row])))
    shapes = tuple(rng.choice(SHAPES) for _ in range(3))
    args = [argument(shape, lambda: rng.uniform(-2.0, 2.0) if inside else rng.choice(SINGULAR)) for shape in shapes]
    return Program(tuple(steps), shapes, inside), args
