"""Optimized programs are well formed, shorter, stable under optimization, and compute the same bits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape import trees
from fasttape.errors import ReplayError
from fasttape.transform.optimize import fold, optimize, prune, share
from fasttape.verify import verify
from tests import programs


def bits(tree):
    """All numbers to the last bit; one nan is as good as another."""
    leaves = [np.array(x, float) for x in trees.flatten(tree)[0]]
    for x in leaves:
        x[np.isnan(x)] = np.nan
    return [x.tobytes() for x in leaves]


def same_programs(x, y):
    assert all(np.array_equal(p, q) for p, q in zip(x.columns, y.columns, strict=True))
    assert x.constants.tobytes() == y.constants.tobytes()


def check(tape, args):
    """The optimized tape agrees with the plain one, and cannot be optimized any further."""
    short = tape.optimize()
    for one in (prune, fold, share):
        once = verify(one(tape.program))
        same_programs(one(once), once)
    again, _ = optimize(verify(short.program))
    assert len(again.ops) == len(short) <= len(tape)
    same_programs(again, short.program)
    assert bits(tape(*args)) == bits(short(*args))
    return short


@settings(max_examples=150, deadline=None)
@given(programs.programs())
def test_random_programs(drawn):
    program, args = drawn
    check(ft.record(programs.function(program), *args), args)


@settings(max_examples=100, deadline=None)
@given(programs.programs(inside=False))
def test_programs_at_singular_points(drawn):
    program, args = drawn
    check(ft.record(programs.function(program), *args), args)


@settings(max_examples=60, deadline=None)
@given(programs.programs(programs.SMOOTH))
def test_gradients_of_optimized_programs(drawn):
    program, args = drawn
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args))))
    if not tape.program.outputs.size:
        return
    gradient = tape.grad(*args)
    for other in (tape.optimize(), tape.gradient_tape().optimize()):
        found = other.grad(*args) if other.program.outputs.size == 1 else other(*args)[1]
        for x, y in zip(gradient, found, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * np.max(np.abs(x), initial=1.0))
    check(tape.gradient_tape(), args)


def test_what_is_shared():
    def f(x, y):
        return math.exp(x * y) + math.exp(y * x) + (x - y) * (y - x)

    short = ft.record(f, 1.0, 2.0, argnums=(0, 1)).optimize()
    assert [line.split()[2] for line in str(short).splitlines()[1:-1]] == [
        "mul",
        "exp",
        "add",
        "sub",
        "sub",
        "mul",
        "add",
    ]


@pytest.mark.parametrize(
    "f", [lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x / 1.0, lambda x: x - 0.0, lambda x: +x, np.positive]
)
def test_exact_identities(f):
    short = check(ft.record(f, 3.0), (3.0,))
    assert len(short) == 0
    for x in (-0.0, math.inf, 5e-324):
        assert math.copysign(1.0, short(x)) == math.copysign(1.0, x)
        assert short(x) == x
    assert math.isnan(short(math.nan))


@pytest.mark.parametrize(
    "f", [lambda x: x + 0.0, lambda x: 0.0 - x, lambda x: x * 0.0, lambda x: x / x, lambda x: 1.0 / x]
)
def test_what_is_not_exact_stays(f):
    assert len(check(ft.record(f, 3.0), (3.0,))) == 1


def test_dead_code_and_dead_constants():
    def f(x):
        x * np.arange(1000.0)
        return np.sum(x**2) * 2.0

    tape = ft.record(f, np.ones(1000))
    short = check(tape, (np.ones(1000),))
    assert (len(tape), len(short)) == (4, 3)
    assert short.program.constants.size == 1


def test_guards_stay_and_hold():
    def f(x):
        return (x * x if x * x > 1.0 else x) + x * x

    tape = ft.record(f, 2.0)
    short = check(tape, (2.0,))
    assert len(short) == len(tape) - 2
    with pytest.raises(ReplayError, match="test_optimize"):
        short(0.5)


def test_array_instructions():
    rng = np.random.default_rng(3)
    a, x = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))

    def f(a, x):
        y, z = np.tanh(a @ x), np.tanh(a @ x)
        w = y.copy()
        w[1:3] = z[::-1][:2] * 2.0
        return np.sum(w) + np.sum(y[[0, 0, 3]]) + np.sum(z[[0, 0, 3]]) + np.where(y > 0.0, y, z)[0, 0]

    tape = ft.record(f, a, x, argnums=(0, 1))
    short = check(tape, (a, x))
    assert len(short) == len(tape) - 3
    for p, q in zip(tape.grad(a, x), short.grad(a, x), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_long_tapes_take_linear_time():
    def f(x):
        for _ in range(20_000):
            x = x * x + 0.5 * x - x * x
        return x

    tape = ft.record(f, 0.3)
    short = check(tape, (0.3,))
    assert len(short) < len(tape)
    assert len(prune(tape.program).ops) == len(tape)
