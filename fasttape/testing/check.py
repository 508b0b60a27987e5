"""check_grads: derivatives by both modes against finite differences and against each other."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fasttape import trees
from fasttape.api import grad, jvp
from fasttape.errors import ArgumentError
from fasttape.recording import name_of
from fasttape.tape import record

MODES = ("fwd", "rev")
DIRECTIONS = 2
SHRINK = 1.4


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] = MODES,
    *,
    rtol: float | None = None,
    seed: int = 0,
) -> None:
    """Check the derivatives of `f` at `args` along random directions; raise AssertionError with the figures if wrong.

    Forward mode is compared with Ridders' extrapolated central differences (Ridders 1982, "Accurate computation of
    F'(x) and F''(x)"), with a tolerance of `rtol` times the size of the derivative plus the error that the
    extrapolation states of itself. Reverse mode must give the same directional derivative of each output, contracted
    with random weights. All arguments are differentiated. An `order` above 1 checks the derivatives of those
    directional derivatives in turn, for each mode that made them.

    Raises `ArgumentError` for an unknown mode or order.

    >>> import numpy as np
    >>> from fasttape.testing import check_grads
    >>> check_grads(lambda x: np.tanh(x) * x, (np.array([0.3, -1.2]),))
    """
    if order < 1 or not set(modes) <= set(MODES) or not modes:
        raise ArgumentError(f"check_grads takes an order of at least 1 and modes of {MODES}, not {order} and {modes}")
    args = tuple(args)
    rng = np.random.default_rng(seed)
    leaves, structure = trees.flatten(args)
    single = any(getattr(x, "dtype", None) == np.float32 for x in leaves)
    rtol = (1e-2 if single else 1e-6) if rtol is None else rtol
    for _ in range(DIRECTIONS):
        direction = [draw(rng, x) for x in leaves]
        weigh = Weights(rng)
        value = weigh(f(*args))
        expected, error = derivative(lambda t: weigh(f(*move(structure, leaves, direction, t))), single)  # noqa: B023
        tangents = trees.unflatten(structure, direction)
        found = {}
        if "fwd" in modes:
            primal, tangent = jvp(f, args, tangents)
            compare(f, "value", weigh(primal), value, rtol, 0.0)
            found["fwd"] = weigh(tangent)
        if "rev" in modes:
            weighed = functools.partial(contract, weigh, f)
            gradient = record(weighed, *args, argnums=tuple(range(len(args)))).grad(*args)
            slopes, _ = trees.flatten(gradient)
            found["rev"] = sum(np.sum(np.asarray(s) * d) for s, d in zip(slopes, direction, strict=True))
        for mode, slope in found.items():
            compare(f, mode, slope, expected, rtol, 10 * error)
        if order > 1:
            for mode in modes:
                along = functools.partial(DIRECTIONAL[mode], f, weigh, direction)
                check_grads(along, args, order - 1, modes, rtol=rtol, seed=seed + 1)


def along_forward(f: Callable[..., Any], weigh: "Weights", direction: list[Any], *args: Any) -> Any:
    """The directional derivative of the contracted outputs of f, by forward mode."""
    _, structure = trees.flatten(args)
    return weigh(jvp(f, args, trees.unflatten(structure, direction))[1])


def along_reverse(f: Callable[..., Any], weigh: "Weights", direction: list[Any], *args: Any) -> Any:
    """The same by reverse mode."""
    gradient = grad(functools.partial(contract, weigh, f), tuple(range(len(args))))(*args)
    return sum(np.sum(s * d) for s, d in zip(trees.flatten(gradient)[0], direction, strict=True))


DIRECTIONAL = {"fwd": along_forward, "rev": along_reverse}


def contract(weigh: "Weights", f: Callable[..., Any], *args: Any) -> Any:
    """The outputs of f as one number."""
    return weigh(f(*args))


class Weights:
    """Contracts a tree of outputs with random weights, the same ones at every call."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.drawn: list[Any] | None = None

    def __call__(self, outputs: Any) -> Any:
        leaves, _ = trees.flatten(outputs)
        if self.drawn is None:
            self.drawn = [draw(self.rng, x) for x in leaves]
        return sum(np.sum(x * w) for x, w in zip(leaves, self.drawn, strict=True))


def draw(rng: np.random.Generator, x: Any) -> Any:
    """A random direction of the type of x."""
    if np.shape(x) or isinstance(x, np.ndarray):
        return np.asarray(rng.standard_normal(np.shape(x)), getattr(x, "dtype", np.float64))
    number = rng.standard_normal()
    return x.dtype.type(number) if isinstance(x, np.floating) else number


def move(structure: Any, leaves: list[Any], direction: list[Any], t: float) -> Any:
    """The arguments, moved by t along the direction."""
    moved = [x + d * (x.dtype.type(t) if hasattr(x, "dtype") else t) for x, d in zip(leaves, direction, strict=True)]
    return trees.unflatten(structure, moved)


def derivative(f: Callable[[float], Any], single: bool) -> tuple[float, float]:
    """The derivative of f at 0 by central differences extrapolated to step zero, and an estimate of its error."""
    step, best, error = (0.25 if single else 0.02), np.nan, np.inf
    row: list[Any] = []
    for i in range(8):
        new = [(f(step) - f(-step)) / (2.0 * step)]
        factor = SHRINK**2
        for k in range(i):
            new.append((new[k] * factor - row[k]) / (factor - 1.0))
            factor *= SHRINK**2
            estimate = max(abs(new[k + 1] - new[k]), abs(new[k + 1] - row[k]))
            if estimate <= error:
                best, error = new[k + 1], estimate
        row = new
        step /= SHRINK
    return best, error


def compare(f: Callable[..., Any], what: str, found: Any, expected: Any, rtol: float, slack: float) -> None:
    """Raise AssertionError unless two numbers agree."""
    if not abs(found - expected) <= rtol * max(1.0, abs(expected)) + slack:
        raise AssertionError(f"{what} of {name_of(f)}: {found!r}, but finite differences give {expected!r}")
