"""Lanes against the interpreter: random programs, every row of the table, all geometries of points, and guards."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from numba import config

import fasttape as ft
from fasttape.execute.lanes import Lanes
from fasttape.execute.points import HELD, PointByPoint, Points
from fasttape.layout import GUARD
from fasttape.ops import CODE, INTEGER, OPS
from fasttape.program import Program
from tests import programs
from tests.agree import bits
from tests.test_points import at

RNG = np.random.default_rng(3)
MANY = 600 if config.DISABLE_JIT else 100_003


class Result(NamedTuple):
    """What an executor leaves at some points."""

    out: np.ndarray
    failed: np.ndarray


def points_of(x, out, failed):
    return Points(len(x), *at(x, 0), *at(out, 0), failed)


def run(executor, x) -> Result:
    """The outputs at the rows of x; those of points that failed are void."""
    size = len(x)
    out, failed = np.full((size, executor.program.outputs.size), np.nan, x.dtype), np.full(size, 7, np.int64)
    executor.run(points_of(x, out, failed), 0, size)
    out[failed != HELD] = np.nan
    return Result(out, failed)


def same_as_interpreter(program, x, rtol=None):
    """Strict lanes have the interpreter's bits; others its numbers, where these can be compared."""
    expected, strict = run(PointByPoint(program), x), run(Lanes(program, strict=True), x)
    assert strict.failed.tolist() == expected.failed.tolist()
    assert bits(strict.out) == bits(expected.out)
    if rtol:
        found = run(Lanes(program), x)
        assert found.failed.tolist() == expected.failed.tolist()
        np.testing.assert_allclose(found.out, expected.out, rtol=rtol, atol=1e-300)
    return expected


def around(args, size):
    """Rows of numbers at and around the leaves of some arguments."""
    leaf = np.concatenate([np.ravel(x) for x in args])
    x = np.repeat(leaf[None].astype(leaf.dtype), size, 0)
    x[1:] += RNG.uniform(-0.3, 0.3, x[1:].shape).astype(x.dtype)
    return x


CONTINUOUS = {"rows": programs.CONTINUOUS, "inside": True}


@pytest.mark.parametrize(
    ("drawn", "rtol"),
    [({"inside": True}, None), ({"inside": False}, None), (CONTINUOUS, 1e-6)],
    ids=["inside", "singular", "continuous"],
)
def test_random_programs(drawn, rtol):
    @given(programs.programs(**drawn))
    @settings(max_examples=15 if config.DISABLE_JIT else 30, deadline=None)
    def check(example):
        program, args = example
        x = around(args, 3 if config.DISABLE_JIT else 37)
        same_as_interpreter(ft.record(programs.function(program), *args).program, x, rtol)

    check()


@pytest.mark.parametrize("seed", range(2 if config.DISABLE_JIT else 6))
def test_gradients_of_random_programs(seed):
    program, args = programs.fixed(seed)
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args))))
    for made in (tape.gradient_tape(), tape.gradient_tape().optimize()):
        same_as_interpreter(made.program, around(args, 5))


def one_of_each() -> Program:
    """Every row of the table, on inputs of its own."""
    a, b, aux, inputs = [], [], [], 0
    for op in OPS:
        slots = list(range(1 + inputs, 1 + inputs + op.arity - (INTEGER in op.traits)))
        inputs += len(slots)
        a.append(slots[0])
        b.append(3 if INTEGER in op.traits else len(aux) if op.arity == 3 else slots[-1])
        aux += slots[1:] if op.arity == 3 else []
    n = len(OPS)
    outputs = np.arange(1 + inputs, 1 + inputs + n, dtype=np.uint32)
    columns = np.arange(n, dtype=np.uint8), np.uint32(a), np.uint32(b), np.int64(aux)
    rest = np.empty(0), inputs, 1 + inputs + n, outputs, np.empty((0, 2), np.int64), (), ()
    return Program(np.dtype(float), *columns, *rest)


def operands_of_each(size):
    """Numbers from the domain of each operand, and after them the special points."""
    columns, special = [], max(len(op.special) for op in OPS)
    for op in OPS:
        for k, domain in enumerate(op.domain[: op.arity - (INTEGER in op.traits)]):
            column = RNG.uniform(max(domain.low, -30.0), min(domain.high, 30.0), size + special)
            column[size : size + len(op.special)] = [point[0][k] for point in op.special]
            columns.append(column)
    return np.column_stack(columns)


