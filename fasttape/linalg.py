"""Linear algebra by LAPACK: the functions of `numpy.linalg` with rules, of stacks of matrices as well.

The rules are written in functions that have rules, so every order and mode follows from them. Giles (2008), "Collected
matrix derivative results for forward and reverse mode algorithmic differentiation"; for the Cholesky factor Murray
(2016), "Differentiation of the Cholesky decomposition".
"""

from typing import Any

import numpy as np

from fasttape.recorders.array import as_traced, builder_of
from fasttape.rules import custom_jvp, custom_vjp


def turned(a: Any) -> Any:
    """The transposes of matrices."""
    return np.swapaxes(a, -1, -2)


def keeping(function: Any) -> Any:
    """The forward part of a rule whose backward part needs the result."""

    def forward(*args: Any) -> Any:
        y = function(*args)
        return y, y

    return forward


@custom_vjp
def inv(a: Any) -> Any:
    return np.linalg.inv(a)


inv.defvjp(keeping(inv), lambda y, w: (-(turned(y) @ w @ turned(y)),))


@custom_vjp
def solve_matrices(a: Any, b: Any) -> Any:
    return np.linalg.solve(a, b)


def solve_forward(a: Any, b: Any) -> Any:
    x = solve_matrices(a, b)
    return x, (a, x)


def solve_backward(kept: Any, w: Any) -> Any:
    a, x = kept
    by_b = solve_matrices(turned(a), w)
    return -(by_b @ turned(x)), by_b


solve_matrices.defvjp(solve_forward, solve_backward)


def solve(a: Any, b: Any) -> Any:
    """As NumPy's: a vector is one column, and stacks are broadcast."""
    builder = builder_of((a, b))
    a, b = as_traced(builder, a), as_traced(builder, b)
    vector = b.ndim == 1
    b = b[:, None] if vector else b
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, batch + x.shape[-2:]) if x.shape[:-2] != batch else x for x in (a, b))
    x = solve_matrices(a, b)
    return x[..., 0] if vector else x


@custom_vjp
def det(a: Any) -> Any:
    return np.linalg.det(a)


def det_forward(a: Any) -> Any:
    y = det(a)
    return y, (a, y)


def scaled_inverse(a: Any, w: Any) -> Any:
    """The transposed inverses, each by a number."""
    return np.reshape(w, (*np.shape(w), 1, 1)) * turned(inv(a))


det.defvjp(det_forward, lambda kept, w: (scaled_inverse(kept[0], w * kept[1]),))


@custom_jvp
def sign(a: Any) -> Any:
    return np.linalg.slogdet(a)[0]


@sign.defjvp
def sign_along(primals: Any, tangents: Any) -> Any:
    y = sign(*primals)
    return y, np.zeros(np.shape(y)) if np.ndim(y) else 0.0


@custom_vjp
def log_abs_det(a: Any) -> Any:
    return np.linalg.slogdet(a)[1]


log_abs_det.defvjp(lambda a: (log_abs_det(a), a), lambda a, w: (scaled_inverse(a, w),))


def slogdet(a: Any) -> Any:
    return type(np.linalg.slogdet(np.eye(1)))(sign(a), log_abs_det(a))


@custom_vjp
def factor(a: Any) -> Any:
    return np.linalg.cholesky(a)


def factor_backward(y: Any, w: Any) -> Any:
    n = np.shape(y)[-1]
    half = np.tril(np.ones((n, n))) - 0.5 * np.eye(n)
    inner = solve_matrices(turned(y), half * (turned(y) @ w))
    whole = solve_matrices(turned(y), turned(inner))
    return (0.5 * (whole + turned(whole)),)


factor.defvjp(keeping(factor), factor_backward)


def cholesky(a: Any) -> Any:
    """As NumPy's, with the derivative of a symmetric argument: half of it on either side of the diagonal."""
    return factor(a)
