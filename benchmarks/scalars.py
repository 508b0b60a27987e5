"""Long tapes of scalar instructions: recording, sweeping and storing them."""

from typing import NamedTuple

import numba
import numpy as np

import fasttape as ft
from benchmarks import network, object_tape
from benchmarks.harness import Figure, Problem, relative


class Valley(NamedTuple):
    """Rosenbrock's function summed over several weights, so that few inputs make a long tape."""

    x: list[float]
    weights: list[float]
    order: list[int]
    extra: bool


def valley(rng, terms: int = 125_000) -> Valley:
    """Terms of eight operations each, or a variant: other sizes, shuffled terms, two more operations in each."""
    size, extra = 101, rng is not None
    if rng is not None:
        size, terms = int(rng.integers(80, 160)), round(terms * rng.uniform(0.7, 0.9))
    order = list(range(size - 1))
    generator = rng or np.random.default_rng(0)
    if rng is not None:
        generator.shuffle(order)
    weights = generator.uniform(50, 150, size=round(terms / len(order))).tolist()
    return Valley(generator.uniform(0.5, 1.5, size=size).tolist(), weights, order, extra)


def rosenbrock(x, case):
    """Σ over weights c and places i of c (x[i+1] − x[i]²)² + (1 − x[i])², by operators only."""
    total = 0.0
    for c in case.weights:
        for i in case.order:
            u = x[i + 1] - x[i] * x[i]
            v = 1.0 - x[i]
            term = c * (u * u) + v * v
            total = total + (term + 0.5 * x[i] if case.extra else term)
    return total


def rosenbrock_by_formula(case):
    """The value and the gradient, vectorized by hand."""
    x, c, count = np.array(case.x), sum(case.weights), len(case.weights)
    u, v = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros(len(x))
    gradient[1:] += 2 * c * u
    gradient[:-1] -= 4 * c * u * x[:-1] + 2 * count * v
    value = c * np.sum(u * u) + count * np.sum(v * v)
    if case.extra:
        gradient[:-1] += 0.5 * count
        value += 0.5 * count * np.sum(x[:-1])
    return value, gradient


def operations(case) -> int:
    """Operators applied in one evaluation."""
    return len(case.weights) * len(case.order) * (10 if case.extra else 8)


def plain(case):
    """The function on plain floats: what Python itself costs."""

    def run():
        rosenbrock(case.x, case)

    return run


def recording(case):
    def run():
        ft.record(lambda x: rosenbrock(x, case), case.x)

    return run


@network.without_collector
def building_objects(case):
    def run():
        rosenbrock([object_tape.Number(value) for value in case.x], case)

    return run


@network.without_collector
def building_micrograd(case):
    from micrograd.engine import Value

    def run():
        rosenbrock([Value(value) for value in case.x], case)

    return run


class Program(NamedTuple):
    """A recorded tape, its point, its length, and the right value and gradient where a formula gives them."""

    tape: ft.Tape
    x: list[float]
    length: int
    expected: tuple


def regular_valley(rng) -> Program:
    """Rosenbrock's function on a tape of about 10⁶ instructions."""
    case = valley(rng)
    tape = ft.record(lambda x: rosenbrock(x, case), case.x)
    return Program(tape, case.x, len(tape), rosenbrock_by_formula(case))


def regular_network(rng) -> Program:
    """micrograd's network over so many points that its tape has about 10⁶ instructions."""
    case = network.case(rng, points=1_500)
    tape = ft.record(lambda p: network.loss(p, case, network.relu), case.parameters)
    # The right answer comes from the same network recorded as an object tape.
    return Program(tape, case.parameters, len(tape), network.objects(case)())


def forward(case):
    def run():
        case.tape(case.x)

    return run


def both_sweeps(case):
    return lambda: case.tape.value_and_grad(case.x)


@numba.njit(error_model="numpy")
def loop_forward(a, b, values, start):
    """What a forward sweep does besides dispatch: two indices, two loads, one operation, one store."""
    for i in range(a.size):
        values[start + i] = values[a[i]] * values[b[i]]


@numba.njit(error_model="numpy")
def loop_reverse(a, b, values, adjoints, start):
    """The same for a reverse sweep: two products added to two adjoints."""
    for i in range(a.size - 1, -1, -1):
        w = adjoints[start + i]
        adjoints[a[i]] += w * values[b[i]]
        adjoints[b[i]] += w * values[a[i]]


def loop(compiled, adjoint: bool):
    """A reference loop over as many regular instructions as the tape has."""

    def build(case):
        start = len(case.x)
        place = np.arange(case.length, dtype=np.uint32)
        a, b = place % np.uint32(start), place + np.uint32(start - 1)
        values = np.ones(start + case.length)
        arrays = (values, np.ones_like(values)) if adjoint else (values,)

        def run():
            compiled(a, b, *arrays, np.uint32(start))

        return run

    return build


SWEEPS = {
    "reference loop, forward": loop(loop_forward, adjoint=False),
    "reference loop, reverse": loop(loop_reverse, adjoint=True),
    "fasttape forward": forward,
    "fasttape forward and reverse": both_sweeps,
}
SWEEP_FIGURES = (
    Figure("ns per instruction, forward", lambda t: 1e9 * t["fasttape forward"], 2.5),
    Figure(
        "ns per instruction, reverse", lambda t: 1e9 * (t["fasttape forward and reverse"] - t["fasttape forward"]), 4.0
    ),
    relative("fasttape forward", "reference loop, forward"),
    Figure(
        "reverse: time relative to reference loop, reverse",
        lambda t: (t["fasttape forward and reverse"] - t["fasttape forward"]) / t["reference loop, reverse"],
    ),
)


PROBLEMS = (
    Problem(
        "recording",
        "Rosenbrock's function in Python scalars, recorded and not swept",
        lambda rng: valley(rng, terms=25_000),
        {
            "plain floats": plain,
            "object tape, collector off": building_objects,
            "micrograd, collector off": building_micrograd,
            "fasttape": recording,
        },
        (Figure("ns per recorded operation", lambda t: 1e9 * t["fasttape"]),),
        count=operations,
        per="operation",
    ),
    Problem(
        "sweeps-rosenbrock",
        "the interpreter on a regular scalar tape of 10⁶ instructions: Rosenbrock's function",
        regular_valley,
        SWEEPS,
        SWEEP_FIGURES,
        oracle=lambda case: case.expected,
        count=lambda case: case.length,
        per="instruction",
        samples=200,
    ),
    Problem(
        "sweeps-network",
        "the interpreter on a regular scalar tape of 10⁶ instructions: micrograd's network",
        regular_network,
        SWEEPS,
        SWEEP_FIGURES,
        oracle=lambda case: case.expected,
        count=lambda case: case.length,
        per="instruction",
        samples=200,
    ),
)
