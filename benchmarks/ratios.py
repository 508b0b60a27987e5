"""What a gradient costs over the value: operations of the optimized tapes of both, and the time beside it."""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import fasttape as ft
from benchmarks import arrays, network, scalars
from benchmarks.harness import Figure, Problem, Times, flat
from fasttape.demo import example1
from fasttape.execute.interpreter import Workspace
from fasttape.execute.plan import plan_for

RANDOM = 6  # programs drawn from seeds
NAMES = ("Example 1", "Black-Scholes", "Rosenbrock", "scalar network", "dense network", "regression", "logsumexp")
NAMES += ("softmax", "mean of tanh", *(f"random {k + 1}" for k in range(RANDOM)))


class Program(NamedTuple):
    """A function at a point, all of whose arguments are differentiated."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


def black_scholes(spot, strike, maturity, rate, volatility, dividend):
    """The price of a European call."""
    scale = volatility * math.sqrt(maturity)
    d = (math.log(spot / strike) + (rate - dividend + 0.5 * volatility * volatility) * maturity) / scale
    return spot * math.exp(-dividend * maturity) * normal(d) - strike * math.exp(-rate * maturity) * normal(d - scale)


def normal(x):
    """The normal distribution function."""
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def logsumexp(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top)))


def cross_entropy(w, x):
    scores = x @ w
    return np.mean(np.log(np.sum(np.exp(scores), axis=1)) - scores[:, 0])


def programs(rng) -> list[Program]:
    """The programs in the order of NAMES; a generator draws other points, sizes and random programs."""
    from tests import programs as drawn

    draw = rng or np.random.default_rng(4)
    valley = scalars.valley(rng, terms=100)
    few = network.case(rng, points=10)
    layers, line = arrays.dense(rng), arrays.line(rng)
    market = tuple(x * draw.uniform(0.9, 1.1) for x in (100.0, 105.0, 1.2, 0.03, 0.2, 0.01))
    fixed = [
        Program(example1.f, (example1.POINT,)),
        Program(black_scholes, market),
        Program(lambda x: scalars.rosenbrock(x, valley), (valley.x,)),
        Program(lambda p: network.loss(p, few, network.relu), (few.parameters,)),
        Program(lambda p: arrays.dense_loss(p, layers.inputs, layers.targets), (layers.layers,)),
        Program(lambda A, b: arrays.line_loss(A, b, line.X, line.y), (line.A, line.b)),
        Program(logsumexp, (draw.normal(size=100),)),
        Program(cross_entropy, (draw.normal(size=(20, 10)), draw.normal(size=(50, 20)))),
        Program(lambda x: np.mean(np.tanh(2.0 * x + 1.0)), (draw.normal(size=100),)),
    ]
    return [*fixed, *random_programs(drawn, draw)]


def random_programs(drawn, draw) -> Iterator[Program]:
    """Straight lines over the whole table, those that depend on their arguments."""
    found = 0
    while found < RANDOM:
        program, args = drawn.fixed(int(draw.integers(10**6)))
        function = drawn.loss(program)
        if any(np.any(x) for x in ft.record(function, *args, argnums=tuple(range(len(args)))).grad(*args)):
            found += 1
            yield Program(function, tuple(args))


class Tapes(NamedTuple):
    """The optimized tapes of a value, and of the value and its gradient, and a point."""

    value: ft.Tape
    gradient: ft.Tape
    args: tuple[Any, ...]


def tapes(rng) -> dict[str, Tapes]:
    """The tapes of all programs by name."""
    made = {}
    for name, (function, args) in zip(NAMES, programs(rng), strict=True):
        tape = ft.record(function, *args, argnums=tuple(range(len(args))))
        made[name] = Tapes(tape.optimize(), tape.gradient_tape().optimize(), args)
        found, expected = flat(made[name].gradient(*args)), flat(tape.value_and_grad(*args))
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
    return made


WAYS: dict[str, Callable[[Tapes], Callable[[], Any]]] = {
    "value": lambda t: lambda: t.value(*t.args),
    "gradient tape": lambda t: lambda: t.gradient(*t.args),
    "value_and_grad": lambda t: lambda: t.value.value_and_grad(*t.args),
}
COUNTS: dict[str, Callable[[Tapes], Callable[[], Any]]] = {
    "value": lambda t: lambda: t.value.operations,
    "gradient tape": lambda t: lambda: t.gradient.operations,
}


def contenders(ways):
    """Each way of each program; results of different programs are not compared."""

    def contender(name, way):
        def build(case):
            run = way(case[name])
            return lambda: run() and None

        return lambda case: way(case[name]) if ways is COUNTS else build(case)

    return {f"{name}: {key}": contender(name, way) for name in NAMES for key, way in ways.items()}


def figures(way: str, what: str, middle: float | None = None, most: float | None = None) -> tuple[Figure, ...]:
    """The ratio of one way to the value: of each program, the median, the largest."""

    def ratio(name: str) -> Callable[[Times], float]:
        return lambda t: t[f"{name}: {way}"] / t[f"{name}: value"]

    each = tuple(Figure(f"{name}: {what}", ratio(name)) for name in NAMES)
    median = Figure(f"median: {what}", lambda t: statistics.median(ratio(name)(t) for name in NAMES), middle)
    return *each, median, Figure(f"largest: {what}", lambda t: max(ratio(name)(t) for name in NAMES), most)


class Sweeps(NamedTuple):
    """A network in Python scalars, ready to be swept."""

    workspace: Workspace
    tape: ft.Tape
    parameters: list[float]
    expected: tuple[Any, ...]


def fused_network(rng) -> Sweeps:
    """The data are arrays, as in micrograd's demonstration: each call compares them with what was recorded."""
    case = network.case(rng)
    points, labels, widths, penalty = np.array(case.points), np.array(case.labels), case.widths, case.penalty

    def loss(p):
        return network.loss(p, network.Case(widths, [], points.tolist(), labels.tolist(), penalty), network.relu)

    tape = ft.record(loss, case.parameters)
    program = tape.optimize().program
    workspace = Workspace(plan_for(program, [(k, k + 1) for k in range(1, 1 + program.inputs)], again=True), program)
    workspace.inputs[:] = case.parameters
    return Sweeps(workspace, tape, case.parameters, network.objects(case)())


