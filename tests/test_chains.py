"""Chains of products and sums, one instruction of a plan each, have the bits of single instructions in every sweep."""

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape.errors import ReplayError
from fasttape.evaluation import Evaluator
from fasttape.execute.dots import ABSORBS, DOUBLE, LEAST, PAIRS
from fasttape.execute.interpreter import Workspace
from fasttape.execute.plan import Plan
from fasttape.layout import DOT, LENGTH, PARAM
from fasttape.transform.forward import chained
from tests.agree import bits

NUMBERS = (0.0, -0.0, 1.0, -1.5, 0.1, 0.3, 1e-310, 1e300, math.inf, -math.inf, math.nan)


def chains(tape):
    """The number of pairs of each chain."""
    ops, a, _, aux = tape._evaluator.plan.columns
    return [int(aux[p + 1]) // 2 for p in a[ops == DOT].tolist()]


def agree(tape, args):
    """All sweeps give the bits of a plan without chains."""
    single = Evaluator(tape._recording)
    assert DOT not in single.plan.columns[0]
    leaves = tape._evaluator.leaves(args)
    assert bits(tape(*args)) == bits(single.run(leaves, single.outputs))
    for _ in range(2):  # what a sweep leaves behind is clean
        assert bits(tape.grad(*args)) == bits(single.run(leaves, single.gradient))
    along = [np.cos(np.arange(len(x))).tolist() for x in args]
    assert bits(tape.jvp(args, along)) == bits(single.run(leaves, single.along([t for x in along for t in x])))


def values(program, x):
    """The outputs of a program by a plan without chains of its own."""
    workspace = Workspace(Plan(program), program)
    workspace.inputs[:] = x
    stopped = workspace.forward()
    return workspace.values[program.outputs], stopped


def kinds(program):
    """(kind, products) of each chain in a program that only runs forward."""
    places = program.a[program.ops == DOT].tolist()
    return [(int(program.aux[p + PARAM]), int(program.aux[p + LENGTH]) - PAIRS) for p in places]


def forward_agrees(program, x):
    """Chains in forward programs keep the bits, and find nothing twice; returns them."""
    short = chained(program)
    found, expected = values(short, x), values(program, x)
    holds = expected[1] == program.ops.size
    assert (found[1] == short.ops.size) == holds
    assert not holds or bits(found[0]) == bits(expected[0])
    return kinds(short) if short is not program else []


def dot(x, y, start=0.0):
    for p, q in zip(x, y, strict=True):
        start = start + p * q
    return start


FORMS = {
    "from a bias": (lambda x: dot(x[1:], x[:-1], x[0]), [5]),
    "from nothing": (lambda x: dot(x, x), [6]),
    "from a product": (lambda x: x[0] * x[1] + x[2] * x[3] + x[4] * x[5], [2]),
    "sums in the other order": (lambda x: x[4] * x[5] + (x[2] * x[3] + (x[0] * x[1] + x[0])), []),
    "products first": (lambda x: sum([p * p for p in x]), []),
    "by sum()": (lambda x: sum((p * q for p, q in itertools.pairwise(x)), x[0]), [5]),
    "an end that is read again": (lambda x: (lambda s: s * s + dot(x, x, s))(dot(x, x)), [6, 6]),
    "constants": (lambda x: dot(x, (1.0, 0.0, -0.0, 2.0, math.inf, 3.0)), [6]),
}


@pytest.mark.parametrize(("f", "expected"), FORMS.values(), ids=FORMS)
def test_forms(f, expected):
    x = [0.3, -1.2, 0.7, 2.1, 0.0, -0.4]
    tape = ft.record(f, x)
    assert chains(tape) == expected
    agree(tape, (x,))


def test_what_is_read_inside_ends_a_chain():
    def f(x):
        half = dot(x[:3], x[1:4])
        return dot(x, x, half) + half, half

    x = [0.3, -1.2, 0.7, 2.1]
    tape = ft.record(f, x)
    assert chains(tape) == [3, 4]
    assert tape(x) == f(x)


def test_a_single_pair_stays():
    assert LEAST == 2
    assert chains(ft.record(lambda x: math.exp(x[0] + x[1] * x[1]), [0.1, 0.2])) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pair", "square", "reset", "end", "other", "peek"]), st.integers(0, 9), st.integers(0, 9)
        ),
        min_size=4,
        max_size=30,
    ),
    st.lists(st.sampled_from(NUMBERS), min_size=4, max_size=4),
)
def test_random_chains(steps, x):
    def f(x):
        values, total = list(x), 0.0
        for kind, i, j in steps:
            p, q = values[-1 - i % len(values)], values[-1 - j % len(values)]
            if kind == "pair":
                total = total + p * q
            elif kind == "square":
                total = p * p + total
            elif kind == "reset":
                total = p
            elif kind == "end":
                values.append(total)
                total = 0.0
            elif kind == "other":
                values.append(np.tanh(p) - q)
            else:
                values.append(total)
        return values[-1] + total

    tape = ft.record(f, [0.3, -1.2, 0.7, 2.1])
    if tape.program.outputs.size:
        agree(tape, (x,))
        agree(tape.optimize(), (x,))
        forward_agrees(tape._slope.program, x)
        forward_agrees(tape._product.program, [*x, 1.0, -0.0, 0.3, math.inf])


