"""Elementwise instructions on long arrays as loops of machine code: the bits of the interpreter, whatever is read."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config

import fasttape as ft
from fasttape.evaluation import Evaluator
from fasttape.execute import loops
from fasttape.execute.borrowing import Task
from fasttape.verify import verify

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="the twins round like NumPy, machine code like libmvec"
)
N = 5003  # no multiple of any number of lanes


@pytest.fixture(autouse=True)
def every_loop_is_worthwhile(monkeypatch):
    monkeypatch.setattr(loops, "WORTHWHILE", 1)


def loops_of(f, *args):
    """An evaluator of a function for its values alone, which has loops."""
    evaluator = Evaluator(ft.record(f, *args)._recording, again=True, only_forward=True)
    assert evaluator.looped is not None
    return evaluator


def both(f, *args):
    """The outputs of a function by the interpreter, and by its loops."""
    found = []
    evaluator = loops_of(f, *args)
    for done in (0, loops.PATIENCE):
        evaluator.looped.done = done
        found.append(evaluator.run(evaluator.leaves(args), lambda workspace: flat(evaluator.outputs(workspace))))
    assert evaluator.looped.loops
    return found


def assert_same_bits(f, *args):
    plain, looped = both(f, *args)
    assert plain.dtype == looped.dtype
    np.testing.assert_array_equal(plain, looped)
    numbers = ~np.isnan(plain)  # nobody promises the sign of nan
    np.testing.assert_array_equal(np.signbit(plain[numbers]), np.signbit(looped[numbers]))


def vector(seed=0, n=N, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=n).astype(dtype)


def flat(result):
    return np.hstack(result) if isinstance(result, tuple) else np.ravel(result)


def valley(x):
    a, b = x[1:], x[:-1]
    return np.sum(100.0 * (a - b**2) ** 2 + (1.0 - b) ** 2)


def loss(w, x, y):
    z = np.tanh(w[0] * x + w[1]) * np.exp(w[2] * x) - y
    return np.sum(np.log(1.0 + z * z))


def rows(x, bias):
    z = np.tanh(x + bias) * x
    return z * z + bias


def backwards(x):
    y = np.sin(x[::-1]) * x
    return y + y[::-1] * 2.0


def picked(x, places):
    y = x * x + 1.0
    return np.exp(-y[places]) * y


def shared(x):
    s = np.sum(x * x)
    return x / s + np.sum(np.abs(x) * x)


def powers(x):
    return np.maximum(x, 0.0) ** 3 + np.where(x > 0.5, np.sqrt(np.abs(x)), x)


def columns(x):
    return np.sum(np.tanh(x) * x, axis=0)


def transposed(x):
    return np.exp(x.T) * x.T + x.T


CASES = {
    "valley": (valley, vector()),
    "loss": (loss, np.array([0.3, 0.2, 0.1]), vector(1), vector(2)),
    "rows": (rows, vector(3, 90 * 64).reshape(90, 64), vector(4, 64)),
    "backwards": (backwards, vector(5)),
    "picked": (picked, vector(6), np.random.default_rng(7).integers(0, N, N)),
    "shared": (shared, vector(8)),
    "powers": (powers, vector(9)),
    "columns": (columns, vector(10, 128 * 50).reshape(128, 50)),
    "transposed": (transposed, vector(11, 70 * 80).reshape(70, 80)),
}


@pytest.mark.parametrize("name", CASES)
def test_loops_have_the_bits_of_the_interpreter(name):
    f, *args = CASES[name]
    assert_same_bits(f, *args)


@pytest.mark.parametrize("name", ["valley", "loss", "rows", "powers"])
def test_loops_in_float32(name):
    f, *args = CASES[name]
    assert_same_bits(f, *(x.astype(np.float32) for x in args))


@pytest.mark.parametrize("name", ["valley", "loss"])
def test_loops_over_a_gradient(name):
    f, *args = CASES[name]
    tape = ft.record(f, *args)
    plain, looped = both(lambda *args: ft.grad(f)(*args), *args)
    np.testing.assert_array_equal(plain, looped)
    np.testing.assert_allclose(looped, tape.grad(*args), rtol=1e-12)


@pytest.mark.parametrize("n", [4096, 4097, 4103, 4104, 4608, 5119, 9000])
def test_sums_of_any_length(n):
    x = vector(n, n)
    assert_same_bits(lambda x: np.sum(x * x + x), x)


@pytest.mark.parametrize("x", [np.full(N, -0.0), np.full(N, np.inf), np.full(N, np.nan), np.full(N, 5e-324)])
def test_sums_of_edges(x):
    assert_same_bits(lambda x: np.sum(-(x * 1.0)) + np.sum(x + x), x)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 9), min_size=2, max_size=12), st.integers(4096, 4300), st.integers(0, 99))
def test_random_chains(steps, n, seed):
    def f(x, y):
        z = [x, y]
        for k in steps:
            a, b = z[-1], z[k % len(z)]
            unary = (np.sin, np.tanh, np.exp, np.abs, np.negative)
            z.append(unary[k](a * 0.25) if k < len(unary) else (np.add, np.multiply, np.subtract)[k % 3](a, b))
        return z[-1], np.sum(z[-2] * z[-1]), z[len(z) // 2]

    evaluator = loops_of(f, vector(seed, n), vector(seed + 1, n))
    args = vector(seed + 2, n), vector(seed + 3, n)[::-1]
    found = []
    for done in (0, loops.PATIENCE):
        evaluator.looped.done = done
        found.append(evaluator.run(evaluator.leaves(args), evaluator.outputs))
    for plain, looped in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, looped)


def test_all_of_a_loss_and_its_gradient_are_one_loop():
    tape = ft.record(lambda x, y: np.sum(np.log(1.0 + np.exp(np.tanh(x) * y))), vector(), vector(1)).gradient_tape()
    steps = Evaluator(tape.optimize()._recording, again=True, only_forward=True).looped.borrowing.steps
    (task,) = [step for step in steps if isinstance(step, Task)]
    assert (len(task.delivered), len(task.group.sums), task.stored) == (1, 1, [])


def test_programs_of_one_point_are_well_formed():
    for f, *args in CASES.values():
        evaluator = loops_of(f, *args)
        for loop in evaluator.looped.loops:
            if isinstance(loop, loops.Loop):
                verify(loop.native.program)


def test_guards_are_checked():
    def f(x, limit):
        y = np.exp(x) * x
        return y * 2.0 if np.sum(y) < limit else y

    evaluator = loops_of(f, vector(), 1e9)
    evaluator.looped.done = loops.PATIENCE
    np.testing.assert_allclose(evaluator.run([vector(), 1e9], evaluator.outputs), 2.0 * np.exp(vector()) * vector())
    with pytest.raises(ft.errors.ReplayError, match="condition"):
        evaluator.run([vector(), -1e9], evaluator.outputs)


@pytest.mark.parametrize("transform", [lambda f: f, ft.grad, ft.value_and_grad])
def test_compiled_functions_give_the_same_bits_whichever_call_it_is(transform, monkeypatch):
    f, *args = CASES["loss"]
    compiled = ft.compile(transform(f))
    first = flat(compiled(*args))
    monkeypatch.setattr(loops, "PATIENCE", 0)
    for _ in range(3):
        np.testing.assert_array_equal(flat(compiled(*args)), first)
    assert compiled.info().recordings == 1


def test_short_arrays_are_left_to_the_interpreter():
    recording = ft.record(valley, vector(0, 100))._recording
    assert Evaluator(recording, again=True, only_forward=True).looped is None


def test_little_work_is_left_to_the_interpreter(monkeypatch):
    recording = ft.record(valley, vector())._recording
    monkeypatch.undo()
    assert Evaluator(recording, again=True, only_forward=True).looped is None


def test_results_are_the_callers_own():
    f, *args = CASES["valley"]
    slope = ft.compile(ft.grad(f))
    first = slope(*args)
    kept = first.copy()
    slope(2.0 * args[0])
    np.testing.assert_array_equal(first, kept)


def valley_and_gradient(x):
    return ft.value_and_grad(valley)(x)


def two_sums(x):
    """Of the same points, and a result at fewer of them."""
    a, b = x[1:], x[:-1]
    return np.sum(a * b), np.sum(b - a * a), (a * b)[1:] - (b - a * a)[:-1]


def sum_wanted_between(x):
    y = x * x
    return (y[1:] - y[:-1]) / np.sum(y)


def tasks_of(f, *args):
    return [step for step in loops_of(f, *args).looped.borrowing.steps if isinstance(step, Task)]


@pytest.mark.parametrize("n", [4098, 4099, 4105, 4106, 4610, 4611, 5120, 5121, 9001])
def test_sums_are_left_to_the_loop_that_borrows_their_terms(n):
    """Whatever is left of a register, and of a round of partial sums."""
    for f in (valley_and_gradient, two_sums):
        assert_same_bits(f, vector(n, n))
        (adds,) = [task for task in tasks_of(f, vector(n, n)) if task.sums]
        assert adds.longer.sums == adds.sums
        assert adds.group.size < adds.longer.size


def test_sums_that_a_loop_needs_stay_in_front_of_it():
    assert_same_bits(sum_wanted_between, vector())
    assert all(task.longer is None for task in tasks_of(sum_wanted_between, vector()))