def forward_sweep(case: Sweeps):
    return lambda: case.workspace.forward() and None


def both_sweeps(case: Sweeps):
    def run():
        case.workspace.forward()
        case.workspace.reverse(1.0)
        case.workspace.clear()

    return run


def replayed(case: Sweeps):
    tape = case.tape.optimize()
    return lambda: tape.value_and_grad(case.parameters)


PROBLEMS = (
    Problem(
        "gradient-operations",
        "scalar operations of value and gradient over those of the value, both tapes optimized",
        tapes,
        contenders(COUNTS),
        figures("gradient tape", "operations, value and gradient over value", 2.8, 4.5),
        counts="operations",
    ),
    Problem(
        "gradient-times",
        "the same programs: the time of one call of value and gradient over that of the value",
        tapes,
        contenders(WAYS),
        (
            *figures("gradient tape", "time, gradient tape over value"),
            *figures("value_and_grad", "time, reverse sweep over value"),
        ),
        samples=20,
    ),
    Problem(
        "fused-network",
        "micrograd's network in Python scalars, optimized and replayed with chains of products fused",
        fused_network,
        {"forward sweep": forward_sweep, "both sweeps": both_sweeps, "value and gradient": replayed},
        (
            Figure("ns per recorded operation, forward", lambda t: 1e9 * t["forward sweep"], 0.7),
            Figure("ns per recorded operation, reverse", lambda t: 1e9 * (t["both sweeps"] - t["forward sweep"]), 0.8),
            Figure(
                "ns per recorded operation, in all from Python",
                lambda t: 1e9 * t["value and gradient"],
                0.15e6 / 65_077,
            ),
        ),
        oracle=lambda case: case.expected,
        count=lambda case: len(case.tape),
        per="operation",
        samples=200,
    ),
)
