"""Checkpoints: the same numbers as without, to the last bit; every order and mode; what a recording keeps of them; and
what goes wrong inside of one.
"""

import math
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape.errors import ConversionError, LeakError, MutationError, ReplayError
from fasttape.testing import check_grads
from fasttape.transform.optimize import optimize
from fasttape.verify import verify
from tests import programs
from tests.agree import agree

X = np.linspace(0.2, 1.1, 5)
RNG = np.random.default_rng(7)


def same_bits(x, y):
    """Assert that two trees hold the same numbers, nan and signs of zero included."""
    if isinstance(x, tuple | list):
        assert len(x) == len(y)
        for a, b in zip(x, y, strict=True):
            same_bits(a, b)
        return
    assert type(x) is type(y)
    assert np.asarray(x).dtype == np.asarray(y).dtype
    assert np.asarray(x).shape == np.asarray(y).shape
    np.testing.assert_array_equal(x, y)


def steps(x, p, n):
    for _ in range(n):
        x = x + 0.01 * math.sin(x * p) - p * x * 0.001
    return x


def loop(step, blocks=6, size=7):
    def f(x, p):
        q = p * p
        for _ in range(blocks):
            x = step(x, q, size)
        return x * x

    return f


PLAIN, APART = loop(steps), loop(ft.checkpoint(steps))


@settings(max_examples=60, deadline=None)
@given(programs.programs())
def test_random_programs_to_the_last_bit(drawn):
    program, args = drawn
    apart = ft.checkpoint(programs.function(program))
    argnums = tuple(range(len(args)))
    plain = ft.record(programs.loss(program), *args, argnums=argnums)
    made = ft.record(lambda *args: sum(np.sum(x) for x in apart(*args)), *args, argnums=argnums)
    verify(made.program)
    if not plain.program.outputs.size:
        return
    moved = [x + 0.01 for x in args]
    along = tuple(np.cos(x) if isinstance(x, np.ndarray) else 0.7 for x in args)
    for at in (args, moved):
        same_bits(made.value_and_grad(*at), plain.value_and_grad(*at))
        same_bits(made.jvp(tuple(at), along), plain.jvp(tuple(at), along))


@settings(max_examples=25, deadline=None)
@given(programs.programs(programs.SMOOTH, length=5))
def test_second_derivatives_of_random_programs(drawn):
    program, args = drawn
    loss = programs.loss(program)
    argnums = tuple(range(len(args)))
    expected = ft.hessian(loss, argnums)(*args)
    tape = ft.record(ft.checkpoint(loss), *args, argnums=argnums)
    if not tape.program.outputs.size:
        return
    for found in (ft.hessian(ft.checkpoint(loss), argnums)(*args), tape.hessian(*args)):
        for row, right in zip(found, expected, strict=True):
            for x, y in zip(row, right, strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * max(1.0, np.max(np.abs(y), initial=0.0)))


def test_every_mode_of_a_loop():
    args = (0.3, 0.9)
    same_bits(ft.value_and_grad(APART, (0, 1))(*args), ft.value_and_grad(PLAIN, (0, 1))(*args))
    same_bits(ft.jvp(APART, args, (1.0, 2.0)), ft.jvp(PLAIN, args, (1.0, 2.0)))
    # A linear tape, which a call takes no part in, multiplies partials with each other before it does with adjoints
    for transform in (ft.jacfwd, ft.jacrev):
        np.testing.assert_allclose(transform(APART, (0, 1))(*args), transform(PLAIN, (0, 1))(*args), rtol=1e-14)
    np.testing.assert_allclose(ft.vjp(APART, *args)[1](2.0), ft.vjp(PLAIN, *args)[1](2.0), rtol=1e-14)
    assert ft.hvp(APART)(0.3, 1.0, 0.9) == pytest.approx(ft.hvp(PLAIN)(0.3, 1.0, 0.9), rel=1e-13)
    np.testing.assert_allclose(ft.hessian(APART, (0, 1))(*args), ft.hessian(PLAIN, (0, 1))(*args), rtol=1e-13)
    check_grads(APART, args, order=3)
    tape, plain = (ft.record(f, *args, argnums=(0, 1)) for f in (APART, PLAIN))
    same_bits(tape.optimize().value_and_grad(0.4, 0.8), plain.value_and_grad(0.4, 0.8))
    np.testing.assert_allclose(tape.gradient_tape()(0.4, 0.8)[1], plain.grad(0.4, 0.8), rtol=1e-13)
    np.testing.assert_allclose(tape.hessian(0.4, 0.8), plain.hessian(0.4, 0.8), rtol=1e-13)
    assert APART(*args) == PLAIN(*args)


