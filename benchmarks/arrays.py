"""Array programs: a network of dense layers, a regression, and many slices of one array."""

import importlib.util
import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import blas

import fasttape as ft
from benchmarks.harness import Figure, Problem, relative, speedup
from benchmarks.jax_beside import HAS_JAX, jax

HAS_TORCH = importlib.util.find_spec("torch") is not None


class Layers(NamedTuple):
    """Weights and biases, a batch of rows, and what the outputs should be."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    inputs: np.ndarray
    targets: np.ndarray


def dense(rng) -> Layers:
    """784-128-64-10 with batch 128, or a variant: other sizes, one more layer."""
    widths, batch = [784, 128, 64, 10], 128
    if rng is not None:
        widths = [int(rng.integers(600, 900)), *(int(width) for width in rng.permutation([144, 96, 64])), 10]
        batch = int(rng.integers(100, 160))
    rng = rng or np.random.default_rng(0)
    sizes = itertools.pairwise(widths)
    layers = [(rng.normal(size=size) / np.sqrt(size[0]), rng.normal(size=size[1]) / 10) for size in sizes]
    return Layers(layers, rng.uniform(size=(batch, widths[0])), rng.uniform(-1, 1, size=(batch, 10)))


def dense_loss(layers, inputs, targets, numpy: Any = np):
    """Squared loss of tanh layers; `numpy` may be a library's own copy of it."""
    outputs = inputs
    for weights, bias in layers:
        outputs = numpy.tanh(outputs @ weights + bias)
    return numpy.sum((outputs - targets) ** 2) / len(inputs)


def dense_by_hand(case):
    """Forward and backward as one writes them by hand."""

    def run():
        outputs = [case.inputs]
        for weights, bias in case.layers:
            outputs.append(np.tanh(outputs[-1] @ weights + bias))
        error = outputs[-1] - case.targets
        value = np.sum(error * error) / len(error)
        above, gradients = (2 / len(error)) * error, []
        for i in range(len(case.layers) - 1, -1, -1):
            delta = above * (1 - outputs[i + 1] * outputs[i + 1])
            gradients.append((outputs[i].T @ delta, delta.sum(axis=0)))
            if i:
                above = delta @ case.layers[i][0].T
        return value, gradients[::-1]

    return run


def dense_products(case, product=np.matmul):
    """The matrix products of both passes and nothing else, by the BLAS of NumPy; there is no result."""
    sizes = [weights.shape for weights, _ in case.layers]
    outputs = [np.empty((len(case.inputs), n), case.inputs.dtype) for _, n in sizes]
    gradients = [np.empty_like(weights) for weights, _ in case.layers]
    inputs = [case.inputs, *outputs[:-1]]
    deltas = [np.ones_like(x) for x in outputs]

    def run():
        for x, (weights, _), y in zip(inputs, case.layers, outputs, strict=True):
            product(x, weights, out=y)
        for i in range(len(sizes) - 1, -1, -1):
            product(inputs[i].T, deltas[i], out=gradients[i])
            if i:
                product(deltas[i], case.layers[i][0].T, out=outputs[i - 1])

    return run


def dense_products_by_scipy(case):
    """The same by the BLAS of SciPy, which is the one that compiled code can call."""
    gemm = blas.get_blas_funcs("gemm", dtype=case.inputs.dtype)

    def product(x, y, out):
        """The transposed product, as BLAS sees rows as columns."""
        (a, turned), (b, other) = ((z.T, False) if z.flags.c_contiguous else (z, True) for z in (y, x))
        gemm(1.0, a, b, 0.0, out.T, turned, other, overwrite_c=True)

    return dense_products(case, product)


def dense_replayed(case):
    tape = ft.record(dense_loss, *case)
    return lambda: tape.value_and_grad(*case)


def dense_recorded(case):
    run = ft.value_and_grad(dense_loss)
    return lambda: run(*case)


def dense_autograd(case):
    import autograd.numpy
    from autograd import value_and_grad

    run = value_and_grad(lambda layers: dense_loss(layers, case.inputs, case.targets, autograd.numpy))
    return lambda: run(case.layers)


def dense_jax(case):
    run = jax().jit(jax().value_and_grad(lambda layers: dense_loss(layers, *given, jax().numpy)))
    layers, *given = jax().tree.map(jax().numpy.asarray, tuple(case))
    return lambda: jax().block_until_ready(run(layers))


def dense_torch(case):
    """As one writes it for PyTorch, without its compiler."""
    import torch

    torch.set_num_threads(1)
    layers = [[torch.tensor(x, requires_grad=True) for x in layer] for layer in case.layers]
    inputs, targets = torch.tensor(case.inputs), torch.tensor(case.targets)
    leaves = [x for layer in layers for x in layer]

    def run():
        outputs = inputs
        for weights, bias in layers:
            outputs = torch.tanh(outputs @ weights + bias)
        value = torch.sum((outputs - targets) ** 2) / len(inputs)
        found = torch.autograd.grad(value, leaves)
        return value.item(), [x.numpy() for x in found]

    return run


def in_float32(case) -> Layers:
    layers = [tuple(x.astype(np.float32) for x in layer) for layer in case.layers]
    return Layers(layers, case.inputs.astype(np.float32), case.targets.astype(np.float32))