APART = {  # sums whose parts do not stand side by side
    "products first": (lambda x, y: sum([p * q for p, q in zip(x, y, strict=True)]), [(0, 6)]),
    "no sum to begin with": (lambda x, y: x[0] * y[0] + x[1] * y[1] + x[2] * y[2] + x[3], [(0, 2)]),
    "two sums at once": (lambda x, y: (lambda s, t: s * t)(*two_sums(x, y)), [(0, 6), (0, 6)]),
    "in any order": (lambda x, y: x[5] * y[5] + (x[0] + x[1] * y[1]) + x[2] * y[2], [(0, 3)]),
    "sums of two": (lambda x, y: x[0] + (x[1] * y[1] + x[2] * y[2]) + (x[3] * y[3] + x[4] * y[4]), [(2, 4)]),
    "only sums of two": (lambda x, y: (x[1] * y[1] + x[2] * y[2]) + (x[3] * y[3] + x[4] * y[4]), [(2, 2)]),
    "a sum of two and a product": (lambda x, y: x[0] * x[1] + (x[1] * y[1] + x[2] * y[2]), [(0, 2)]),
    "a chain of ones on a chain of twos": (
        lambda x, y: x[0] + (x[1] * y[1] + x[2] * y[2]) + x[3] * y[3] + x[4] * y[4],
        [(2, 2), (0, 2)],
    ),
    "a product that is read twice": (lambda x, y: (lambda p: x[0] + p + x[1] * y[1] + x[2] * p)(x[3] * y[3]), [(0, 2)]),
    "a product of one": (lambda x, y: x[0] + x[1] * y[1], []),
    "not in between": (lambda x, y: (lambda s: s + x[2] * y[2] - s)(x[0] + x[1] * y[1]), []),
}


def two_sums(x, y):
    s, t = x[0], y[0]
    for p, q in zip(x, y, strict=True):
        s, t = s + p * p, t + q * p
    return s, t


@pytest.mark.parametrize(("f", "expected"), APART.values(), ids=APART)
def test_values_alone_allow_more(f, expected):
    x, y = [0.3, -1.2, 0.7, 2.1, 0.0, -0.4], [1e300, 0.1, -0.0, 1e-310, 1.0, 3.0]
    tape = ft.record(f, x, y)
    assert forward_agrees(tape.program, x + y) == expected
    assert tape(x, y) == f(x, y)


