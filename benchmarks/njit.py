"""Gradients of functions compiled by Numba, recorded from inside: time per operation, against the plain value."""

import math
from typing import NamedTuple

import numba
import numpy as np

import fasttape as ft
from benchmarks.harness import Figure, Problem, relative


class Call(NamedTuple):
    """A compiled function, its arguments, and the operations of one evaluation."""

    f: object
    arguments: tuple
    operations: int


@numba.njit
def rosenbrock(x):
    s = 0.0
    for i in range(x.shape[0] - 1):
        s += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return s


@numba.njit
def recurrence(parameters, steps, h):
    x = parameters[0]
    for _ in range(steps):
        x = x + h * (math.sin(x) * math.exp(-parameters[1] * x) - parameters[2] * x)
    return x


@numba.njit
def products(x, n, times):
    matrix, u = x[: n * n].reshape(n, n), x[n * n :].copy()
    for _ in range(times):
        v = np.zeros(n)
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += matrix[i, j] * u[j]
            v[i] = 0.1 * s
        u = v
    s = 0.0
    for i in range(n):
        s += u[i]
    return s


def size(rng, published):
    return published if rng is None else int(published * rng.uniform(0.7, 1.3))


def valley(rng) -> Call:
    n = size(rng, 125_001)
    return Call(rosenbrock, ((rng or np.random.default_rng(0)).normal(size=n),), 8 * (n - 1))


def orbit(rng) -> Call:
    steps = size(rng, 125_000)
    return Call(recurrence, (np.array([0.3, 0.5, 0.2]), steps, 1.0 / steps), 8 * steps)


def chain(rng) -> Call:
    n, times = size(rng, 100), 50
    return Call(products, ((rng or np.random.default_rng(0)).normal(size=n * n + n), n, times), 2 * n * n * times)


def plain(case):
    def run():
        case.f(*case.arguments)

    case.f(*case.arguments)
    return run


def inside(case):
    value_and_gradient = ft.value_and_grad(case.f)

    def run():
        value_and_gradient(*case.arguments)

    return run


def problem(name, work, case, at_most, ratio) -> Problem:
    return Problem(
        name,
        work,
        case,
        {"value and gradient": inside, "plain value": plain},
        (
            Figure("nanoseconds per operation, recorded and swept", lambda t: 1e9 * t["value and gradient"], at_most),
            relative("value and gradient", "plain value", ratio),
        ),
        count=lambda case: case.operations,
        per="operation",
    )


PROBLEMS = (
    problem("njit-rosenbrock", "Rosenbrock's function in a compiled loop", valley, 2.0, None),
    problem("njit-recurrence", "x ← x + h (sin x · exp(−a x) − b x), compiled", orbit, 5.5, 4.0),
    problem("njit-products", "a matrix times a vector, 50 times, in compiled loops", chain, 5.0, None),
)
