"""The tape: layout and size, listing, trace, graph, path count, replay."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape.decode import count_paths
from fasttape.execute.renumber import renumber


def example1(x):
    return math.sqrt(x**2 + math.exp(x**2)) + math.cos(x**2 + math.exp(x**2))


def shared(x):
    a = x * x
    b = a + math.exp(a)
    return math.sqrt(b) + math.cos(b)


def test_nine_bytes_for_a_scalar_instruction():
    def chain(x):
        for _ in range(10_000):
            x = x * x + x
        return x

    tape = ft.record(chain, 0.1)
    assert len(tape) == 20_000
    assert tape.nbytes <= 9 * len(tape) + 64


def test_columns_double_and_keep_what_they_hold():
    def long(x):
        total = 0.0
        for k in range(5_000):
            total = total + x * float(k)
        return total

    tape = ft.record(long, 1.0)
    assert tape(2.0) == 2.0 * sum(range(5_000))
    assert tape.grad(2.0) == sum(range(5_000))


def test_listing_names_every_instruction():
    text = str(ft.record(shared, 0.5))
    assert [line.split()[2] for line in text.splitlines()[1:-1]] == ["mul", "exp", "add", "sqrt", "cos", "add"]
    assert text.splitlines()[-1] == "return v6"


def test_trace_is_the_textbook_table():
    x = 0.7
    trace = ft.record(shared, 1.0).trace(x)
    a = x * x
    b = a + math.exp(a)
    slope = 0.5 / math.sqrt(b) - math.sin(b)
    primals = [x, a, math.exp(a), b, math.sqrt(b), math.cos(b), math.sqrt(b) + math.cos(b)]
    adjoints = [slope * (1 + math.exp(a)) * 2 * x, slope * (1 + math.exp(a)), slope, slope, 1.0, 1.0, 1.0]
    np.testing.assert_allclose([row.primal[0] for row in trace.rows], primals, rtol=1e-14)
    np.testing.assert_allclose([row.adjoint[0] for row in trace.rows], adjoints, rtol=1e-13)
    assert trace.rows[3].partials == (("v1", 1.0), ("v2", 1.0))
    np.testing.assert_allclose([d for _, d in trace.rows[4].partials], [0.5 / math.sqrt(b)], rtol=1e-15)
    lines = str(trace).splitlines()
    assert lines[0].split() == ["variable", "operation", "primal", "partials", "adjoint"]
    assert len(lines) == 1 + 7 + 2


def test_graph_has_a_node_per_variable_and_an_edge_per_partial():
    dot = ft.record(shared, 1.0).trace(0.7).dot()
    assert dot.startswith("digraph")
    assert dot.count("label=") == 7 + 9  # x, six results; nine operands
    assert dot.count("->") == 9


@pytest.mark.parametrize(
    ("f", "paths", "instructions"),
    [(example1, 4, 11), (shared, 8, 6), (lambda x: x, 1, 0), (lambda x: math.sin(1.0) + 0.0 * x, 1, 2)],
)
def test_paths(f, paths, instructions):
    trace = ft.record(f, 0.7).trace(0.7)
    assert (trace.paths, trace.instructions) == (paths, instructions)


def test_paths_grow_exponentially_where_the_sweep_does_not():
    def doubling(x):
        for _ in range(80):
            x = x + x
        return x

    trace = ft.record(doubling, 1.0).trace(1.0)
    assert (trace.paths, trace.instructions) == (2**80, 80)


def test_paths_through_array_instructions():
    def f(w, x):
        return np.sum(np.tanh(x @ w) ** 2)

    program = ft.record(f, np.ones((3, 2)), np.ones((5, 3)), argnums=(0, 1)).program
    # Every result of the product has two operands per term of its sum; square and tanh add none.
    assert count_paths(program) == 5 * 2 * 3 * 2


def test_trace_leaves_the_tape_ready():
    tape = ft.record(shared, 1.0)
    before = tape.grad(0.3)
    tape.trace(0.9)
    assert tape.grad(0.3) == before


def test_constants_keep_sign_of_zero_and_nan():
    tape = ft.record(lambda x: math.copysign(1.0, -0.0) * x + math.atan2(0.0 * x, -1.0), 1.0)
    assert tape(2.0) == -2.0 + math.pi
    assert math.isnan(ft.record(lambda x: x + math.nan, 1.0)(1.0))
    assert math.copysign(1.0, ft.record(lambda x: x * -0.0, 1.0)(1.0)) == -1.0


def test_pickle():
    tape = ft.record(shared, 1.0)
    again = pickle.loads(pickle.dumps(tape))
    assert again.value_and_grad(0.4) == tape.value_and_grad(0.4)
    assert str(again) == str(tape)


def test_replay_equals_recording_anew_bit_for_bit():
    tape = ft.record(example1, 1.0)
    for x in np.linspace(-1.2, 1.2, 25).tolist():
        assert tape.value_and_grad(x) == ft.value_and_grad(example1)(x)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 90), st.integers(0, 150)), min_size=1, max_size=8))
def test_constants_get_the_first_numbers_and_all_else_keeps_its_order(first, shape):
    runs, at = [], first
    for gap, size in shape:
        runs.append((at + gap, at + gap + size))
        at += gap + size
    slots = at + 2
    constants = [slot for start, stop in runs for slot in range(start, stop)]
    order = [*range(first), *constants, *(slot for slot in range(first, slots) if slot not in constants)]
    outputs, nothing = np.arange(slots, dtype=np.uint32), np.empty((0, 2), np.int64)
    ops, a, b = (np.empty(0, kind) for kind in (np.uint8, np.uint32, np.uint32))
    kept = renumber(ops, a, b, np.empty(0, np.int64), nothing, outputs, nothing, np.array(runs), first, slots)
    assert kept == 0
    np.testing.assert_array_equal(outputs[order], np.arange(slots))
