"""One function at many points: value and gradient of an option's price, and of a path of a process in 100 steps."""

import functools
import importlib.util
import itertools
import math
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

import fasttape as ft
from benchmarks import cpp
from benchmarks.harness import Figure, Problem, relative, speedup
from benchmarks.jax_beside import HAS_JAX, jax
from benchmarks.processes import python
from fasttape.execute import batch
from fasttape.execute.kernels import THREAD
from fasttape.execute.lanes import Lanes
from fasttape.execute.native import Native
from fasttape.execute.points import Points

HAS_DDX = importlib.util.find_spec("ddx") is not None
ROOT_HALF = math.sqrt(0.5)
INVERSE_ROOT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)
MATURITY = 1.0


class Case(NamedTuple):
    """A function at many points, one in each column, and the tape of its value and all partials."""

    operations: int  # of one value
    tape: ft.Tape
    x: np.ndarray
    compiled: object  # the same by hand: compiled(x, out)
    in_jax: object  # the value at one column by JAX's NumPy


def black_scholes(spot, strike, expiry, rate, dividend, volatility, *, numpy: Any = np, erf: Any = math.erf):
    """The price of a call option (Black and Scholes 1973, with Merton's dividends)."""
    deviation = volatility * numpy.sqrt(expiry)
    d1 = (numpy.log(spot / strike) + (rate - dividend + 0.5 * volatility * volatility) * expiry) / deviation
    d2 = d1 - deviation
    up, down = (0.5 * (1.0 + erf(d * ROOT_HALF)) for d in (d1, d2))
    return spot * numpy.exp(-(dividend * expiry)) * up - strike * numpy.exp(-(rate * expiry)) * down


@numba.njit(fastmath=True, error_model="numpy", nogil=True)
def greeks(x, out):
    """The price and its six partials, by the formulas of the textbook."""
    for i in range(x.shape[1]):
        spot, strike, expiry, rate, dividend, volatility = x[0, i], x[1, i], x[2, i], x[3, i], x[4, i], x[5, i]
        root = math.sqrt(expiry)
        d1 = (math.log(spot / strike) + (rate - dividend + 0.5 * volatility**2) * expiry) / (volatility * root)
        d2 = d1 - volatility * root
        discounted = spot * math.exp(-dividend * expiry)
        owed = strike * math.exp(-rate * expiry) * 0.5 * (1.0 + math.erf(d2 * ROOT_HALF))
        held = discounted * 0.5 * (1.0 + math.erf(d1 * ROOT_HALF))
        density = discounted * INVERSE_ROOT_TWO_PI * math.exp(-0.5 * d1 * d1)
        out[0, i], out[1, i], out[2, i] = held - owed, held / spot, -owed / strike
        out[3, i] = 0.5 * density * volatility / root - dividend * held + rate * owed
        out[4, i], out[5, i], out[6, i] = expiry * owed, -expiry * held, density * root


def options(rng) -> Case:
    """10⁶ options, or a variant: other ranges, another number."""
    size, low, high = 1_000_000, 80.0, 120.0
    if rng is not None:
        size, low, high = int(rng.integers(700_000, 900_000)), rng.uniform(60.0, 90.0), rng.uniform(110.0, 150.0)
    draw = (rng or np.random.default_rng(0)).uniform
    ranges = (low, high), (low, high), (0.1, 2.0), (0.0, 0.05), (0.0, 0.03), (0.1, 0.5)
    x = np.stack([draw(*ends, size) for ends in ranges])
    tape = ft.record(black_scholes, *x[:, 0].tolist(), argnums=tuple(range(6)))
    return Case(tape.operations, tape.gradient_tape().optimize(), x, greeks, priced_in_jax)


