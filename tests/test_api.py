"""What users call: argnums, auxiliary output, keywords, trees of arguments, types in and out, bad input."""

import collections
import doctest
import math
import re

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgnumsError, ArgumentError, LeakError, MutationError, OutputError, UnsupportedError
from fasttape.testing import check_grads

Pair = collections.namedtuple("Pair", "left right")


def same(x, y):
    """Equal in value and in type, arrays in dtype and shape as well."""
    assert type(x) is type(y)
    if isinstance(x, np.ndarray):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-6 if x.dtype == np.float32 else 1e-14)
    else:
        assert x == pytest.approx(y)


def product(x, y, z):
    return x * y * y * z


@pytest.mark.parametrize(
    ("argnums", "gradient"),
    [
        (0, 36.0),
        (1, 48.0),
        (2, 18.0),
        (-1, 18.0),
        (np.int64(1), 48.0),
        ((0,), (36.0,)),
        ((2, 0), (18.0, 36.0)),
        ([0, 1, 2], (36.0, 48.0, 18.0)),
        ((-3, -1), (36.0, 18.0)),
    ],
)
def test_argnums(argnums, gradient):
    point = 2.0, 3.0, 4.0
    assert ft.grad(product, argnums)(*point) == gradient
    assert ft.value_and_grad(product, argnums=argnums)(*point) == (72.0, gradient)
    assert ft.record(product, 1.0, 1.0, 1.0, argnums=argnums).grad(*point) == gradient


@pytest.mark.parametrize(
    ("argnums", "message"),
    [
        (3, "argnums=3 names argument 3, but product was called with 3 positional arguments"),
        (-4, "argnums=-4 names argument -4"),
        ((0, 5), "names argument 5"),
        ((0, 0), "none of them twice"),
        ((0, -3), "none of them twice"),
        ((), "must name at least one argument"),
        ((0.0,), "names 0.0, which is not a position"),
        (("x",), "names 'x', which is not a position"),
        (1.0, "is not a position"),
        (None, "is not a position"),
    ],
)
def test_wrong_argnums(argnums, message):
    point = 1.0, 2.0, 3.0
    for call in (lambda: ft.grad(product, argnums)(*point), lambda: ft.record(product, *point, argnums=argnums)):
        with pytest.raises(ArgnumsError, match=re.escape(message)):
            call()


def test_argnums_without_arguments():
    with pytest.raises(ArgnumsError, match="called with 0 positional arguments"):
        ft.grad(lambda: 1.0)()


def test_auxiliary_output_comes_back_plain():
    def f(x, y):
        z = x * y
        return z.sum(), {"z": z, "first": z[0], "parts": [1, "text", None, (x, y)], "mask": z > 3.0}

    x = np.array([1.0, 2.0])
    gradient, aux = ft.grad(f, has_aux=True)(x, 3.0)
    same(gradient, np.array([3.0, 3.0]))
    same(aux["z"], np.array([3.0, 6.0]))
    same(aux["first"], 3.0)
    assert aux["parts"][:3] == [1, "text", None]
    same(aux["parts"][3][0], x)
    assert aux["parts"][3][1] == 3.0
    assert aux["mask"].tolist() == [False, True]
    (value, again), gradient = ft.value_and_grad(f, has_aux=True)(x, 3.0)
    assert value == 9.0
    same(again["z"], np.array([3.0, 6.0]))
    value, tangent, aux = ft.jvp(f, (x, 3.0), (np.ones(2), 1.0), has_aux=True)
    assert (value, tangent) == (9.0, 9.0)


@pytest.mark.parametrize("returned", [1.0, (1.0,), (1.0, 2.0, 3.0), [1.0, 2.0]])
def test_auxiliary_output_must_be_a_pair(returned):
    with pytest.raises(OutputError, match=r"has_aux=True needs <lambda> to return \(output, aux\)"):
        ft.grad(lambda x: returned, has_aux=True)(1.0)