def test_every_row():
    same_as_interpreter(one_of_each(), operands_of_each(19), 3e-15)


def example(x, y, z):
    return np.exp(-x) * y + np.sin(z) / (1.0 + x * x), x - y


@pytest.fixture(scope="module")
def program():
    return ft.record(example, 0.5, 1.0, 2.0).program


def by_formula(x):
    return np.column_stack(example(*x.T))


def test_any_number_of_points(program):
    executor = Lanes(program)
    for size in (0, 1, executor.lanes - 1, executor.lanes, executor.lanes + 1, MANY):
        x = RNG.standard_normal((size, 3))
        found = run(executor, x)
        assert (found.failed == HELD).all()
        np.testing.assert_allclose(found.out, by_formula(x), rtol=1e-12, atol=1e-15)


def test_a_part_of_the_points_leaves_the_others_alone(program):
    x, out, failed = RNG.standard_normal((40, 3)), np.full((40, 2), 5.0), np.full(40, 7)
    Lanes(program).run(points_of(x, out, failed), 11, 29)
    np.testing.assert_allclose(out[11:29], by_formula(x[11:29]), rtol=1e-13)
    assert (out[:11] == 5.0).all()
    assert (out[29:] == 5.0).all()
    assert (failed == HELD).tolist() == [11 <= i < 29 for i in range(40)]


VIEWS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "every third": lambda x: np.repeat(x, 3, 0)[::3],
    "reversed columns": lambda x: np.asfortranarray(x[:, ::-1])[:, ::-1],
    "between others": lambda x: np.pad(x, 2)[2:-2, 2:-2],
    "records": lambda x: unaligned(x),
}


