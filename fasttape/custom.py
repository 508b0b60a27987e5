"""Functions with derivatives of their own: `custom_vjp` and `custom_jvp`, and the rule behind a call of one.

While something is recorded such a function runs on plain numbers, as it does at every replay, and the tape holds a
CALL. A derivative of a call that is recorded in turn is a call as well, of the user's rule, which is recorded when
somebody differentiates it: so orders and modes compose, as far as the rules are ordinary code.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fasttape import trees
from fasttape.api import jvp, vjp
from fasttape.errors import ArgumentError, UnsupportedError
from fasttape.execute.calls import Rule
from fasttape.forms import Form, argument_leaf, result_leaf, untraced
from fasttape.recorders.array import TracedArray, as_traced, builder_of
from fasttape.recorders.calls import call
from fasttape.recorders.lift import run_lifted
from fasttape.recording import name_of


class Custom:
    """A function that is called on plain numbers while it is recorded; subclasses know its derivatives."""

    __qualname__: str
    one_way = False

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()):
        if not callable(fun):
            raise ArgumentError(f"{type(self).__name__} takes a function, not {type(fun).__name__}")
        functools.update_wrapper(self, fun, updated=())
        self.fun = fun
        self.__name__ = name_of(fun)
        self.nondiff_argnums = tuple(nondiff_argnums)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        args = self.positional(args, keywords)
        leaves, _ = trees.flatten(args)
        builder = builder_of(leaves)
        if builder is None:
            return self.fun(*args)
        for n in self.nondiff_argnums:
            if n < len(args) and builder_of(trees.flatten(args[n])[0]) is not None:
                raise ArgumentError(f"argument {n} of {self.__name__} is in nondiff_argnums, but a traced value came")
        self.check_defined()
        return record(self, builder, args)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.__name__}>"

    def __reduce__(self) -> str:
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is not self:
            raise UnsupportedError(
                f"{self.__name__} cannot be pickled, nor a tape that calls it: it is not found as "
                f"{self.__module__}.{self.__qualname__}; define it at the top of a module"
            )
        return str(self.__qualname__)

    def positional(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, defaults included, as rules take them."""
        try:
            bound = inspect.signature(self.fun).bind(*args, **keywords)
        except ValueError:  # a builtin that does not tell
            if keywords:
                raise ArgumentError(f"{self.__name__} takes its arguments by position here") from None
            return args
        bound.apply_defaults()
        if bound.kwargs:
            raise ArgumentError(f"{self.__name__} has keyword-only arguments, which rules cannot take")
        return bound.args

    def split(self, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The arguments in `nondiff_argnums`, and the others."""
        passive = [args[n] for n in self.nondiff_argnums]
        return passive, [x for n, x in enumerate(args) if n not in self.nondiff_argnums]

    def check_defined(self) -> None:
        """Raise where the derivatives are missing."""

    def forward(self, args: Sequence[Any], *, keep: bool) -> tuple[Any, Any]:
        """The value at plain numbers, and what the pullback can use of this evaluation."""
        return plainly(self.fun, *args), None

    def pull(self, rule: "Called", x: Any, y: Any, w: Any, kept: Any) -> Any:
        """The adjoints of a call's inputs, plain or traced as those are."""
        raise NotImplementedError

    def push(self, rule: "Called", x: Any, y: Any, dx: Any) -> Any:
        """The tangents of a call's results."""
        raise NotImplementedError


def record(custom: Custom, builder: Any, args: tuple[Any, ...]) -> Any:
    """Run a custom function at the point of a recording, and record a call of it."""
    form = Form.of(args, argument_leaf)
    traced = as_traced(builder, form.flat(args, custom.__name__, builder.dtype))
    x = builder.evaluate()[traced.slots]
    if not x.size:
        return custom.fun(*form.trees(x))  # of empty arrays: it depends on nothing
    returned, kept = custom.forward(form.trees(x.copy()), keep=builder.once)
    rule = Called(custom, form, Form.of((returned,), result_leaf), builder.dtype)
    numbers = rule.flat(returned)
    if builder.once:
        builder.calls.known[len(builder.calls.sites)] = x, numbers, kept
    y = call(builder, rule, [traced])
    builder.settle(y.root.first, numbers)
    return rule.results.trees(y)[0]


def plainly(f: Callable[..., Any], *args: Any) -> Any:
    """Call a user's function on plain numbers."""
    return untraced(f(*args), name_of(f))


def lifted(f: Callable[..., Any], *args: Any) -> Any:
    """Call a user's function so that it is recorded."""
    return run_lifted(f, args, {})


def runner(*numbers: Any) -> Callable[..., Any]:
    """How to call a user's function on some flat arrays or what was made of them."""
    return lifted if any(isinstance(x, TracedArray) for x in numbers) else plainly


class Differentiable(Rule):
    """A rule made of three functions of flat arrays, plain or traced: `value`, `pull` and `push`."""

    def value(self, x: Any) -> Any:
        """The results."""
        raise NotImplementedError

    def pull(self, x: Any, y: Any, w: Any, kept: Any = None) -> Any:
        """The adjoints of the inputs."""
        raise NotImplementedError

    def push(self, x: Any, y: Any, dx: Any) -> Any:
        """The tangents of the results."""
        raise NotImplementedError

    def forward(self, x: Any, *, keep: bool) -> tuple[Any, Any]:
        return self.value(x), None

    def reverse(self, x: Any, y: Any, w: Any, kept: Any, totals: Any) -> None:
        totals += self.pull(x, y, w, kept)

    def tangent(self, x: Any, y: Any, dx: Any) -> Any:
        return self.push(x, y, dx)

    def pullback(self) -> Rule:
        return Derived(self, "pull")

    def pushforward(self) -> Rule:
        return Derived(self, "push")


class Derived(Differentiable):
    """The rule of a derivative of a call; it is differentiated in turn by recording what it does."""

    def __init__(self, base: Any, kind: str):
        self.base, self.kind = base, kind
        self.name = f"{'pullback' if kind == 'pull' else 'pushforward'} of {base.name}"
        given, self.outputs = (base.outputs, base.inputs) if kind == "pull" else (base.inputs, base.outputs)
        self.inputs = base.inputs + base.outputs + given

    def value(self, x: Any) -> Any:
        n, m = self.base.inputs, self.base.inputs + self.base.outputs
        return getattr(self.base, self.kind)(x[:n], x[n:m], x[m:])

    def pull(self, x: Any, y: Any, w: Any, kept: Any = None) -> Any:
        with self.refusing():
            return vjp(self.value, x)[1](w)[0]

    def push(self, x: Any, y: Any, dx: Any) -> Any:
        with self.refusing():
            return jvp(self.value, (x,), (dx,))[1]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Say what could not be differentiated where its rule cannot be recorded."""
        try:
            yield
        except UnsupportedError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise UnsupportedError(f"the {self.name} has no derivative: it cannot be recorded ({text})") from error


class Called(Differentiable):
    """The rule of one call of a custom function: what its arguments and its results look like."""

    def __init__(self, custom: Custom, form: Form, results: Form, dtype: Any):
        self.custom, self.form, self.results, self.dtype = custom, form, results, dtype
        self.one_way = custom.one_way
        self.name, self.inputs, self.outputs = custom.__name__, form.size, results.size

    def flat(self, returned: Any, who: str = "", *, derivative: bool = False) -> Any:
        """Results, or tangents of them, as a flat array."""
        return self.results.flat((returned,), f"{who or self.name} returned", self.dtype, derivative=derivative)

    def value(self, x: Any) -> Any:
        return self.flat(runner(x)(self.custom.fun, *self.form.trees(x)))

    def forward(self, x: Any, *, keep: bool) -> tuple[Any, Any]:
        y, kept = self.custom.forward(self.form.trees(x), keep=keep)
        return self.flat(y), kept

    def pull(self, x: Any, y: Any, w: Any, kept: Any = None) -> Any:
        return self.custom.pull(self, x, y, w, kept)

    def push(self, x: Any, y: Any, dx: Any) -> Any:
        return self.custom.push(self, x, y, dx)


def transposed(linear: Callable[[Any], Any], size: int, dtype: Any, w: Any) -> Any:
    """The product of w with the matrix of a linear function of `size` numbers, found by recording the function."""
    value, pullback = vjp(linear, np.zeros(size, dtype))
    if builder_of([w]) is not None and builder_of([value]) is None:  # a matrix that is the same at every point
        return w @ pullback.many(np.eye(value.size, dtype=dtype))[0]
    return pullback(w)[0]
