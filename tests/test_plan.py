"""What a plan changes about a program must not be seen: arguments read in place, first touches, products with sums."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape.compiler.objects import NATIVE
from fasttape.execute import interpreter
from fasttape.execute.plan import KEPT, KNOWN, LARGE
from fasttape.layout import CONST

SIDE = 72  # SIDE * SIDE is LARGE
RNG = np.random.default_rng(5)
MATRIX, OTHER = RNG.normal(size=(2, SIDE, SIDE)) / SIDE


def evaluator(tape):
    return tape._evaluator


def fused(tape):
    """How many products the plan of a tape skips."""
    return int(np.count_nonzero(evaluator(tape).plan.columns[0] == CONST))


def layer(a, x, b):
    return np.sum(np.tanh(a @ x + b) ** 2)


def layer_by_hand(a, x, b):
    h = np.tanh(a @ x + b)
    w = 2 * h * (1 - h * h)
    summed = w.sum(axis=tuple(range(2 - np.ndim(b)))) if np.ndim(b) < 2 else w
    if np.ndim(b) == 2 and b.shape[1] == 1:
        summed = w.sum(axis=1, keepdims=True)
    return np.sum(h * h), w @ x.T, a.T @ w, summed


BIASES = {
    "number": 0.3,
    "row": RNG.normal(size=SIDE),
    "column": RNG.normal(size=(SIDE, 1)),
    "matrix": RNG.normal(size=(SIDE, SIDE)),
}


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_products_with_sums(bias):
    tape = ft.record(layer, MATRIX, OTHER, bias, argnums=(0, 1, 2))
    assert fused(tape) == 1
    value, *gradient = layer_by_hand(MATRIX, OTHER, bias)
    for _ in range(2):
        found = tape.value_and_grad(MATRIX, OTHER, bias)
        np.testing.assert_allclose(found[0], value, rtol=1e-13)
        for x, y in zip(found[1], gradient, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)
    directions = tuple(RNG.normal(size=np.shape(x)) for x in (MATRIX, OTHER, bias))
    along = tape.jvp((MATRIX, OTHER, bias), directions if np.ndim(bias) else (*directions[:2], 0.7))[1]
    steps = directions if np.ndim(bias) else (*directions[:2], 0.7)
    assert along == pytest.approx(sum(np.sum(g * d) for g, d in zip(gradient, steps, strict=True)), rel=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, x, b: (lambda z: np.sum(z + b) + z[0, 0])(a @ x),
        lambda a, x, b: (lambda z: [z, np.sum(z + b)][1] + np.sum(z[:2]))(a @ x),
        lambda a, x, b: (lambda z: np.sum(z + z))(a @ x),
        lambda a, x, b: (lambda z: np.sum(z.T + b))(a @ x),
        lambda a, x, b: (lambda z: np.sum(z + b) if z[0, 0] > -9.0 else z[0, 0])(a @ x),
    ],
)
def test_products_that_others_read_stay(function):
    args = MATRIX, OTHER, BIASES["row"]
    tape = ft.record(function, *args, argnums=(0, 1))
    assert not fused(tape)
    along = RNG.normal(size=(2, SIDE, SIDE))
    difference = (function(MATRIX + 1e-6 * along[0], OTHER + 1e-6 * along[1], args[2]) - function(*args)) / 1e-6
    slope = sum(np.sum(g * d) for g, d in zip(tape.grad(*args), along, strict=True))
    assert slope == pytest.approx(difference, rel=1e-3, abs=1e-3)


def test_a_returned_product_stays():
    tape = ft.record(lambda a, x, b: (lambda z: (z, z + b))(a @ x), MATRIX, OTHER, BIASES["row"])
    assert not fused(tape)
    np.testing.assert_allclose(tape(MATRIX, OTHER, BIASES["row"])[0], MATRIX @ OTHER, rtol=1e-12, atol=1e-15)


@pytest.mark.skipif(not NATIVE, reason="the Python twins copy all arguments")
def test_large_arguments_are_read_where_they_are():
    tape = ft.record(lambda a, x: np.sum((a @ x) ** 2), MATRIX, OTHER)
    assert set(evaluator(tape).plan.elsewhere) == {0, 1}
    assert evaluator(tape).plan.elsewhere[0].gradient
    assert MATRIX.size >= LARGE


def loss(a, x):
    return np.sum((a @ x) ** 2)


def gradient_by_hand(a, x):
    return 2 * (a @ x) @ x.T


ARGUMENTS = {
    "as recorded": MATRIX,
    "Fortran order": np.asfortranarray(MATRIX),
    "strided": np.repeat(MATRIX, 2, axis=1)[:, ::2],
    "reversed": MATRIX[::-1],
    "single precision": MATRIX.astype(np.float32),
    "misaligned": np.frombuffer(b"\0" + MATRIX.tobytes(), np.uint8)[1:].view(np.float64).reshape(MATRIX.shape),
    "read only": np.broadcast_to(MATRIX[:1], MATRIX.shape),
}


@pytest.mark.parametrize("a", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_of_any_layout(a):
    tape = ft.record(loss, MATRIX, OTHER)
    for _ in range(2):
        np.testing.assert_allclose(tape.grad(a, OTHER), gradient_by_hand(a, OTHER), rtol=1e-9)
        np.testing.assert_allclose(tape.grad(MATRIX, OTHER), gradient_by_hand(MATRIX, OTHER), rtol=1e-9)


def test_results_are_the_callers_own():
    tape = ft.record(loss, MATRIX, OTHER)
    a = MATRIX.copy()
    first = tape.grad(a, OTHER)
    kept = first.copy()
    assert not np.shares_memory(first, a)
    second = tape.grad(2 * a, OTHER)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    a[:] = 0.0
    np.testing.assert_array_equal(tape.grad(MATRIX, OTHER), kept)


def test_an_argument_that_is_returned_is_copied():
    tape = ft.record(lambda a: (a, np.sum(a)), MATRIX)
    returned, _ = tape(MATRIX)
    returned[:] = 7.0
    np.testing.assert_array_equal(tape(MATRIX)[0], MATRIX)


def test_threads_share_a_plan():
    tape = ft.record(loss, MATRIX, OTHER)
    points = [MATRIX * scale for scale in (0.5, 1.0, 2.0, 3.0)]
    expected, found = [tape.grad(a, OTHER) for a in points], [[] for _ in points]

    def work(k):
        found[k] = [tape.grad(points[k], OTHER) for _ in range(30)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(points))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, exact in enumerate(expected):
        for gradient in found[k]:
            np.testing.assert_array_equal(gradient, exact)


# Programs of array operations on one large argument, with views, so that first touches are of every kind
STEPS = st.sampled_from(
    [
        lambda x, y: x + y,
        lambda x, y: x * y,
        lambda x, y: x * x,
        lambda x, y: np.tanh(x) - y,
        lambda x, y: x @ y / SIDE,
        lambda x, y: x.T @ x / SIDE + y,
        lambda x, y: x[::-1] * y,
        lambda x, y: x.T + y,
        lambda x, y: np.concatenate([x[:9], y[9:]]),
        lambda x, y: x + np.sum(y, axis=0),
        lambda x, y: np.max(x, axis=1, keepdims=True) * y,
        lambda x, y: x * x[3:4],
        lambda x, y: y * x[:, RNG_INDEX],
        lambda x, y: x * y[0, 0],
    ]
)
RNG_INDEX = np.random.default_rng(8).integers(0, SIDE, SIDE)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(STEPS, st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6), st.booleans())
def test_reverse_mode_is_the_transpose_of_forward_mode(steps, guarded):
    def f(a, b):
        made = [a, b]
        for step, i, j in steps:
            made.append(step(made[-1 - i % len(made)], made[j % len(made)]))
        if guarded and made[-1][0, 0] > np.inf:
            return made[0]
        return made[-1]

    weights, along = np.random.default_rng(3).normal(size=(2, SIDE, SIDE))
    tape = ft.record(lambda a, b: np.sum(f(a, b) * weights), MATRIX, OTHER, argnums=(0, 1))
    value, tangent = tape.jvp((MATRIX, OTHER), (along, along[::-1].copy()))
    for _ in range(2):
        again, gradient = tape.value_and_grad(MATRIX, OTHER)
        assert again == value
        scale = sum(np.abs(g * d).sum() for g, d in zip(gradient, (along, along[::-1]), strict=True))
        slope = sum(np.sum(g * d) for g, d in zip(gradient, (along, along[::-1]), strict=True))
        assert slope == pytest.approx(tangent, rel=1e-9, abs=1e-12 * scale)
    assert value == pytest.approx(np.sum(f(MATRIX, OTHER) * weights), rel=1e-9, abs=1e-9)


def test_plans_of_equal_programs_are_shared_whatever_their_constants():
    def f(x, c):
        return np.sum(np.tanh(x @ c) ** 2)

    constants = [RNG.normal(size=(SIDE, SIDE)) for _ in range(3)]
    ft.grad(f)(MATRIX, constants[0])
    known = len(KNOWN)
    for c in constants:
        h = np.tanh(MATRIX @ c)
        np.testing.assert_allclose(ft.grad(f)(MATRIX, c), (2 * h * (1 - h * h)) @ c.T, rtol=1e-9, atol=1e-12)
    assert len(KNOWN) == known
    ft.grad(lambda x, c: np.sum(np.tanh(x @ c) ** 3))(MATRIX, constants[0])
    assert len(KNOWN) == min(known + 1, KEPT)
    for n in range(2 * KEPT):
        ft.grad(lambda x: np.sum(x ** (2 + n)))(np.ones(3))  # noqa: B023
    assert len(KNOWN) == KEPT


def test_memory_that_comes_back_while_some_is_taken():
    """The garbage collector may end an evaluation at any time, also while another one looks for memory."""
    pool, small, large = interpreter.Pool(), np.empty(8), np.empty(600)

    class Size(float):
        @property
        def dtype(self):
            pool.give(small)
            return np.dtype(float)

        size = 700

    first = Size()
    pool.give(large)
    pool.give(first)
    taken = pool.take(500, np.dtype(float))
    assert taken is large
    assert not any(memory is large for memory in pool.free)
