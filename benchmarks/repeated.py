"""Single points, one call from Python each, as optimisers and calibrations make them: by sweeps and by machine code."""

from typing import Any, NamedTuple

import numpy as np

import fasttape as ft
from benchmarks.batches import black_scholes, greeks, priced_in_jax
from benchmarks.curvature import valley, valley_of_scalars
from benchmarks.harness import Figure, Problem, speedup
from benchmarks.jax_beside import HAS_JAX, jax
from fasttape.direct import BOTH, NEVER, PATIENCE, caller_of
from fasttape.execute.caller import DUE


class Case(NamedTuple):
    """A function of one array, and value and gradient of it by hand."""

    f: Any
    x: np.ndarray
    by_hand: Any
    in_jax: Any


def option(x):
    """The price of an option whose six numbers stand in an array."""
    return black_scholes(*x)


def greeks_of_one(x):
    out = np.empty((7, 1))
    greeks(x[:, None], out)
    return out[0, 0], out[1:, 0]


def one_option(rng) -> Case:
    """An option, or a variant: another one."""
    draw = (rng or np.random.default_rng(0)).uniform
    x = np.array([draw(*ends) for ends in ((80, 120), (80, 120), (0.1, 2.0), (0.0, 0.05), (0.0, 0.03), (0.1, 0.5))])
    return Case(option, x, greeks_of_one, priced_in_jax)


def slices(x):
    """Value and gradient of Rosenbrock's function by slices."""
    ahead, behind = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400.0 * x[:-1] * ahead - 2.0 * behind
    gradient[1:] += 200.0 * ahead
    return np.sum(100.0 * ahead**2 + behind**2), gradient


def one_valley(rng) -> Case:
    """20 numbers, or a variant: others, a few more or less."""
    size = 20 if rng is None else int(rng.integers(10, 40))
    return Case(
        valley_of_scalars, (rng or np.random.default_rng(0)).normal(size=size), slices, lambda x: valley(x, jax().numpy)
    )


def by_hand(case):
    return lambda: case.by_hand(case.x)


def sweeps(case):
    """Replays as they are for the first calls."""
    tape = ft.record(case.f, case.x)
    run = caller_of(tape._evaluator, BOTH)
    run.otherwise.state[DUE] = NEVER
    return lambda: run(case.x)


def compiled(case):
    run = ft.compile(ft.value_and_grad(case.f))
    for _ in range(PATIENCE + 2):
        run(case.x)
    return lambda: run(case.x)


def jitted(case):
    run = jax().jit(jax().value_and_grad(case.in_jax))
    x = jax().numpy.asarray(case.x)
    return lambda: jax().block_until_ready(run(x))


def problem(name, work, case, hand):
    """Value and gradient at one point, from Python."""
    contenders = {hand: by_hand, "fasttape by sweeps": sweeps, "fasttape compiled": compiled}
    beside = {"JAX jitted": jitted} if HAS_JAX else {}
    return Problem(
        name,
        work,
        case,
        contenders | beside,
        (
            Figure("microseconds per call", lambda t: 1e6 * t["fasttape compiled"]),
            *(speedup("fasttape compiled", other) for other in (hand, "fasttape by sweeps", *beside)),
        ),
        samples=100,
    )


PROBLEMS = (
    problem("one-option", "price of one option and its six partials, again and again", one_option, "Numba by hand"),
    problem(
        "one-valley", "Rosenbrock's function of 20 numbers in a loop, again and again", one_valley, "NumPy by hand"
    ),
)
