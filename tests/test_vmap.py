"""vmap against a Python loop over the points: plain batches, batches inside recordings, ways, axes and bad input."""

import functools
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from numba import config

import fasttape as ft
from fasttape import mapped
from fasttape.errors import ArgumentError, OutputError, RandomnessError, ReplayError, UnsupportedError
from fasttape.execute import batch
from fasttape.execute.lanes import Lanes
from fasttape.execute.native import Native
from tests import programs
from tests.agree import bits

RNG = np.random.default_rng(11)
X = RNG.normal(size=(7, 3))
W = np.array([0.3, -0.2, 0.5])


def smooth(x):
    return np.sum(np.sin(x) * x[0]) + math.exp(x[1])


def branching(w, x):
    """Two conditions, one of them in a loop."""
    total = np.tanh(np.sum(x * w)) * (x[0] if x[0] > 0.0 else x[1])
    while total < 0.5:
        total = total * total + 0.4
    return total


@pytest.fixture(params=["in place", "as a call"])
def recorded_as(request, monkeypatch):
    """The two ways in which a batch is part of a recording."""
    if request.param == "as a call":
        monkeypatch.setattr(batch, "AT_ONCE", 0)


in_both_ways = pytest.mark.usefixtures("recorded_as")


def looped(f, *args):
    """What f gives at each row of the last argument, stacked."""
    *shared, x = args
    return np.array([f(*shared, row) for row in x])


