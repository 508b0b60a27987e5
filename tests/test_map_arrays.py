"""vmap of array code: programs with an axis more, in blocks, in place and as calls, against a loop over the points."""

import contextlib
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

import fasttape as ft
from fasttape import stacked
from fasttape.errors import OutputError, ReplayError
from fasttape.execute import batch
from fasttape.transform.map import mapped_program, pieces_of
from fasttape.transform.optimize import optimize
from fasttape.verify import verify
from tests.agree import bits

RNG = np.random.default_rng(4)
ROW, EYE = np.array([0.5, -1.0, 2.0]), np.eye(3)
INFINITE = 1 << 60
# How a batch inside a recording is recorded, and a plain one run; blocks have few points, so that there are several
ROUTES = {
    "as they choose": {},
    "in blocks": {"AT_ONCE": 0, "CALLED": 300, "BLOCK": 1 << 12, "FEWEST": 1, "HEAVY": 0, "MOSTLY": 0},
    "by lanes": {"AT_ONCE": 0, "HEAVY": INFINITE},
    "point by point": {"AT_ONCE": 0, "FEWEST": INFINITE, "HEAVY": 0, "MOSTLY": 0},
}
SIZES = (1, 2, 7, 33)


@contextlib.contextmanager
def route(name):
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in ROUTES[name].items():
            patch.setattr(batch, constant, value)
        yield


each_route = pytest.mark.parametrize("name", ROUTES)


# ---- random programs: each step takes values of any shape and makes of them what it needs


def vector(x):
    if np.ndim(x) == 0:
        return x * ROW
    return x if x.ndim == 1 else x[-1]


def matrix(x):
    """A matrix (3, 3)."""
    if np.ndim(x) == 0:
        return x * EYE + 0.1
    if x.ndim == 1:
        return x[:, None] * ROW
    return x if x.shape == (3, 3) else np.concatenate([x, 0.5 * x[:1]])


STEPS = {
    "add": lambda x, y: x + vector(y),
    "multiply": lambda x, y: 0.3 * matrix(x) * matrix(y),
    "matrix, matrix": lambda x, y: 0.3 * matrix(x) @ matrix(y).T,
    "matrix, vector": lambda x, y: matrix(x) @ vector(y) * 0.3,
    "vector, matrix": lambda x, y: vector(x) @ matrix(y) * 0.3,
    "rectangle, vector": lambda x, y: np.concatenate([matrix(x)[:2] @ vector(y), vector(y)[:1]]),
    "dot": lambda x, y: np.dot(vector(x), vector(y)) * 0.3,
    "outer": lambda x, y: np.outer(vector(x), vector(y)) * 0.3,
    "tensordot": lambda x, y: 0.1 * np.tensordot(matrix(x), matrix(y), ((0, 1), (1, 0))),
    "columns": lambda x, y: np.sum(matrix(x), axis=0) * 0.3 + vector(y),
    "rows": lambda x, y: np.mean(matrix(x), axis=1) - vector(y),
    "total": lambda x, y: np.sum(x) * 0.1 + np.sum(y) * 0.1,
    "largest": lambda x, y: np.max(matrix(x), axis=1) + np.min(matrix(y), axis=0),
    "turned": lambda x, y: vector(x)[::-1] + matrix(y)[:, 1],
    "taken": lambda x, y: vector(x)[[2, 0, 2]] * vector(y)[[1, 1, 0]],
    "joined": lambda x, y: np.concatenate([vector(x)[:2], vector(y)[2:]]),
    "stacked": lambda x, y: np.stack([vector(x), vector(y)]),
    "chosen": lambda x, y: np.where(matrix(x) > 0.0, matrix(x), 0.5 * matrix(x)) + matrix(y).T,
    "greater": lambda x, y: np.maximum(vector(x), matrix(y)),
    "multiplied": lambda x, y: np.prod(np.tanh(matrix(x)), axis=0) - vector(y),
    "bent": lambda x, y: np.tanh(x) * np.exp(-(vector(y) ** 2)),
    "power": lambda x, y: vector(x) ** 3 * 0.1 + np.abs(vector(y)),
    "assigned": lambda x, y: assigned(matrix(x), vector(y)),
    "number": lambda x, y: math.sin(np.sum(vector(x) * vector(y))),
    "solved": lambda x, y: np.linalg.solve(np.tanh(matrix(x)) + 5.0 * EYE, vector(y)),
    "which way": lambda x, y: vector(x) if np.sum(x) > np.sum(y) else -0.5 * vector(y),
}


def assigned(x, y):
    x = x.copy()
    x[1] = y
    x[:, 2] *= 0.5
    return x


