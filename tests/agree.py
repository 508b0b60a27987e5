"""Comparisons that several test modules use: with the same function under plain NumPy, and bit for bit."""

import numpy as np

import fasttape as ft
from fasttape import trees
from fasttape.testing import check_grads


def agree(f, *args, grads=True, rtol=1e-13):
    """Assert that `f` gives under recording and under replay what it gives without, and the right derivatives."""
    expected = f(*args)
    tape = ft.record(f, *args, argnums=tuple(range(len(args))))
    same(tape(*args), expected, rtol)
    elsewhere = tuple(moved(x) for x in args)
    same(tape(*elsewhere), f(*elsewhere), rtol)
    if grads:
        check_grads(f, args)


def moved(x):
    """A point nearby, which a replay must reach as well."""
    return x + type(x)(1e-4) if isinstance(x, float) else x + x.dtype.type(1e-4) * np.cos(x)


def same(found, expected, rtol=1e-13):
    """Assert equal structure, shapes, dtypes and, up to rounding, values."""
    if isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple)
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            same(x, y, rtol)
        return
    assert isinstance(found, np.ndarray) == isinstance(expected, np.ndarray), (found, expected)
    assert np.shape(found) == np.shape(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def bits(tree):
    """All numbers of a tree to the last bit; one nan is as good as another."""
    leaves = [np.array(x, float) for x in trees.flatten(tree)[0]]
    for x in leaves:
        x[np.isnan(x)] = np.nan
    return [x.tobytes() for x in leaves]
