"""One program at many points: each executor against the function itself."""

import math

import numpy as np
import pytest

import fasttape as ft
from fasttape.execute.lanes import Lanes
from fasttape.execute.native import Native
from fasttape.execute.points import HELD, PointByPoint, Points, outcomes

EXECUTORS = [PointByPoint, Lanes, Native]


def at(array, axis_of_points):
    """(addresses, steps) of the rows or columns of a matrix."""
    moved = np.moveaxis(array, axis_of_points, 0)
    first = array.__array_interface__["data"][0]
    addresses = first + np.arange(moved.shape[1]) * moved.strides[1]
    return addresses.astype(np.uint64), np.full(moved.shape[1], moved.strides[0], np.int64)


def evaluate(executor, program, x, axis=0):
    """(outputs, failed) at the rows or columns of x."""
    size = x.shape[axis]
    out = np.full((size, program.outputs.size), np.nan, x.dtype)
    failed = np.full(size, 7, np.int64)
    executor(program).run(Points(size, *at(x, axis), *at(out, 0), failed), 0, size)
    return out, failed


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("columns", [1, 30])
def test_a_guard_fails_where_it_does_and_nowhere_else(executor, columns):
    def f(x):
        return sum(x) if x[0] > 0.0 else x[0]

    size = 10_007
    program, x = ft.record(f, np.ones(columns)).program, np.ones((size, columns))
    x[[5, 3_000, size - 1], 0] = -1.0
    out, failed = np.empty((size, 1)), np.full(size, 7, np.int64)
    evaluate = executor(program).at(Points(size, *at(x, 0), *at(out, 0), failed))
    for first, last in ((0, 4_000), (4_000, 4_011), (4_011, 4_027), (4_027, size)):
        evaluate(first, last)
    assert np.flatnonzero(failed != HELD).tolist() == [5, 3_000, size - 1]
    assert (out[failed == HELD, 0] == columns).all()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_rows_columns_and_guards(executor):
    def f(x, y):
        return math.exp(x) * y if x < y else x - y

    program = ft.record(f, 0.0, 1.0).program
    points = np.array([[0.0, 1.0], [0.5, 2.0], [2.0, 1.0], [-1.0, 3.0]])
    for x, axis in ((points, 0), (points.T.copy(), 1), (np.asfortranarray(points), 0), (points[::-1], 0)):
        out, failed = evaluate(executor, program, x, axis)
        rows = x if axis == 0 else x.T
        holds = rows[:, 0] < rows[:, 1]
        assert (failed == HELD).tolist() == holds.tolist()
        assert set(program.ops[failed[~holds]]) == {254}
        expected = [math.exp(a) * b for a, b in rows[holds]]
        np.testing.assert_allclose(out[holds, 0], expected, rtol=0.0 if executor is PointByPoint else 4e-16)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_where_nothing_can_stop_a_point_nobody_says_which_were(executor):
    free, guarded = (ft.record(f, 2.0).program for f in (lambda x: x * x, lambda x: x if x > 1.0 else 0.0))
    x = np.array([[1.5], [-3.0], [4.0]])
    out, failed = np.empty((3, 1)), outcomes(free, 3)
    executor(free).run(Points(3, *at(x, 0), *at(out, 0), failed), 0, 3)
    assert failed.size == 0
    assert out.tolist() == (x * x).tolist()
    assert outcomes(guarded, 3).tolist() == [HELD] * 3
