"""Functions with rules of their own: what they compute and when they are called, in every mode, order and replay; and
every way for a rule to be wrong.
"""

import ctypes
import ctypes.util
import functools
import math
import pickle
import threading

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, InvalidTapeError, LeakError, OutputError, UnsupportedError
from fasttape.layout import CALL, CODE, LIST, NDIM, OPERANDS, SHAPE, SIZE, STRIDES
from fasttape.testing import check_grads
from fasttape.transform.optimize import optimize
from fasttape.verify import verify

X = np.linspace(0.2, 1.1, 5)


def softplus_of(fun=lambda x: math.log1p(math.exp(x)), calls=None):
    """The logarithm of 1 + exp x with its rule; `calls` gets the names of what runs, and on what."""

    def note(name, x):
        if calls is not None:
            calls.append((name, type(x)))

    @ft.custom_vjp
    def softplus(x):
        note("fun", x)
        return fun(x)

    def fwd(x):
        note("fwd", x)
        return fun(x), x

    def bwd(x, w):
        note("bwd", x)
        return (w / (1.0 + math.exp(-x)),)

    softplus.defvjp(fwd, bwd)
    return softplus


def softplus_derivatives(x):
    """The first three derivatives, by hand."""
    s = 1.0 / (1.0 + math.exp(-x))
    return s, s * (1.0 - s), s * (1.0 - s) * (1.0 - 2.0 * s)


@ft.custom_vjp
def power(x, n):
    return x**n


power.defvjp(lambda x, n: (x**n, (x, n)), lambda res, w: (w * res[1] * res[0] ** (res[1] - 1), None))


@ft.custom_jvp
def cube(x):
    return x * x * x


@cube.defjvp
def cube_rule(primals, tangents):
    (x,), (dx,) = primals, tangents
    return cube(x), 3.0 * x * x * dx


# ---- derivatives in every mode and order


def test_orders_and_modes_of_a_reverse_rule():
    f, x = softplus_of(), 0.3
    first, second, third = softplus_derivatives(x)
    assert f(x) == math.log1p(math.exp(x))
    assert ft.value_and_grad(f)(x) == (f(x), pytest.approx(first, rel=1e-15))
    assert ft.grad(ft.grad(f))(x) == pytest.approx(second, rel=1e-14)
    assert ft.grad(ft.grad(ft.grad(f)))(x) == pytest.approx(third, rel=1e-13)
    assert ft.jvp(f, (x,), (2.0,))[1] == pytest.approx(2 * first, rel=1e-15)
    assert ft.hessian(f)(x) == pytest.approx(second, rel=1e-14)
    assert ft.hvp(f)(x, 2.0) == pytest.approx(2 * second, rel=1e-14)
    assert ft.jacobian(f)(x) == ft.jacrev(f)(x) == ft.jacfwd(f)(x) == pytest.approx(first, rel=1e-15)
    assert ft.vjp(f, x)[1](3.0)[0] == pytest.approx(3 * first, rel=1e-15)


@pytest.mark.parametrize("f", [cube, power], ids=["jvp", "vjp"])
def test_rules_agree_with_finite_differences(f):
    function = (lambda x: f(x, 3)) if f is power else f
    check_grads(lambda x: np.sum(function(x) * np.sin(x)), (X,), order=3)
    check_grads(lambda x: function(x)[::-1] * function(x[0] * np.ones(3))[1], (X,), order=2)
    check_grads(lambda x: function(function(x) * 0.5), (0.7,), order=3)
    check_grads(lambda x: function(x) * 1.5, (X.astype(np.float32),))
    assert ft.grad(lambda x: np.sum(function(x)))(X.astype(np.float32)).dtype == np.float32


def test_trees_of_arguments_and_results():
    @ft.custom_vjp
    def f(p, k):
        return {"y": np.sin(p["a"]) * p["b"], "s": (float(np.sum(p["a"])) * k, np.array(p["b"]))}

    def bwd(res, w):
        a, b, k = res
        first, second = w["s"]
        return {"a": w["y"] * np.cos(a) * b + first * k, "b": np.sum(w["y"] * np.sin(a)) + second}, None

    f.defvjp(lambda p, k: (f(p, k), (p["a"], p["b"], k)), bwd)

    def loss(a, b):
        y = f({"a": a, "b": b}, 3)
        assert y["y"].shape == a.shape
        assert y["s"][1].shape == ()
        return np.sum(y["y"] ** 2) * y["s"][0] + y["s"][1] * b

    check_grads(loss, (X, 0.7), order=3)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (2, 3), (200,), (40, 40)])