@pytest.mark.parametrize("transform", [lambda f: f, ft.grad, ft.hessian], ids=["value", "gradient", "hessian"])
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_every_point_has_its_own(transform, size):
    x = np.random.default_rng(size).normal(size=(size, 3))
    few = x[:: max(size // 7, 1)]
    found = ft.vmap(transform(smooth))(x)[:: max(size // 7, 1)]
    np.testing.assert_allclose(found, looped(transform(smooth), few), rtol=1e-13)


@settings(max_examples=15, deadline=None)
@given(programs.programs(shapes=((), (3,)), length=6))
def test_random_programs(case):
    program, args = case
    f = programs.loss(program)
    batches = [np.multiply.outer([1.0, 0.5, -0.3], x) for x in args]
    with np.errstate(all="ignore"):
        expected = [f(*(float(x[i]) if x.ndim == 1 else x[i] for x in batches)) for i in range(3)]
    np.testing.assert_allclose(ft.vmap(f)(*batches), expected, rtol=1e-12, atol=1e-12)


def test_axes():
    def f(x, y, z):
        return np.sum(x * z["a"]) + y * z["b"], x

    a, b = RNG.normal(size=(4, 3)), RNG.normal(size=3)
    for in_axes, x, y, z in [
        ((0, None, {"a": 1, "b": 0}), X[:4], 0.7, {"a": a.T, "b": a[:, 0].copy()}),
        ((1, 0, {"a": None, "b": None}), np.asfortranarray(X[:4]).T, a[:, 1], {"a": b, "b": 2.0}),
        ((-2, 0, 0), X[:4][:, ::-1], a[::-1, 1], {"a": a[:, ::-1], "b": a[:, 2]}),
    ]:
        points, (first, second) = [], ft.vmap(f, in_axes, out_axes=(0, -1))(x, y, z)
        axes = [*in_axes[:2], *([in_axes[2]] * 2 if isinstance(in_axes[2], int) else in_axes[2].values())]
        for i in range(4):
            leaves = [v if n is None else np.take(v, i, n) for v, n in zip((x, y, *z.values()), axes, strict=True)]
            points.append(f(*leaves[:2], {"a": leaves[2], "b": leaves[3]}))
        np.testing.assert_allclose(first, [p[0] for p in points], rtol=1e-14)
        assert np.array_equal(second, np.stack([p[1] for p in points], axis=-1))


def test_ways_keep_the_order_of_points():
    x = np.random.default_rng(2).normal(size=(200, 3))
    np.testing.assert_allclose(ft.vmap(branching, (None, 0))(W, x), looped(branching, W, x), rtol=1e-14)
    slopes = ft.vmap(ft.grad(branching, argnums=1), (None, 0))(W, x)
    np.testing.assert_allclose(slopes, looped(ft.grad(branching, argnums=1), W, x), rtol=1e-12)


def test_labels_are_ways():
    labels, truths = np.array([0, 2, 1, 2, 0, 1, 1]), X[:, 0] > 0.0
    found = ft.vmap(lambda x, k, t: x[k] if t else -x[k])(X, labels, truths)
    assert found.tolist() == [x[k] if t else -x[k] for x, k, t in zip(X, labels, truths, strict=True)]


def test_results_of_all_kinds():
    def f(x):
        return {"truth": x > 0.0, "number": 2.5, "same": x, "count": 3}

    found = ft.vmap(f)(X)
    assert found["truth"].dtype == bool
    assert np.array_equal(found["truth"], X > 0.0)
    assert found["number"].tolist() == [2.5] * 7
    assert found["count"].dtype == np.int64
    assert np.array_equal(found["same"], X)
    assert found["same"].base is not X


def test_a_constant_on_one_way_only():
    assert ft.vmap(lambda x: x if x > 0.0 else 0.0)(np.array([1.0, -1.0, 2.0])).tolist() == [1.0, 0.0, 2.0]


def test_single_precision():
    x = X.astype(np.float32)
    found = ft.vmap(ft.grad(smooth))(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, looped(ft.grad(smooth), X), rtol=1e-5, atol=1e-6)


def test_threads_give_the_same_bits():
    x = np.random.default_rng(5).normal(size=(3_000, 3))
    one, two = (ft.vmap(ft.grad(smooth), threads=k)(x) for k in (1, 2))
    assert bits([one]) == bits([two])


@in_both_ways
def test_an_empty_batch():
    found = ft.vmap(ft.value_and_grad(smooth))(np.empty((0, 3)))
    assert [x.shape for x in found] == [(0,), (0, 3)]
    assert ft.grad(lambda w: np.sum(ft.vmap(lambda x: x @ w)(np.empty((0, 3)))) + w[0])(W).tolist() == [1.0, 0.0, 0.0]


# ---- inside of recordings


def total(w, x):
    """A loss over a data set."""
    return np.sum(ft.vmap(branching, in_axes=(None, 0))(w, x))


def plain_total(w, x):
    return sum(branching(w, row) for row in x)


@in_both_ways
@pytest.mark.parametrize("argnums", [0, 1])
@pytest.mark.parametrize("transform", [ft.grad, ft.jacfwd, ft.hessian], ids=["grad", "jacfwd", "hessian"])
def test_derivatives_go_through(transform, argnums):
    found, expected = (transform(f, argnums=argnums)(W, X) for f in (total, plain_total))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@in_both_ways
def test_third_derivatives():
    def f(t):
        return np.sum(ft.vmap(lambda x: math.sin(t * x))(X[:, 0]))

    third = ft.grad(ft.grad(ft.grad(f)))(0.7)
    assert third == pytest.approx(np.sum(-(X[:, 0] ** 3) * np.cos(0.7 * X[:, 0])), rel=1e-12)


@in_both_ways
def test_a_closure_is_shared_and_may_be_the_batch_as_well():
    def f(x):
        return np.sum(ft.vmap(lambda row: row * np.sum(x) + x[0])(x))

    def plain(x):
        return np.sum(x * np.sum(x) + x[0])

    x = X[:, :1]
    np.testing.assert_allclose(ft.grad(f)(x), ft.grad(plain)(x), rtol=1e-13)


@in_both_ways
def test_nested():
    outer = ft.vmap(ft.vmap(lambda a, b: math.sin(a) * b, in_axes=(0, None)), in_axes=(None, 0))
    np.testing.assert_allclose(outer(W, W), np.outer(W, np.sin(W)), rtol=1e-15)

    def f(w):
        return np.sum(ft.vmap(ft.vmap(lambda a: math.exp(a * w)))(X))

    assert ft.grad(f)(0.3) == pytest.approx(np.sum(X * np.exp(0.3 * X)), rel=1e-13)


def test_gradients_of_each_example():
    layers = [(RNG.normal(size=(4, 3)), RNG.normal(size=4)), (RNG.normal(size=(1, 4)), RNG.normal(size=1))]

    def loss(layers, x, y):
        for w, b in layers:
            x = np.tanh(w @ x + b)
        return np.sum((x - y) ** 2)

    y = RNG.normal(size=7)
    found = ft.vmap(ft.grad(loss), in_axes=(None, 0, 0))(layers, X, y)
    for i in range(7):
        for (dw, db), (ew, eb) in zip(found, ft.grad(loss)(layers, X[i], float(y[i])), strict=True):
            np.testing.assert_allclose(dw[i], ew, rtol=1e-12)
            np.testing.assert_allclose(db[i], eb, rtol=1e-12)


@in_both_ways
def test_compiled():
    slope = ft.compile(ft.grad(total))
    for w in (W, 1.01 * W):
        np.testing.assert_allclose(slope(w, X), ft.grad(plain_total)(w, X), rtol=1e-12)
    assert slope.info().hits == 1
    np.testing.assert_allclose(slope(-W, X[::-1]), ft.grad(plain_total)(-W, X[::-1]), rtol=1e-12)
    assert slope.info().recordings == 2
    batch = ft.compile(ft.vmap(ft.grad(smooth)))
    for x in (X, 2.0 * X):
        np.testing.assert_allclose(batch(x), looped(ft.grad(smooth), x), rtol=1e-13)
    assert batch.info().hits == 1


@in_both_ways
def test_a_replay_holds_every_point_to_its_way():
    tape = ft.record(total, W, X)
    np.testing.assert_allclose(tape.grad(W, 1.001 * X), ft.grad(plain_total)(W, 1.001 * X), rtol=1e-12)
    with pytest.raises(ReplayError, match=r"x\[0\] > 0\.0|total < 0\.5"):
        tape.grad(W, -X)


def test_sums_do_not_need_memory_for_all_points(monkeypatch):
    x = np.random.default_rng(6).normal(size=(1_000, 3))
    expected = ft.grad(lambda w: np.sum(np.tanh(x @ w)))(W)
    monkeypatch.setattr(batch, "AT_ONCE", 0)
    monkeypatch.setattr(mapped, "ROOM", 300)
    found = ft.grad(lambda w: np.sum(ft.vmap(lambda row: np.tanh(row @ w))(x)))(W)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@in_both_ways
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
def test_only_some_arguments_are_differentiated(argnums):
    def loss(w, x):
        return np.sum(ft.vmap(lambda row: np.tanh(row @ w))(x))

    derivatives = (1.0 - np.tanh(X @ W) ** 2)[:, None] * (X, np.broadcast_to(W, X.shape))
    expected = derivatives[0].sum(axis=0), derivatives[1]
    found = ft.compile(ft.grad(loss, argnums=argnums))(W, X)
    for k, x in [(argnums, found)] if isinstance(argnums, int) else zip(argnums, found, strict=True):
        np.testing.assert_allclose(x, expected[k], rtol=1e-12)


def test_a_recorded_batch_and_its_derivatives_keep_to_their_threads(monkeypatch):
    monkeypatch.setattr(batch, "AT_ONCE", 0)
    tape = ft.record(lambda x: np.sum(ft.vmap(smooth, threads=1)(x)), X)
    (rule,) = pickle.loads(pickle.dumps(tape)).program.rules
    assert [x.use.threads for x in (rule, rule.pullback(), rule.pushforward(), rule.in_blocks(7))] == [1] * 4


def test_a_recording_that_is_kept_has_machine_code_for_fewer_points(monkeypatch):
    monkeypatch.setattr(batch, "AT_ONCE", 0)
    monkeypatch.setattr(batch, "MANY", batch.TIMES * len(X))
    (rule,) = ft.record(lambda x: np.sum(ft.vmap(smooth)(x)), X).program.rules
    once = mapped.Mapped(rule.name, rule.program, rule.points, rule.sources, rule.targets)
    assert isinstance(rule.executor, Lanes if config.DISABLE_JIT else Native)
    assert isinstance(once.executor, Lanes)
    np.testing.assert_allclose(rule.results(X.ravel()), once.results(X.ravel()), rtol=1e-13)


@pytest.mark.parametrize("cut", [1, 5, 7, 13])
def test_a_call_reads_its_operands_wherever_they_are_cut(cut):
    program, size = ft.record(lambda x, y: x * y, 2.0, 3.0).program, 7
    sources = mapped.Places(2 * size, np.array([0, size]), np.array([1, 1]))
    rule = mapped.Mapped("product", program, size, sources, mapped.Places(size, np.array([0]), np.array([1])))
    x, y, w = RNG.normal(size=2 * size), np.empty(size), RNG.normal(size=size)
    parts = [x[:cut].copy(), x[cut:].copy()]
    rule.fill(parts, y, keep=False)
    np.testing.assert_array_equal(y, x[:size] * x[size:])
    expected = np.concatenate([w * x[size:], w * x[:size]])
    for wanted in ([True, True], [True, False], [False, True]):
        totals = [np.ones(part.size) if want else None for part, want in zip(parts, wanted, strict=True)]
        rule.spread(parts, y, w, None, totals)
        for total, part in zip(totals, (expected[:cut], expected[cut:]), strict=True):
            if total is not None:
                np.testing.assert_array_equal(total, 1.0 + part)


@in_both_ways
def test_zero_absorbs():
    def f(w):
        return np.sum(ft.vmap(lambda x: np.where(x > 0.0, np.sqrt(x * w), 0.0))(np.array([0.0, 4.0])))

    assert ft.grad(f)(1.0) == 1.0


@in_both_ways
def test_rules_of_users_inside():
    @ft.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, w: (3.0 * x * x * w,))
    assert ft.vmap(ft.grad(cube))(np.array([1.0, 2.0])).tolist() == [3.0, 12.0]
    assert ft.grad(lambda w: np.sum(ft.vmap(lambda x: cube(x * w))(np.array([1.0, 2.0]))))(1.0) == 27.0


# ---- bad input


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: ft.vmap(smooth)(X, X[:5]), "one length"),
        (lambda: ft.vmap(smooth, in_axes=None)(X), "found none"),
        (lambda: ft.vmap(smooth)(1.0), "write None"),
        (lambda: ft.vmap(smooth, in_axes=2)(X), r"axis 2 of an array of shape \(7, 3\)"),
        (lambda: ft.vmap(smooth, in_axes=(0, 0))(X), "structure"),
        (lambda: ft.vmap(smooth, in_axes="a")(X), "in_axes"),
        (lambda: ft.vmap(smooth, threads=0), "threads=0 must be"),
        (lambda: ft.record(smooth, X[0]).native()(X, threads=1.5), r"threads=1\.5 must be"),
        (lambda: ft.vmap(smooth, out_axes=1)(X), "out_axes"),
        (lambda: ft.grad(lambda x: np.sum(ft.vmap(smooth, out_axes=1)(x)))(X), "out_axes"),
        (lambda: ft.vmap(3.0), "takes a function"),
    ],
)
def test_arguments_that_do_not_fit(f, message):
    with pytest.raises(ArgumentError, match=message):
        f()