def test_keywords_are_passive():
    def f(x, *, weight, name):
        assert type(weight) is float
        return x * weight if name == "scaled" else x

    assert ft.grad(f)(2.0, weight=3.0, name="scaled") == 3.0
    assert ft.value_and_grad(f)(2.0, weight=3.0, name="plain") == (2.0, 1.0)


def test_trees_of_arguments():
    def f(p, factor):
        assert p["skip"] is None
        pair = p["pair"]
        assert type(pair) is Pair
        return factor * (np.sum(p["w"] @ pair.left) + pair.right * p["list"][0] * p["list"][1][0])

    tree = {
        "w": np.ones((2, 3)),
        "pair": Pair(np.arange(3.0), 2.0),
        "list": [3.0, (np.float64(4.0),)],
        "skip": None,
    }
    with pytest.raises(ArgumentError, match="argument 0 of f is a NoneType, which has no derivative"):
        ft.grad(f)(tree, 2.0)
    assert ft.grad(f, 1)(tree, 2.0) == 30.0

    def g(p):
        return f(p | {"skip": None}, 2.0)

    del tree["skip"]
    found = ft.grad(g)(tree)
    assert list(found) == list(tree)
    same(found["w"], 2.0 * np.tile(np.arange(3.0), (2, 1)))
    assert type(found["pair"]) is Pair
    same(found["pair"].left, np.full(3, 4.0))
    same(found["pair"].right, 24.0)
    assert type(found["list"]) is list
    same(found["list"][0], 16.0)
    same(found["list"][1][0], np.float64(12.0))
    value, tangent = ft.jvp(g, (tree,), (tree,))
    assert (value, tangent) == (60.0, pytest.approx(2.0 * 6.0 * 2.0 + 3.0 * 48.0))


def test_trees_of_outputs():
    def f(x):
        return {"a": x * x, "b": [x.sum(), 5, "text", None], "c": Pair(x[0], np.ones(2))}

    x = np.array([1.0, 2.0])
    value, tangent = ft.jvp(f, (x,), (np.array([1.0, 0.5]),))
    same(value["a"], np.array([1.0, 4.0]))
    same(tangent["a"], np.array([2.0, 2.0]))
    assert value["b"] == [3.0, 5, "text", None]
    assert tangent["b"] == [1.5, 0.0, 0.0, 0.0]
    same(tangent["c"].left, 1.0)
    same(tangent["c"].right, np.zeros(2))
    assert str(ft.record(f, x)(x)) == str(f(x)).replace("np.float64(3.0)", "3.0").replace("np.float64(1.0)", "1.0")


@pytest.mark.parametrize(
    "x",
    [2.0, np.float64(2.0), np.float32(2.0), np.array(2.0), np.float32([2.0, 2.0]), np.full((2, 2), 2.0)],
    ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', '')}-{np.ndim(x)}",
)
def test_types_in_and_out(x):
    value, gradient = ft.value_and_grad(lambda x: np.sum(x * x))(x)
    same(gradient, x * 2 if type(x) is not np.ndarray else np.asarray(x * 2))
    assert value == 4.0 * np.size(x)
    assert type(value) is (np.float32 if getattr(x, "dtype", None) == np.float32 else float)
    value, tangent = ft.jvp(lambda x: x * x, (x,), (x,))
    assert np.all(value == 4.0)
    assert np.all(tangent == 8.0)
    assert np.shape(value) == np.shape(tangent) == np.shape(x)
    assert np.asarray(value).dtype == np.asarray(tangent).dtype == np.asarray(x).dtype


def test_mixed_dtypes_record_in_float64():
    gradient = ft.grad(lambda x, y: np.sum(x * y), (0, 1))(np.full(2, 3.0, np.float32), np.full(2, 0.1))
    same(gradient[0], np.full(2, 0.1, np.float32))
    same(gradient[1], np.full(2, 3.0))