def test_shapes(shape):
    x = np.random.default_rng(0).uniform(0.5, 1.0, shape)
    tape = ft.record(lambda x: np.sum(cube(x.T) * power(x.T, 2)), x)
    np.testing.assert_allclose(tape.grad(x), 5 * x**4, rtol=1e-13)
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.grad(lambda y: np.sum(cube(y)))(x)))(x), 6 * x, rtol=1e-13)


def test_nondifferentiated_arguments_come_first():
    @functools.partial(ft.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, n):
        return f(x) * n

    apply.defvjp(lambda f, x, n: (f(x) * n, x), lambda f, n, x, w: (w * np.cos(x) * n,))
    assert ft.grad(lambda x: apply(np.sin, x, 2))(0.4) == pytest.approx(2 * math.cos(0.4))
    assert ft.grad(ft.grad(lambda x: apply(math.sin, x, 2)))(0.4) == pytest.approx(-2 * math.sin(0.4))

    @functools.partial(ft.custom_jvp, nondiff_argnums=(1,))
    def scaled(x, k):
        return x * k["k"]

    scaled.defjvp(lambda k, primals, tangents: (scaled(*primals, k), tangents[0] * k["k"]))
    assert ft.grad(lambda x: scaled(x, {"k": 3.0}))(0.4) == 3.0
    with pytest.raises(ArgumentError, match="argument 2 of apply is in nondiff_argnums"):
        ft.grad(lambda x: apply(np.sin, x, x))(0.4)


def test_keywords_and_defaults():
    @ft.custom_vjp
    def f(x, n=3):
        return x**n

    f.defvjp(lambda x, n: (x**n, (x, n)), lambda res, w: (w * res[1] * res[0] ** (res[1] - 1), None))
    assert ft.grad(f)(2.0) == 12.0
    assert ft.grad(lambda x: f(n=2, x=x))(2.0) == 4.0


def test_methods():
    class Model:
        k = 3.0

        @ft.custom_jvp
        def f(self, x):
            return self.k * x * x

        @f.defjvp
        def rule(primals, tangents):
            model, x = primals
            assert tangents[0] is None
            return model.f(x), 2.0 * model.k * x * tangents[1]

    assert ft.grad(Model().f)(2.0) == 12.0


def test_a_value_that_is_constant_has_a_zero_tangent():
    seen = []

    @ft.custom_jvp
    def f(x, y, n):
        return x * y.sum() + n

    @f.defjvp
    def rule(primals, tangents):
        seen.append(tangents[1:])
        return f(*primals), tangents[0] * primals[1].sum()

    assert ft.jvp(lambda x: f(x, np.ones(2), 3), (2.0,), (1.0,)) == (7.0, 2.0)
    np.testing.assert_array_equal(seen[-1][0], np.zeros(2))
    assert seen[-1][1] == 0.0


# ---- when they are called, and on what


def test_a_gradient_calls_fwd_and_bwd_once():
    calls = []
    f = softplus_of(calls=calls)
    ft.grad(f)(0.5)
    assert calls == [("fwd", float), ("bwd", float)]
    calls.clear()
    _, pullback = ft.vjp(f, 0.5)
    pullback(1.0), pullback(2.0)
    assert calls == [("fwd", float), ("bwd", float), ("bwd", float)]


def test_a_replay_calls_them_again_at_its_point():
    calls = []
    f = softplus_of(calls=calls)
    tape = ft.record(lambda x: 2.0 * f(x), 0.5)
    calls.clear()
    assert tape(0.7) == 2.0 * math.log1p(math.exp(0.7))
    assert calls == [("fun", float)]
    calls.clear()
    assert tape.grad(0.8) == pytest.approx(2 * softplus_derivatives(0.8)[0], rel=1e-15)
    assert calls == [("fwd", float), ("bwd", float)]