def heston(spot, variance, reversion, mean, volatility, correlation, rate, normals):
    """The price at the end of a path (Heston 1993) by Euler's steps, in which a negative variance counts as zero."""
    steps = normals.size // 2
    dt = MATURITY / steps
    root, other, x = math.sqrt(dt), np.sqrt(1.0 - correlation * correlation), np.log(spot)
    for i in range(steps):
        first, second = normals[2 * i], normals[2 * i + 1]
        positive = np.maximum(variance, 0.0)
        deviation = np.sqrt(positive) * root
        x = x + (rate - 0.5 * positive) * dt + deviation * first
        noise = correlation * first + other * second
        variance = variance + reversion * (mean - positive) * dt + volatility * deviation * noise
    return np.exp(x)


@numba.njit(fastmath=True, error_model="numpy", nogil=True)
def paths(x, out):
    """The price at the end of each path and its partials, by adjoints in reverse."""
    steps = (x.shape[0] - 7) // 2
    dt, variances = MATURITY / steps, np.empty(steps)
    root = math.sqrt(dt)
    for i in range(x.shape[1]):
        reversion, mean, volatility, correlation, rate = x[2, i], x[3, i], x[4, i], x[5, i], x[6, i]
        other, variance, log_price = math.sqrt(1.0 - correlation * correlation), x[1, i], math.log(x[0, i])
        for k in range(steps):
            variances[k] = variance
            positive = max(variance, 0.0)
            first, second, deviation = x[7 + 2 * k, i], x[8 + 2 * k, i], math.sqrt(positive) * root
            log_price += (rate - 0.5 * positive) * dt + deviation * first
            noise = correlation * first + other * second
            variance += reversion * (mean - positive) * dt + volatility * deviation * noise
        price = math.exp(log_price)
        w = by_reversion = by_mean = by_volatility = by_correlation = 0.0
        for k in range(steps - 1, -1, -1):
            positive = max(variances[k], 0.0)
            first, second, deviation = x[7 + 2 * k, i], x[8 + 2 * k, i], math.sqrt(positive) * root
            noise = correlation * first + other * second
            by_reversion += w * (mean - positive) * dt
            by_mean += w * reversion * dt
            by_volatility += w * deviation * noise
            by_correlation += w * volatility * deviation * (first - correlation / other * second)
            if variances[k] > 0.0:
                by_root = (price * first + w * volatility * noise) * root
                w += 0.5 * by_root / math.sqrt(positive) - 0.5 * price * dt - w * reversion * dt
        out[0, i], out[1, i], out[2, i], out[3, i] = price, price / x[0, i], w, by_reversion
        out[4, i], out[5, i], out[6, i], out[7, i] = by_mean, by_volatility, by_correlation, price * MATURITY


def many_paths(rng) -> Case:
    """65,536 paths of 100 steps, each with parameters of its own, or a variant: other numbers of both."""
    size, steps = 65_536, 100
    if rng is not None:
        size, steps = int(rng.integers(40_000, 60_000)), int(rng.integers(80, 120))
    generator = rng or np.random.default_rng(0)
    middle = np.array([100.0, 0.04, 1.5, 0.04, 0.3, -0.6, 0.02])
    x = np.empty((7 + 2 * steps, size))
    x[:7] = middle[:, None] * generator.uniform(0.9, 1.1, (7, size))
    generator.standard_normal(out=x[7:])
    tape = ft.record(heston, *middle.tolist(), x[7:, 0].copy(), argnums=tuple(range(7)))
    return Case(tape.operations, tape.gradient_tape().optimize(), x, paths, path_in_jax)


def priced_in_jax(x):
    """The price of an option."""
    return black_scholes(*x, numpy=jax().numpy, erf=jax().scipy.special.erf)


