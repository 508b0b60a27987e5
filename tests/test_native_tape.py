"""tape.native: arguments with a leading axis of points, shared ones, structures, dtypes, and what goes wrong."""

import functools
import math

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, ReplayError, UnsupportedError


def model(weights, x, scale):
    hidden = np.sqrt(np.abs(weights["a"] * x[0] + weights["b"] * x[1]) + 1.0)
    return {"loss": np.sum(hidden) * scale, "hidden": hidden, "large": hidden > 1.5, "seven": 7}


@functools.cache
def tape():
    weights = {"a": np.ones(3), "b": np.array([0.5, -1.0, 2.0])}
    return ft.record(model, weights, [1.0, 2.0], 2)


def test_trees_of_arguments_shared_and_stacked():
    rng = np.random.default_rng(0)
    a, b, x0, x1 = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=5), 0.25
    found = tape().native(strict=True)({"a": a, "b": b}, [x0, x1], 2)
    for i in range(5):
        expected = model({"a": a[i], "b": b}, [x0[i], x1], 2)
        assert np.array_equal(found["loss"][i], expected["loss"])
        assert np.array_equal(found["hidden"][i], expected["hidden"])
        assert np.array_equal(found["large"][i], expected["large"])
    assert found["large"].dtype == bool
    assert found["seven"].tolist() == [7] * 5
    assert found["hidden"].shape == (5, 3)


def test_a_batch_of_none_has_shapes():
    found = tape().native()({"a": np.zeros((0, 3)), "b": np.zeros(3)}, [0.0, 0.0], 2)
    assert found["hidden"].shape == (0, 3)
    assert found["loss"].shape == (0,)


def test_threads_and_views_make_no_difference():
    native = ft.record(lambda x, y: x * y + np.abs(x), 1.0, 1.0).native()
    wide = np.random.default_rng(1).normal(size=(50_001, 4))
    one = native(wide[:, 1].copy(), wide[:, 3].copy(), threads=1)
    assert np.array_equal(native(wide[:, 1], wide[:, 3]), one)
    assert np.array_equal(native(wide[::-1, 1], wide[::-1, 3], threads=2), one[::-1])


def test_float32_stays():
    native = ft.record(lambda x: x * np.float32(2.0), np.float32(1.0)).native()
    found = native(np.arange(20, dtype=np.float32))
    assert found.dtype == np.float32
    assert np.array_equal(found, np.arange(20) * 2.0)
    with pytest.raises(ArgumentError, match="recorded in float32"):
        native(np.arange(20.0))


def test_gradients():
    tape = ft.record(lambda x, y: x * x * y - y, 1.0, 1.0, argnums=(0, 1)).gradient_tape()
    x, y = np.random.default_rng(2).normal(size=(2, 100))
    value, (dx, dy) = tape.native()(x, y)
    np.testing.assert_allclose(value, x * x * y - y, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dx, 2.0 * x * y, rtol=1e-14)
    np.testing.assert_allclose(dy, x * x - 1.0, rtol=1e-13, atol=1e-14)


def test_a_guard_that_fails_names_the_first_point():
    native = ft.record(lambda x: x * x if x > 0.0 else -x, 1.0).native()
    x = np.ones(1000)
    x[[700, 300]] = -1.0
    with pytest.raises(ReplayError, match=r"a condition true at .*; at point 300 it is false"):
        native(x)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((1.0, 2.0), "no points"),
        ((np.ones(3), np.ones(4)), "3 and 4 points"),
        ((np.ones((3, 1)), 1.0), r"shape \(3, 1\).*takes \(\) for all points, or \(n,\) for n points"),
        ((np.ones(3, int), 1.0), "astype"),
        ((["x"], 1.0), "structure"),
    ],
)
def test_arguments_that_make_no_batch(args, says):
    with pytest.raises((ArgumentError, ReplayError), match=says):
        ft.record(lambda x, y: x * y, 1.0, 1.0).native()(*args)


def test_a_changed_static_argument_or_global_is_refused():
    with pytest.raises(ReplayError, match="it was 2 and now is 3"):
        tape().native()({"a": np.ones((4, 3)), "b": np.ones(3)}, [0.0, 0.0], 3)


def test_tapes_without_machine_code():
    tape = ft.record(lambda x: sum(math.sin(x * k) for k in range(20_001)), 1.0)
    with pytest.raises(UnsupportedError, match="of which machine code takes"):
        tape.native()