def test_residuals_are_those_of_the_evaluation():
    @ft.custom_vjp
    def f(x):
        return np.sin(x)

    f.defvjp(lambda x: (np.sin(x), np.cos(x)), lambda cosine, w: (w * cosine,))
    tape = ft.record(lambda x: np.sum(f(x)), X)
    pullbacks = [tape.vjp(X + k)[1] for k in range(3)]
    tape.grad(X)
    for k, pullback in enumerate(pullbacks):
        np.testing.assert_array_equal(pullback(1.0), np.cos(X + k))


def test_nobody_else_sees_the_arrays_of_a_rule():
    kept = []

    @ft.custom_vjp
    def f(x):
        kept.append(x)
        x *= 2.0
        return x

    f.defvjp(lambda x: (f(x), None), lambda res, w: (2.0 * w,))
    x = X.copy()
    tape = ft.record(lambda x: np.sum(f(x) * x), x)
    assert tape(x) == 2.0 * np.sum(X * X)
    for array in kept:
        array[:] = np.nan
    np.testing.assert_allclose(tape.grad(x), 4.0 * X)
    np.testing.assert_array_equal(x, X)


def test_a_zero_cotangent_calls_nothing_and_absorbs():
    @ft.custom_vjp
    def f(x):
        return x

    def bwd(res, w):
        raise AssertionError("called")

    f.defvjp(lambda x: (x, None), bwd)
    tape = ft.record(lambda x: np.sum(np.where(x > 10.0, f(x), x)), X)
    np.testing.assert_array_equal(tape.grad(X), np.ones(5))
    assert ft.jvp(lambda x, y: f(x) + y, (1.0, 2.0), (0.0, 1.0))[1] == 1.0


def test_a_compiled_library():
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    libm.erf.restype, libm.erf.argtypes = ctypes.c_double, (ctypes.c_double,)

    @ft.custom_vjp
    def erf(x):
        return libm.erf(x)

    erf.defvjp(lambda x: (libm.erf(x), x), lambda x, w: (w * 2.0 / math.sqrt(math.pi) * math.exp(-x * x),))
    tape = ft.record(lambda x: erf(x) * x, 0.3)
    slope = 2.0 / math.sqrt(math.pi) * math.exp(-0.25)
    assert tape.grad(0.5) == pytest.approx(math.erf(0.5) + 0.5 * slope, rel=1e-14)
    assert ft.jvp(erf, (0.5,), (1.0,))[1] == pytest.approx(slope, rel=1e-14)
    with pytest.raises(UnsupportedError, match="pullback of erf has no derivative"):
        ft.grad(ft.grad(erf))(0.5)
    erf.defvjp(lambda x: (erf(x), x), erf.bwd)  # fwd itself goes through the function with a rule
    assert ft.grad(ft.grad(erf))(0.5) == pytest.approx(-2 * 0.5 * slope, rel=1e-14)


def test_rules_that_cannot_be_recorded():
    @ft.custom_vjp
    def back(x):
        return np.sin(x)

    back.defvjp(lambda x: (np.sin(x), x), lambda x, w: (np.array([float(c) for c in w * np.cos(x)]),))

    @ft.custom_jvp
    def along(x):
        return np.sin(x)

    along.defjvp(lambda p, t: (np.sin(*p), np.array([float(c) for c in t[0] * np.cos(*p)])))
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(back(x)))(X), np.cos(X), rtol=1e-15)
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(along(x)))(X), np.cos(X), rtol=1e-15)
    with pytest.raises(UnsupportedError, match="forward mode cannot differentiate back"):
        ft.jvp(back, (X,), (X,))
    for f in (back, along):
        with pytest.raises(UnsupportedError, match="cannot be recorded"):
            ft.hessian(lambda x: np.sum(f(x) ** 2))(X)  # noqa: B023


def test_the_jacobian_of_what_has_no_forward_mode():
    @ft.custom_vjp
    def f(x):
        return np.sin(x)

    f.defvjp(lambda x: (np.sin(x), x), lambda x, w: (np.array([float(c) for c in w * np.cos(x)]),))
    np.testing.assert_allclose(ft.jacobian(f)(X), np.diag(np.cos(X)), rtol=1e-15)