def path_in_jax(x):
    """The price at the end of a path, the steps in a scan."""
    jnp = jax().numpy
    spot, variance, reversion, mean, volatility, correlation, rate = x[:7]
    normals = x[7:].reshape(-1, 2)
    dt = MATURITY / len(normals)
    root, other = math.sqrt(dt), jnp.sqrt(1.0 - correlation * correlation)

    def step(state, drawn):
        log_price, variance = state
        positive = jnp.maximum(variance, 0.0)
        deviation = jnp.where(positive > 0.0, jnp.sqrt(jnp.where(positive > 0.0, positive, 1.0)), 0.0) * root
        noise = correlation * drawn[0] + other * drawn[1]
        moved = variance + reversion * (mean - positive) * dt + volatility * deviation * noise
        return (log_price + (rate - 0.5 * positive) * dt + deviation * drawn[0], moved), None

    (log_price, _), _ = jax().lax.scan(step, (jnp.log(spot), variance), normals)
    return jnp.exp(log_price)


def jax_batch(case):
    """JAX's jitted batch of values and gradients; its numbers as columns."""
    jnp, partials = jax().numpy, case.tape.program.outputs.size - 1

    def value_and_partials(x):
        value, gradient = jax().value_and_grad(lambda p: case.in_jax(jnp.concatenate([p, x[partials:]])))(x[:partials])
        return jnp.concatenate([value[None], gradient])

    run, x = jax().jit(jax().vmap(value_and_partials)), jnp.asarray(np.ascontiguousarray(case.x.T))
    return lambda: np.asarray(run(x)).T


def ddx_batch(case):
    """The kernel of ddx-ad, for points in columns."""
    import ddx

    def model():
        names = "spot", "strike", "expiry", "rate", "dividend", "volatility"
        return black_scholes(*map(ddx.var, names), numpy=ddx, erf=ddx.erf)

    run = ddx.equation(model).compile(points=case.x.shape[1]).jacobian
    return lambda: run(case.x)


def lines_of(array, axis):
    """The addresses of the numbers of the first point, and the steps to the next; `axis` is that of the points."""
    step, apart = array.strides[axis], array.strides[1 - axis]
    first = array.__array_interface__["data"][0]
    addresses = first + np.arange(array.shape[1 - axis]) * apart
    return addresses.astype(np.uint64), np.full(addresses.size, step)


def replayed(executor, threads=1, rows=False):
    """An executor of the tape on some threads, points in columns or in rows."""

    def build(case):
        made = executor(case.tape.program)
        x = np.ascontiguousarray(case.x.T) if rows else case.x
        size, outputs = case.x.shape[1], case.tape.program.outputs.size
        out, failed = np.empty((size, outputs) if rows else (outputs, size)), np.empty(0, np.int64)
        axis = 0 if rows else 1

        def run():
            points = Points(size, *lines_of(x, axis), *lines_of(out, axis), failed)
            batch.run(made, points, threads)
            return out.T if rows else out

        if isinstance(made, Native):
            until_compiled_well(made, run)
        return run

    return build


def until_compiled_well(native, run):
    """Run batches until those who run many have the code that they will have."""
    run()
    while any(code.improves for code in native.codes.values()):
        run()
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join()


def by_hand(case):
    out = np.empty((case.tape.program.outputs.size, case.x.shape[1]))

    def run():
        case.compiled(case.x, out)
        return out

    return run


CONTENDERS = {
    "numba, by hand": by_hand,
    "lanes, columns": replayed(Lanes),
    "lanes, rows": replayed(Lanes, rows=True),
    "lanes, two threads": replayed(Lanes, threads=2),
    "native, columns": replayed(Native),
    "native, rows": replayed(Native, rows=True),
    "native, two threads": replayed(Native, threads=2),
} | ({"JAX jitted": jax_batch} if HAS_JAX else {})
IN_CPP = {
    "options": {
        "C++ by hand, columns": lambda case: cpp.batch("options", case),
        "C++ by hand, rows": lambda case: cpp.batch("options", case, rows=True),
    },
    "paths": {"C++ by hand, columns": lambda case: cpp.batch("paths", case)},
}


def contenders(name: str) -> dict[str, Callable]:
    """Everybody who computes a problem."""
    others = {"ddx-ad compiled": ddx_batch} if HAS_DDX and name == "options" else {}
    return CONTENDERS | others | (IN_CPP[name] if cpp.has_compiler() else {})