def test_equal_bodies_share_one_program():
    tape = ft.record(APART, 0.3, 0.9)
    assert len(tape) == 1 + 6 + 1
    assert len({id(rule) for rule in tape.program.rules}) <= 2
    again = ft.record(APART, 0.3, 0.9)
    assert {id(rule) for rule in again.program.rules} == {id(rule) for rule in tape.program.rules}
    other = ft.record(loop(ft.checkpoint(steps), size=8), 0.3, 0.9)
    assert not {id(rule) for rule in other.program.rules} & {id(rule) for rule in tape.program.rules}


def test_layers_of_arrays():
    weights, x = RNG.normal(size=(3, 8, 8)) / 3, RNG.normal(size=(5, 8))

    def layer(h, w):
        h = np.tanh(h @ w + h)
        h = h.copy()
        h[0] = h[1] * 0.5
        return h[::-1], np.sum(h)

    def network(layer):
        def f(weights, x):
            total = 0.0
            for w in weights:
                x, part = layer(x, w)
                total = total + part
            return np.sum(x * x) + total

        return f

    plain, apart = network(layer), network(ft.checkpoint(layer))
    for f in (plain, apart):
        agree(f, weights, x)
    same_bits(ft.value_and_grad(apart, (0, 1))(weights, x), ft.value_and_grad(plain, (0, 1))(weights, x))
    check_grads(apart, (weights, x), order=2)
    large = RNG.normal(size=(3, 80, 80)) / 9
    tape = ft.record(apart, large, RNG.normal(size=(5, 80)), argnums=(0, 1))
    same_bits(tape.grad(large, x := RNG.normal(size=(5, 80))), ft.grad(plain, (0, 1))(large, x))


def test_values_from_outside_are_inputs():
    def outside(wrap):
        def f(x, w):
            table = [w * 2.0, np.sin(x)]
            y = x.copy()

            @wrap
            def body(z):
                inner = table[0] * w.sum() + w[::-1]  # values from outside among themselves
                return z @ (table[1] * inner) + np.sum(inner * y) + abs(w[0]), w, y[1:3], 2.0, table[0][0]

            a, b, c, d, e = body(x * 1.5)
            return a * d + np.sum(b * x) + np.sum(c) * e

        return f

    same_bits(
        ft.value_and_grad(outside(ft.checkpoint), (0, 1))(X, X[::-1].copy()),
        ft.value_and_grad(outside(lambda f: f), (0, 1))(X, X[::-1].copy()),
    )
    check_grads(outside(ft.checkpoint), (X, X[::-1].copy()), order=2)


def test_scalars_from_outside():
    def f(x, y):
        @ft.checkpoint
        def body():
            z = -x
            return (x * y + z) * x**2 + y**3 - 2.0 * y / x + math.exp(x) + max(x, y) * 2.0**y + (x > y) * 1.0

        return body() * x

    def g(x, y):
        return ((x * y - x) * x**2 + y**3 - 2.0 * y / x + math.exp(x) + max(x, y) * 2.0**y + (x > y) * 1.0) * x

    same_bits(ft.record(f, 0.3, 0.9, argnums=(0, 1)).value_and_grad(0.4, 0.9), ft.value_and_grad(g, (0, 1))(0.4, 0.9))


