"""Functions written for one example, mapped over many: the gradient of each of them, and that of their sum."""

import itertools
from typing import NamedTuple

import numpy as np

import fasttape as ft
from benchmarks.harness import Problem, relative, speedup
from benchmarks.jax_beside import HAS_JAX, jax

IN_AXES = (None, 0, 0)


class Case(NamedTuple):
    """Layers (weights, bias), and examples with what they should give in rows."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    x: np.ndarray
    y: np.ndarray


def case(rng) -> Case:
    """32-64-10 and 4,096 examples, or other widths, perhaps one more layer, and other examples."""
    widths, size = [32, 64, 10], 4096
    if rng is not None:
        widths = [*rng.integers(20, 80, int(rng.integers(2, 4))).tolist(), int(rng.integers(3, 16))]
        size = int(rng.integers(2_000, 6_000))
    rng = rng or np.random.default_rng(0)
    pairs = itertools.pairwise(widths)
    layers = [(rng.normal(size=(m, n)) / np.sqrt(n), 0.1 * rng.normal(size=m)) for n, m in pairs]
    return Case(layers, rng.normal(size=(size, widths[0])), rng.normal(size=(size, widths[-1])))


def loss(layers, x, y):
    """The squared error of one example."""
    for w, b in layers[:-1]:
        x = np.tanh(w @ x + b)
    w, b = layers[-1]
    return np.sum((w @ x + b - y) ** 2)


def loss_in_jax(layers, x, y):
    """The same with JAX's NumPy."""
    jnp = jax().numpy
    for w, b in layers[:-1]:
        x = jnp.tanh(w @ x + b)
    w, b = layers[-1]
    return jnp.sum((w @ x + b - y) ** 2)


def total(layers, x, y):
    """The loss over all examples."""
    return np.sum(ft.vmap(loss, IN_AXES)(layers, x, y))


def by_hand(of_layer):
    """The textbook's formulas for all examples at once; `of_layer` makes gradients of adjoints and what came in."""

    def build(case):
        def run():
            kept = [case.x]
            for w, b in case.layers[:-1]:
                kept.append(np.tanh(kept[-1] @ w.T + b))
            w, b = case.layers[-1]
            adjoint, made = 2.0 * (kept[-1] @ w.T + b - case.y), []
            for (w, _), x in zip(reversed(case.layers), reversed(kept), strict=True):
                made.append(of_layer(adjoint, x))
                adjoint = (adjoint @ w) * (1.0 - x * x)
            return made[::-1]

        return run

    return build


def each(adjoint, x):
    """The gradient of a layer for each example."""
    return adjoint[:, :, None] * x[:, None, :], adjoint


def together(adjoint, x):
    """That of all examples."""
    return adjoint.T @ x, adjoint.sum(axis=0)


def mapped(case):
    run = ft.vmap(ft.grad(loss), IN_AXES, threads=1)
    return lambda: run(*case)


def recorded(case):
    """Recorded anew at each call."""
    run = ft.grad(total)
    return lambda: run(*case)


def compiled(case):
    """Recorded once."""
    run = ft.compile(ft.grad(total))
    return lambda: run(*case)


def in_jax(transform):
    def build(case):
        run, arguments = jax().jit(transform()), jax().tree.map(jax().numpy.asarray, tuple(case))
        return lambda: jax().tree.map(np.asarray, run(*arguments))

    return build


def total_in_jax(layers, x, y):
    return jax().numpy.sum(jax().vmap(loss_in_jax, IN_AXES)(layers, x, y))


class Fit(NamedTuple):
    """Parameters of a curve, and a row of four numbers for each example: where it is, and its value there."""

    parameters: np.ndarray
    rows: np.ndarray


def fit(rng) -> Fit:
    """10⁶ examples, or a variant: other numbers, fewer of them."""
    size = 1_000_000 if rng is None else int(rng.integers(600_000, 900_000))
    rng = rng or np.random.default_rng(0)
    return Fit(rng.normal(size=3), rng.normal(size=(size, 4)))


def misfit(parameters, row, numpy=np):
    """The squared error of one example."""
    found = numpy.tanh(parameters[0] * row[0] + parameters[1] * row[1]) + parameters[2] * numpy.exp(-row[2] * row[2])
    return (found - row[3]) ** 2


def fit_by_hand(case):
    """The mean of the errors and its gradient, array by array."""

    def run():
        (a, b, c), (x, y, z, wanted) = case.parameters, case.rows.T
        bent, bump = np.tanh(a * x + b * y), np.exp(-z * z)
        error = bent + c * bump - wanted
        slope = 2.0 / len(error) * error
        inner = slope * (1.0 - bent * bent)
        return np.mean(error * error), np.array([inner @ x, inner @ y, slope @ bump])

    return run


def fit_compiled(case):
    run = ft.compile(ft.value_and_grad(lambda p, rows: np.mean(ft.vmap(misfit, (None, 0), threads=1)(p, rows))))
    return lambda: run(*case)


def fit_in_jax(p, rows):
    return jax().numpy.mean(jax().vmap(lambda p, row: misfit(p, row, jax().numpy), (None, 0))(p, rows))


FITS = {"NumPy, by hand": fit_by_hand, "value_and_grad of vmap, compiled": fit_compiled}
EACH = {"NumPy, by hand": by_hand(each), "vmap of grad": mapped}
ALL = {"NumPy, by hand": by_hand(together), "grad of vmap": recorded, "grad of vmap, compiled": compiled}
if HAS_JAX:
    EACH["JAX jitted"] = in_jax(lambda: jax().vmap(jax().grad(loss_in_jax), IN_AXES))
    ALL["JAX jitted"] = in_jax(lambda: jax().grad(total_in_jax))
    FITS["JAX jitted"] = in_jax(lambda: jax().value_and_grad(fit_in_jax))

PROBLEMS = (
    Problem(
        "examples",
        "the gradient of a network 32-64-10 at each of 4,096 examples",
        case,
        EACH,
        (
            relative("vmap of grad", "NumPy, by hand", 1.5),
            *((relative("vmap of grad", "JAX jitted", 1.1),) if HAS_JAX else ()),
        ),
        tolerance=1e-12,
    ),
    Problem(
        "data-set",
        "the gradient of the same network's loss over all examples",
        case,
        ALL,
        (
            relative("grad of vmap, compiled", "NumPy, by hand", 1.5),
            relative("grad of vmap", "NumPy, by hand"),
            *((relative("grad of vmap, compiled", "JAX jitted", 1.5),) if HAS_JAX else ()),
        ),
        tolerance=1e-12,
    ),
    Problem(
        "fit",
        "the mean of the errors of 10⁶ examples, written for one of them in scalars, and its gradient",
        fit,
        FITS,
        (
            speedup("value_and_grad of vmap, compiled", "NumPy, by hand"),
            *((relative("value_and_grad of vmap, compiled", "JAX jitted"),) if HAS_JAX else ()),
        ),
        tolerance=1e-9,
    ),
)