def unaligned(x):
    """Rows that begin at any byte."""
    record = np.dtype([("flag", np.int8), ("x", x.dtype, x.shape[1])])
    records = np.zeros(len(x), record)
    records["x"] = x
    return records["x"]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_inputs_and_outputs_stay_where_they_are(program, view):
    x = np.random.default_rng(3).standard_normal((37, 3))
    seen, out = view(x), view(np.full((37, 2), np.nan))
    assert np.array_equal(seen, x)
    Lanes(program).run(points_of(seen, out, np.empty(37, np.int64)), 0, 37)
    np.testing.assert_allclose(out, by_formula(x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("shared", [(0,), (1, 2), (0, 1, 2)])
def test_what_follows_from_shared_inputs_is_computed_once(program, shared):
    x = RNG.standard_normal((700, 3))
    x[:, shared] = x[0, shared]
    seen = [np.broadcast_to(x[0, k], 700) if k in shared else x[:, k] for k in range(3)]
    out, failed = np.empty((700, 2)), np.empty(700, np.int64)
    sources = np.array([column.__array_interface__["data"][0] for column in seen], np.uint64)
    steps = np.array([column.strides[0] for column in seen])
    executor = Lanes(program)
    executor.run(Points(700, sources, steps, *at(out, 0), failed), 0, 700)
    assert out.tobytes() == run(executor, x).out.tobytes()
    np.testing.assert_allclose(out, by_formula(x), rtol=1e-13, atol=1e-15)
    plan = executor.plan(np.array(shared))
    assert (plan.once == plan.code.ops.size) == (len(shared) == 3)
    assert plan.once > 0


def test_outputs_that_are_inputs_and_come_twice():
    program = ft.record(lambda x, y: (x, y * 0.0 + 1.0, x), 1.0, 2.0).program
    x = RNG.standard_normal((5, 2))
    assert run(Lanes(program), x).out.tolist() == [[row[0], 1.0, row[0]] for row in x]


def test_a_program_without_operations():
    x = RNG.standard_normal((5, 2))
    same_as_interpreter(ft.record(lambda x, y: y, 1.0, 2.0).program, x)
    only_guard = ft.record(lambda x, y: y if x else 0.0 * y, 1.0, 2.0).program
    assert same_as_interpreter(only_guard, x).out.tolist() == x[:, 1:].tolist()


def test_guards_stop_single_points_at_the_first_that_fails():
    def f(x, y):
        if x < 0.0:
            return y
        if math.log(x) > y:
            return x * y
        return math.sqrt(x) * math.exp(y) if y > 0.0 else x

    program = ft.record(f, 2.0, 3.0).program
    x = RNG.uniform(-1.0, 2.0, (300, 2))
    expected = same_as_interpreter(program, x)
    stopped = set(expected.failed)
    assert HELD in stopped
    assert len(stopped) == 4
    assert {int(program.ops[i]) for i in stopped - {HELD}} == {GUARD}


def test_a_guard_of_shared_inputs_stops_all_points_that_none_before_it_stops():
    def f(x, y):
        z = x * x if x > 0.0 else x
        return z + y if y > 0.0 else z

    program = ft.record(f, 1.0, 1.0).program
    x, y, out = RNG.standard_normal((50, 1)), np.array([-1.0]), np.empty((50, 1))
    first, second = np.flatnonzero(program.ops == GUARD)
    failed = np.empty(50, np.int64)
    ends = np.concatenate([at(x, 0)[0], at(y[None], 0)[0]]), np.array([8, 0])
    Lanes(program).run(Points(50, *ends, *at(out, 0), failed), 0, 50)
    assert failed.tolist() == [first if value <= 0.0 else second for value in x[:, 0]]


def test_single_precision():
    program = ft.record(lambda x: (np.exp(x[0]) * x[1], np.sum(x * x)), np.ones(3, np.float32)).program
    assert program.dtype == np.float32
    same_as_interpreter(program, RNG.standard_normal((300, 3)).astype(np.float32), 1e-6)


ARRAYS = {
    "sums of all lengths": lambda x: [np.sum(x[:n]) for n in (0, 1, 2, 3, 7, x.size)],
    "extremes and products": lambda x: (np.max(x), np.min(x[:5]), np.prod(x[:6]), np.prod(x[:0])),
    "rows and columns": lambda x: (np.sum(x.reshape(2, -1), axis=0)[:3], np.sum(x.reshape(2, -1), axis=1)),
    "broadcast": lambda x: np.sum(x[:3, None] * x[3:7] + x[:4], axis=0),
    "listed elements": lambda x: np.sin(x[[5, 0, 5]]) * x[::-1][:3],
    "choices and powers": lambda x: np.where(x[:4] > 0.0, x[:4] ** 3, x[4:8]),
}


@pytest.mark.parametrize("f", ARRAYS.values(), ids=ARRAYS.keys())
def test_instructions_on_arrays(f):
    """Reductions are folded in the interpreter's order, over more than a block of elements as well."""
    x = RNG.uniform(-1.0, 1.0, (3, 30 if config.DISABLE_JIT else 1_236))
    same_as_interpreter(ft.record(f, x[0]).program, x)
    loss = ft.record(lambda x: sum(np.sum(np.tanh(y)) for y in f(x)), x[0])
    same_as_interpreter(loss.gradient_tape().program, x)


PRODUCTS = {
    "matrices": lambda x: x[:6].reshape(2, 3) @ x[:12].reshape(3, 4),
    "transposed": lambda x: x[:6].reshape(3, 2).T @ x[:12].reshape(4, 3).T,
    "vectors": lambda x: (x[:5] @ x[5:10], x[:6].reshape(2, 3) @ x[:3], x[:2] @ x[:6].reshape(2, 3)),
    "batches": lambda x: x[:12].reshape(2, 2, 3) @ x[:12].reshape(2, 3, 2),
    "single numbers": lambda x: x[:1].reshape(1, 1) @ x[1:2].reshape(1, 1),
    "of nothing": lambda x: x[:0].reshape(2, 0) @ x[:0].reshape(0, 3) + x[0],
}


@pytest.mark.parametrize("f", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_of_matrices(f):
    x = RNG.standard_normal((4, 12))
    tape = ft.record(lambda x: sum(np.sum(np.sin(y)) for y in f(x)), x[0])
    for program in (ft.record(f, x[0]).program, tape.gradient_tape().program):
        expected = run(PointByPoint(program), x)
        np.testing.assert_allclose(run(Lanes(program), x).out, expected.out, rtol=1e-12, atol=1e-13)


def test_cells_are_taken_again():
    def f(x):
        for _ in range(200):
            x = np.sin(x) * 1.5
        return x

    executor = Lanes(ft.record(f, 0.5).program)
    assert executor.plan(np.empty(0, np.int64)).size <= 5 * executor.lanes
    assert CODE["sin"] in executor.operations.ops


def test_zero_absorbs():
    program = ft.record(lambda x: np.where(x > 0.0, np.sqrt(x), 0.0), 1.0).gradient_tape().program
    x = np.array([[0.0], [4.0], [-1.0], [np.inf]])
    assert run(Lanes(program), x).out.tolist() == [[0.0, 0.0], [2.0, 0.25], [0.0, 0.0], [np.inf, 0.0]]
