"""The public transforms. Each records the function at every call, so a branch is always the one that was taken."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fasttape.binding import match_tangents
from fasttape.errors import ArgumentError, LeakError
from fasttape.evaluation import Evaluator
from fasttape.recording import record_call, scalar_output
from fasttape.transform import nested


def differentiate(
    f: Callable[..., Any], args: Any, keywords: Any, argnums: int | Sequence[int], has_aux: bool, what: str
) -> tuple[Any, Any, Any]:
    """(value, gradient, aux): on the tape of the recording that this call is part of, or by a recording of its own."""
    outer = nested.enclosing((args, keywords))
    if outer is None:
        try:
            recording, values = record_call(f, args, keywords, argnums, passive=False, has_aux=has_aux)
        except LeakError as error:
            outer = nested.outer_of(error)
            if outer is None:
                raise
        else:
            scalar_output(recording, what)
            evaluator = Evaluator(recording)
            return *evaluator.run(values, evaluator.value_and_gradient), recording.aux
    value, gradient, aux = nested.value_and_gradient(outer, f, args, keywords, argnums, has_aux=has_aux)
    return value, gradient, aux


def value_and_grad(
    f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the value of scalar `f` and its gradient by the arguments `argnums`.

    With `has_aux`, `f` returns `(value, aux)` and the result is `((value, aux), gradient)`. The gradient of a Python
    float is a float, that of an array an array of its shape and dtype, that of a tree a tree.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.value_and_grad(lambda x: np.sum(x * x))(np.array([1.0, 2.0]))
    (5.0, array([2., 4.]))
    """

    def run(*args: Any, **keywords: Any) -> Any:
        value, gradient, aux = differentiate(f, args, keywords, argnums, has_aux, "value_and_grad")
        return ((value, aux) if has_aux else value), gradient

    return named("value_and_grad", f, run)


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of scalar `f` by the arguments `argnums`.

    With `has_aux`, `f` returns `(value, aux)` and the result is `(gradient, aux)`.

    Reverse mode: Baydin et al. (2018), "Automatic differentiation in machine learning: a survey", section 3.2.

    >>> import math
    >>> import fasttape as ft
    >>> ft.grad(lambda x: math.exp(2.0 * x))(0.0)
    2.0
    """

    def run(*args: Any, **keywords: Any) -> Any:
        _, gradient, aux = differentiate(f, args, keywords, argnums, has_aux, "grad")
        return (gradient, aux) if has_aux else gradient

    return named("grad", f, run)


def jvp(
    f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], has_aux: bool = False
) -> tuple[Any, ...]:
    """The value of `f` at `primals` and its derivative along `tangents`, in forward mode.

    `tangents` has the structure, shapes and dtypes of `primals`. With `has_aux` the result is (value, tangent, aux).

    Forward mode: Baydin et al. (2018), section 3.1.

    >>> import fasttape as ft
    >>> ft.jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.0))
    (12.0, 4.0)
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise ArgumentError("jvp takes primals and tangents as tuples with one entry per argument of f")
    argnums = tuple(range(len(primals)))
    recording, values = record_call(f, tuple(primals), {}, argnums, passive=False, has_aux=has_aux)
    evaluator = Evaluator(recording)
    along = evaluator.along(match_tangents(recording.signature, tangents))
    value, tangent = evaluator.run(values, along)
    return (value, tangent, recording.aux) if has_aux else (value, tangent)


def named(transform: str, f: Callable[..., Any], run: Any) -> Callable[..., Any]:
    """The wrapper of a transform under a name that shows both."""
    name = getattr(f, "__name__", type(f).__name__)
    functools.update_wrapper(run, f, assigned=("__module__", "__doc__"), updated=())
    run.__name__ = run.__qualname__ = f"{transform}({name})"
    del run.__wrapped__  # the transform, not the function under it, is what a caller holds
    renamed: Callable[..., Any] = run
    return renamed
