"""Arrays that the recorded function makes and fills: ordinary until a traced value is written into them."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from agree import agree
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import zeros

import fasttape as ft
from fasttape.errors import ArgumentError, LeakError

V = np.array([0.7, 1.3, 0.4])
KEPT = []


def element_by_element(x):
    y = np.zeros(3)
    for i in range(3):
        y[i] = math.sin(x[i]) * i
    return y.sum()


def overlapping_views(x):
    y = zeros((3, 3))
    below, column = y[1:], y.T[2]
    below[0, 1] = x[0] * x[1]
    column[0] = x[2] ** 2
    y[2] += x
    return (y @ y).sum() + y[1, 1] + below[0, 1] + column[0]


def columns_first(x):
    y = np.zeros((2, 3), order="F")
    y[1] = x
    y[0, ::-1] = 2.0 * x
    return (y[0] * y[1]).sum() + y.ravel()[2] + y.ravel(order="F")[3] + y.flat[4]


def recurrence(x):
    y = np.empty(4)
    y[0] = 1.0
    for i in range(3):
        y[i + 1] = y[i] * x[i]
    return y[-1] + y[1:3].prod()


def gram_matrix(x):
    k = np.eye(3)
    for i in range(3):
        for j in range(3):
            k[i, j] += x[i] * x[j]
    return np.linalg.slogdet(k)[1]


def in_place_operators(x):
    y = np.ones(3)
    y *= x
    y += 1.0
    y -= x**2
    y **= 2
    y /= x
    return (y * y).sum()


def out_arguments(x):
    y, z, total = np.zeros(3), np.zeros((3, 3)), np.zeros(())
    np.multiply(x, x, out=y)
    np.outer(x, y, out=z)
    np.sum(z, out=total)
    return y.sum() * y[1] + z[0, 2] + total


def flat_elements(x):
    y = np.zeros((2, 2))
    y.flat[1] = x[0]
    y.flat[3] = x[1]
    return (y**2).sum() + sum(y.flat)


def masks(x):
    y = np.zeros(3)
    y[x > 0.5] = x[x > 0.5]
    z = np.arange(3.0)
    z[np.abs(x) < 1.0] = 5.0
    return (y * x).sum() + (z * x).sum()


def truths(x):
    chosen = np.zeros(3, dtype=bool)
    for i in range(3):
        chosen[i] = x[i] > 0.5
    return np.where(chosen, x, 2.0 * x).sum() + (x.sum() if chosen.any() else 0.0)


def like_others(x):
    y, z = np.zeros_like(x), np.full_like(x, 2.0)
    y[1] = x[0]
    z[0] = x[2]
    return (y * z * x).sum() + np.full(3, x[0]).sum() + np.full((2,), 3.0)[0]


def lists(x):
    y = np.zeros((2, 2))
    y[0] = [x[0], x[1]]
    y[1] = (x[2], 1.0)
    return np.linalg.det(y)


def iteration(x):
    y = np.zeros(3)
    y[0] = x[0]
    total = 0.0
    for v in y:
        total = total + v * v
    for row in np.outer(y, x):
        total = total + row.max()
    return total + max(y) + sorted(y)[-1] + sum(list(y)) + len(y) + (1.0 if 7.0 in y else 2.0)


def joined(x):
    y, z = np.zeros(2), np.zeros(2)
    y[0] = x[1]
    together = np.concatenate([y, z, x])
    return (together**2).sum() + np.stack([y, z]).sum() + np.dot(y, z + 1.0) + np.hypot(y, 1.0).sum()


def made_of_lists(x):
    v = np.array([0.0, 1.0, 2.0])
    v[1] = x[1]
    w = v.copy()
    w[0] = 3.0 * x[0]
    u = np.asarray(v)
    u[2] = x[2] ** 2
    return (v * w).sum()


def reshaped(x):
    y = np.arange(6.0)
    z = y.reshape(2, 3)
    z[0] = x
    turned = y.reshape(3, 2).T
    return (turned * turned).sum() + y[3:].sum() + np.reshape(y, (3, 2))[0, 1] + np.transpose(z)[2, 0]


def methods(x):
    y = np.zeros(4)
    y.fill(x[0])
    y.put([1], x[1])
    y.sort()
    z = np.ones(3)
    return 2.0 * y[0] + y[3] + y.mean() + z.dot(x) + z.clip(x, 2.0).sum() + y.cumsum()[2] + y.tolist()[1]


def beside_numbers(x):
    y = np.zeros(2)
    y[0] = x[0]
    z = (x[1] * y).sum() + (y * x[1]).sum()
    return z + (y / x[2])[0] + (2.0 - y)[0] + y.max() + (y == x[0]).sum()


def shown(x):
    y = np.zeros(2)
    y[0] = x[0]
    return y[0] if "0.7" in f"{y}" and "0.7" in repr(y) and "0.7" in f"{y[0]}" else 2.0 * y[0]


def passive(x):
    w = np.zeros((3, 3))
    w[0, 1] = 3.0
    b = np.linalg.inv(w + np.eye(3))
    b[0] *= 2.0
    return (b @ x).sum() + math.cos(w[0, 1]) + float(w[0, 1])


def strides(x):
    y = np.zeros(5)
    v = y[::-2]
    v[0], v[1] = x[0], x[1]
    y[2] *= x[2]
    return (y * np.arange(5)).sum()


def three_dimensions(x):
    y = np.zeros((2, 3, 4))
    y[1, :, 2] = x
    y[..., 0] = 1.0
    y[0, 1:] = x[0]
    y.shape = (6, 4)
    return (y.reshape(2, 3, 4).transpose(2, 0, 1) ** 2).sum() + y[5, 2]


def inner_gradient(x):
    y = np.zeros(2)
    y[0] = ft.grad(lambda t: t**3)(x[0])
    return y[0] + ft.grad(lambda z: (z * y).sum())(np.ones(2))[0] * x[1]


PROGRAMS = [
    f for f in list(globals().values()) if getattr(f, "__code__", None) and f.__code__.co_varnames[:1] == ("x",)
]


@pytest.mark.parametrize("f", PROGRAMS, ids=[f.__name__ for f in PROGRAMS])
def test_program(f):
    agree(f, V, grads=f is not shown)


@pytest.mark.parametrize("f", [recurrence, gram_matrix, overlapping_views], ids=lambda f: f.__name__)
def test_hessians(f):
    np.testing.assert_allclose(ft.hessian(f)(V), ft.jacfwd(ft.jacrev(f))(V), rtol=1e-12, atol=1e-12)


STEP = st.one_of(
    st.tuples(st.just("element"), st.integers(0, 11), st.integers(0, 2)),
    st.tuples(st.just("row"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("scaled column"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("plain"), st.integers(0, 11), st.integers(0, 2)),
    st.tuples(st.just("from elsewhere"), st.integers(0, 11), st.integers(0, 11)),
    st.tuples(st.just("whole"), st.integers(0, 2), st.integers(0, 2)),
)


@settings(deadline=None)
@given(st.lists(STEP, max_size=8), st.sampled_from("CF"), st.booleans())
def test_any_order_of_writes(steps, order, early):
    def f(x):
        y = np.zeros((3, 4), order=order)
        views = [y, y.T, y[::-1]] if early else [y]
        for kind, i, j in steps:
            view = views[j % len(views)]
            if kind == "element":
                view[np.unravel_index(i, view.shape)] = x[j] * (i + 1)
            elif kind == "row":
                view[i] += x[j]
            elif kind == "scaled column":
                view[:, i % view.shape[1]] *= x[j] + 1.0
            elif kind == "plain":
                view[np.unravel_index(i, view.shape)] = 0.5 * i
            elif kind == "from elsewhere":
                y[np.unravel_index(i, y.shape)] = y[np.unravel_index(j, y.shape)] + 1.0
            else:
                y += x[i]
        return (y * np.arange(12.0).reshape(3, 4)).sum() + views[-1][0, 1]

    value, gradient = ft.value_and_grad(f)(V)
    np.testing.assert_allclose(value, f(V), rtol=1e-13, atol=1e-13)
    slopes = [(f(V + 1e-4 * e) - f(V - 1e-4 * e)) / 2e-4 for e in np.eye(3)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-5)


class Pair(NamedTuple):
    first: np.ndarray
    second: float


def test_what_is_returned_is_an_ordinary_array():
    def f(x):
        y, z = np.zeros(3), np.ones(2)
        y[0] = x[0]
        return Pair(y, x[1]), {"passive": z, "traced": y, "in a list": [z]}

    (out, slope), aux = (
        ft.jvp(f, (V,), (np.ones(3),), has_aux=True)[:2],
        ft.jvp(f, (V,), (np.ones(3),), has_aux=True)[2],
    )
    for array in (out.first, slope.first, aux["passive"], aux["traced"], aux["in a list"][0]):
        assert type(array) is np.ndarray
    assert type(ft.record(lambda x: np.zeros(3), V)(V)) is np.ndarray


def test_globals_and_users_objects_keep_working_arrays():
    def f(x):
        global kept_globally
        kept_globally = np.zeros(3)
        KEPT[:] = [np.zeros(3), np.zeros(3)]
        KEPT[1][0] = x[0]
        return x.sum()

    ft.grad(f)(V)
    assert type(kept_globally) is np.ndarray
    KEPT[0][0] = 1.0
    assert KEPT[0].sum() == 1.0
    with pytest.raises(LeakError, match="used after its recording ended"):
        KEPT[1].sum()


def test_numbers_of_other_kinds_are_not_mixed():
    with pytest.raises(ArgumentError, match="float64 traced values cannot be written into a float32 array"):
        ft.grad(lambda x: fill(np.zeros(3, np.float32), x))(V)
    with pytest.raises(ArgumentError, match=r"make it with dtype=np\.float32"):
        ft.grad(lambda x: fill(np.zeros(3), x))(V.astype(np.float32))
    assert ft.grad(lambda x: fill(np.zeros(3, np.float32), x))(V.astype(np.float32)).dtype == np.float32


def fill(y, x):
    y[0] = x[0]
    return y.sum()


def test_what_is_left_behind_are_no_numbers_of_the_past():
    def f(x):
        y = np.ones(3)
        memory = memoryview(y)
        y[0] = x[0]
        KEPT[:] = memory.tolist()
        return y.sum()

    ft.grad(f)(V)
    assert np.isnan(KEPT).all()
