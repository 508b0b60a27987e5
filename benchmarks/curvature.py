"""Second derivatives: Hessians beside JAX's, where that is installed, and products with Hessians beside gradients."""

from typing import Any, NamedTuple

import numpy as np

import fasttape as ft
from benchmarks import arrays, network
from benchmarks.harness import Figure, Problem, relative, speedup
from benchmarks.jax_beside import HAS_JAX, jax


def point(size: int):
    """Places in Rosenbrock's valley; a variant has another number of them."""

    def case(rng) -> np.ndarray:
        count = size if rng is None else int(size * rng.uniform(0.8, 1.2))
        return (rng or np.random.default_rng(0)).uniform(0.5, 1.5, count)

    return case


def valley(x, numpy: Any = np):
    """Rosenbrock's function of an array; `numpy` may be a library's own copy of it."""
    return numpy.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def valley_of_scalars(x):
    """The same, number by number."""
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


def hessian_by_formula(x):
    matrix, inner = np.zeros((x.size, x.size)), np.arange(x.size - 1)
    matrix[inner, inner] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    matrix[inner + 1, inner + 1] += 200
    matrix[inner, inner + 1] = matrix[inner + 1, inner] = -400 * x[:-1]
    return matrix


def jitted():
    """JAX's Hessian in double precision, not compiled yet."""
    return jax().jit(jax().hessian(lambda x: valley(x, jax().numpy)))


def hessian_of_jax(x):
    run = jitted()
    return lambda: np.asarray(run(x).block_until_ready())


def first_hessian_of_jax(x):
    return lambda: np.asarray(jitted()(x).block_until_ready())


def hessian_of_tape(f):
    def build(x):
        tape = ft.record(f, x)
        return lambda: tape.hessian(x)

    return build


def first_hessian_of_tape(f):
    return lambda x: lambda: ft.record(f, x).hessian(x)


def hessian_recorded(x):
    run = ft.hessian(valley)
    return lambda: run(x)


class Directed(NamedTuple):
    """A tape, its arguments, and a direction for each."""

    tape: ft.Tape
    at: tuple[Any, ...]
    along: tuple[Any, ...]


def valley_directed(f, size: int):
    def case(rng) -> Directed:
        x = point(size)(rng)
        return Directed(ft.record(f, x), (x,), (np.cos(x),))

    return case


def network_directed(rng) -> Directed:
    case = network.case(rng)
    tape = ft.record(lambda p: network.loss(p, case, np.tanh), case.parameters)
    return Directed(tape, (case.parameters,), ([0.3 + p for p in case.parameters],))


def layers_directed(rng) -> Directed:
    layers, inputs, targets = arrays.dense(rng)
    tape = ft.record(lambda layers: arrays.dense_loss(layers, inputs, targets), layers)
    return Directed(tape, (layers,), ([(np.cos(w), np.sin(b)) for w, b in layers],))


def gradient(case):
    """The unit of the other contender; nothing is compared with it."""

    def run():
        case.tape.grad(*case.at)

    return run


def product(case):
    return lambda: case.tape.hvp(case.at, case.along)


def products(name: str, work: str, case) -> Problem:
    contenders = {"fasttape gradient": gradient, "fasttape product": product}
    figures = (relative("fasttape product", "fasttape gradient", 3.0),)
    return Problem(
        name, f"the Hessian's product with a vector, replayed: {work}", case, contenders, figures, samples=200
    )


def beside_jax(figure: Figure) -> tuple[Figure, ...]:
    """A figure that needs JAX."""
    return (figure,) if HAS_JAX else ()


PROBLEMS = (
    Problem(
        "hessian",
        "the dense Hessian of Rosenbrock's function of 100 numbers, called again",
        point(100),
        ({"JAX jitted": hessian_of_jax} if HAS_JAX else {})
        | {
            "fasttape tape of arrays": hessian_of_tape(valley),
            "fasttape tape of scalars": hessian_of_tape(valley_of_scalars),
            "fasttape recorded anew": hessian_recorded,
        },
        (
            *beside_jax(relative("fasttape tape of arrays", "JAX jitted", 1.0)),
            *beside_jax(relative("fasttape tape of scalars", "JAX jitted", 1.0)),
        ),
        oracle=hessian_by_formula,
        samples=200,
    ),
    Problem(
        "hessian-first",
        "the same for the first time: compiled, or recorded, and called once",
        point(100),
        ({"JAX jitted": first_hessian_of_jax} if HAS_JAX else {})
        | {"fasttape tape": first_hessian_of_tape(valley), "fasttape recorded anew": hessian_recorded},
        (
            *beside_jax(speedup("fasttape recorded anew", "JAX jitted", 20.0)),
            *beside_jax(speedup("fasttape tape", "JAX jitted", 20.0)),
        ),
        oracle=hessian_by_formula,
    ),
    products("product-rosenbrock", "Rosenbrock's function of 1,000 scalars", valley_directed(valley_of_scalars, 1_000)),
    products("product-array", "Rosenbrock's function of an array of 10,000", valley_directed(valley, 10_000)),
    products("product-network", "micrograd's network in scalars, with tanh", network_directed),
    products("product-dense", "784-128-64-10 of dense layers, batch 128", layers_directed),
)
