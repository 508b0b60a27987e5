"""Decompositions by LAPACK with rules: symmetric eigenvalues, singular values, QR, pseudoinverse, matrix exponential.

Sources: Giles (2008), as for `linalg`; Townsend (2016), "Differentiating the singular value decomposition"; Walter and
Lehmann (2010), "Algorithmic differentiation of linear algebra functions with application in optimum experimental
design" for QR; Golub and Pereyra (1973) for the pseudoinverse; Al-Mohy and Higham (2009) for the exponential. Vectors
of equal eigenvalues or singular values have no derivative: what depends on them is nan, what does not is right.
"""

from typing import Any

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.linalg import keeping, solve_matrices, turned
from fasttape.ops import CODE
from fasttape.recorders.array import any_traced, as_traced, builder_of
from fasttape.recorders.instructions import elementwise
from fasttape.rules import custom_vjp

TIMES = CODE["times"]


def matrix(x: Any) -> Any:
    """An operand as an array of the recording; LAPACK's errors for what is no matrix."""
    x = as_traced(builder_of((x,)), x)
    if x.ndim < 2:
        raise np.linalg.LinAlgError(f"{x.ndim}-dimensional array given. Array must be at least two-dimensional")
    return x


def row(x: Any) -> Any:
    """Numbers that scale columns."""
    return np.expand_dims(x, -2)


def over(numerator: Any, gap: Any) -> Any:
    """A quotient off the diagonal, linear in the numerator, and 0 where that is: zero absorbs the inverse of no gap."""
    diagonal = np.eye(np.shape(gap)[-1], dtype=bool)
    with np.errstate(divide="ignore"):
        inverse_gap = np.where(diagonal, 0.0, 1.0 / np.where(diagonal, 1.0, gap))
    builder = builder_of((numerator, inverse_gap))
    if builder is None:
        return np.where(numerator == 0.0, 0.0, numerator) * np.where(numerator == 0.0, 0.0, inverse_gap)
    return elementwise(builder, TIMES, [as_traced(builder, numerator), as_traced(builder, inverse_gap)])


def skew(x: Any) -> Any:
    return x - turned(x)


@custom_vjp
def symmetric_values(a: Any) -> Any:
    return np.linalg.eigvalsh(a)


def symmetric_values_forward(a: Any) -> Any:
    w, v = eigenvectors(a)
    return w, v


symmetric_values.defvjp(symmetric_values_forward, lambda v, gw: ((v * row(gw)) @ turned(v),))


@custom_vjp
def eigenvectors(a: Any) -> Any:
    return tuple(np.linalg.eigh(a))


def eigenvectors_backward(kept: Any, g: Any) -> Any:
    (w, v), (gw, gv) = kept, g
    inner = over(turned(v) @ gv, row(w) - np.expand_dims(w, -1)) + np.expand_dims(gw, -1) * np.eye(np.shape(w)[-1])
    whole = v @ inner @ turned(v)
    return (0.5 * (whole + turned(whole)),)


eigenvectors.defvjp(keeping(eigenvectors), eigenvectors_backward)


def eigh(a: Any, UPLO: str = "L") -> Any:
    """As NumPy's, with the derivative of a symmetric argument: half of it on either side of the diagonal."""
    a = matrix(a)
    return type(np.linalg.eigh(np.eye(1)))(*eigenvectors(a if UPLO.upper() == "L" else turned(a)))


def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    a = matrix(a)
    return symmetric_values(a if UPLO.upper() == "L" else turned(a))


@custom_vjp
def singular_values(a: Any) -> Any:
    return np.linalg.svdvals(a)


def singular_values_forward(a: Any) -> Any:
    u, s, vh = singular_vectors(a)
    return s, (u, vh)


singular_values.defvjp(singular_values_forward, lambda kept, gs: ((kept[0] * row(gs)) @ kept[1],))


@custom_vjp
def singular_vectors(a: Any) -> Any:
    return tuple(np.linalg.svd(a, full_matrices=False))


def singular_vectors_backward(kept: Any, g: Any) -> Any:
    (u, s, vh), (gu, gs, gvh) = kept, g
    gaps = row(s * s) - np.expand_dims(s * s, -1)
    by_u, by_v = over(skew(turned(u) @ gu), gaps), over(skew(vh @ turned(gvh)), gaps)
    inner = by_u * row(s) + np.expand_dims(s, -1) * by_v + np.expand_dims(gs, -1) * np.eye(np.shape(s)[-1])
    result = u @ inner @ vh
    if np.shape(u)[-2] > np.shape(u)[-1]:
        result = result + ((gu - u @ (turned(u) @ gu)) / row(s)) @ vh
    if np.shape(vh)[-1] > np.shape(vh)[-2]:
        result = result + (u / row(s)) @ (gvh - (gvh @ turned(vh)) @ vh)
    return (result,)