def test_checkpoints_in_each_other():
    inner = ft.checkpoint(steps)

    @ft.checkpoint
    def middle(x, p):
        for _ in range(3):
            x = inner(x, p, 4)
        return x

    @ft.checkpoint
    def outer(x, p):
        for _ in range(2):
            x = middle(x, p)
        return x

    f = lambda x, p: outer(outer(x, p), p)  # noqa: E731
    g = lambda x, p: steps(x, p, 48)  # noqa: E731
    same_bits(ft.value_and_grad(f, (0, 1))(0.3, 0.9), ft.value_and_grad(g, (0, 1))(0.3, 0.9))
    np.testing.assert_allclose(ft.hessian(f, (0, 1))(0.3, 0.9), ft.hessian(g, (0, 1))(0.3, 0.9), rtol=1e-12)
    tape = ft.record(f, 0.3, 0.9)
    assert len(tape) == 2
    assert verify(tape.program) is tape.program


def test_derivatives_inside_and_around():
    def energy(x, k):
        return k * math.cos(x) * x

    @ft.checkpoint
    def step(x, k):
        return x - 0.1 * ft.grad(energy)(x, k) + 0.01 * ft.jvp(lambda k: energy(x, k), (k,), (1.0,))[1]

    def f(x, k):
        return step(step(x, k), k)

    def plain(x, k):
        for _ in range(2):
            x = x - 0.1 * k * (math.cos(x) - x * math.sin(x)) + 0.01 * math.cos(x) * x
        return x

    for argnums in (0, 1):
        assert ft.grad(f, argnums)(0.3, 0.9) == pytest.approx(ft.grad(plain, argnums)(0.3, 0.9), rel=1e-13)
    second = ft.grad(lambda k: ft.grad(f)(0.3, k) * k)
    assert second(0.9) == pytest.approx(ft.grad(lambda k: ft.grad(plain)(0.3, k) * k)(0.9), rel=1e-12)


def test_custom_rules_inside():
    calls = []

    @ft.custom_vjp
    def sine(x):
        calls.append(x)
        return math.sin(x)

    sine.defvjp(lambda x: (math.sin(x), x), lambda x, w: (w * math.cos(x),))
    f = lambda x: ft.checkpoint(lambda x: sine(sine(x)) * x)(x) * x  # noqa: E731
    g = lambda x: math.sin(math.sin(x)) * x * x  # noqa: E731
    assert ft.grad(f)(0.4) == pytest.approx(ft.grad(g)(0.4), rel=1e-14)
    assert ft.grad(ft.grad(f))(0.4) == pytest.approx(ft.grad(ft.grad(g))(0.4), rel=1e-13)
    tape = ft.record(f, 0.4).optimize()
    calls.clear()
    tape(0.5)
    assert calls == [0.5, math.sin(0.5)]


def test_implicit_functions_of_checkpoints():
    @ft.checkpoint
    def residual(y, x):
        return y**3 + y - x

    @ft.implicit(residual)
    def solve(x):
        y = 0.5
        for _ in range(50):
            y = y - (y**3 + y - x) / (3 * y * y + 1)
        return y

    check_grads(lambda x: ft.checkpoint(solve)(x) * x, (0.7,), order=3)


# ---- conditions


def test_conditions_hold_at_replays():
    @ft.checkpoint
    def body(x):
        return x * x if x > 0.0 else -x

    def f(x):
        return body(x) + body(x - 5.0)

    tape = ft.record(f, 6.0)
    assert (tape(7.0), tape.grad(7.0)) == (49.0 + 4.0, 14.0 + 4.0)
    with pytest.raises(ReplayError, match=r"condition true at .*test_checkpoint.py:\d+ \(return x \* x if x > 0.0"):
        tape(1.0)
    with pytest.raises(ReplayError, match="condition true"):
        tape.optimize().grad(1.0)
    with pytest.raises(ReplayError, match="condition true"):
        tape.gradient_tape()(1.0)
    assert tape.grad(7.0) == 18.0
    assert ft.grad(f)(1.0) == 1.0
    assert len({id(rule) for rule in ft.record(f, 1.0).program.rules}) == 2


