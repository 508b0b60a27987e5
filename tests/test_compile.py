"""ft.compile: paths, what info() tells, composition with transforms, threads and bad input."""

import gc
import math
import pickle
import threading
import warnings
import weakref

import numpy as np
import optree
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, OutputError

RATE = 2.0


def scaled(x):
    return x * RATE


def told(f):
    info = f.info()
    return info.hits, info.recordings


def test_a_repeated_call_is_a_replay():
    runs = []
    f = ft.compile(lambda x: (runs.append(1), x * x)[1])
    assert [f(3.0), f(4.0), f(5.0)] == [9.0, 16.0, 25.0]
    assert len(runs) == 1
    assert told(f) == (2, 1)


def test_the_paths_are_bounded():
    f = ft.compile(lambda x, n: x * n, paths=4)
    for n in range(10):
        assert f(2.0, n) == 2.0 * n
    assert f.info().paths == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            assert f(1.0, 9) == 9.0
    assert told(f) == (100, 10)


def test_a_function_that_never_repeats_itself_is_reported():
    f = ft.compile(lambda x, n: x * n)
    for n in range(49):
        f(1.0, n)
    with pytest.warns(ft.NeverRepeatsWarning, match="argument 1 has another value"):
        f(1.0, 49)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(1.0, -1)


def test_transforms_compose():
    def f(x):
        return np.sum(np.sin(x) * x)

    x = np.array([0.3, -0.4])
    for transform in (ft.grad, ft.hessian, ft.jacobian, ft.value_and_grad, lambda f: ft.hvp(f)):
        plain, compiled = transform(f), ft.compile(transform(f))
        args = (x, x) if transform(f).__name__.startswith("hvp") else (x,)
        for scale in (1.0, 1.5):
            for a, b in zip(optree.tree_leaves(plain(*args)), optree.tree_leaves(compiled(*args)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-14)
            args = tuple(scale * y for y in args)
        assert told(compiled)[1] == 1


def test_inside_of_a_transform():
    f = ft.compile(lambda x: math.exp(x) * x)
    assert f(1.0) == math.e
    assert ft.grad(f)(1.0) == pytest.approx(2.0 * math.e, rel=1e-15)
    assert ft.grad(lambda x: f(2.0 * x))(0.5) == pytest.approx(4.0 * math.e, rel=1e-15)
    slope = ft.compile(ft.grad(f))
    assert ft.grad(slope)(1.0) == pytest.approx(3.0 * math.e, rel=1e-15)
    assert ft.compile(lambda x: slope(x) + f(x))(1.0) == pytest.approx(3.0 * math.e, rel=1e-15)


def test_has_aux():
    f = ft.compile(ft.value_and_grad(lambda x: (x * x, {"double": 2.0 * x}), has_aux=True))
    for x in (3.0, 4.0):
        assert f(x) == ((x * x, {"double": 2.0 * x}), 2.0 * x)
    assert told(f) == (1, 1)


def test_recursion():
    @ft.compile
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    assert (power(2.0, 5), power(3.0, 5), power(2.0, 1)) == (32.0, 243.0, 2.0)
    assert ft.grad(power)(2.0, 3) == 12.0


def test_keywords():
    f = ft.compile(lambda x, scale=2.0, *, shift=0.0: x * scale + shift)
    assert [f(1.0), f(1.0, scale=3.0), f(x=1.0, scale=4.0), f(1.0, shift=1.0), f(1.0, 5.0)] == [2.0, 3.0, 4.0, 3.0, 5.0]
    assert [f(2.0), f(2.0, scale=3.0), f(2.0, shift=1.0)] == [4.0, 6.0, 5.0]


def test_several_arguments_are_differentiated():
    f = ft.compile(ft.grad(lambda x, n, y: x * y * n, argnums=(0, 2)))
    assert f(2.0, 3, 5.0) == (15.0, 6.0)
    assert f(4.0, 3, 5.0) == (15.0, 12.0)
    assert ft.compile(ft.grad(lambda x: x * x))(3) == 6.0


def test_results_belong_to_the_caller():
    f = ft.compile(lambda x: (x * 2.0, np.array([1, 2]), "text"))
    first = f(np.ones(3))
    first[0][:], first[1][:] = 0.0, 0
    for _ in range(2):
        numbers, constant, text = f(np.ones(3))
        np.testing.assert_array_equal(numbers, [2.0, 2.0, 2.0])
        np.testing.assert_array_equal(constant, [1, 2])
        assert text == "text"


def test_an_exception_inside():
    def f(x):
        if x > 1.0:
            raise KeyError("mine")
        return x * 2.0

    compiled = ft.compile(f)
    with pytest.raises(KeyError, match="mine"):
        compiled(2.0)
    assert compiled(0.5) == 1.0
    with pytest.raises(KeyError, match="mine"):
        compiled(2.0)
    assert compiled(0.25) == 0.5


def test_threads():
    f = ft.compile(ft.value_and_grad(lambda x, n: np.sum(np.sin(x)) ** n if x[0] > 0.0 else np.sum(x) * n))
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(150):
            x, n = rng.normal(size=6000), int(rng.integers(1, 4))
            value, gradient = f(x, n)
            expected = np.sum(np.sin(x)) ** n if x[0] > 0.0 else np.sum(x) * n
            slope = n * np.sum(np.sin(x)) ** (n - 1) * np.cos(x) if x[0] > 0.0 else np.full(6000, float(n))
            if not (np.isclose(value, expected, rtol=1e-9) and np.allclose(gradient, slope, rtol=1e-9)):
                wrong.append((seed, n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(told(f)) >= 600


def test_names_pickles_and_attributes():
    f = ft.compile(scaled)
    assert (f.__name__, f.__doc__, f.__wrapped__) == ("scaled", None, scaled)
    assert pickle.loads(pickle.dumps(f))(2.0) == 4.0
    assert "scaled" in repr(f)
    with pytest.raises(AttributeError):
        f.absent


def test_a_compiled_function_is_freed():
    def make():
        f = ft.compile(ft.grad(lambda x: np.sum(x * x)))
        f(np.ones(3))
        f(np.ones(3))
        return weakref.ref(f.otherwise)

    gone = make()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ft.compile(3.0), ArgumentError, "compile takes a function"),
        (lambda: ft.compile(scaled, paths=0), ArgumentError, "paths=0"),
        (lambda: ft.compile(ft.grad(lambda x: x * 2.0))(np.ones(2)), OutputError, "scalar output"),
        (lambda: ft.compile(ft.grad(scaled))(1j), ArgumentError, "complex"),
        (lambda: ft.compile(scaled)(), TypeError, "missing"),
        (lambda: ft.compile(scaled)(1.0, 2.0), TypeError, "positional"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
