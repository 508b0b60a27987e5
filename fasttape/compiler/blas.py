"""Matrix products inside compiled loops: SciPy's BLAS, called through addresses that arrive as an argument.

Addresses in the table of entries, not in the code, keep compiled code cacheable on disk; `addresses(dtype)` imports
SciPy, so a tape without matrix products never loads it. The twin computes with NumPy on the same strided operands.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from fasttape.compiler.jit import kernel
from fasttape.layout import BLAS


@functools.cache
def addresses(dtype) -> list[int]:
    """The addresses of BLAS gemm and gemv for a dtype."""
    prefix = {"float32": "s", "float64": "d"}[np.dtype(dtype).name]
    names = (prefix + "gemm", prefix + "gemv")
    return [get_cython_function_address("scipy.linalg.cython_blas", name) for name in names]


@intrinsic
def _call(typingctx, address, flags, sizes, scalars, arrays, offsets, operands):
    """Call the Fortran routine at `address`; every argument goes by reference, in the order that `operands` spells.

    `operands` is a literal string: c a character of `flags`, i an integer of `sizes`, s a number of `scalars`, p the
    address of element `offsets[k]` of `arrays[k]`; each letter takes the next one of its kind.
    """

    def emit(context, builder, signature, args):
        word = ir.IntType(32)
        items = {
            "c": [builder.trunc(v, ir.IntType(8)) for v in cgutils.unpack_tuple(builder, args[1])],
            "i": [builder.trunc(v, word) for v in cgutils.unpack_tuple(builder, args[2])],
            "s": cgutils.unpack_tuple(builder, args[3]),
            "p": [],
        }
        starts = cgutils.unpack_tuple(builder, args[5])
        for kind, array, start in zip(signature.args[4], cgutils.unpack_tuple(builder, args[4]), starts, strict=True):
            data = context.make_array(kind)(context, builder, value=array).data
            items["p"].append(builder.gep(data, [start]))
        pointers = []
        for letter in operands.literal_value:
            item = items[letter].pop(0)
            pointers.append(item if letter == "p" else cgutils.alloca_once_value(builder, item))
        routine = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [p.type for p in pointers]).as_pointer())
        builder.call(routine, pointers)
        return context.get_dummy_value()

    if not isinstance(operands, types.StringLiteral):
        return None
    return types.void(address, flags, sizes, scalars, arrays, offsets, operands), emit


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
    _call(
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
    _call(
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


multiply_add = _multiply_add_twin if config.DISABLE_JIT else _multiply_add
multiply_add.__doc__ = """out (m, n) = beta out + x (m, k) @ y (k, n) for beta 0 or 1.

Each is given by array, first element, row and column stride. Every operand has a unit stride in one direction; the
strides of the other are those of BLAS leading dimensions.
"""
