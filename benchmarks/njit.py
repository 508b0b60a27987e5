"""Gradients of functions compiled by Numba, recorded from inside: against the plain value and tapes in C++."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import fasttape as ft
from benchmarks import cpp
from benchmarks import njit_programs as programs
from benchmarks.harness import Figure, Problem, relative, speedup


class Call(NamedTuple):
    """A compiled function, its arguments, and the operations of one evaluation."""

    f: object
    arguments: tuple
    operations: int


def size(rng, published):
    return published if rng is None else int(published * rng.uniform(0.7, 1.3))


def valley(rng) -> Call:
    n = size(rng, 125_001)
    return Call(programs.rosenbrock, ((rng or np.random.default_rng(0)).normal(size=n),), 8 * (n - 1))


def orbit(rng) -> Call:
    steps = size(rng, 125_000)
    start = np.array([0.3, 0.5, 0.2]) * (1.0 if rng is None else rng.uniform(0.8, 1.2, 3))
    return Call(programs.recurrence, (start, steps, 1.0 / steps), 8 * steps)


def chain(rng) -> Call:
    n, times = size(rng, 100), 50
    x = (rng or np.random.default_rng(0)).normal(size=n * n + n)
    return Call(programs.products, (x, n, times), 2 * n * n * times)


def clusters(rng) -> Call:
    """Points in few dimensions, where most of the time goes to exponentials; the unit is a point in a cluster."""
    n, k, d = size(rng, 4_000), 5, 2
    draw = rng or np.random.default_rng(0)
    parameters = draw.normal(size=k), draw.normal(size=(k, d)), 0.3 * draw.normal(size=(k, d * (d + 1) // 2))
    return Call(programs.mixture, (*parameters, draw.normal(size=(n, d)), 1.0), n * k)


def bodies(rng) -> Call:
    """Three bodies that do not meet; the unit is a step."""
    steps, draw = size(rng, 1_000), rng or np.random.default_rng(0)
    places = np.array([1.0, 0.0, 0.0, -1.0, 0.1, 0.0, 0.0, 1.0, 0.2]) + 0.05 * draw.normal(size=9)
    return Call(
        programs.three_bodies,
        (np.concatenate([places, 0.3 * draw.normal(size=9)]), draw.uniform(0.9, 1.1, 3), steps, 1e-3),
        steps,
    )


def plain(case):
    def run():
        case.f(*case.arguments)

    return run


def inside(argnums):
    """Contenders are named by what they do: this one takes the gradient by some arguments."""

    def build(case):
        value_and_gradient = ft.value_and_grad(case.f, argnums)
        return lambda: value_and_gradient(*case.arguments)

    return build


OURS, PLAIN = "value and gradient", "plain value"


def against(program: str, limits: dict[str, float]) -> Iterator[Figure]:
    """The figures of the C++ libraries that are here; a library without expressions is compared by its speed."""
    for name in cpp.contenders(program):
        if name in ("CppAD", "ADOL-C"):
            yield speedup(OURS, name, limits.get(name))
        else:
            yield relative(OURS, name, limits.get(name))


def per_operation(name, work, case, at_most, ratio, limits) -> Problem:
    """Nanoseconds per operation, recorded anew in each run by everybody."""
    program = name.removeprefix("njit-")
    absent = cpp.missing()
    return Problem(
        name,
        work + (f"; not here: {', '.join(absent)}" if absent else ""),
        case,
        {OURS: inside(0), PLAIN: plain, **cpp.contenders(program)},
        (
            Figure("nanoseconds per operation, recorded and swept", lambda t: 1e9 * t[OURS], at_most),
            relative(OURS, PLAIN, ratio),
            *against(program, limits),
        ),
        count=lambda case: case.operations,
        per="operation",
    )


def over_value(name, work, case, argnums, per, at_most) -> Problem:
    """The gradient by several arguments in units of the value."""
    return Problem(
        name,
        work,
        case,
        {OURS: inside(argnums), PLAIN: plain},
        (relative(OURS, PLAIN, at_most),),
        count=lambda case: case.operations,
        per=per,
    )


LIMITS = (
    {"CoDiPack": 0.95, "CoDiPack, operations apart": 0.6, "CppAD": 8.0},
    {"CoDiPack": 1.25, "CoDiPack, operations apart": 0.6},
)
PROBLEMS = (
    per_operation("njit-rosenbrock", "Rosenbrock's function in a compiled loop", valley, 2.0, 20.0, LIMITS[0]),
    per_operation("njit-recurrence", "x ← x + h (sin x · exp(−a x) − b x), compiled", orbit, 5.5, 4.0, LIMITS[1]),
    per_operation("njit-products", "a matrix times a vector, 50 times, in compiled loops", chain, 5.0, None, {}),
    over_value("njit-mixture", "a mixture of normals in compiled loops", clusters, (0, 1, 2), "point and cluster", 4.0),
    over_value("njit-bodies", "three bodies by Runge and Kutta, compiled", bodies, (0, 1), "step", 20.0),
)