@pytest.mark.parametrize("inside", [False, True])
def test_points_must_return_alike(inside):
    def f(x):
        return x[:2] if x[0] > 0.0 else x

    g = ft.vmap(f)
    with pytest.raises(OutputError, match="other shapes"):
        ft.grad(lambda x: np.sum(g(x)))(X) if inside else g(X)


def test_no_numbers():
    with pytest.raises(OutputError, match="no array"):
        ft.vmap(lambda x: "text")(X)


def test_too_many_ways(monkeypatch):
    monkeypatch.setattr("fasttape.batches.MOST_WAYS", 3)
    with pytest.raises(UnsupportedError, match="more than 3 different paths"):
        ft.vmap(lambda x, k: x * k)(X, np.arange(7))


def test_exceptions_and_keywords_pass():
    def f(x, *, scale):
        if scale == 0.0:
            raise ValueError("nothing to scale")
        return x * scale

    assert np.array_equal(ft.vmap(functools.partial(f, scale=2.0))(X), 2.0 * X)
    assert np.array_equal(ft.vmap(f)(X, scale=2.0), 2.0 * X)
    with pytest.raises(ValueError, match="nothing to scale"):
        ft.vmap(f)(X, scale=0.0)
    assert ft.grad(smooth)(X[0]).shape == (3,)


def test_random_numbers_are_refused():
    with pytest.raises(RandomnessError):
        ft.vmap(lambda x: x * random.random())(X)