def test_a_condition_is_all_that_depends():
    @ft.checkpoint
    def sign(x):
        return 1.0 if x > 0.0 else -1.0

    for tape in (ft.record(lambda x: sign(x) * x, 2.0), ft.record(lambda x: sign(x) * x, 2.0).optimize()):
        assert tape(3.0) == 3.0
        with pytest.raises(ReplayError, match="condition true"):
            tape(-3.0)


def test_values_are_known_inside():
    @ft.checkpoint
    def body(x, table):
        k = int(x[0] * 10.0)
        return x * table[k], k

    def f(x):
        y, k = body(np.sin(x), X)
        assert isinstance(k, int)
        return np.sum(y) * k

    value, gradient = ft.value_and_grad(f)(X)
    assert value == pytest.approx(np.sum(np.sin(X) * X[1]), rel=1e-14)
    np.testing.assert_allclose(gradient, np.cos(X) * X[1], rtol=1e-14)


def test_positions_orders_and_masks_of_values_from_outside():
    def f(x, wrap=ft.checkpoint):
        y = np.sin(x)

        @wrap
        def body():
            return np.sum(np.sort(y)[:3] * y[y > 0.5].sum()) + y[np.argmax(y * 2.0)]

        return body() * x[0]

    tape = ft.record(f, X)
    same_bits(tape.value_and_grad(X), ft.value_and_grad(lambda x: f(x, lambda body: body))(X))
    for order in (X[::-1].copy(), X - 0.2):
        with pytest.raises(ReplayError):
            tape(order)


def test_compiled_functions_record_again_where_a_condition_inside_fails():
    body = ft.checkpoint(lambda x: x * x if x > 0.0 else -x)
    slope = ft.compile(ft.grad(lambda x: body(x) * 2.0))
    assert [slope(x) for x in (3.0, 4.0, -1.0, -2.0, 5.0)] == [12.0, 16.0, -2.0, -2.0, 20.0]
    assert slope.info().recordings == 2


