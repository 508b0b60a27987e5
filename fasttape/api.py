"""The public transforms. Each records the function at every call, so a branch is always the one that was taken."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttape.binding import check_argnums, match_tangents
from fasttape.compiler.jit import left_alone
from fasttape.derivatives import Linearization, recorded
from fasttape.derivatives import jacobian as jacobian_of
from fasttape.direct import BOTH, GRADIENT
from fasttape.errors import ArgnumsError, ArgumentError, LeakError
from fasttape.evaluation import Evaluator
from fasttape.inside import ValueAndGradient, is_compiled, linear_tape
from fasttape.recording import name_of, record_call, scalar_output
from fasttape.transform import nested


def by_recording(f: Any, args: Any, keywords: Any, argnums: Any, plain: Any, inner: Any, has_aux: bool = False) -> Any:
    """What a transform returns: `plain` of a recording of its own, or `inner` of a call on the tape around it.

    A call is part of another recording if one of its arguments is, or if the function meets a value of one.
    """
    outer = nested.enclosing((args, keywords))
    if outer is None:
        try:
            recording, values = record_call(f, args, keywords, argnums, passive=False, has_aux=has_aux)
        except LeakError as error:
            outer = nested.outer_of(error)
            if outer is None:
                raise
        else:
            return plain(recording, values)
    return inner(nested.Inner(outer, f, args, keywords, argnums, has_aux=has_aux))


def by_linearizing(
    f: Any, args: Any, keywords: Any, argnums: Any, use: Any, plain: Any, inner: Any, has_aux: bool = False
) -> Any:
    """As `by_recording`; of a compiled function that records on a linear tape what `use` makes of its derivative."""
    if is_compiled(f):
        found: Any = linear_tape(f, args, keywords, argnums, has_aux)
        if found is not None:
            call, value, linear = found
            return *use(Linearization(call, value, linear)), call.aux
    return by_recording(f, args, keywords, argnums, plain, inner, has_aux)


def differentiating(
    f: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool, what: str
) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    """A function (args, keywords) -> (value, gradient, aux) for a scalar function."""

    def plain(recording: Any, values: Any) -> Any:
        scalar_output(recording, what)
        evaluator = Evaluator(recording)
        return *evaluator.run(values, evaluator.value_and_gradient, keep=True), recording.aux

    def inner(call: nested.Inner) -> Any:
        return call.value, call.gradient(), call.aux

    def run(args: Any, keywords: Any) -> tuple[Any, Any, Any]:
        found: tuple[Any, Any, Any] | None = inside(args, keywords) if inside is not None else None
        if found is None:
            found = by_recording(f, args, keywords, argnums, plain, inner, has_aux)
        return found

    inside = ValueAndGradient(f, argnums, has_aux, what) if is_compiled(f) else None
    return run


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
    call = differentiating(f, argnums, has_aux, "value_and_grad")

    def run(*args: Any, **keywords: Any) -> Any:
        value, gradient, aux = call(args, keywords)
        return ((value, aux) if has_aux else value), gradient

    return named("value_and_grad", f, run, None if has_aux else Differentiated(BOTH, f, argnums))


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of scalar `f` by the arguments `argnums`.

    With `has_aux`, `f` returns `(value, aux)` and the result is `(gradient, aux)`.

    Reverse mode: Baydin et al. (2018), "Automatic differentiation in machine learning: a survey", section 3.2.

    >>> import math
    >>> import fasttape as ft
    >>> ft.grad(lambda x: math.exp(2.0 * x))(0.0)
    2.0
    """
    call = differentiating(f, argnums, has_aux, "grad")

    def run(*args: Any, **keywords: Any) -> Any:
        _, gradient, aux = call(args, keywords)
        return (gradient, aux) if has_aux else gradient

    return named("grad", f, run, None if has_aux else Differentiated(GRADIENT, f, argnums))