def test_products_in_which_zero_absorbs():
    def f(x):
        return math.exp(dot(x[:3], x[3:]))

    product = ft.record(f, [0.1] * 6)._product.program
    for x in ([0.3, 0.0, 1.0, 0.5, math.inf, 0.1], [0.0, 0.0, 0.0, math.inf, math.nan, 1.0], [0.1, 0.2, 0.3] * 2):
        found = forward_agrees(product, [*x, 0.0, 1.0, 0.0, 0.0, 0.3, -0.0])
    assert {kind for kind, _ in found} >= {ABSORBS | DOUBLE}


def test_a_guard_stops_a_forward_program_where_it_stops_the_tape():
    def f(x):
        parts = [p * p for p in x]
        if x[0] * x[1] > 0.0:
            parts.append(x[0])
        return sum(parts) if parts[0] < 4.0 else 0.0

    tape = ft.record(f, [1.0, 1.0, 1.0])
    assert forward_agrees(tape.program, [1.0, 2.0, 3.0])
    for x, message in (([1.0, -1.0, 1.0], r"x\[0\] \* x\[1\] > 0\.0"), ([3.0, 1.0, 1.0], r"parts\[0\] < 4\.0")):
        forward_agrees(tape.program, x)
        with pytest.raises(ReplayError, match=message):
            tape(x)
        with pytest.raises(ReplayError, match=message):
            tape.grad(x)


def test_single_precision():
    x = [np.float32(v) for v in (0.3, -1.2, 0.7, 1e-40, 0.1)]
    tape = ft.record(lambda x: dot(x, x[::-1], x[0]), x)
    assert chains(tape) == [5]
    single = Evaluator(tape._recording)
    found, expected = tape.value_and_grad(x), single.run(x, single.value_and_gradient)
    assert bits(found) == bits(expected)
    assert found[0].dtype == found[1][0].dtype == np.float32


def test_zero_absorbs():
    value, gradient = ft.record(lambda x: dot(x[:2], x[2:]), [1.0, 1.0, 1.0, 1.0]).value_and_grad(
        [0.0, 1.0, math.inf, 2.0]
    )
    assert math.isnan(value)
    assert gradient == [math.inf, 2.0, 0.0, 1.0]


def test_guards_behind_chains():
    def f(x):
        s = dot(x, x)
        if s > 1.0:
            s = dot(x, x, s)
        return s if s < 100.0 else -s  # the second one

    tape = ft.record(f, [1.0, 1.0, 1.0])
    assert chains(tape) == [3, 3]
    assert tape([1.0, 2.0, 3.0]) == f([1.0, 2.0, 3.0])
    with pytest.raises(ReplayError, match=r"if s > 1\.0"):
        tape([0.1, 0.1, 0.1])
    with pytest.raises(ReplayError, match="the second one"):
        tape([10.0, 10.0, 10.0])
    assert tape.grad([1.0, 2.0, 3.0]) == [4.0, 8.0, 12.0]


def test_arrays_that_read_inside_a_chain_break_it():
    def f(x):
        parts, total = [], 0.0
        for p in x:
            total = total + p * p
            parts.append(total)
        return np.sum(np.stack([parts[1], parts[3]])) + total

    x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    tape = ft.record(f, x)
    assert chains(tape) == [2, 2, 2]
    agree(tape, (x,))


def test_traces_and_transforms_see_single_instructions():
    x = [0.3, -1.2, 0.7]
    tape = ft.record(lambda x: dot(x, x, x[0]), x)
    assert len(tape.trace(x).rows) == 3 + 6
    assert "dot" not in str(tape)
    np.testing.assert_allclose(tape.hessian(x), [[2.0 * (i == j) for j in range(3)] for i in range(3)])
    assert tape.vjp(x)[1](1.0) == tape.grad(x)


def test_threads_share_a_plan():
    x = np.linspace(-1.0, 1.0, 40).tolist()
    tape, results = ft.record(lambda x: math.exp(dot(x, x[::-1])), x), []

    def work(scale):
        y = [scale * v for v in x]
        results.append(all(tape.value_and_grad(y) == tape.value_and_grad(y) for _ in range(50)))

    threads = [threading.Thread(target=work, args=(1.0 + k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