def test_an_int_where_a_float_is_differentiated():
    value, slope = ft.value_and_grad(lambda x: x * x / 4)(3)
    same(value, 2.25)
    same(slope, 1.5)
    assert ft.record(lambda x: x * x, 3).grad(4) == 8.0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([1, 2]), "argument 0 of f is an array of int64, which has no derivative; write x.astype(np.float64)"),
        (np.array(1, np.uint8), "an array of uint8, which has no derivative; write x.astype"),
        (np.array([True]), "an array of bool, which has no derivative; write x.astype"),
        (np.array([1.0], np.float16), "an array of float16, which has no derivative; write x.astype"),
        (np.int64(1), "a int64, which has no derivative; write x.astype"),
        (True, "argument 0 of f is a bool, which has no derivative"),
        (1j, "a complex, which"),
        (np.array([1j]), "an array of complex128, which has no derivative"),
        (np.array([1.0], object), "an array of object, which has no derivative"),
        (np.array(["text"]), "an array of <U4, which has no derivative"),
        ("text", "a str, which has no derivative"),
        (b"text", "a bytes, which has no derivative"),
        (None, "a NoneType, which has no derivative"),
        ({"a": [1.0, "text"]}, "a str, which has no derivative"),
        (object(), "a object, which has no derivative"),
    ],
)
def test_arguments_that_have_no_derivative(x, message):
    def f(x):
        return 1.0

    for call in (lambda: ft.grad(f)(x), lambda: ft.jvp(f, (x,), (x,)), lambda: ft.record(f, x)):
        with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
            call()
        assert isinstance(caught.value, TypeError)
        assert ("astype" in message) == ("astype" in str(caught.value))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: x, "f returned an array of shape (3,); sum it, or use jvp"),
        (lambda x: x[:1], "an array of shape (1,)"),
        (lambda x: np.ones((2, 2)), "an array of shape (2, 2)"),
        (lambda x: (x.sum(), x.sum()), "f returned several values"),
        (lambda x: [x.sum()], "returned several values; return one, or use has_aux=True"),
        (lambda x: None, "f returned None"),
        (lambda x: "text", "f returned 'text'"),
        (lambda x: 1j, "f returned 1j"),
        (lambda x: {}, "f returned nothing"),
    ],
)
def test_outputs_that_are_no_scalar(returned, message):
    def f(x):
        return returned(x)

    calls = [lambda: ft.grad(f)(np.ones(3)), lambda: ft.value_and_grad(f)(np.ones(3))]
    calls += [lambda: ft.record(f, np.ones(3)).grad(np.ones(3))]
    for call in calls:
        with pytest.raises(OutputError, match=re.escape(message)):
            call()


def test_outputs_that_depend_on_no_input():
    x = np.ones((2, 3), np.float32)
    for constant in (1.5, 2, np.float64(1.0), np.array(1.0)):
        value, gradient = ft.value_and_grad(lambda x, y: constant, (0, 1))(x, {"y": 2.0})  # noqa: B023
        assert value == constant
        same(gradient[0], np.zeros((2, 3), np.float32))
        assert gradient[1] == {"y": 0.0}
    value, tangent = ft.jvp(lambda x: (np.ones(2), 3.0), (1.0,), (1.0,))
    same(tangent[0], np.zeros(2))
    same(tangent[1], 0.0)
    assert ft.grad(lambda x, y: y * y)(1.0, 3.0) == 0.0


def test_empty_arrays():
    value, gradient = ft.value_and_grad(lambda x: np.sum(x * 2.0) + 1.0)(np.empty((0, 3)))
    assert value == 1.0
    same(gradient, np.empty((0, 3)))
    value, tangent = ft.jvp(lambda x: x * 2.0, (np.empty(0),), (np.empty(0),))
    same(value, np.empty(0))
    same(tangent, np.empty(0))
    assert ft.grad(lambda p: 1.0)({}) == {}