# ---- dtypes, shapes, structures


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0), (2, 3), (300,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes(shape, dtype):
    x = RNG.uniform(0.5, 1.0, shape).astype(dtype)
    f = ft.checkpoint(lambda x: {"y": np.transpose(np.sin(x)), "z": (x.copy(), x > 0.7)})

    def loss(x, f=f):
        r = f(x)
        assert r["y"].shape == x.T.shape
        return np.sum(r["y"]) + np.sum(np.where(r["z"][1], r["z"][0], 0.0))

    value, gradient = ft.value_and_grad(loss)(x)
    assert gradient.dtype == dtype
    assert gradient.shape == shape
    np.testing.assert_allclose(gradient, np.cos(x) + (x > 0.7), rtol=1e-6)
    assert value == pytest.approx(np.sum(np.sin(x)) + np.sum(x[x > 0.7]), rel=1e-6)


def test_keywords_plain_calls_and_nothing_returned():
    seen = []

    @ft.checkpoint
    def f(x, *, k=2.0, note=None):
        seen.append(note)
        return x * k

    assert f(3.0) == 6.0
    assert ft.grad(lambda x: f(x, k=x, note="here"))(3.0) == 6.0
    assert ft.grad(lambda x: ft.checkpoint(lambda x: None)(x) or x)(3.0) == 1.0
    assert seen == [None, "here"]
    assert f.__name__ == "checkpoint(f)"


# ---- what goes wrong inside


def test_an_exception_leaves_the_recording_as_it_was():
    @ft.checkpoint
    def body(x):
        y = x * 3.0
        if y > 100.0:
            raise ZeroDivisionError("mine")
        return y * y

    def careful(x):
        y = x * 2.0
        try:
            body(x + 100.0)
        except ZeroDivisionError:
            y = y + 1.0
        return body(x) + y * x

    assert ft.value_and_grad(careful)(2.0) == (36.0 + 10.0, 36.0 + 9.0)
    with pytest.raises(ZeroDivisionError, match="mine"):
        ft.grad(body)(100.0)
    assert ft.grad(body)(2.0) == 36.0


def test_values_that_escape():
    kept = []

    @ft.checkpoint
    def body(x):
        kept.append(x * 2.0)
        return x * x

    with pytest.raises(LeakError):
        ft.grad(lambda x: body(x) + kept[-1])(3.0)
    with pytest.raises(LeakError, match="after its recording ended"):
        ft.grad(lambda x: body(x) + (kept[-1] + 1.0))(3.0)
    assert ft.grad(body)(3.0) == 6.0


def test_assignment_to_an_array_from_outside():
    def f(x):
        out = np.zeros_like(x) * x

        @ft.checkpoint
        def body(x):
            out[0] = x[0] * 2.0

        body(x)
        return np.sum(out)

    with pytest.raises(MutationError, match="in a checkpointed function, into an array from outside"):
        ft.grad(f)(X)
    with pytest.raises(MutationError, match="argument"):
        ft.grad(ft.checkpoint(lambda x: x.fill(0.0)))(X)
    np.testing.assert_array_equal(ft.grad(lambda x: np.sum(x))(X), np.ones(5))


def test_what_cannot_be_recorded_inside():
    with pytest.raises(ConversionError):
        ft.grad(ft.checkpoint(lambda x: float(x[0]) * x[1]))(X)
    assert ft.grad(ft.checkpoint(np.mean))(X).sum() == pytest.approx(1.0)


# ---- tapes


def test_pickled_tapes():
    tape = ft.record(APART, 0.3, 0.9, argnums=(0, 1))
    again = pickle.loads(pickle.dumps(tape))
    same_bits(again.value_and_grad(0.4, 0.8), tape.value_and_grad(0.4, 0.8))
    assert len({id(rule) for rule in again.program.rules}) == len({id(rule) for rule in tape.program.rules})


def test_programs_are_valid():
    for program in (ft.record(APART, 0.3, 0.9).program, ft.record(APART, 0.3, 0.9).gradient_tape().program):
        assert verify(program) is program
        assert verify(optimize(program)).ops.size <= program.ops.size
        for rule in program.rules:
            assert verify(rule.program) is rule.program
            once = optimize(rule.program)
            assert optimize(once).ops.size == once.ops.size


def test_equal_calls_are_one():
    f = ft.checkpoint(lambda x: math.sin(x) * x)
    tape = ft.record(lambda x: f(x) + f(x), 0.5)
    assert len(tape.optimize()) == 2
    assert tape.optimize().grad(0.5) == tape.grad(0.5)


def test_threads():
    tape = ft.record(APART, 0.3, 0.9, argnums=(0, 1))
    expected = [tape.grad(0.1 * k, 0.9) for k in range(6)]
    found = [None] * 6

    def work(k):
        for _ in range(20):
            found[k] = tape.grad(0.1 * k, 0.9), ft.grad(APART, (0, 1))(0.1 * k, 0.9)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(x, x) for x in expected]


def test_memory_of_a_long_loop():
    def peak(block):
        def f(x):
            for _ in range(40):
                x = block(x, 0.5, 150)
            return x

        tracemalloc.start()
        try:
            ft.record(f, 0.3).value_and_grad(0.3)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(ft.checkpoint(steps))  # what is made once
    assert peak(ft.checkpoint(steps)) < 0.25 * peak(steps)