def beside_cpp(*lines: str) -> tuple[Figure, ...]:
    """How machine code compares with C++ where points lie in columns or in rows."""
    if not cpp.has_compiler():
        return ()
    return tuple(relative(f"native, {line}", f"C++ by hand, {line}", 1.35) for line in lines)


def figures(beside_jax: float) -> tuple[Figure, ...]:
    """What both problems compare; `beside_jax` is the goal for the time relative to JAX."""
    return (
        relative("native, columns", "numba, by hand", 0.35),
        speedup("lanes, two threads", "lanes, columns", 1.85),
        speedup("native, two threads", "native, columns", 1.85),
        *((relative("native, columns", "JAX jitted", beside_jax),) if HAS_JAX else ()),
    )


def each(what: str, name: str, goal: float, parts: Callable[[], int] = lambda: 1) -> Figure:
    """Nanoseconds of a contender for each unit of the problem, or for each of the parts of one."""
    return Figure(f"{name}: ns per {what}", lambda t: 1e9 * t[name] / parts(), goal)


@functools.lru_cache
def priced_operations() -> int:
    """Operations of the price of an option."""
    return ft.record(black_scholes, *map(float, range(2, 8))).operations


def recorded_operations(case) -> int:
    """Operations of the value at all points."""
    return case.operations * case.x.shape[1]


def code_made(*, well):
    """Machine code of a program that nobody has seen: the tape with other constants each time."""

    def build(case):
        program, seen = case.tape.program, itertools.count(random.SystemRandom().getrandbits(24))

        def run():
            code = Native(program._replace(constants=program.constants * (1.0 + next(seen) * 2.0**-40))).code(())
            if well:
                code.improve()

        return run

    return build


def code_loaded(case):
    def run():
        Native(case.tape.program).code(())

    Native(case.tape.program).code(()).improve()
    return run


@functools.lru_cache
def peak(size) -> float:
    """Bytes beyond inputs and outputs in a process of its own."""
    return float(python("batches.py", size))


ABSENT = "" if cpp.has_compiler() else "; not here: a C++ compiler"
PROBLEMS = (
    Problem(
        "options",
        "price of an option and its six partials at 10⁶ points" + ABSENT,
        options,
        contenders("options"),
        (
            each("point", "native, columns", 16.0),
            each("point", "native, rows", 20.0),
            each("operation and point", "lanes, columns", 0.75, priced_operations),
            each("operation and point", "lanes, rows", 0.75, priced_operations),
            *figures(0.15),
            *((relative("native, columns", "ddx-ad compiled", 0.6),) if HAS_DDX else ()),
            *beside_cpp("columns", "rows"),
        ),
        count=lambda case: case.x.shape[1],
        per="point",
    ),
    Problem(
        "paths",
        "price at the end of a path of 100 steps and its seven partials, 65,536 paths, per operation of the price"
        + ABSENT,
        many_paths,
        contenders("paths"),
        (
            each("operation and point", "native, columns", 0.3),
            each("operation and point", "lanes, columns", 0.75),
            *figures(0.1),
            *beside_cpp("columns"),
        ),
        count=recorded_operations,
        per="operation and point",
    ),
    Problem(
        "paths-code",
        "machine code of the path and its partials",
        many_paths,
        {"soon": code_made(well=False), "soon, then well": code_made(well=True), "from the cache": code_loaded},
        (
            Figure("seconds to compile", lambda t: t["soon"], 0.15),
            Figure("seconds from the cache", lambda t: t["from the cache"], 0.02),
        ),
    ),
    Problem(
        "options-memory",
        "the options in a process of their own: bytes at the peak beyond inputs and outputs",
        lambda rng: 1_000_000 if rng is None else int(rng.integers(700_000, 900_000)),
        {"lanes": lambda size: lambda: peak(size)},
        (Figure("MiB at the peak beyond inputs and outputs", lambda t: t["lanes"] / 2**20, 64.0),),
        counts="bytes",
    ),
)
