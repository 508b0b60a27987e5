"""`custom_vjp` and `custom_jvp`: functions whose derivative in one mode the user writes; the other mode follows.

A derivative is linear, so the other mode is the transpose of what the user wrote: reverse mode through a recording of
it (Radul et al. 2023, "You only linearize once: tangents transpose to gradients").
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fasttape.custom import Called, Custom, lifted, plainly, runner, transposed
from fasttape.errors import ArgumentError, OutputError, UnsupportedError
from fasttape.recording import name_of


class custom_vjp(Custom):
    """A function whose derivative in reverse mode you write; it may call what cannot be recorded.

    `f.defvjp(fwd, bwd)`: `fwd` takes the arguments of `f` and returns (value, residuals); `bwd` takes the residuals and
    the cotangent of the value, and returns a tuple with the cotangent of each argument, None where it is zero. They
    are called on Python floats and arrays of the shapes and dtypes that came, again at each replay. Arguments in
    `nondiff_argnums` are passed to `bwd` in front of the residuals and have no cotangent.

    Higher derivatives record `fwd` and `bwd`, and forward mode records `bwd`, which is linear in the cotangent, and
    transposes it. Both raise `UnsupportedError` where that is not possible. `OutputError` is raised where a rule
    returns another structure, shape or dtype than belongs.

    >>> import math
    >>> import fasttape as ft
    >>> @ft.custom_vjp
    ... def log1pexp(x):
    ...     return math.log1p(math.exp(x))
    >>> log1pexp.defvjp(lambda x: (log1pexp(x), x), lambda x, w: (w / (1.0 + math.exp(-x)),))
    >>> ft.grad(log1pexp)(0.0), ft.grad(ft.grad(log1pexp))(0.0)
    (0.5, 0.25)
    """

    one_way = True
    fwd: Callable[..., Any] | None = None
    bwd: Callable[..., Any]

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the rule: `fwd(*args)` returns (value, residuals), `bwd(residuals, cotangent)` cotangents of args."""
        self.fwd, self.bwd = fwd, bwd

    def check_defined(self) -> None:
        if self.fwd is None:
            raise ArgumentError(f"{self.__name__} is a custom_vjp without its rule; call its defvjp(fwd, bwd)")

    def run_fwd(self, run: Any, args: Sequence[Any]) -> tuple[Any, Any]:
        """The value and the residuals."""
        returned = run(self.fwd, *args)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise OutputError(f"{name_of(self.fwd)}, the fwd of {self.__name__}, must return (value, residuals)")
        return returned

    def forward(self, args: Sequence[Any], *, keep: bool) -> tuple[Any, Any]:
        if not keep:
            return super().forward(args, keep=keep)
        value, residuals = self.run_fwd(plainly, args)
        return value, (residuals,)

    def pull(self, rule: Called, x: Any, y: Any, w: Any, kept: Any) -> Any:
        run, args = runner(x, w), rule.form.trees(x)
        residuals = kept[0] if kept else self.run_fwd(run, args)[1]
        return self.backward(rule, run, args, residuals, w)

    def backward(self, rule: Called, run: Any, args: Any, residuals: Any, w: Any) -> Any:
        """The adjoints that `bwd` returns."""
        (cotangent,) = rule.results.directions(w)
        found = run(self.bwd, *self.split(args)[0], residuals, cotangent)
        who = f"{name_of(self.bwd)}, the bwd of {self.__name__}, returned"
        differentiated = self.split(range(len(args)))[1]
        if not isinstance(found, tuple | list) or len(found) != len(differentiated):
            count = len(differentiated)
            raise OutputError(f"{who} {found!r} where a tuple of {count} belongs, one cotangent for each argument")
        whole: list[Any] = [None] * len(args)
        for n, part in zip(differentiated, found, strict=True):
            whole[n] = part
        return rule.form.flat(whole, who, rule.dtype, derivative=True)

    def push(self, rule: Called, x: Any, y: Any, dx: Any) -> Any:
        args = rule.form.trees(x)
        _, residuals = self.run_fwd(runner(x), args)
        try:
            return transposed(lambda w: self.backward(rule, lifted, args, residuals, w), rule.outputs, rule.dtype, dx)
        except OutputError:
            raise
        except Exception as error:
            raise UnsupportedError(
                f"forward mode cannot differentiate {self.__name__}, which has a rule for reverse mode (custom_vjp) "
                f"that cannot be recorded ({type(error).__name__}: {error}); use reverse mode, or custom_jvp"
            ) from error


class custom_jvp(Custom):
    """A function whose derivative in forward mode you write; it may call what cannot be recorded.

    `f.defjvp(rule)`: `rule(primals, tangents)` takes tuples like the arguments of `f` and returns (value, tangent of
    the value). It is called on Python floats and arrays of the shapes and dtypes that came, again at each replay.
    Arguments in `nondiff_argnums` are passed in front and have no tangent.

    Reverse mode records `rule` as a function of the tangents and transposes it, which takes one call; where it cannot
    be recorded, one call for each input number. Higher derivatives record it and raise `UnsupportedError` where that is
    not possible. `OutputError` is raised where the rule returns another structure, shape or dtype than belongs.

    >>> import math
    >>> import fasttape as ft
    >>> @ft.custom_jvp
    ... def sinc(x):
    ...     return math.sin(x) / x
    >>> @sinc.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (dx,) = primals, tangents
    ...     return sinc(x), (x * math.cos(x) - math.sin(x)) / x**2 * dx
    >>> round(ft.grad(sinc)(2.0), 12), round(ft.jvp(sinc, (2.0,), (1.0,))[1], 12)
    (-0.43539777498, -0.43539777498)
    """

    rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule: `rule(primals, tangents)` returns (value, tangent)."""
        self.rule = rule
        return rule

    def check_defined(self) -> None:
        if self.rule is None:
            raise ArgumentError(f"{self.__name__} is a custom_jvp without its rule; call its defjvp(rule)")

    def push(self, rule: Called, x: Any, y: Any, dx: Any) -> Any:
        return self.along(rule, runner(x, dx), x, dx)

    def along(self, rule: Called, run: Any, x: Any, dx: Any) -> Any:
        """The tangent that the user's rule returns."""
        passive, primals = self.split(rule.form.trees(x))
        _, tangents = self.split(rule.form.directions(dx))
        returned = run(self.rule, *passive, tuple(primals), tuple(tangents))
        who = f"{name_of(self.rule)}, the jvp of {self.__name__},"
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise OutputError(f"{who} must return (value, tangent)")
        return rule.flat(returned[1], who, derivative=True)

    def pull(self, rule: Called, x: Any, y: Any, w: Any, kept: Any) -> Any:
        try:
            return transposed(lambda dx: self.along(rule, lifted, x, dx), rule.inputs, rule.dtype, w)
        except Exception:
            if runner(x, w) is lifted:
                raise
        columns = (self.along(rule, plainly, x, dx) for dx in np.eye(rule.inputs, dtype=rule.dtype))
        return np.array([column @ w for column in columns], rule.dtype)
