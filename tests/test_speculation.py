"""Products without tests for zero in machine code: nobody can tell, whatever stands at the neighboring points."""

import itertools
import math

import numpy as np
import pytest
from agree import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import each_target, runs
from test_points import evaluate

import fasttape as ft
from fasttape.compiler import machine, speculation
from fasttape.execute.kernels import line
from fasttape.execute.native import Native
from fasttape.execute.points import PointByPoint
from fasttape.ops import INTEGER, OPS

HIDING = {  # rows with operands beside which a nan does not matter
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite"),
    *("select", "fmax", "fmin", "hypot", "pow", "copysign"),
}
NUMBERS = (0.0, -0.0, 1.0, -2.0, 0.75, math.inf, -math.inf, math.nan, 1e-100, 1e100)


def root(x, y, z):
    """Slopes that are infinite, and adjoints that are zero, at the edges of the domain."""
    return np.sqrt(x) * y + np.log(z) * x * y


def ratio(x, y, z):
    return np.exp(-x / y) * z + np.tanh(z / x) * y * y


def program(f):
    """Value and gradient."""
    return ft.record(f, 0.3, 0.7, 0.9, argnums=(0, 1, 2)).gradient_tape().optimize().program


def text(executor):
    return machine.module(line(executor.program), executor.style)


@pytest.mark.parametrize("f", [root, ratio])
@each_target
def test_zero_absorbs(f, target):
    """At every combination of edges; quotients and functions of numbers of some hundreds have lost some digits."""
    x = np.array([*itertools.product(NUMBERS, repeat=3)])
    executor = Native(program(f), target=target)
    assert "@careful" in text(executor)
    expected, _ = evaluate(PointByPoint, executor.program, x)
    found = runs(lambda _: executor, executor.program, x)
    assert found is None or not np.isnan(found[0][~np.isnan(x).any(axis=1)]).all()
    np.testing.assert_allclose(expected if found is None else found[0], expected, rtol=1e-13, atol=1e-300)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(range(len(NUMBERS) ** 3)), min_size=1, max_size=40), st.sampled_from([root, ratio]))
def test_neighbors_do_not_matter(chosen, f):
    """The bits of a point are those that it has alone."""
    x = np.array([*itertools.product(NUMBERS, repeat=3)])[chosen]
    executor = Native(program(f))
    together, _ = evaluate(lambda _: executor, executor.program, x)
    for k, row in enumerate(x):
        alone, _ = evaluate(lambda _: executor, executor.program, row[None])
        assert bits(alone[0]) == bits(together[k])


def test_which_rows_hide_a_nan():
    free = {op.name: (None,) * (op.arity - (INTEGER in op.traits)) for op in OPS}
    parameters = {op.name: (3,) if INTEGER in op.traits else () for op in OPS}
    found = {
        op.name
        for code, op in enumerate(OPS)
        if op.arity and not speculation.lets_nan_through(code, free[op.name], parameters[op.name])
    }
    assert found == HIDING


def test_which_programs_keep_their_tests():
    """Those that choose between numbers, strict ones, long ones, and those whose outputs are added up."""
    assert "@careful" in text(Native(program(ratio)))
    assert "@careful" not in text(Native(program(lambda x, y, z: np.maximum(x, y) * z * np.exp(x))))
    assert "@careful" not in text(Native(program(ratio), strict=True))
    sums = Native(program(ratio), sums=1)
    assert "@careful" not in machine.module(line(sums.program, sums=1), sums.style)

    def long(x, y, z):
        for _ in range(300):
            x = np.sin(x * y) * z
        return x

    assert "@careful" not in text(Native(program(long)))


def test_a_constant_exponent_lets_a_nan_through():
    assert "@careful" in text(Native(program(lambda x, y, z: (x * y) ** 1.5 * np.exp(z))))


def test_programs_whose_products_lead_nowhere():
    """A recording that nobody has optimized computes what no output needs."""

    def slope(x):
        ft.grad(lambda y: np.exp(y) * np.sin(y) * y)(x)
        return x

    executor = Native(ft.record(slope, 0.5).program)
    assert "times" in {OPS[x.code].name for x in line(executor.program).operations}
    found = runs(lambda _: executor, executor.program, np.array([[0.5], [math.inf]]))
    assert found is None or found[0].tolist() == [[0.5], [math.inf]]
