"""Every row of the table inside compiled functions, in each spelling that Numba compiles: values, partials, kinks."""

import builtins
import importlib
import operator

import numba
import numpy as np
import pytest

import fasttape as ft
from fasttape.ops import INTEGER, OPS, PREDICATE

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="functions of math raise in Python")

ROWS = [op for op in OPS if op.names and INTEGER not in op.traits]


def spellings(op):
    """The functions that a row answers to, those first that Numba compiles for floats."""
    found = []
    for name in op.names:
        module, _, attribute = name.rpartition(".")
        function = getattr(importlib.import_module(module), attribute, None) if module != "scipy.special" else None
        found += [function] * (function is not None)
        if module == "operator" and hasattr(builtins, attribute):
            found.append(getattr(builtins, attribute))
    return [f for f in found if compiles(f, op.arity)]


def compiles(function, arity):
    call = numba.njit(lambda x: function(x)) if arity == 1 else numba.njit(lambda x, y: function(x, y))
    try:
        call.compile((numba.float64,) * arity)
    except numba.core.errors.NumbaError:
        return False
    return True


def switch(op, functions):
    """A compiled function of a vector of operands that calls one of several functions, and more such operations."""
    a, b, c, d = (functions * 4)[:4]
    if op.arity == 1:

        @numba.njit(error_model="numpy")
        def one(x, which):
            if which == 0:
                return a(x[0]) * 1.0
            if which == 1:
                return b(x[0]) * 1.0
            if which == 2:
                return c(x[0]) * 1.0
            return d(x[0]) * 1.0

        return one

    @numba.njit(error_model="numpy")
    def two(x, which):
        if which == 0:
            return a(x[0], x[1]) * 1.0
        if which == 1:
            return b(x[0], x[1]) * 1.0
        if which == 2:
            return c(x[0], x[1]) * 1.0
        return d(x[0], x[1]) * 1.0

    return two


def points(op):
    """Operands inside the domain, and those of the special points, with the partials that the row promises there."""
    rng = np.random.default_rng(len(op.name))
    for _ in range(5):
        yield np.array([rng.uniform(max(i.low, -3.0), min(i.high, 3.0)) for i in op.domain]), None
    for operands, partials in op.special:
        yield np.array(operands), np.array(partials)


@compiled_only
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_a_row_in_every_spelling(op):
    functions = spellings(op)
    if not functions:
        pytest.skip("Numba compiles none of its names")
    f = switch(op, functions)
    for x, partials in points(op):
        for which in range(min(len(functions), 4)):
            value, gradient = ft.value_and_grad(f)(x, which)
            np.testing.assert_array_equal(value, f(x, which))
            if partials is not None:
                np.testing.assert_array_equal(gradient, partials)
            else:
                _, expected = ft.value_and_grad(lambda x: as_python(op, x))(x)
                np.testing.assert_allclose(gradient, expected, rtol=1e-14, atol=1e-300)


def as_python(op, x):
    """The row recorded by the Python recorder."""
    name = (
        next(name for name in op.names if name.startswith("numpy.")) if op.names[0].startswith("numpy") else op.names[0]
    )
    module, _, attribute = name.rpartition(".")
    function = getattr(importlib.import_module(module), attribute)
    result = function(*(x[k] for k in range(op.arity)))
    return result * 1.0 if PREDICATE not in op.traits else 0.0 * x[0]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow"])
def test_operators_in_place_and_with_numbers_of_other_types(name):
    plain, in_place = getattr(operator, name), getattr(operator, f"i{name}")

    @numba.njit
    def f(x):
        y = plain(x[0], 2) + plain(3, x[1]) + plain(x[0], True) + plain(np.float32(1.5), x[1])
        y = in_place(y, x[1])
        z = in_place(x.copy(), x[0])
        z = in_place(z, x)
        return y * x[0] + z[0] + z[1]

    x = np.array([1.7, 2.3])
    value, gradient = ft.value_and_grad(f)(x)
    assert value == f(x)
    h = 1e-6
    expected = [(f(x + h * e) - f(x - h * e)) / (2.0 * h) for e in np.eye(2)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-7)


def test_integer_powers_keep_their_exponent():
    @numba.njit
    def f(x, n):
        return x**2 + x**3 + x**n

    assert ft.grad(f)(-2.0, 4) == 2.0 * -2.0 + 3.0 * 4.0 + 4.0 * -8.0
    assert ft.grad(f)(0.0, 1) == 1.0
    assert ft.grad(f)(0.0, 0) == 0.0


def test_max_and_min_of_python_follow_the_branch_they_take():
    @numba.njit
    def f(x, y):
        return max(x, y) + 2.0 * min(x, y, 10.0)

    assert ft.grad(f, argnums=(0, 1))(1.0, 1.0) == (3.0, 0.0)
    assert ft.grad(f, argnums=(0, 1))(1.0, 2.0) == (2.0, 1.0)