def test_a_rule_that_branches_is_asked_at_each_point():
    @ft.custom_vjp
    def f(x):
        return abs(x) * x

    f.defvjp(lambda x: (abs(x) * x, x), lambda x, w: (2.0 * w * x if x > 0.0 else -2.0 * w * x,))
    tape = ft.record(lambda x: f(x) * 1.0, 1.0)
    assert (tape.grad(2.0), tape.grad(-2.0)) == (4.0, 4.0)
    assert (tape.hessian(2.0), tape.hessian(-2.0)) == (2.0, -2.0)


# ---- tapes


def test_tapes_with_calls():
    f = softplus_of(np.tanh)
    program = ft.record(lambda x, y: np.sum(f(x) * cube(x)) + f(y) * f(y), X, 0.5).gradient_tape().program
    assert verify(program) is program
    once = optimize(program)
    assert verify(once) is once
    assert sum(op == CALL for op in once.ops.tolist()) == sum(op == CALL for op in program.ops.tolist())
    tape = ft.record(lambda x, y: np.sum(cube(x)) * cube(y), X, 0.5)
    assert "call cube x[0]..x[4]" in str(tape)
    assert "call cube y" in tape.trace(X, 0.5).dot()
    assert tape.optimize().grad(X, 0.5).tolist() == tape.grad(X, 0.5).tolist()


def test_effects_are_not_optimized_away():
    calls = []
    f = softplus_of(calls=calls)

    def twice(x):
        f(x)
        return f(x) + f(x)

    tape = ft.record(twice, 0.5).optimize()
    calls.clear()
    tape(0.5)
    assert len(calls) == 3


def test_pickled_tapes_find_rules_by_name():
    tape = ft.record(lambda x: np.sum(power(x, 3) * cube(x)), X)
    for made in (tape, tape.gradient_tape()):
        again = pickle.loads(pickle.dumps(made))
        assert str(again(X + 1)) == str(made(X + 1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tape)).grad(X), tape.grad(X))
    with pytest.raises(UnsupportedError, match=r"softplus cannot be pickled.*top of a module"):
        pickle.dumps(ft.record(softplus_of(), 0.5))


def test_a_callback_that_runs_its_own_tape():
    @ft.custom_vjp
    def f(x):
        return inner(x) if x < 4.0 else 0.0

    f.defvjp(lambda x: (f(x), x), lambda x, w: (w * inner.grad(x) if x < 4.0 else 0.0,))
    inner = ft.record(lambda x: x * x + f(x + 2.0), 4.0)
    assert inner(1.0) == 1.0 + 9.0 + 0.0  # inside of the call the same tape runs at 3
    assert inner.grad(1.0) == 2.0 + 6.0
    assert ft.grad(f)(1.0) == ft.grad(lambda x: f(x) * 1.0)(1.0) == 8.0


def test_compiled_functions_ask_the_rule_at_each_call():
    calls = []
    f = softplus_of(calls=calls)
    slope = ft.compile(ft.grad(lambda x: f(x) * 1.0))
    assert [slope(x) for x in (0.1, 0.2)] == [pytest.approx(softplus_derivatives(x)[0]) for x in (0.1, 0.2)]
    assert slope.info().recordings == 1
    calls.clear()
    slope(0.3)
    assert calls == [("fwd", float), ("bwd", float)]
    assert ft.compile(power)(2.0, 3) == 8.0


def test_nested_use():
    @ft.custom_vjp
    def outer(x):
        return cube(x) * 2.0

    outer.defvjp(lambda x: (cube(x) * 2.0, x), lambda x, w: (w * ft.grad(lambda y: cube(y) * 2.0)(x),))
    check_grads(lambda x: outer(x) * x, (0.8,), order=3)


