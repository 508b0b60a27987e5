"""Elementwise code on long arrays, compiled: value and gradient beside JAX's, where that is installed, and NumPy's."""

from typing import Any, NamedTuple

import numpy as np

import fasttape as ft
from benchmarks.curvature import valley
from benchmarks.harness import Figure, Problem, relative, speedup
from benchmarks.jax_beside import HAS_JAX, jax


class Call(NamedTuple):
    """A function of NumPy code, which takes the library that it calls as its last argument, and its arguments."""

    f: Any
    by_hand: Any
    arguments: tuple


def long_valley(rng) -> Call:
    n = 200_000 if rng is None else int(rng.integers(150_000, 260_000))
    return Call(valley, valley_by_hand, ((rng or np.random.default_rng(0)).normal(size=n),))


def valley_by_hand(x):
    inner, gradient = x[1:] - x[:-1] ** 2, np.zeros_like(x)
    gradient[1:] += 200 * inner
    gradient[:-1] -= 400 * inner * x[:-1] + 2 * (1 - x[:-1])
    return np.sum(100 * inner**2 + (1 - x[:-1]) ** 2), gradient


def loss(w, x, y, numpy: Any = np):
    residual = numpy.tanh(w[0] * x + w[1]) * numpy.exp(w[2] * x) - y
    return numpy.sum(numpy.log(1 + residual * residual))


def loss_by_hand(w, x, y):
    t, e = np.tanh(w[0] * x + w[1]), np.exp(w[2] * x)
    residual = t * e - y
    square = 1 + residual * residual
    slope = 2 * residual / square
    inner = slope * e * (1 - t * t)
    return np.sum(np.log(square)), np.array([np.sum(inner * x), np.sum(inner), np.sum(slope * t * e * x)])


def likelihood(w, x, y, numpy: Any = np):
    """The variant: another mixture of the same functions."""
    odds = numpy.exp(numpy.tanh(w[0] * x) * y + w[1])
    return numpy.sum(numpy.log(1 + odds) - w[2] * numpy.tanh(y * x))


def likelihood_by_hand(w, x, y):
    t, s = np.tanh(w[0] * x), np.tanh(y * x)
    odds = np.exp(t * y + w[1])
    share = odds / (1 + odds)
    gradient = [np.sum(share * y * (1 - t * t) * x), np.sum(share), -np.sum(s)]
    return np.sum(np.log(1 + odds) - w[2] * s), np.array(gradient)


def robust_loss(rng) -> Call:
    n = 1_000_000 if rng is None else int(rng.integers(800_000, 1_200_000))
    functions = (loss, loss_by_hand) if rng is None else (likelihood, likelihood_by_hand)
    rng = rng or np.random.default_rng(0)
    return Call(*functions, (np.array([0.3, 0.2, 0.1]), rng.normal(size=n), rng.normal(size=n)))


def by_hand(case):
    return lambda: case.by_hand(*case.arguments)


def compiled(case):
    """Compiled, and called as often as it takes to have machine code."""
    run = ft.compile(ft.value_and_grad(case.f))
    for _ in range(40):
        run(*case.arguments)
    return lambda: run(*case.arguments)


def jitted(case):
    run = jax().jit(jax().value_and_grad(lambda *args: case.f(*args, jax().numpy)))
    arguments = [jax().numpy.asarray(x) for x in case.arguments]
    return lambda: jax().block_until_ready(run(*arguments))


CONTENDERS = {"numpy, by hand": by_hand, "fasttape compiled": compiled} | ({"JAX jitted": jitted} if HAS_JAX else {})


def beside_jax(at_most: float) -> tuple[Figure, ...]:
    return (relative("fasttape compiled", "JAX jitted", at_most),) if HAS_JAX else ()


PROBLEMS = (
    Problem(
        "valley",
        "Rosenbrock's function of 200,000 numbers in slices: value and gradient",
        long_valley,
        CONTENDERS,
        (speedup("fasttape compiled", "numpy, by hand", 3.0), *beside_jax(1.5)),
        samples=100,
    ),
    Problem(
        "loss",
        "a loss over 10⁶ elements with tanh, exp and log: value and gradient",
        robust_loss,
        CONTENDERS,
        (speedup("fasttape compiled", "numpy, by hand"), *beside_jax(1.0)),
        samples=100,
        tolerance=1e-8,
    ),
)