singular_vectors.defvjp(keeping(singular_vectors), singular_vectors_backward)


def svdvals(x: Any, /) -> Any:
    return singular_values(matrix(x))


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    a = matrix(a)
    if hermitian or (compute_uv and full_matrices and a.shape[-1] != a.shape[-2]):
        raise UnsupportedError(
            "numpy.linalg.svd with hermitian=True, or full_matrices=True of a matrix that is not square, cannot be "
            "recorded; the nearest that can: full_matrices=False"
        )
    return type(np.linalg.svd(np.eye(1)))(*singular_vectors(a)) if compute_uv else singular_values(a)


def cond(x: Any, p: Any = None) -> Any:
    x = matrix(x)
    if p in (None, 2, -2):
        s = singular_values(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return np.linalg.norm(x, p, (-2, -1)) * np.linalg.norm(np.linalg.inv(x), p, (-2, -1))


@custom_vjp
def orthogonal(a: Any) -> Any:
    return tuple(np.linalg.qr(a))


def orthogonal_backward(kept: Any, g: Any) -> Any:
    (q, r), (gq, gr) = kept, g
    inner = r @ turned(gr) - turned(gq) @ q
    symmetric = np.tril(inner) + turned(np.tril(inner, -1))
    return (turned(solve_matrices(r, turned(gq + q @ symmetric))),)


orthogonal.defvjp(keeping(orthogonal), orthogonal_backward)


def qr(a: Any, mode: str = "reduced") -> Any:
    a = matrix(a)
    if mode not in ("reduced", "r") or a.shape[-2] < a.shape[-1]:
        raise UnsupportedError(
            f"numpy.linalg.qr with mode={mode!r}, of matrices of shape {a.shape[-2:]}, cannot be recorded; "
            "the nearest that can: mode='reduced' of matrices that are not wide"
        )
    found = orthogonal(a)
    return found[1] if mode == "r" else type(np.linalg.qr(np.eye(1)))(*found)


@custom_vjp
def inverse(a: Any, cutoff: Any) -> Any:
    return np.linalg.pinv(a, cutoff)


def inverse_forward(a: Any, cutoff: Any) -> Any:
    p = inverse(a, cutoff)
    return p, (a, p)


def inverse_backward(kept: Any, g: Any) -> Any:
    a, p = kept
    pt, gt = turned(p), turned(g)
    left = gt @ p @ pt
    right = pt @ p @ gt
    return left - a @ (p @ left) + right - (right @ p) @ a - pt @ g @ pt, None


inverse.defvjp(inverse_forward, inverse_backward)


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """As NumPy's, of matrices whose rank stays as it is."""
    a = matrix(a)
    rcond = rtol if rcond is None else rcond
    if hermitian is not False or any_traced(rcond):
        raise UnsupportedError("numpy.linalg.pinv with hermitian=True or a traced cutoff cannot be recorded")
    return inverse(a, 1e-15 if rcond is None else rcond)


def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """As NumPy's, through the pseudoinverse, which gives the shortest solution."""
    builder = builder_of((a, b))
    a, b = matrix(as_traced(builder, a)), as_traced(builder, b)
    s = singular_values(a)
    cutoff = np.finfo(a.dtype).eps * max(a.shape) if rcond is None else rcond
    rank = int((s.primal > cutoff * s.primal.max(initial=0.0)).sum())
    x = inverse(a, cutoff) @ b
    tall = rank == a.shape[1] < a.shape[0]
    rest = np.sum(np.square(b - a @ x), axis=0) if tall else np.empty((0,))
    return x, np.atleast_1d(rest), rank, s


@custom_vjp
def exponential(a: Any) -> Any:
    import scipy.linalg

    return scipy.linalg.expm(a)


def exponential_forward(a: Any) -> Any:
    return exponential(a), a


def exponential_backward(a: Any, g: Any) -> Any:
    n, at = np.shape(a)[-1], turned(a)
    upper = np.concatenate([at, g], axis=-1)
    lower = np.concatenate([np.zeros(np.shape(a)), at], axis=-1)
    return (exponential(np.concatenate([upper, lower], axis=-2))[..., :n, n:],)


exponential.defvjp(exponential_forward, exponential_backward)


def expm(a: Any) -> Any:
    return exponential(matrix(a))
