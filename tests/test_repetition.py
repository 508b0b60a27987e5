"""Parts of a program that repeat share machine code, which has the bits of the interpreter and names its guards."""

import functools
import itertools
import math
import re

import numpy as np
import pytest
from agree import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import Strict, each_target, runs
from test_points import evaluate

import fasttape as ft
from fasttape.compiler import repetition
from fasttape.compiler.line import CHUNK, Operation
from fasttape.execute.native import MOST, Native
from fasttape.execute.points import HELD, PointByPoint
from fasttape.ops import CODE

STEPS = 150


def walk(x, drift, noise):
    """Every step reads inputs, has a result of its own, and may fail."""
    positions = []
    for k in range(STEPS):
        x = x + drift * 0.5 + math.sqrt(x * x + 1.0) * noise[k]
        if x > -40.0:
            x = x * 0.875
        positions.append(x)
    return positions


def program():
    return ft.record(walk, 1.0, 0.25, np.full(STEPS, 0.5)).program


def functions(executor):
    """(chunks that run, functions that they run)."""
    text = executor.code(()).best.text()
    return len(re.findall(r"call void @chunk", text)), len(re.findall(r"define internal void @chunk", text))


@each_target
def test_steps_share_a_function(target):
    x = np.random.default_rng(0).normal(size=(37, 2 + STEPS))
    x[::5, 40] = -1e3  # these points fail at some step
    expected, failed = evaluate(PointByPoint, program(), x)
    assert np.unique(failed).size > 1
    executor = Strict(program(), target=target)
    found = evaluate(lambda _: executor, executor.program, x)
    assert np.array_equal(found[1], failed)
    assert bits(found[0][failed == HELD]) == bits(expected[failed == HELD])
    chunks, written = functions(executor)
    assert chunks > 4
    assert written < chunks


def test_gradients_share_functions():
    """The steps of both sweeps; there is no more code for more of them."""

    def last(x, drift, noise):
        for k in range(noise.size):
            x = x + drift * np.tanh(x) + np.exp(-x * x) * noise[k]
        return x

    for steps in (150, 600):
        tape = ft.record(last, 1.0, 0.25, np.ones(steps), argnums=(0, 1, 2)).gradient_tape().optimize()
        x = np.random.default_rng(0).normal(size=(20, 2 + steps))
        found, expected = runs(Native, tape.program, x), evaluate(PointByPoint, tape.program, x)
        assert found is None or np.allclose(found[0], expected[0], rtol=1e-10, atol=1e-200)
        chunks, written = functions(Native(tape.program))
        assert chunks > steps // 20
        assert written < 8


@pytest.mark.parametrize("period", [1, 3, 40, 700])
def test_of_any_length(period):
    """Strictly as the interpreter, whether some periods are a chunk or one is several."""
    rows = [functools.partial(op, k + 2.0) for k, op in zip(range(period), itertools.cycle(OPERATORS), strict=False)]

    def f(x, y):
        for _ in range(4 * CHUNK // period + 3):
            for row in rows:
                x, y = row(x, y), x
        return x + y

    recorded = ft.record(f, 0.5, 0.25).program
    x = np.random.default_rng(0).normal(size=(9, 2))
    executor = Strict(recorded)
    found = evaluate(lambda _: executor, recorded, x)[0]
    assert bits(found) == bits(evaluate(PointByPoint, recorded, x)[0])
    chunks, written = functions(executor)
    assert written < chunks


def add(n, x, y):
    return x + y / n


def scale(n, x, y):
    return x * (1.0 / n) - y


def root(n, x, y):
    return np.sqrt(x * x + n) - y


OPERATORS = (add, scale, root)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 90)
)
def test_pieces_are_the_whole_line(around, unit, count):
    rows = [CODE[name] for name in ("add", "sub", "mul", "div")]
    codes = [rows[k] for k in around + unit * count + around]
    operations = [Operation(2 + k, code, (1 + k, max(k - 3, 1))) for k, code in enumerate(codes)]
    found = repetition.pieces(operations, {}, 20)
    borders = [0, *(stop for _, stop, _ in found)]
    assert [(start, stop) for start, stop, _ in found] == [*itertools.pairwise(borders)]
    assert borders[-1] == len(operations)
    assert all(stop - start <= max(20, repetition.UNIT) for start, stop, repeats in found if repeats)
    if len(unit) * count > repetition.WORTH + 8 * repetition.GRAM:
        assert any(repeats for _, _, repeats in found)


def test_long_programs_of_steps():
    """Many times what machine code takes of different operations."""
    steps = 3_000

    def f(x, noise):
        for k in range(steps):
            x = x * 0.75 + np.sqrt(x * x + 1.0) * noise[k] - 0.125 * x
        return x

    recorded = ft.record(f, 1.0, np.ones(steps)).program
    assert recorded.ops.size > MOST
    x = np.random.default_rng(0).normal(size=(5, 1 + steps)) / 16
    assert bits(evaluate(Strict, recorded, x)[0]) == bits(evaluate(PointByPoint, recorded, x)[0])
