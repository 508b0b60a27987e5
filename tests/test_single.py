"""Machine code for single points: calls that repeat get it, and return what the interpreter has returned before."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape import direct
from fasttape.compiler.objects import NATIVE
from tests import programs

pytestmark = pytest.mark.skipif(not NATIVE, reason="without the JIT every call goes through Python")
TRANSFORMS = (lambda f, _: f, ft.grad, ft.value_and_grad)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Machine code after three replays."""
    monkeypatch.setattr(direct, "PATIENCE", 3)


def becoming_native(f, *args):
    """The results of one call by the interpreter, and of one by machine code."""
    before = f(*args)
    for _ in range(5):
        f(*args)
    assert f.info().native == 1, f.info()
    return before, f(*args)


def numbers(tree):
    return np.concatenate([np.ravel(x) for x in ft.trees.flatten(tree)[0]])


def agree_exactly(function, args):
    """Compile a function, its gradient and both together, and compare calls by both executors; zeros have no sign."""
    for transform in TRANSFORMS:
        f = transform(function, tuple(range(len(args))))
        before, after = becoming_native(ft.compile(f), *args)
        np.testing.assert_array_equal(numbers(before), numbers(after))


@pytest.mark.parametrize("name", programs.ALL)
@pytest.mark.parametrize("inside", [True, False])
def test_each_row_has_the_bits_of_the_interpreter(name, inside):
    arity = len(programs.DOMAINS[name])
    steps = (
        programs.Step(name, tuple(range(arity))),
        programs.Step("mul", (0, 1)),
        programs.Step(name, (0, 2, 1)[:arity]),
    )
    drawn = np.random.default_rng(len(name))
    for _ in range(3 if inside else 6):
        args = drawn.uniform(-2.0, 2.0, 3) if inside else drawn.choice(programs.SINGULAR, 3)
        made = programs.Program(steps, ((),) * 3, inside)
        agree_exactly(programs.loss(made), args.tolist())


@settings(max_examples=40, deadline=None)
@given(programs.programs(shapes=((),), length=20))
def test_scalar_programs_have_the_bits_of_the_interpreter(drawn):
    program, args = drawn
    if ft.record(programs.loss(program), *args).program.outputs.size:
        agree_exactly(programs.loss(program), args)


@settings(max_examples=40, deadline=None)
@given(programs.programs(programs.SMOOTH))
def test_array_programs_agree_up_to_rounding(drawn):
    program, args = drawn
    loss = programs.loss(program)
    if ft.record(loss, *args).program.outputs.size:
        slope = ft.compile(ft.value_and_grad(loss, tuple(range(len(args)))))
        before, after = map(numbers, becoming_native(slope, *args))
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * np.max(np.abs(before), initial=1.0))


def test_single_precision_stays():
    f = ft.compile(ft.value_and_grad(lambda x: np.sum(np.exp(x) * 0.1)))
    before, after = becoming_native(f, np.linspace(0.0, 1.0, 5, dtype=np.float32))
    assert after[1].dtype == np.float32
    np.testing.assert_allclose(after[1], 0.1 * np.exp(np.linspace(0.0, 1.0, 5)), rtol=1e-6)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-6)


def test_small_matrix_products_are_code_as_well():
    matrix = np.random.default_rng(1).normal(size=(3, 3))
    x = np.array([1.0, -2.0, 0.5])
    _, after = becoming_native(ft.compile(ft.grad(lambda x: 0.5 * (x @ (matrix @ x)))), x)
    np.testing.assert_allclose(after, 0.5 * (matrix + matrix.T) @ x, rtol=1e-14)


def test_a_condition_that_fails_is_another_path():
    f = ft.compile(ft.value_and_grad(lambda x: x * x if x > 0.0 else math.exp(x)))
    becoming_native(f, 3.0)
    assert f(-1.0) == (math.exp(-1.0), math.exp(-1.0))
    assert f(4.0) == (16.0, 8.0)
    assert f.info().recordings == 2
    for _ in range(5):
        f(-1.0)
    assert f.info().native == 2
    assert [f(x)[1] for x in (2.0, -2.0, 0.0, math.nan)] == [
        4.0,
        math.exp(-2.0),
        1.0,
        pytest.approx(math.nan, nan_ok=True),
    ]


def test_inputs_constants_and_repeated_values_may_be_outputs():
    f = ft.compile(lambda x, y: (x, 2.5, x * y, y, x * y))
    assert becoming_native(f, 2.0, 3.0) == ((2.0, 2.5, 6.0, 3.0, 6.0),) * 2
    g = ft.compile(ft.grad(lambda x, y: y, argnums=(0, 1)))
    for _ in range(6):
        assert g(2.0, 3.0) == (0.0, 1.0)


def test_long_programs_are_cut_into_chunks():
    def walk(x, y):
        for k in range(400):
            x, y = x + 0.01 * y * math.cos(x), y - 0.01 * k * x
        return x * y

    agree_exactly(walk, (0.5, -0.25))


def test_wide_arrays_stay_with_the_interpreter():
    f = ft.compile(ft.grad(lambda x: np.sum(np.tanh(x))))
    for _ in range(6):
        f(np.ones(1000))
    assert f.info().native == 0
    assert "machine" not in str(f.info())


def test_tapes_that_are_called_get_code_as_well():
    tape = ft.record(lambda x: math.sin(x) * x, 1.0)
    found = [tape.value_and_grad(2.0) for _ in range(8)]
    assert tape._value_and_gradient.otherwise.state[direct.c.CODE]
    assert set(found) == {found[0]}
    assert found[0][1] == pytest.approx(math.cos(2.0) * 2.0 + math.sin(2.0), rel=1e-15)


def test_info_tells():
    f = ft.compile(lambda x: x * x)
    becoming_native(f, 2.0)
    assert "1 paths kept, 1 of them as machine code" in str(f.info())


def test_threads_may_call_while_the_code_is_made():
    slope = ft.compile(ft.grad(lambda x: np.sum(np.cos(x) * x)))
    x = np.linspace(0.0, 1.0, 6)
    expected, wrong = np.cos(x) - x * np.sin(x), []
    slope(x)

    def work():
        for _ in range(2_000):
            found = slope(x)
            if not np.allclose(found, expected, rtol=1e-12, atol=1e-14):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert slope.info().native == 1
