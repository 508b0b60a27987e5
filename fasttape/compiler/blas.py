"""Matrix products inside compiled loops: SciPy's BLAS, called through addresses that arrive as an argument.

Addresses in the table of entries, not in the code, keep compiled code cacheable on disk; `addresses(dtype)` imports
SciPy, so a tape without matrix products never loads it. The twin computes with NumPy on the same strided operands.
"""

import ctypes
import functools
import importlib

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.late import DISABLED, Late
from fasttape.layout import BLAS

fortran = Late("fasttape.compiler.fortran")


@functools.cache
def addresses(dtype) -> list[int]:
    """The addresses of BLAS gemm and gemv for a dtype."""
    prefix = {"float32": "s", "float64": "d"}[np.dtype(dtype).name]
    names = (prefix + "gemm", prefix + "gemv")
    exported = importlib.import_module("scipy.linalg.cython_blas").__pyx_capi__
    return [capsule_pointer(exported[name]) for name in names]


def capsule_pointer(capsule) -> int:
    """What a capsule points to, which has the name that its maker gave it."""
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return pointer(capsule, name(capsule))


N, T = ord("N"), ord("T")


@kernel
def _leading(stride, rows):
    """A leading dimension that BLAS accepts, also for matrices of one column."""
    return max(stride, rows, 1)


@kernel
def _gemm(entries, m, n, k, x, x0, xr, xc, y, y0, yr, yc, out, o0, oc, beta):
    """Column-major out (m, n) = beta out + x (m, k) @ y (k, n); x and y have a unit stride, out has unit row stride."""
    flags = (N if xr == 1 else T, N if yr == 1 else T)
    ldx = _leading(xc, m) if xr == 1 else _leading(xr, k)
    ldy = _leading(yc, k) if yr == 1 else _leading(yr, n)
    one = out.dtype.type(1.0)
    fortran.call(
        entries[BLAS * 256],
        flags,
        (m, n, k, ldx, ldy, _leading(oc, m)),
        (one, out.dtype.type(beta)),
        (x, y, out),
        (x0, y0, o0),
        "cciiispipispi",
    )


@kernel
def _gemv(entries, m, k, x, x0, xr, xc, y, y0, ys, out, o0, os, beta):
    """out (m,) = beta out + x (m, k) @ y (k,); x has a unit stride."""
    one = out.dtype.type(1.0)
    if xr == 1:
        rows, columns, flag, ld = m, k, N, _leading(xc, m)
    else:
        rows, columns, flag, ld = k, m, T, _leading(xr, k)
    fortran.call(
        entries[BLAS * 256 + 1],
        (flag,),
        (rows, columns, ld, ys, os),
        (one, out.dtype.type(beta)),
        (x, y, out),
        (x0, y0, o0),
        "ciispipispi",
    )


@kernel
def _rows(m, n, x, x0, xr, y, y0, yc, out, o0, our, beta):
    """out (m, n) = beta out + x (m, 1) @ y (1, n) for rows of out that have a unit stride."""
    zero = np.uint64(0)
    for i in range(m):
        factor, row = x[np.uint64(x0 + i * xr)], np.uint64(o0 + i * our)
        start, step, size = np.uint64(y0), np.uint64(yc), np.uint64(n)
        if beta == 0.0 and yc == 1:
            for j in range(zero, size):
                out[row + j] = factor * y[start + j]
        elif beta == 0.0:
            for j in range(zero, size):
                out[row + j] = factor * y[start + j * step]
        else:
            for j in range(zero, size):
                out[row + j] += factor * y[start + j * step]


@kernel
def _multiply_add(entries, m, n, k, x, x0, xr, xc, y, y0, yr, yc, out, o0, our, ouc, beta):
    if m == 0 or n == 0 or k == 0:
        if beta == 0.0:
            for i in range(m):
                for j in range(n):
                    out[o0 + i * our + j * ouc] = 0.0
        return
    if k == 1 and ouc == 1:  # BLAS would take longer to begin
        _rows(m, n, x, x0, xr, y, y0, yc, out, o0, our, beta)
    elif k == 1 and our == 1:
        _rows(n, m, y, y0, yc, x, x0, xr, out, o0, ouc, beta)
    elif n == 1 and yr > 0 and our > 0:
        _gemv(entries, m, k, x, x0, xr, xc, y, y0, yr, out, o0, our, beta)
    elif m == 1 and xc > 0 and ouc > 0:  # a row times a matrix: the transposed product of a matrix and a column
        _gemv(entries, n, k, y, y0, yc, yr, x, x0, xc, out, o0, ouc, beta)
    elif our == 1:
        _gemm(entries, m, n, k, x, x0, xr, xc, y, y0, yr, yc, out, o0, ouc, beta)
    else:
        _gemm(entries, n, m, k, y, y0, yc, yr, x, x0, xc, xr, out, o0, our, beta)


def _multiply_add_twin(entries, m, n, k, x, x0, xr, xc, y, y0, yr, yc, out, o0, our, ouc, beta):
    def matrix(base, start, shape, strides):
        size = base.itemsize
        return np.lib.stride_tricks.as_strided(base[start:], shape, [s * size for s in strides])

    target = matrix(out, o0, (m, n), (our, ouc))
    product = matrix(x, x0, (m, k), (xr, xc)) @ matrix(y, y0, (k, n), (yr, yc))
    target[...] = product if beta == 0.0 else target + product


multiply_add = _multiply_add_twin if DISABLED else _multiply_add
multiply_add.__doc__ = """out (m, n) = beta out + x (m, k) @ y (k, n) for beta 0 or 1.

Each is given by array, first element, row and column stride. Every operand has a unit stride in one direction; the
strides of the other are those of BLAS leading dimensions.
"""