class Line(NamedTuple):
    """Observations `y` that a line in the columns of `X` should meet."""

    A: np.ndarray
    b: float
    X: np.ndarray
    y: np.ndarray


def line(rng) -> Line:
    """10,000 observations of 100 numbers, or a variant with other sizes."""
    rows, columns = (10_000, 100) if rng is None else (int(rng.integers(8_000, 12_000)), int(rng.integers(80, 120)))
    rng = rng or np.random.default_rng(0)
    return Line(rng.normal(size=columns), 0.5, rng.normal(size=(rows, columns)), rng.normal(size=rows))


def line_loss(A, b, X, y, numpy: Any = np):
    return numpy.sum((y - b - X @ A) ** 2)


def line_by_hand(case):
    def run():
        residual = case.y - case.b - case.X @ case.A
        return residual @ residual, -2 * (case.X.T @ residual), -2 * residual.sum()

    return run


def line_replayed(case):
    tape = ft.record(line_loss, *case, argnums=(0, 1))
    return lambda: tape.value_and_grad(*case)


def line_recorded(case):
    run = ft.value_and_grad(line_loss, argnums=(0, 1))
    return lambda: run(*case)


def line_autograd(case):
    import autograd.numpy
    from autograd import value_and_grad

    run = value_and_grad(lambda A, b: line_loss(A, b, case.X, case.y, autograd.numpy), argnum=(0, 1))
    return lambda: run(case.A, case.b)


def slices(rng):
    """An array of 10,000 numbers and the width of a slice at each place."""
    size, width = (10_000, 8) if rng is None else (int(rng.integers(9_000, 11_000)), int(rng.integers(6, 10)))
    return np.linspace(0.1, 1.0, size), width


def sliced_sum(x, width):
    """Σ over i of the product of the first and the last element of x[i : i + width], by slices."""
    total = 0.0
    for i in range(len(x) - width):
        part = x[i : i + width]
        total = total + np.sum(part[:1] * part[-1:])
    return total


def sliced(share: float):
    """The gradient over a part of the array, recorded anew; there is nothing to compare, so no result is returned."""

    def build(case):
        x, width = case
        x = x[: int(share * len(x))]
        run = ft.grad(lambda x: sliced_sum(x, width))
        expected = np.zeros_like(x)
        reach = len(x) - width
        expected[:reach] += x[width - 1 : width - 1 + reach]
        expected[width - 1 : width - 1 + reach] += x[:reach]
        np.testing.assert_allclose(run(x), expected, rtol=1e-12)

        def quiet():
            run(x)

        return quiet

    return build


def dense_problem(name: str, dtype: str, case, tolerance: float) -> Problem:
    """The network in one dtype; JAX and PyTorch take part where they are installed."""
    beside = {"JAX jitted": (HAS_JAX, dense_jax, 1.02), "PyTorch eager": (HAS_TORCH, dense_torch, 0.75)}
    present = {name: (build, goal) for name, (installed, build, goal) in beside.items() if installed}
    return Problem(
        name,
        f"value and gradient of a network of dense layers, tanh, squared loss, a batch of rows{dtype}",
        case,
        {
            "NumPy by hand": dense_by_hand,
            "autograd": dense_autograd,
            "fasttape recorded anew": dense_recorded,
            "fasttape replayed": dense_replayed,
            "the products alone": dense_products,
            "the products, SciPy's BLAS": dense_products_by_scipy,
        }
        | {name: build for name, (build, _) in present.items()},
        (
            relative("fasttape replayed", "NumPy by hand", 1.02),
            relative("fasttape recorded anew", "NumPy by hand", None if dtype else 1.5),
            Figure(
                "share of the products", lambda t: t["the products, SciPy's BLAS"] / t["fasttape replayed"], 0.93, False
            ),
            Figure("the same by NumPy's BLAS", lambda t: t["the products alone"] / t["fasttape replayed"]),
            speedup("fasttape replayed", "autograd"),
            *(relative("fasttape replayed", name, goal) for name, (_, goal) in present.items()),
            *(relative("the products alone", name) for name in present),
        ),
        samples=400,
        tolerance=tolerance,
    )


PROBLEMS = (
    dense_problem("dense", "", dense, 1e-9),
    dense_problem("dense-float32", ", in float32", lambda rng: in_float32(dense(rng)), 1e-3),
    Problem(
        "regression",
        "value and gradient of ‖y − b − X A‖²",
        line,
        {
            "NumPy by hand": line_by_hand,
            "autograd": line_autograd,
            "fasttape recorded anew": line_recorded,
            "fasttape replayed": line_replayed,
        },
        (relative("fasttape replayed", "NumPy by hand"), speedup("fasttape replayed", "autograd")),
        samples=400,
    ),
    Problem(
        "slices",
        "gradient of a sum over slices, one at each place of an array of 10⁴ numbers and of a quarter of it",
        slices,
        {"a quarter": sliced(0.25), "whole": sliced(1.0)},
        (Figure("whole over a quarter; linear time is 4", lambda t: t["whole"] / t["a quarter"], 4 * 1.15),),
        samples=10,
    ),
)
