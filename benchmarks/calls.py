"""Single calls from Python, where what surrounds the sweeps counts: Example 1, and a tree of ten small arrays."""

import math

import numpy as np

import fasttape as ft
from benchmarks import object_tape
from benchmarks.harness import Figure, Problem, speedup


def example1(x, sqrt=math.sqrt, exp=math.exp, cos=math.cos):
    return sqrt(x**2 + exp(x**2)) + cos(x**2 + exp(x**2))


def example1_by_hand(x):
    def run():
        square = x * x
        power = math.exp(square)
        u = square + power
        root = math.sqrt(u)
        return root + math.cos(u), (0.5 / root - math.sin(u)) * 2 * x * (1 + power)

    return run


def example1_objects(x):
    def run():
        start = object_tape.Number(x)
        result = example1(start, object_tape.sqrt, object_tape.exp, object_tape.cos)
        return result.value, object_tape.gradient(result, [start])

    return run


def example1_autograd(x):
    import autograd.numpy as anp
    from autograd import value_and_grad

    run = value_and_grad(lambda x: example1(x, anp.sqrt, anp.exp, anp.cos))
    return lambda: run(x)


def formula(x):
    """The same as people write it."""
    return math.sqrt(x**2 + math.exp(x**2)) + math.cos(x**2 + math.exp(x**2))


def example1_recorded(x):
    run = ft.value_and_grad(formula)
    return lambda: run(x)


def example1_replayed(x):
    tape = ft.record(formula, x)
    return lambda: tape.value_and_grad(x)


def example1_compiled(x):
    run = ft.compile(ft.value_and_grad(formula))
    return lambda: run(x)


def tree(rng):
    """Ten arrays of three numbers in a dict, or a variant: other sizes, in other orders."""
    sizes = [3] * 10 if rng is None else rng.integers(1, 5, 10)
    names = np.arange(10) if rng is None else rng.permutation(10)
    rng = rng or np.random.default_rng(0)
    return {f"w{k}": rng.normal(size=size) for k, size in zip(names, sizes, strict=True)}


def energy(arrays):
    return sum(np.sum(x * x) for x in arrays.values())


def tree_by_hand(arrays):
    return lambda: (energy(arrays), {key: 2.0 * x for key, x in arrays.items()})


def tree_recorded(arrays):
    run = ft.value_and_grad(energy)
    return lambda: run(arrays)


def tree_compiled(arrays):
    run = ft.compile(ft.value_and_grad(energy))
    return lambda: run(arrays)


PROBLEMS = (
    Problem(
        "example1",
        "value and derivative of sqrt(x² + exp(x²)) + cos(x² + exp(x²)), one call from Python",
        lambda rng: 1.2 if rng is None else float(rng.uniform(0.5, 1.3)),
        {
            "by hand": example1_by_hand,
            "autograd": example1_autograd,
            "object tape": example1_objects,
            "fasttape recorded anew": example1_recorded,
            "fasttape replayed": example1_replayed,
            "fasttape compiled": example1_compiled,
        },
        (
            Figure("microseconds per compiled call", lambda t: 1e6 * t["fasttape compiled"], 0.8),
            speedup("fasttape compiled", "autograd"),
            speedup("fasttape recorded anew", "autograd"),
        ),
        samples=200,
    ),
    Problem(
        "tree",
        "value and gradient of a sum of squares over a dict of ten small arrays, one call from Python",
        tree,
        {"NumPy by hand": tree_by_hand, "fasttape recorded anew": tree_recorded, "fasttape compiled": tree_compiled},
        (
            Figure("microseconds per compiled call, sweeps included", lambda t: 1e6 * t["fasttape compiled"], 8.0),
            speedup("fasttape compiled", "NumPy by hand"),
        ),
        samples=200,
    ),
)