def program_of(steps):
    def run(shared, weights, x, s):
        values = [shared, weights, s, x]
        for name, i, j in steps:
            values.append(STEPS[name](values[-1 - i % len(values)], values[-1 - j % len(values)]))
        return np.sum(values[-1]), vector(values[-2])

    return run


step = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5), st.integers(0, 5))
steps = st.lists(step, min_size=1, max_size=6)


def arguments(seed, size):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(size, 2, 3)), rng.normal(size=size)


def looped(f, args):
    """What f gives at each point, leaf by leaf."""
    shared, weights, x, s = args
    found = [f(shared, weights, row, float(number)) for row, number in zip(x, s, strict=True)]
    return [np.array(leaf) for leaf in zip(*found, strict=True)]


IN_AXES, IN_EXAMPLES = (None, None, 0, 0), (None, 0, 0)


@each_route
@settings(max_examples=25, deadline=None)
@given(steps, st.sampled_from(SIZES), st.integers(0, 1000))
def test_random_programs(name, steps, size, seed):
    f, args = program_of(steps), arguments(seed, size)
    with route(name):
        found = ft.vmap(f, IN_AXES)(*args)
    for x, expected in zip(found, looped(f, args), strict=True):
        np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-11)


@each_route
@settings(max_examples=12, deadline=None)
@given(steps, st.sampled_from(SIZES), st.integers(0, 1000))
def test_gradients_of_random_programs(name, steps, size, seed):
    """Those of each point, and those of the sum over all points, against gradients at one point after another."""
    f, args = program_of(steps), arguments(seed, size)

    def first(*args):
        return f(*args)[0]

    slope = ft.grad(first, argnums=(0, 1, 2, 3))
    expected = looped(slope, args)
    with route(name):
        found = ft.vmap(slope, IN_AXES)(*args)
        together = ft.grad(lambda *args: np.sum(ft.vmap(first, IN_AXES)(*args)), argnums=(0, 1, 2, 3))(*args)
    for k, (x, total, one) in enumerate(zip(found, together, expected, strict=True)):
        np.testing.assert_allclose(x, one, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(total, one.sum(axis=0) if k < 2 else one, rtol=1e-9, atol=1e-9)


# ---- programs written out


def loss(layers, x, y):
    (v, b), (w, c) = layers
    return np.sum((w @ np.tanh(v @ x + b) + c - y) ** 2)


def network(seed, size, inputs=5, hidden=7, outputs=3, dtype=float):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(dtype)  # noqa: E731
    layers = [(draw(hidden, inputs), draw(hidden)), (draw(outputs, hidden), draw(outputs))]
    return layers, draw(size, inputs), draw(size, outputs)


def gradients_by_hand(layers, x, y):
    """The gradient of the loss at each example, by the formulas of the textbook."""
    (v, b), (w, c) = layers
    h = np.tanh(x @ v.T + b)
    dy = 2.0 * (h @ w.T + c - y)
    dh = (dy @ w) * (1.0 - h * h)
    return [(dh[:, :, None] * x[:, None, :], dh), (dy[:, :, None] * h[:, None, :], dy)]


def leaves(layers):
    return [x for layer in layers for x in layer]


@each_route
@pytest.mark.parametrize("size", [1, 2, 40])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 2e-3)])
def test_gradients_of_each_example(name, size, dtype, rtol):
    layers, x, y = network(1, size, dtype=dtype)
    expected = gradients_by_hand(layers, x, y)
    with route(name):
        found = ft.vmap(ft.grad(loss), IN_EXAMPLES)(layers, x, y)
        total = ft.grad(lambda layers: np.sum(ft.vmap(loss, IN_EXAMPLES)(layers, x, y)))(layers)
    for one, together, right in zip(leaves(found), leaves(total), leaves(expected), strict=True):
        assert one.dtype == together.dtype == dtype
        np.testing.assert_allclose(one, right, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(together, right.sum(axis=0), rtol=rtol, atol=10 * rtol)


@each_route
@pytest.mark.parametrize("transform", [ft.jacfwd, ft.hessian])
def test_other_derivatives(name, transform):
    w, x = RNG.normal(size=(2, 3)), RNG.normal(size=(9, 3))

    def by_vmap(w):
        return np.sum(ft.vmap(lambda x: np.tanh(w @ x))(x) ** 2)

    def by_hand(w):
        return np.sum(np.tanh(x @ w.T) ** 2)

    with route(name):
        found = transform(by_vmap)(w)
    np.testing.assert_allclose(found, transform(by_hand)(w), rtol=1e-10, atol=1e-12)


@each_route
def test_axes_of_arrays(name):
    w, x = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 11, 2))
    expected = np.einsum("ij,jnk->ikn", w, x)
    with route(name):
        for given, axis in (x, 1), (np.asfortranarray(x), -2), (x[:, ::-1][:, ::-1], 1):
            f = ft.vmap(lambda w, x: w @ x, in_axes=(None, axis), out_axes=-1)
            np.testing.assert_allclose(f(w, given), expected, rtol=1e-13)
            g = ft.grad(lambda w, f=f, given=given: np.sum(f(w, given) * expected))
            np.testing.assert_allclose(g(w), np.einsum("ikn,jnk->ij", expected, x), rtol=1e-12)


