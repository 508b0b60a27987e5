"""`implicit`: the value comes from any solver, the derivative from the equation that it solves.

Where g(y, x) = 0 defines y, the implicit function theorem gives ∂g/∂y dy = −∂g/∂x dx (Griewank and Walther 2008,
"Evaluating Derivatives", section 15.1; Blondel et al. 2022, "Efficient and modular implicit differentiation"). Both
sides are derivatives of g alone, which is recorded, so that derivatives of any order and mode follow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fasttape.api import jacobian, jvp, vjp
from fasttape.custom import Called, Custom, runner
from fasttape.errors import ArgumentError, OutputError
from fasttape.forms import Form, result_leaf
from fasttape.recording import name_of
from fasttape.rules import custom_vjp


def implicit(residual: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for a solver: `solve(*args)` returns the y for which `residual(y, *args)` is zero.

    The solver runs on Python floats and arrays and may be anything: a loop with branches, a compiled library. It is not
    differentiated; its result must be a root, as exact as the derivatives are to be. The residual is recorded, so it is
    ordinary code. It returns as many numbers as y has, in any tree of floats and arrays, and takes what `solve` takes;
    for a fixed point y = T(y, x) it is T(y, x) − y. An argument that the root does not depend on, such as a start for
    the search, has a zero derivative if the residual does not use it.

    A derivative takes the Jacobian of the residual by y, a dense matrix, and solves with it once. Raises `OutputError`
    where the residual has another number of elements than y, and `numpy.linalg.LinAlgError` where that matrix is
    singular, as it is at a multiple root.

    >>> import fasttape as ft
    >>> @ft.implicit(lambda y, x: y * y - x)
    ... def root(x):
    ...     y = 1.0
    ...     while abs(y * y - x) > 1e-12:
    ...         y = 0.5 * (y + x / y)
    ...     return y
    >>> [round(f(4.0), 9) for f in (root, ft.grad(root), ft.grad(ft.grad(root)))]
    [2.0, 0.25, -0.03125]
    """
    if not callable(residual):
        raise ArgumentError(f"implicit takes the residual, a function of (y, *args), not {type(residual).__name__}")
    return lambda solve: Implicit(solve, residual)


class Implicit(Custom):
    """A solver with the residual that its results make zero."""

    def __init__(self, solve: Callable[..., Any], residual: Callable[..., Any]):
        super().__init__(solve)
        self.residual = residual

    def equations(self, rule: Called, y: Any, x: Any) -> Any:
        """The residual as a flat array."""
        run = runner(y, x)
        returned = run(self.residual, *rule.results.trees(y), *rule.form.trees(x))
        who = f"{name_of(self.residual)}, the residual of {self.__name__}, returned"
        found = Form.of((returned,), result_leaf)
        if found.size != rule.outputs:
            raise OutputError(f"{who} {found.size} numbers for {rule.outputs} of {self.__name__}")
        return found.flat((returned,), who, rule.dtype)

    def matrix(self, rule: Called, x: Any, y: Any) -> Any:
        """The Jacobian of the residual by y."""
        return jacobian(lambda y: self.equations(rule, y, x))(y)

    def pull(self, rule: Called, x: Any, y: Any, w: Any, kept: Any) -> Any:
        multipliers = self.solved(np.swapaxes(self.matrix(rule, x, y), 0, 1), w)
        return -vjp(lambda x: self.equations(rule, y, x), x)[1](multipliers)[0]

    def push(self, rule: Called, x: Any, y: Any, dx: Any) -> Any:
        change = jvp(lambda x: self.equations(rule, y, x), (x,), (dx,))[1]
        return -self.solved(self.matrix(rule, x, y), change)

    def solved(self, matrix: Any, right: Any) -> Any:
        """The solution of a linear system."""
        try:
            return linear(matrix, right)
        except np.linalg.LinAlgError as error:
            error.add_note(f"the Jacobian of the residual of {self.__name__} by its result is singular at this root")
            raise


@custom_vjp
def linear(matrix: Any, right: Any) -> Any:
    """The solution of a system of linear equations."""
    return np.linalg.solve(matrix, right)


def solve_forward(matrix: Any, right: Any) -> Any:
    """The solution, and what its derivative is made of."""
    x = linear(matrix, right)
    return x, (matrix, x)


def solve_backward(residuals: Any, w: Any) -> Any:
    """The adjoints of the matrix and of the right-hand side."""
    matrix, x = residuals
    u = linear(np.swapaxes(matrix, 0, 1), w)
    return -np.outer(u, x), u


linear.defvjp(solve_forward, solve_backward)
