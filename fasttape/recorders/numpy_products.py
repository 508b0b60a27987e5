"""NumPy's products: matrices through GEMM, the rest through geometry and elementwise rows."""

import math

import numpy as np

from fasttape.recorders.array import as_traced, builder_of
from fasttape.recorders.instructions import gemm
from fasttape.recorders.scalar import traced


def operands(x, y):
    builder = builder_of((x, y))
    return as_traced(builder, x), as_traced(builder, y)


def number(x):
    """The result of a product as NumPy returns it: a scalar where nothing is left of the shape."""
    return traced(x.builder, int(x.slots.reshape(-1)[0])) if x.shape == () else x


def matmul(x, y):
    x, y = operands(x, y)
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError("matmul: an operand has no dimension; use * for a scalar")
    left = x[None, :] if x.ndim == 1 else x
    right = y[:, None] if y.ndim == 1 else y
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not match: {left.shape[-1]} != {right.shape[-2]}")
    result = gemm(left, right)
    if x.ndim == 1:
        result = result[..., 0, :]
    if y.ndim == 1:
        result = result[..., 0]
    return number(result)


def dot(x, y):
    x, y = operands(x, y)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    return matmul(x, y) if y.ndim <= 2 and x.ndim <= 2 else tensordot(x, y, ((x.ndim - 1,), (max(y.ndim - 2, 0),)))


def inner(x, y):
    x, y = operands(x, y)
    return x * y if x.ndim == 0 or y.ndim == 0 else number(tensordot(x, y, ((x.ndim - 1,), (y.ndim - 1,))))


def vdot(x, y):
    x, y = operands(x, y)
    return matmul(x.ravel(), y.ravel())


def outer(x, y):
    x, y = operands(x, y)
    return x.ravel()[:, None] * y.ravel()[None, :]


def tensordot(x, y, axes=2):
    """Contract pairs of axes: transpose them together, multiply matrices, restore the rest of both shapes."""
    x, y = operands(x, y)
    if isinstance(axes, int):
        axes = (range(x.ndim - axes, x.ndim), range(axes))
    over_x, over_y = ([a % z.ndim for a in np.atleast_1d(list(part) if not isinstance(part, int) else part).tolist()]
                      for part, z in zip(axes, (x, y), strict=True))  # fmt: skip
    if [x.shape[a] for a in over_x] != [y.shape[a] for a in over_y]:
        raise ValueError(f"tensordot: shapes {x.shape} and {y.shape} do not match over axes {axes}")
    free_x = [d for d in range(x.ndim) if d not in over_x]
    free_y = [d for d in range(y.ndim) if d not in over_y]
    shape = [x.shape[d] for d in free_x] + [y.shape[d] for d in free_y]
    k = math.prod(x.shape[d] for d in over_x)
    m, n = math.prod(x.shape[d] for d in free_x), math.prod(y.shape[d] for d in free_y)
    left = x.transpose(free_x + over_x).reshape(m, k)
    right = y.transpose(over_y + free_y).reshape(k, n)
    return gemm(left, right).reshape(shape)


PRODUCTS = {
    np.matmul: matmul,
    np.dot: dot,
    np.inner: inner,
    np.vdot: vdot,
    np.outer: outer,
    np.tensordot: tensordot,
}