@each_route
def test_batches_of_products(name):
    """Of matrices that each point has, in a stack, transposed, and of those that points share on either side."""
    x, w = RNG.normal(size=(12, 5, 4)), RNG.normal(size=(4, 5))
    stack = RNG.normal(size=(2, 4, 3))

    def f(x):
        return x @ w, w @ x, x.T @ x, (x @ stack) @ w[:3, :2], x[:, 1] @ x, x @ x[2], x[1] @ x[2]

    with route(name):
        found = ft.vmap(f)(x)
    for k, leaf in enumerate(found):
        np.testing.assert_allclose(leaf, [f(one)[k] for one in x], rtol=1e-12, atol=1e-12)


@each_route
def test_nested(name):
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=(6, 3))
    w = RNG.normal(size=(3, 3))
    pairs = ft.vmap(ft.vmap(lambda x, y: np.tanh(x @ w) @ y, in_axes=(None, 0)), in_axes=(0, None))
    with route(name):
        np.testing.assert_allclose(pairs(a, b), np.tanh(a @ w) @ b.T, rtol=1e-12)
        slope = ft.grad(lambda a, b: np.sum(pairs(a, b) ** 2))(a, b)
    t = np.tanh(a @ w)
    expected = ((2.0 * (t @ b.T)) @ b * (1.0 - t * t)) @ w.T
    np.testing.assert_allclose(slope, expected, rtol=1e-11)


@each_route
def test_conditions_of_array_code(name):
    x, w = np.random.default_rng(3).normal(size=(40, 3)), RNG.normal(size=(3, 3))

    def f(w, x):
        h = w @ x
        if h[0] > 0.0:
            h = np.tanh(w @ h)
        while np.sum(h * h) > 0.5:
            h = 0.5 * h
        return np.sum(h)

    slopes = np.array([ft.grad(f)(w, row) for row in x])
    with route(name):
        np.testing.assert_allclose(ft.vmap(f, (None, 0))(w, x), [f(w, row) for row in x], rtol=1e-12)
        np.testing.assert_allclose(ft.vmap(ft.grad(f), (None, 0))(w, x), slopes, rtol=1e-10, atol=1e-13)
        total = ft.grad(lambda w: np.sum(ft.vmap(f, (None, 0))(w, x)))(w)
    np.testing.assert_allclose(total, slopes.sum(axis=0), rtol=1e-10)


@each_route
def test_conditions_in_nested_batches(name):
    x = np.random.default_rng(7).normal(size=(12, 3))
    f = ft.vmap(ft.vmap(lambda a: a * a if a > 0.0 else -a))
    with route(name):
        np.testing.assert_allclose(f(x), np.where(x > 0.0, x * x, -x), rtol=1e-15)
        slope = ft.vmap(ft.grad(lambda row: np.sum(ft.vmap(lambda a: a * a if a > 0.0 else -a)(row))))(x)
        np.testing.assert_allclose(slope, np.where(x > 0.0, 2.0 * x, -1.0), rtol=1e-15)
        tape = ft.record(lambda x: np.sum(f(x)), x)
        np.testing.assert_allclose(tape.grad(1.5 * x), np.where(x > 0.0, 3.0 * x, -1.0), rtol=1e-15)
        with pytest.raises(ReplayError):
            tape(-x)


@each_route
def test_an_empty_batch_of_arrays(name):
    layers, x, y = network(2, 0)
    with route(name):
        found = ft.vmap(ft.grad(loss), IN_EXAMPLES)(layers, x, y)
        total = ft.grad(lambda layers: np.sum(ft.vmap(loss, IN_EXAMPLES)(layers, x, y)))(layers)
    for one, together, like in zip(leaves(found), leaves(total), leaves(layers), strict=True):
        assert one.shape == (0, *like.shape)
        assert np.array_equal(together, np.zeros_like(like))


def test_what_no_point_changes_is_computed_once():
    """The product of what all points share is one instruction in front of those of a block."""
    w, x = RNG.normal(size=(6, 6)), RNG.normal(size=6)
    program = optimize(ft.record(lambda w, x: np.sum((w @ w) @ x) + x[0], w, x).program)
    shared = np.arange(program.inputs) < w.size
    made = mapped_program(program, 10, shared, pieces_of(shared, []))
    verify(made.program)
    assert made.once == 1
    assert made.program.ops.size == program.ops.size