def test_threads():
    tape = ft.record(lambda x: np.sum(power(x, 3)) * cube(x[0]), X)
    expected = [tape.grad(X + k).tolist() for k in range(8)]
    found = [None] * 8

    def work(k):
        for _ in range(20):
            found[k] = tape.grad(X + k).tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_an_exception_leaves_nothing_behind():
    fails = set()

    @ft.custom_vjp
    def f(x):
        if "f" in fails:
            raise ZeroDivisionError("mine")
        return x * x

    def bwd(x, w):
        if "bwd" in fails:
            raise ZeroDivisionError("mine")
        return (2.0 * x * w,)

    f.defvjp(lambda x: (f(x), x), bwd)
    tape = ft.record(lambda x: np.sum(f(x) * x), X)
    _, pullback = tape.vjp(X)
    expected = tape.grad(X)
    for stage in ("f", "bwd"):
        fails.add(stage)
        for call in (tape.grad, ft.grad(lambda x: np.sum(f(x) * x))):
            with pytest.raises(ZeroDivisionError, match="mine"):
                call(X)
        if stage == "bwd":
            with pytest.raises(ZeroDivisionError, match="mine"):
                pullback(1.0)
        fails.clear()
        np.testing.assert_array_equal(tape.grad(X), expected)
        np.testing.assert_array_equal(pullback(1.0), expected)
    assert ft.grad(lambda x: x * x)(3.0) == 6.0


# ---- rules that are wrong


def wrong_vjp(value=lambda x: x * 2.0, bwd=lambda res, w: (w * 2.0,), fwd=None):
    @ft.custom_vjp
    def f(x):
        return value(x)

    f.defvjp(fwd or (lambda x: (value(x), None)), bwd)
    return f


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"bwd": lambda res, w: w * 2.0}, "the bwd of f, returned array.* where a tuple of 1 belongs"),
        ({"bwd": lambda res, w: (w, w)}, "where a tuple of 1 belongs"),
        ({"bwd": lambda res, w: (w[:2],)}, r"the bwd of f, returned an array of shape \(2,\) where .*\(5,\)"),
        ({"bwd": lambda res, w: (2.0,)}, r"an array of shape \(\) where one of shape \(5,\)"),
        ({"bwd": lambda res, w: ({"a": w},)}, "the bwd of f, returned another structure"),
        ({"bwd": lambda res, w: (w.astype(int),)}, "returned an array of int64 where floats belong"),
        ({"bwd": lambda res, w: (w * 1j,)}, "returned an array of complex128 where floats belong"),
        ({"bwd": lambda res, w: ("no",)}, "returned a str where floats belong"),
        ({"fwd": lambda x: x * 2.0}, r"the fwd of f, must return \(value, residuals\)"),
        ({"value": lambda x: "no"}, "f returned a str where floats belong"),
        ({"value": lambda x: None}, "f returned a NoneType where floats belong"),
        ({"value": lambda x: x * 1j}, "f returned an array of complex128"),
    ],
)
def test_wrong_reverse_rules(rule, message):
    f = wrong_vjp(**rule)
    with pytest.raises(OutputError, match=message):
        ft.grad(lambda x: np.sum(f(x)))(X)


def test_a_fwd_that_disagrees_with_the_function():
    f = wrong_vjp(fwd=lambda x: (x[:2], None))
    tape = ft.record(lambda x: np.sum(f(x)), X)
    with pytest.raises(OutputError, match=r"f returned an array of shape \(2,\) where one of shape \(5,\) belongs"):
        tape.grad(X)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda p, t: p[0], r"the jvp of f, must return \(value, tangent\)"),
        (lambda p, t: (p[0], t[0][:2]), r"the jvp of f, returned an array of shape \(2,\)"),
        (lambda p, t: (p[0], t), "the jvp of f, returned another structure"),
        (lambda p, t: (p[0], t[0] > 0.0), "returned an array of bool where floats belong"),
    ],
)
def test_wrong_forward_rules(rule, message):
    f = ft.custom_jvp(lambda x: x * 2.0)
    f.__name__ = "f"
    f.defjvp(rule)
    for transform in (lambda: ft.jvp(f, (X,), (X,)), lambda: ft.grad(lambda x: np.sum(f(x)))(X)):
        with pytest.raises(OutputError, match=message):
            transform()


def test_float64_where_a_recording_is_float32():
    x = X.astype(np.float32)
    f = wrong_vjp(value=lambda x: np.asarray(x, np.float64))
    with pytest.raises(OutputError, match=r"f returned float64 in a float32 recording; write astype\(np.float32\)"):
        ft.grad(lambda x: np.sum(f(x)))(x)