def njit_value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A compiled function that returns the value of scalar `f` and its gradient by the arguments `argnums`.

    `f` is a function compiled by `numba.njit`, and so is what is returned: optimizers and samplers that are compiled
    themselves call it. The arguments named are float64 numbers and arrays; a gradient is a number or a new array of
    the same shape, or a tuple of these where `argnums` is a tuple. Raises `ArgumentError` for other functions, and
    where it is compiled Numba's `TypingError` for what has no derivative.

    >>> import numba
    >>> import numpy as np
    >>> import fasttape as ft
    >>> value_and_grad = ft.njit_value_and_grad(numba.njit(lambda x: np.sum(x**2)))
    >>> @numba.njit
    ... def descend(x, steps):
    ...     for _ in range(steps):
    ...         value, gradient = value_and_grad(x)
    ...         x = x - 0.25 * gradient
    ...     return x
    >>> descend(np.array([4.0, -8.0]), 2)
    array([ 1., -2.])
    """
    positions = argnums if isinstance(argnums, tuple) else (argnums,)
    if not positions or not all(type(n) is int and n >= 0 for n in positions) or len(set(positions)) < len(positions):
        raise ArgnumsError(f"argnums={argnums!r} must name arguments by their positions from 0 on, none of them twice")
    if is_compiled(f):
        from fasttape.compiler.compiled_gradient import njit_value_and_grad_of

        made: Callable[..., Any] = njit_value_and_grad_of(f, argnums)
        return made
    if left_alone(f):
        return value_and_grad(f, argnums)
    raise ArgumentError(f"njit_value_and_grad takes a function compiled by numba.njit, not {name_of(f)}")


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
    primals, tangents = tuple(primals), tuple(tangents)

    def plain(recording: Any, values: Any) -> Any:
        evaluator = Evaluator(recording)
        along = evaluator.along(match_tangents(recording.signature, tangents))
        return *evaluator.run(values, along), recording.aux

    def inner(call: nested.Inner) -> Any:
        return call.value, call.pushforward(*tangents), call.aux

    def use(linear: Any) -> Any:
        return linear.value, linear.push(*tangents)

    value, tangent, aux = by_linearizing(f, primals, {}, range(len(primals)), use, plain, inner, has_aux)
    return (value, tangent, aux) if has_aux else (value, tangent)


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of `f` at `primals`, and the function that pulls cotangents of the output back to the arguments.

    `pullback(cotangent)` takes a tree like the output and returns a tuple with one tree for each primal. It can be
    called many times, by several threads; the point is kept by copy, so arrays that change later change nothing.
    `pullback.many(cotangents)` takes several, stacked along a leading axis of every leaf, and stacks what it returns,
    in far less time than as many calls; it has a name of its own because shapes alone do not tell a stack from a
    mistake. With `has_aux` the result is (value, pullback, aux).

    Raises `ArgumentError` for cotangents of another structure, shape or dtype than the output.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> value, pullback = ft.vjp(lambda x, y: x * y, np.array([1.0, 2.0]), 3.0)
    >>> pullback(np.array([1.0, 0.0]))
    (array([3., 0.]), 1.0)
    >>> pullback.many(np.eye(2))
    (array([[3., 0.],
           [0., 3.]]), array([1., 2.]))
    """

    def use(linear: Any) -> Any:
        return linear.value, linear.pullback

    def plain(recording: Any, values: Any) -> Any:
        return *use(Linearization.at(Evaluator(recording, whole=True), values)), recording.aux

    def inner(call: nested.Inner) -> Any:
        return call.value, recorded(call)[0], call.aux

    value, pullback, aux = by_linearizing(f, primals, {}, range(len(primals)), use, plain, inner, has_aux)
    return (value, pullback, aux) if has_aux else (value, pullback)


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of `f` at `primals`, and its derivative there as a function of tangents, one for each primal.

    `pushforward(*tangents)` returns a tree like the output; `pushforward.many(*tangents)` takes and returns several
    directions, stacked along a leading axis of every leaf, as `vjp` does. With `has_aux` the result is
    (value, pushforward, aux).

    Raises `ArgumentError` for tangents of another structure, shape or dtype than the primals.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> value, pushforward = ft.linearize(lambda x, y: x * y, 3.0, 4.0)
    >>> value, pushforward(1.0, 0.0), pushforward(0.0, 1.0)
    (12.0, 4.0, 3.0)
    >>> pushforward.many(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    array([4., 3.])
    """

    def use(linear: Any) -> Any:
        return linear.value, linear.pushforward

    def plain(recording: Any, values: Any) -> Any:
        return *use(Linearization.at(Evaluator(recording, whole=True), values)), recording.aux

    def inner(call: nested.Inner) -> Any:
        return call.value, recorded(call)[1], call.aux

    value, pushforward, aux = by_linearizing(f, primals, {}, range(len(primals)), use, plain, inner, has_aux)
    return (value, pushforward, aux) if has_aux else (value, pushforward)


def jacobian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the Jacobian of `f`, by forward or reverse mode, whichever takes less time.

    For an output of shape s and an argument of shape t it is an array of shape s + t; trees of outputs and arguments
    give trees of trees. Several rows or columns go along in one sweep, and columns of a sparse Jacobian that share no
    row count as one (Curtis, Powell and Reid 1974, "On the estimation of sparse Jacobian matrices"). With `has_aux`,
    `f` returns `(output, aux)` and the result is `(jacobian, aux)`.

    Raises `OutputError` for outputs that are no real numbers; an output that depends on no argument has zeros.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return jacobian_by(f, argnums, None, "jacobian", has_aux)


def jacfwd(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """`jacobian` in forward mode: a lane of a sweep for each input.

    >>> import fasttape as ft
    >>> ft.jacfwd(lambda x: (x, x * x))(3.0)
    (1.0, 6.0)
    """
    return jacobian_by(f, argnums, "fwd", "jacfwd", has_aux)


def jacrev(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """`jacobian` in reverse mode: a lane of a sweep for each output.

    >>> import fasttape as ft
    >>> ft.jacrev(lambda x: (x, x * x))(3.0)
    (1.0, 6.0)
    """
    return jacobian_by(f, argnums, "rev", "jacrev", has_aux)


def jacobian_by(f: Any, argnums: Any, mode: str | None, what: str, has_aux: bool) -> Callable[..., Any]:
    """The transform behind the Jacobians."""

    def run(*args: Any, **keywords: Any) -> Any:
        def plain(recording: Any, values: Any) -> Any:
            return jacobian_of(Evaluator(recording, whole=True), values, mode), recording.aux

        def inner(call: nested.Inner) -> Any:
            return call.jacobian(mode), call.aux

        def use(linear: Any) -> Any:
            return (linear.jacobian(mode),)

        matrix, aux = by_linearizing(f, args, keywords, argnums, use, plain, inner, has_aux)
        return (matrix, aux) if has_aux else matrix

    return named(what, f, run)


def hessian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the matrix of second derivatives of scalar `f`: forward mode over its gradient.

    For an argument of shape t it has the shape t + t; several arguments, and trees, give trees of blocks. With
    `has_aux`, `f` returns `(value, aux)` and the result is `(hessian, aux)`.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian_by(grad(f, argnums, has_aux), argnums, "fwd", "hessian", has_aux)


def hvp(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function (x, v, *args) that returns the product of the Hessian of scalar `f` with v, without the Hessian.

    x is the argument `argnums` of `f`, and `args` are the others in order. Forward over reverse mode (Pearlmutter 1994,
    "Fast exact multiplication by the Hessian").

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([6., 0.])
    """
    if not isinstance(argnums, int):
        raise ArgnumsError(f"argnums={argnums!r} of hvp must be one position, that of x; put several into one tree")
    slope = grad(f, argnums)

    def run(x: Any, v: Any, *args: Any, **keywords: Any) -> Any:
        (position,) = check_argnums("hvp", argnums, 1 + len(args))
        return jvp(functools.partial(call_with, slope, position, args, keywords), (x,), (v,))[1]

    return named("hvp", f, run)


def call_with(f: Callable[..., Any], position: int, others: tuple[Any, ...], keywords: Any, x: Any) -> Any:
    """f with x as the argument at a position, between the others."""
    return f(*others[:position], x, *others[position:], **keywords)


def elementwise_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The derivative of each element of the output by the element of the argument that it depends on.

    Right for functions that work element by element; it is the gradient of the sum of the output.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.elementwise_grad(np.sin)(np.array([0.0, np.pi]))
    array([ 1., -1.])
    """
    return named("elementwise_grad", f, grad(functools.partial(summed, f), argnums))


def summed(f: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """The sum of what f returns."""
    return np.sum(f(*args, **keywords))


class Differentiated(NamedTuple):
    """What a transform returns and of which function, for those who can get it in another way."""

    what: str  # as `direct` names it
    function: Callable[..., Any]
    argnums: Any


def named(
    transform: str, f: Callable[..., Any], run: Any, differentiated: Differentiated | None = None
) -> Callable[..., Any]:
    """The wrapper of a transform under a name that shows both."""
    name = getattr(f, "__name__", type(f).__name__)
    functools.update_wrapper(run, f, assigned=("__module__", "__doc__"), updated=())
    run.__name__ = run.__qualname__ = f"{transform}({name})"
    run.differentiated = differentiated
    del run.__wrapped__  # the transform, not the function under it, is what a caller holds
    renamed: Callable[..., Any] = run
    return renamed