def test_one_product_for_all_points():
    """A matrix that points share times a vector of each is no stack of products; nor is its adjoint."""
    w, x = RNG.normal(size=(6, 5)), RNG.normal(size=(50, 5))
    tape = ft.record(lambda w: np.sum(np.tanh(ft.vmap(lambda x: w @ x)(x))), w)
    names = str(tape.gradient_tape())
    assert "gemm 50x6x5" in names
    assert "gemm 6x5x50" in names or "gemm 5x6x50" in names


@pytest.mark.parametrize("name", ["in blocks", "as they choose"])
def test_threads_give_the_same_bits(name):
    layers, x, y = network(3, 3_000)
    with route(name):
        one, two = (ft.vmap(ft.grad(loss), IN_EXAMPLES, threads=k)(layers, x, y) for k in (1, 2))
    assert bits(leaves(one)) == bits(leaves(two))


def test_the_choice_says_why():
    w, x = RNG.normal(size=(40, 30)), RNG.normal(size=30)
    program = ft.record(lambda w, x: np.sum(np.tanh(w @ x)), w, x).program
    shared = np.arange(program.inputs) < w.size
    assert stacked.choose(program, 5_000, shared).reason.startswith("stacked: ")
    assert "2,400 of 2,480 operations are in matrix products" in stacked.choose(program, 5_000, shared).reason
    assert "5 points" in stacked.choose(program, 5, shared).reason
    assert stacked.choose(ft.record(np.sin, 1.0).program, 5_000, np.zeros(1, bool)).reason.startswith("lanes")


def test_zero_absorbs():
    x = np.array([[0.0, 4.0], [1.0, 0.0]])

    def f(w, x):
        return np.sum(np.where(x > 0.0, np.sqrt(x * w), 0.0))

    for name in ROUTES:
        with route(name):
            assert ft.grad(lambda w: np.sum(ft.vmap(f, (None, 0))(w, x)))(np.ones(2)).tolist() == [0.5, 1.0]
            assert ft.vmap(ft.grad(f), (None, 0))(np.ones(2), x).tolist() == [[0.0, 1.0], [0.5, 0.0]]


@pytest.mark.skipif(config.DISABLE_JIT, reason="the twins go through the numbers of so many points one by one")
@pytest.mark.parametrize("name", ["in blocks", "as they choose"])
def test_memory_of_a_batch_is_that_of_a_block(name):
    """A hidden layer of 300 at 20,000 points would be 48 MB, and there are several arrays like it."""
    (v, b), (w, c) = layers = network(5, 0, inputs=2, hidden=300, outputs=1)[0]
    x, y = RNG.normal(size=(20_000, 2)), RNG.normal(size=(20_000, 1))
    with route(name):
        slope = ft.vmap(ft.grad(lambda x, y: loss(layers, x, y)), threads=1)
        total = ft.grad(lambda c: np.sum(ft.vmap(lambda x, y: loss([(v, b), (w, c)], x, y))(x, y)))
        for run in (lambda: slope(x, y), lambda: total(c)):
            run()
            tracemalloc.start()
            run()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 24 << 20


@each_route
def test_tapes_travel(name):
    layers, x, y = network(6, 33)
    with route(name):
        tape = ft.record(lambda layers: np.sum(ft.vmap(loss, IN_EXAMPLES)(layers, x, y)), layers)
        sent = pickle.loads(pickle.dumps(tape))
        for found, expected in zip(leaves(sent.grad(layers)), leaves(tape.grad(layers)), strict=True):
            assert np.array_equal(found, expected)


def test_integers_on_one_way_and_floats_on_another():
    x = np.array([-1.0, 2.0, 3.0])
    for f in (lambda x: 0 if x < 0.0 else x, lambda x: x if x < 0.0 else 7):
        found = ft.vmap(f)(x)
        assert found.dtype == float
        assert found.tolist() == [f(value) for value in x.tolist()]
    assert ft.vmap(lambda x: 0 if x < 0.0 else x)(x.astype(np.float32)).dtype == np.float32
    assert ft.vmap(lambda x: 0 if x < 0.0 else 1)(x).tolist() == [0, 1, 1]


@pytest.mark.parametrize("inside", [False, True])
def test_truth_values_and_numbers_do_not_mix(inside):
    g = ft.vmap(lambda x: x > 1.0 if x[0] > 0.0 else x)
    x = np.array([[-1.0], [2.0]])
    with pytest.raises(OutputError, match="shapes or types"):
        ft.grad(lambda x: np.sum(g(x)))(x) if inside else g(x)