def test_another_shape_at_a_replay():
    f = wrong_vjp(value=lambda x: x[x > 0.5])
    tape = ft.record(lambda x: np.sum(f(x)), X)
    with pytest.raises(OutputError, match=r"f returned an array of shape \(5,\) where one of shape \(3,\) belongs"):
        tape(X + 1.0)
    assert tape(X) == np.sum(X[X > 0.5])


def test_whole_numbers_and_truth_values_have_no_derivative():
    @ft.custom_vjp
    def f(x):
        return x * 2.0, int(np.argmax(x)), x > 0.5

    f.defvjp(lambda x: (f(x), None), lambda res, w: (w[0] * 2.0,))

    def loss(x):
        y, place, mask = f(x)
        return np.sum(np.where(mask, y, 0.0)) + place * x[0]

    tape = ft.record(loss, X)
    assert tape(X[::-1].copy()) == np.sum(2 * X[X > 0.5])
    np.testing.assert_allclose(tape.grad(X), 2.0 * (X > 0.5) + 4.0 * (np.arange(5) == 0))


def test_values_that_leak_into_a_rule():
    def loss(x):
        f = wrong_vjp(value=lambda y: y * x)
        return np.sum(f(x))

    with pytest.raises(LeakError, match="was called on plain numbers and returned a traced value"):
        ft.grad(loss)(X)
    kept = []

    def keeps(x):
        kept.append(x)
        return x * x

    ft.grad(keeps)(3.0)
    with pytest.raises(LeakError, match="after its recording ended"):
        cube(kept[0])


@pytest.mark.parametrize("kind", [ft.custom_vjp, ft.custom_jvp])
def test_definitions_that_are_incomplete(kind):
    with pytest.raises(ArgumentError, match="takes a function, not int"):
        kind(3)
    f = kind(lambda x: x)
    assert f(2.0) == 2.0
    with pytest.raises(ArgumentError, match=f"is a {kind.__name__} without its rule"):
        ft.grad(f)(2.0)


def test_operands_that_share_slots():
    @ft.custom_vjp
    def product(x, y, z):
        return x * y * np.sum(z)

    def bwd(res, w):
        x, y, z = res
        return w * y * np.sum(z), w * x * np.sum(z), np.ones(z.shape) * np.sum(w * x * y)

    product.defvjp(lambda *args: (product(*args), args), bwd)

    def plain(x, y, z):
        return x * y * np.sum(z)

    def loss(f, x):
        y = np.tanh(x) * 2.0
        return np.sum(f(x, x, x[:2]) * f(y, y[::-1], np.broadcast_to(y[0], (3,)))) + np.sum(x)

    tape = ft.record(lambda x: loss(product, x), X)
    expected = ft.grad(lambda x: loss(plain, x))(X)
    for found in (tape, tape.optimize()):
        np.testing.assert_allclose(found.grad(X), expected, rtol=1e-12)
    large = np.linspace(0.1, 1.0, 150)
    found = ft.grad(lambda x: loss(product, x))(large)
    np.testing.assert_allclose(found, ft.grad(lambda x: loss(plain, x))(large), rtol=1e-12)
    check_grads(lambda x: loss(product, x), (X,), order=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [(CODE, 7), (CODE, -1), (SIZE, 4), (OPERANDS, 0), (NDIM, 2), (SHAPE, 4), (SHAPE, 0), ("stride", 2), ("list", 1)],
)
def test_damaged_records_are_refused(field, value):
    program = ft.record(lambda x: np.sum(cube(x)), X).program
    place = int(program.a[program.ops == CALL][0])
    named = {"stride": SHAPE + 1 + STRIDES, "list": SHAPE + 1 + LIST}
    aux = program.aux.copy()
    aux[place + named.get(field, field)] = value
    with pytest.raises(InvalidTapeError):
        verify(program._replace(aux=aux))
    with pytest.raises(InvalidTapeError):
        verify(program._replace(rules=()))


def test_a_rule_that_gives_no_cotangent_in_every_mode():
    @ft.custom_vjp
    def above(x):
        return float(x > 0.0)

    above.defvjp(lambda x: (above(x), None), lambda kept, w: (None,))

    def f(x):
        return above(x) * x**3

    assert ft.hessian(f)(2.0) == ft.jacfwd(ft.jacfwd(f))(2.0) == ft.grad(ft.jacfwd(f))(2.0) == 12.0
