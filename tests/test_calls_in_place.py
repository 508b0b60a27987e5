"""Calls of compiled functions: long arguments are read where they are, results go where the function returns them."""

import numpy as np
import pytest
from numba import config

import fasttape as ft
from fasttape.execute import batch, loops

SIZE = 5_000
RNG = np.random.default_rng(17)
X, Y = RNG.normal(size=(2, SIZE))


def f(x, y):
    return np.sin(x) * y


def value_and_slopes(x, y):
    return np.sin(x) * y, (np.cos(x) * y, np.sin(x))


@pytest.fixture(autouse=True)
def as_a_call(monkeypatch):
    monkeypatch.setattr(batch, "AT_ONCE", 0)


def evaluator_of(compiled):
    """What replays the only recording of a compiled function."""
    ((direct, _),) = compiled.otherwise.paths
    return direct.evaluator


def same(found, expected):
    for x, y in zip(ft.trees.flatten(found)[0], ft.trees.flatten(expected)[0], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-15)


def test_nothing_is_copied():
    compiled = ft.compile(ft.vmap(ft.value_and_grad(f, argnums=(0, 1))))
    first = compiled(X, Y)
    same(first, value_and_slopes(X, Y))
    evaluator = evaluator_of(compiled)
    assert list(evaluator.plan.elsewhere) == ([] if config.DISABLE_JIT else [0, 1])  # which no twin can read
    assert evaluator.last_call is not None
    assert evaluator.program.ops.size == 1
    same(compiled(Y, X), value_and_slopes(Y, X))
    same(first, value_and_slopes(X, Y))
    assert compiled.info().hits == 1


def test_views_and_other_types_are_copied():
    compiled = ft.compile(ft.vmap(f))
    same(compiled(X, Y), f(X, Y))
    same(compiled(np.repeat(X, 2)[::2], Y[::-1]), f(X, Y[::-1]))
    same(compiled(X, Y), f(X, Y))
    assert compiled.info().recordings == 1


def test_results_of_several_shapes_stand_leaf_by_leaf():
    def several(row):
        return row[0], {"all": row * row, "none": row[:0]}, np.outer(row, row[:2])

    rows = RNG.normal(size=(SIZE, 3))
    found = ft.compile(ft.vmap(several, out_axes=(0, 1, -1)))(rows)
    assert found[1]["none"].shape == (0, SIZE)
    same(found[0], rows[:, 0])
    same(found[1]["all"], (rows * rows).T)
    same(found[2], rows.T[:, None] * rows.T[None, :2])


@pytest.mark.parametrize("argnums", [(0,), (0, 1), (1, 2)])
def test_derivatives_of_what_is_read_where_it_is(argnums):
    def loss(a, x, y):
        return np.sum(ft.vmap(lambda x, y: np.sin(a * x) * y)(x, y))

    partials = np.sum(np.cos(2.0 * X) * Y * X), np.cos(2.0 * X) * Y * 2.0, np.sin(2.0 * X)
    compiled = ft.compile(ft.grad(loss, argnums=argnums))
    for _ in range(2):
        for k, found in zip(argnums, compiled(2.0, X, Y), strict=True):
            np.testing.assert_allclose(found, partials[k], rtol=1e-11)
    tape = ft.record(loss, 2.0, X, Y, argnums=(0, 1, 2))
    _, along = tape.jvp((2.0, X, Y), (1.0, Y, X))
    np.testing.assert_allclose(
        along, sum(np.sum(p * d) for p, d in zip(partials, (1.0, Y, X), strict=True)), rtol=1e-11
    )


def test_loops_before_a_call(monkeypatch):
    monkeypatch.setattr(loops, "WORTHWHILE", 0)
    monkeypatch.setattr(loops, "PATIENCE", 0)
    compiled = ft.compile(lambda x, y: ft.vmap(f)(np.exp(x) * y, y))
    for x, y in ((X, Y), (Y, X)):
        same(compiled(x, y), f(np.exp(x) * y, y))
    assert (evaluator_of(compiled).looped is None) == config.DISABLE_JIT


def test_constants_are_read_where_the_program_has_them():
    def loss(a):
        return np.sum(ft.vmap(lambda x, y: np.sin(a * x) * y)(X, Y))

    for compiled in (ft.compile(ft.value_and_grad(loss)), ft.record(loss, 2.0).value_and_grad):
        for a in (1.0, 2.0):
            value, slope = compiled(a)
            np.testing.assert_allclose(value, np.sum(np.sin(a * X) * Y), rtol=1e-11)
            np.testing.assert_allclose(slope, np.sum(np.cos(a * X) * X * Y), rtol=1e-11)
    plan = ft.record(loss, 2.0)._evaluator.plan
    assert len(plan.constants) == (0 if config.DISABLE_JIT else 2)


def test_the_same_array_twice_and_beside_array_code():
    compiled = ft.compile(lambda x, y: ft.vmap(f)(x, x) + np.exp(y) * x)
    for x, y in ((X, Y), (Y, X)):
        same(compiled(x, y), f(x, x) + np.exp(y) * x)
