"""Functions of np.linalg on active matrices, on linear tapes: LAPACK's values, and records of their adjoint rules.

With r = db - dA y, the residual of a solution, dy = A⁻¹ r; so a solution has one record of many terms for each residual
and one for each unknown, of which the reverse sweep makes Ā = -A⁻ᵀ ȳ yᵀ (Giles 2008, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation"). Under recording as a program these functions are
left to the Python recorder.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from fasttape.compiler.active_arrays import FUNCTIONS, inner, of_numbers, with_value
from fasttape.compiler.active_type import active, is_active_array, val_of
from fasttape.compiler.choosing import either
from fasttape.compiler.jit import INTERNAL, making_kernel


def values(a):
    """The values of an array, in memory of their own."""
    raise NotImplementedError


@overload(values, jit_options=INTERNAL)
def choose_values(a):
    if not is_active_array(a):
        return lambda a: a.astype(np.float64)

    def read(a):
        made = np.empty(a.shape, np.float64)
        for i in np.ndindex(a.shape):
            made[i] = val_of(a[i])
        return made

    return read


@making_kernel
def solve_column(a, b, y, inverse, made):
    """Fill `made` with the active solution of a y = b for one right-hand side."""
    n = y.size
    residuals = np.empty(n, active)
    for j in range(n):
        residuals[j] = b[j] - inner(a[j], y)
    for i in range(n):
        made[i] = with_value(inner(inverse[i], residuals), y[i])


@making_kernel
def solve_vector(a, b):
    plain = values(a)
    y, made = np.linalg.solve(plain, values(b)), np.empty(b.shape, active)
    solve_column(a, b, y, np.linalg.inv(plain), made)
    return made


@making_kernel
def solve_matrix(a, b):
    plain = values(a)
    y, inverse, made = np.linalg.solve(plain, values(b)), np.linalg.inv(plain), np.empty(b.shape, active)
    for c in range(b.shape[1]):
        solve_column(a, b[:, c], y[:, c].copy(), inverse, made[:, c])
    return made


@making_kernel
def inverse_of(a):
    y, made = np.linalg.inv(values(a)), np.empty(a.shape, active)
    nothing = np.zeros(a.shape[0])
    for c in range(a.shape[0]):
        solve_column(a, nothing, y[:, c].copy(), y, made[:, c])
    return made


@making_kernel
def cofactors(plain):
    """The derivatives of a determinant by the elements, for a singular matrix as well."""
    n = plain.shape[0]
    made = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            minor = np.empty((n - 1, n - 1))
            for k in range(n - 1):
                for m in range(n - 1):
                    minor[k, m] = plain[k + (k >= i), m + (m >= j)]
            made[i, j] = (-1.0) ** (i + j) * (np.linalg.det(minor) if n > 1 else 1.0)
    return made


@making_kernel
def determinant(a):
    plain = values(a)
    found = np.linalg.det(plain)
    weights = cofactors(plain) if found == 0.0 else found * np.linalg.inv(plain).T
    return with_value(inner(a.copy().reshape(a.size), weights.copy().reshape(a.size)), found)


@making_kernel
def sign_and_logarithm(a):
    plain = values(a)
    sign, found = np.linalg.slogdet(plain)
    weights = np.linalg.inv(plain).T.copy().reshape(a.size)
    return sign, with_value(inner(a.copy().reshape(a.size), weights), found)


@making_kernel
def cholesky(a):
    plain = np.linalg.cholesky(values(a))
    made, n = np.zeros(a.shape, active), a.shape[0]
    for j in range(n):
        made[j, j] = with_value(math.sqrt(a[j, j] - inner(made[j, :j], made[j, :j])), plain[j, j])
        for i in range(j + 1, n):
            made[i, j] = with_value((a[i, j] - inner(made[i, :j], made[j, :j])) / made[j, j], plain[i, j])
    return made


def of_one(compiled):
    """What stands for a function of one active matrix."""

    def stand_in(a):
        raise NotImplementedError

    overload(stand_in)(lambda a: (lambda a: compiled(a)) if is_linear(a) else None)
    return stand_in


def is_linear(*arrays):
    """Whether some types are those of matrices or vectors of which one records a linear tape."""
    return of_numbers(*arrays) and active in [t.dtype for t in arrays] and isinstance(arrays[0], types.Array)


def solved(a, b):
    """Stands for np.linalg.solve."""
    raise NotImplementedError


@overload(solved)
def choose_solved(a, b):
    if not is_linear(a, b):
        return None
    compiled = solve_vector if b.ndim == 1 else solve_matrix
    return lambda a, b: compiled(a, b)


FUNCTIONS[np.linalg.solve] = either(np.linalg.solve, solved)
for _function, _compiled in (
    (np.linalg.inv, inverse_of),
    (np.linalg.det, determinant),
    (np.linalg.slogdet, sign_and_logarithm),
    (np.linalg.cholesky, cholesky),
):
    FUNCTIONS[_function] = either(_function, of_one(_compiled))