@pytest.mark.parametrize(
    ("primals", "tangents", "error", "message"),
    [
        ((1.0,), (1.0, 2.0), ArgumentError, "one tangent per primal, got 1 and 2"),
        (1.0, 1.0, ArgumentError, "takes primals and tangents as tuples"),
        ((np.ones(2),), (np.ones(3),), ArgumentError, "tangent 0 has shape (3,), but its primal has (2,)"),
        ((np.ones(2),), (1.0,), ArgumentError, "tangent 0 has shape (), but its primal has (2,)"),
        (({"a": 1.0},), ({"b": 1.0},), ArgumentError, "tangent 0 has another structure than its primal"),
        ((1.0,), ("text",), ArgumentError, "tangent 0 is a str"),
        ((1.0,), (np.array([1]),), ArgumentError, "tangent 0 is an array of int64"),
        ((1.0,), (True,), ArgumentError, "tangent 0 is a bool, but its primal holds floats"),
    ],
)
def test_tangents_that_do_not_fit(primals, tangents, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ft.jvp(lambda *x: 1.0, primals, tangents)


def test_forward_and_reverse_mode_agree():
    rng = np.random.default_rng(5)

    def f(p, s):
        h = np.tanh(p["a"] @ p["b"]) * s
        return np.sum(h**3) + math.exp(s) * np.max(h)

    point = {"a": rng.standard_normal((4, 3)), "b": rng.standard_normal((3, 2))}, 0.7
    along = {name: rng.standard_normal(x.shape) for name, x in point[0].items()}, -1.3
    value, slope = ft.jvp(f, point, along)
    again, gradient = ft.value_and_grad(f, (0, 1))(*point)
    assert value == again
    assert slope == pytest.approx(sum(np.sum(gradient[0][k] * along[0][k]) for k in "ab") + gradient[1] * along[1])


def test_an_exception_leaves_nothing_behind():
    def f(x, fail=0):
        y = np.exp(x)
        if fail:
            raise ZeroDivisionError("on purpose")
        return y.sum()

    x = np.zeros(2)
    for transform in (ft.grad(f), ft.value_and_grad(f), lambda *x: ft.record(f, *x)):
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            transform(x, 1)
        same(ft.grad(f)(x, 0), np.ones(2))


def test_arguments_are_not_written():
    x = np.ones(3)

    def f(x):
        x[0] = 5.0
        return x.sum()

    for write in (f, lambda x: x.fill(2.0), lambda x: x.T.__setitem__(0, 1.0), lambda x: np.exp(x, out=x)):
        with pytest.raises(MutationError, match=r"assign into x\.copy\(\)"):
            ft.grad(write)(x)
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_traced_arrays_that_outlive_their_recording():
    kept = []

    def f(x):
        kept.append(x)
        return x.sum()

    ft.grad(f)(np.ones(2))
    uses = [lambda x: x + 1.0, np.sin, np.sum, lambda x: x @ x, repr, lambda x: x > 0.0]
    uses += [lambda x: x.primal, lambda x: x[0] * 2]
    for use in uses:
        with pytest.raises(LeakError, match="after its recording ended"):
            use(kept[0])
    with pytest.raises(LeakError, match="two recordings"):
        ft.grad(lambda x: (x * kept[0]).sum())(np.ones(2))


def test_a_tape_under_recording_is_refused():
    with pytest.raises(UnsupportedError, match="inside of a recorded function"):
        ft.grad(lambda x: ft.record(lambda y: y**3, x).grad(x))(2.0)


@pytest.mark.parametrize("f", [3.0, None, "text", [math.sin]])
def test_what_is_no_function(f):
    with pytest.raises(ArgumentError, match=f"expected a function, got {type(f).__name__}"):
        ft.grad(f)(1.0)


def test_names_of_transforms():
    assert ft.grad(product).__name__ == "grad(product)"
    assert ft.value_and_grad(math.sin).__name__ == "value_and_grad(sin)"
    assert not hasattr(ft.grad(product), "__wrapped__")


@pytest.mark.parametrize("x", [*(getattr(ft, name) for name in ft.__all__), check_grads], ids=lambda x: x.__name__)
def test_examples_in_docstrings(x):
    tests = doctest.DocTestFinder().find(x, x.__name__, globs={"__name__": "__main__"})
    assert sum(len(test.examples) for test in tests) > 0
    report = []
    for test in tests:
        failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
        assert failed == 0, "".join(report)
