"""micrograd's demonstration in Python scalars: a small network, relu, hinge loss with regularization, two moons."""

import gc
import itertools
import math
import sys
from typing import NamedTuple

import numpy as np

import fasttape as ft
from benchmarks import object_tape
from benchmarks.harness import Figure, Problem, relative, speedup

ALPHA = 1e-4
LIVE_OBJECTS = 10**7


class Case(NamedTuple):
    """Parameters stand neuron by neuron, weights before the bias, as micrograd lists them."""

    widths: tuple[int, ...]
    parameters: list[float]
    points: list[list[float]]
    labels: list[float]
    penalty: float  # of squared scores; the extra operations of a variant


def case(rng, points: int = 100) -> Case:
    """2-16-16-1 and 100 points, or sizes near them, other points and one more term in the loss."""
    widths, penalty = (2, 16, 16, 1), 0.0
    if rng is not None:
        widths, penalty = (2, *(int(width) for width in rng.integers(12, 21, size=2)), 1), 1e-3
        points = round(points * rng.uniform(0.8, 1.2))
    rng = rng or np.random.default_rng(1)
    parameters = []
    for inputs, outputs in itertools.pairwise(widths):
        for _ in range(outputs):
            parameters += [*rng.uniform(-1, 1, size=inputs).tolist(), 0.0]
    labels = rng.choice([-1.0, 1.0], size=points)
    angle = rng.uniform(0, math.pi, size=points)
    moons = np.where(labels > 0, [np.cos(angle), np.sin(angle)], [1 - np.cos(angle), 0.5 - np.sin(angle)])
    moons += rng.normal(0, 0.1, size=moons.shape)
    return Case(widths, parameters, moons.T.tolist(), labels.tolist(), penalty)


def neurons(parameters, widths):
    """The flat list as layers of (weights, bias)."""
    position, layers = 0, []
    for inputs, outputs in itertools.pairwise(widths):
        stops = range(position + inputs, position + (inputs + 1) * outputs, inputs + 1)
        layers.append([(parameters[stop - inputs : stop], parameters[stop]) for stop in stops])
        position += (inputs + 1) * outputs
    return layers


def network(layers, x, relu):
    """The score of one point."""
    for depth, layer in enumerate(layers, start=1):
        x = [sum((w * value for w, value in zip(weights, x, strict=True)), bias) for weights, bias in layer]
        if depth < len(layers):
            x = [relu(value) for value in x]
    return x[0]


def loss(parameters, case, relu):
    """Hinge loss and regularization, as in micrograd's demonstration; any kind of number."""
    layers = neurons(parameters, case.widths)
    scores = [network(layers, point, relu) for point in case.points]
    hinge = sum(relu(1 + -label * score) for label, score in zip(case.labels, scores, strict=True))
    total = hinge * (1.0 / len(scores)) + ALPHA * sum(p * p for p in parameters)
    return total + case.penalty * sum(score * score for score in scores) if case.penalty else total


def relu(x):
    """How a user of NumPy writes it; it leaves no branch on the tape."""
    return np.maximum(x, 0.0)


def recorded(case):
    """Recorded anew at each call."""
    run = ft.value_and_grad(lambda parameters: loss(parameters, case, relu))
    return lambda: run(case.parameters)


def replayed(case):
    """One recording, replayed."""
    tape = ft.record(lambda parameters: loss(parameters, case, relu), case.parameters)
    return lambda: tape.value_and_grad(case.parameters)


def objects(case):
    """Our own object tape."""

    def run():
        parameters = [object_tape.Number(value) for value in case.parameters]
        result = loss(parameters, case, object_tape.relu)
        return result.value, object_tape.gradient(result, parameters)

    return run


def micrograd(case):
    """The code of micrograd's demonstration, with its own network class."""
    from micrograd.engine import Value
    from micrograd.nn import MLP

    sys.setrecursionlimit(100_000)  # it orders the graph by recursion, as deep as the longest sum
    model = MLP(case.widths[0], list(case.widths[1:]))
    for parameter, value in zip(model.parameters(), case.parameters, strict=True):
        parameter.data = value

    def run():
        inputs = [list(map(Value, point)) for point in case.points]
        scores = list(map(model, inputs))
        losses = [(1 + -label * score).relu() for label, score in zip(case.labels, scores, strict=True)]
        total = sum(losses) * (1.0 / len(losses)) + ALPHA * sum(p * p for p in model.parameters())
        if case.penalty:
            total = total + case.penalty * sum(score * score for score in scores)
        model.zero_grad()
        total.backward()
        return total.data, [p.grad for p in model.parameters()]

    return run


def without_collector(contender):
    """The same contender with the garbage collector off while it runs."""

    def build(case):
        run = contender(case)

        def quiet():
            gc.disable()
            try:
                return run()
            finally:
                gc.enable()

        return quiet

    return build


def beside_live_objects(case):
    """Recording while the heap holds many objects that the collector has to look at."""
    run = recorded(case)
    gc.disable()  # making them is not what is measured
    heap = [[] for _ in range(LIVE_OBJECTS)]
    gc.enable()
    return lambda: (run(), len(heap))[0]


PROBLEMS = (
    Problem(
        "micrograd",
        "value and gradient of micrograd's network in Python scalars, relu, hinge loss and regularization",
        case,
        {
            "micrograd as shipped": micrograd,
            "micrograd, collector off": without_collector(micrograd),
            "object tape, collector off": without_collector(objects),
            "fasttape recorded anew": recorded,
            "fasttape replayed": replayed,
        },
        (
            speedup("fasttape recorded anew", "micrograd, collector off", 4),
            speedup("fasttape recorded anew", "micrograd as shipped", 35),
            speedup("fasttape replayed", "micrograd, collector off", 250),
            speedup("fasttape replayed", "micrograd as shipped", 2000),
            speedup("fasttape recorded anew", "object tape, collector off"),
            Figure(
                "micrograd: share of its time in the collector",
                lambda t: 1 - t["micrograd, collector off"] / t["micrograd as shipped"],
            ),
        ),
        samples=200,
    ),
    Problem(
        "live-heap",
        f"the same, recorded anew under the default collector: a small heap, and {LIVE_OBJECTS:,} live objects",
        case,
        {"small heap": recorded, "large heap": beside_live_objects},
        (relative("large heap", "small heap", 1.15),),
        samples=15,
        together=False,
    ),
)
