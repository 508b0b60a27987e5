"""Assignment into traced arrays with NumPy's aliasing: the same function on plain arrays gives the same values.

Whether an element aliases another one is a question of positions only, so programs of views and assignments are
compared exactly: each element of the result must hold the input that it holds in NumPy, or a sum of them.
"""

import copy

import numpy as np
import pytest
from agree import agree

import fasttape as ft
from fasttape.errors import ConversionError, MutationError, UnsupportedError

V = np.array([0.3, 1.2, 0.7, 2.1, 1.6, 0.9])
M = V.reshape(2, 3)
MASK = np.array([True, False, False, True, True, False])


def element(x):
    y = x * 1.0
    y[2] = x[0] * x[1]
    return y


def negative_index(x):
    y = x.copy()
    y[-1] = y[0] * 3.0
    return y * y


def view_before_write(x):
    y = x * 2.0
    view = y[1:4]
    y[2] = x[0]
    return view * y[:3]


def view_after_write(x):
    y = x * 2.0
    y[2] = x[0]
    view = y[1:4]
    y[3] = x[1] * x[1]
    return view * 2.0


def write_through_view(x):
    y = x * 2.0
    view = y[::2]
    view[1] = x[5]
    return y


def write_through_view_of_view(x):
    y = x * 2.0
    y[1:][::2][1] = x[0] ** 2
    return y


def slices_of_slices(x):
    y = np.exp(x)
    part = y[1:5]
    inner = part[1:3]
    inner[:] = x[0]
    part[0] = 4.0
    return y, part * inner[0]


def whole(x):
    y = x * 2.0
    view = y[2:4]
    y[:] = x * x
    return view, y


def ellipsis(x):
    y = x * 2.0
    y[...] = 3.0
    y[..., 0] = x[1]
    return y


def fancy(x):
    y = x * 2.0
    y[[0, 3]] = x[[1, 2]] ** 2
    return y


def fancy_repeated(x):
    y = x * 2.0
    y[[0, 0, 1]] = x[[1, 2, 3]]
    return y


def fancy_reads_copy(x):
    y = x * 2.0
    part = y[[0, 1]]
    part[0] = 7.0
    return y, part


def mask(x):
    y = x * 2.0
    y[MASK] = x[MASK] ** 2
    y[~MASK] = 1.5
    return y


def mask_reads_copy(x):
    y = x * 2.0
    part = y[MASK]
    part += 1.0
    return y, part


def fancy_2d(x):
    y = x.reshape(2, 3) * 1.0
    y[[0, 1], [2, 0]] = x[:2] * 3.0
    y[np.ix_([0], [0, 1])] = x[4]
    return y


def broadcasting(x):
    y = np.exp(x.reshape(2, 3))
    y[:] = x[:3]
    y[1] = x[0]
    y[:, 2] = 5.0
    return y


def broadcasting_column(x):
    y = np.exp(x.reshape(2, 3))
    y[...] = x[:2, None]
    return y


def leading_ones(x):
    y = x[:3] * 1.0
    y[:] = x[None, 3:]
    return y


def list_of_values(x):
    y = x * 1.0
    y[1:4] = [x[0], 2.0, x[1] * x[2]]
    y[4:] = [1, 2]
    return y


def augmented_whole(x):
    y = x * 2.0
    view = y[1:3]
    y += x
    y *= y
    y -= 1.0
    y /= 3
    y **= 2
    return y, view


def augmented_view(x):
    y = x * 2.0
    y[2:] += x[:4]
    y[:3] *= y[3:]
    return y


def augmented_element(x):
    y = x * 2.0
    y[0] += x[1] * x[1]
    y[0] *= y[1]
    return y


def augmented_fancy(x):
    y = x * 2.0
    y[[0, 0, 4]] += x[:3]
    y[MASK] -= 1.0
    return y


def augmented_remainder(x):
    y = x * 2.0
    y %= 0.7
    y //= 0.2
    return y + x


def augmented_product(x):
    y = x[:4].reshape(2, 2) * 1.0
    view = y[0]
    y @= x[2:].reshape(2, 2)
    return y, view


def augmented_name_of_a_scalar(x):
    total = x[0]
    kept = total
    total += x[1]
    return total * kept


def swap(x):
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    y[[2, 3]] = y[[3, 2]]
    return y * np.arange(6)


def swap_of_views(x):
    y = x * 1.0
    y[:2], y[2:4] = y[2:4].copy(), y[:2].copy()
    return y


def overlap_up(x):
    y = x * 2.0
    y[1:] = y[:-1]
    return y


def overlap_down(x):
    y = x * 2.0
    y[:-1] = y[1:]
    return y


def overlap_reversed(x):
    y = x * 2.0
    y[:] = y[::-1]
    return y


def overlap_augmented(x):
    y = x * 2.0
    y[1:] += y[:-1]
    return y


def overlap_transposed(x):
    y = x[:4].reshape(2, 2) * 2.0
    y[:] = y.T
    return y


def transposed(x):
    y = x.reshape(2, 3) * 2.0
    y.T[2, 0] = x[0]
    y.T[:2] += 1.0
    return y, y.T


def reshape_view(x):
    y = x * 2.0
    y.reshape(2, 3)[1, 1] = x[0]
    return y


def reshape_copy(x):
    y = x.reshape(2, 3) * 2.0
    y.T.reshape(-1)[0] = 9.0
    return y


def ravel_view(x):
    y = x.reshape(2, 3) * 2.0
    y.ravel()[4] = x[0]
    return y


def ravel_copy(x):
    y = x.reshape(2, 3) * 2.0
    y.T.ravel()[4] = 9.0
    return y


def flatten(x):
    y = x.reshape(2, 3) * 2.0
    y.flatten()[0] = 9.0
    return y


def flat(x):
    y = x.reshape(2, 3) * 2.0
    y.flat[4] = x[0]
    y.T.flat[1] = x[1]
    return y


def copies(x):
    y = x * 2.0
    other = y.copy()
    other[0] = 9.0
    y[1] = x[5]
    third = np.copy(y[1:3])
    third[0] = 1.0
    return y, other, third


def copies_of_containers(x):
    state = {"y": x * 2.0}
    saved = copy.deepcopy(state)
    state["y"][0] = 9.0
    return saved["y"] * state["y"]


def squeeze_and_expand(x):
    y = x * 2.0
    y[None, :, None][0, 1, 0] = x[0]
    np.squeeze(y[None])[2] = x[1]
    np.expand_dims(y, 1)[3, 0] = x[2]
    return y


def shape_functions_that_see(x):
    y = x.reshape(2, 3) * 2.0
    np.swapaxes(y, 0, 1)[0, 1] = x[0]
    np.flip(y)[0, 0] = x[1]
    np.moveaxis(y, 0, 1)[1, 0] = 4.0
    np.split(y, 3, axis=1)[2][:] = x[4]
    np.atleast_2d(y)[1, 1] = 3.0
    return y


def shape_functions_that_copy(x):
    y = x * 2.0
    for made in (np.concatenate([y, y]), np.stack([y, y])[0], np.roll(y, 1), np.repeat(y, 2), np.tile(y, 2), np.take(y, [0, 1])):
        made[0] = 9.0
    return y


def diagonal_of_copy(x):
    y = x[:4].reshape(2, 2) * 2.0
    y.flat[:: y.shape[1] + 1] = x[4:]
    return y


def fill(x):
    y = x * 2.0
    y[:3].fill(4.0)
    y[4:].fill(x[0])
    return y


def empty_assignment(x):
    y = x * 2.0
    y[3:3] = 5.0
    y[[]] = x[:0]
    y[2:1] += 1.0
    return y


def in_a_loop(x):
    y = x * 0.0
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = y[i - 1] * x[i] + np.sin(y[i - 1])
    return y


def zeros_like_is_plain(x):
    y = np.zeros_like(x) * x
    y[0] = x[1]
    return y


def out_argument(x):
    y = x * 2.0
    np.multiply(y[:3], x[3:], out=y[1:4])
    return y


def zero_dimensions(x):
    y = x[2, ...] * 1.0 if False else (x * 1.0)[2, ...]
    y[...] = x[0] * x[1]
    y += 1.0
    return y * 2.0


def element_of_a_row(x):
    rows = x.reshape(2, 3) * 1.0
    for row in rows:
        row[0] = row[1] * row[2]
    return rows


PROGRAMS = [f for f in list(globals().values()) if callable(f) and getattr(f, "__module__", "") == __name__]


@pytest.mark.parametrize("f", PROGRAMS, ids=[f.__name__ for f in PROGRAMS])
def test_program(f):
    agree(f, V, rtol=1e-12)


# fmt: off
READ_ONLY = {
    "element": lambda x: x.__setitem__(0, 1.0),
    "slice": lambda x: x.__setitem__(slice(1, 3), x[0]),
    "view": lambda x: x[1:].__setitem__(0, 1.0),
    "reshaped": lambda x: x.reshape(2, 3).__setitem__((0, 0), 1.0),
    "transposed": lambda x: x.T.__setitem__(0, 1.0),
    "raveled": lambda x: x.ravel().fill(1.0),
    "flat": lambda x: x.flat.__setitem__(0, 1.0),
    "augmented": lambda x: x.__iadd__(1.0),
    "augmented view": lambda x: x[::2].__imul__(2.0),
    "out": lambda x: np.exp(x, out=x),
    "split": lambda x: np.split(x, 2)[1].fill(0.0),
    "row": lambda x: next(iter(x.reshape(2, 3))).fill(0.0),
}
# fmt: on


@pytest.mark.parametrize("f", READ_ONLY.values(), ids=READ_ONLY.keys())
def test_arguments_are_read_only(f):
    with pytest.raises(MutationError, match=r"assign into x\.copy\(\)"):
        ft.record(f, V)


def test_arguments_in_containers_and_others_are_read_only():
    with pytest.raises(MutationError):
        ft.record(lambda x, other: other["y"].fill(0.0), V, {"y": V.copy()})
    assert V[0] == 0.3


def test_broadcast_views_are_read_only():
    for f in (lambda x: np.broadcast_to(x * 1.0, (2, 6)), lambda x: np.broadcast_arrays(x * 1.0, np.ones((2, 6)))[0]):
        with pytest.raises(MutationError, match="broadcast"):
            ft.record(lambda x, f=f: f(x).__setitem__(0, 1.0), V)


def test_shapes_that_do_not_fit_are_refused():
    for key, value in ((slice(0, 2), np.ones(3)), (slice(None), np.ones((2, 6))), (0, np.ones(2)), (10, 1.0)):
        plain = V.copy()
        with pytest.raises((ValueError, IndexError)):
            plain[key] = value
        with pytest.raises((ValueError, IndexError)):
            ft.record(lambda x, key=key, value=value: (x * 1.0).__setitem__(key, value), V)


def test_functions_that_write_are_refused():
    calls = (lambda y, x: np.copyto(y, x), lambda y, x: np.put(y, [0], x[0]), lambda y, x: np.place(y, MASK, [1.0]),
             lambda y, x: np.putmask(y, MASK, x), lambda y, x: np.fill_diagonal(y.reshape(2, 3), 0.0))  # fmt: skip
    for call in calls:
        with pytest.raises(UnsupportedError):
            ft.record(lambda x, call=call: call(x * 1.0, x), V)
    with pytest.raises((UnsupportedError, ConversionError)):
        ft.record(lambda x: np.copyto(np.zeros(6), x), V)


def test_gradients_of_earlier_results_survive_a_write():
    def f(x):
        y = x * 2.0
        early = np.sum(y * y)
        y[:] = 0.0
        return early + np.sum(y)

    np.testing.assert_allclose(ft.grad(f)(V), 8.0 * V)


def recurrence(n):
    def f(x):
        y = x * 0.0
        y[0] = x[0]
        for i in range(1, n):
            y[i] = 0.5 * y[i - 1] + x[i]
        return y[n - 1]

    return f


def test_a_loop_that_fills_an_array_records_a_constant_number_of_bytes_per_element():
    small, large = (ft.record(recurrence(n), np.ones(n)) for n in (100, 1600))
    assert large.nbytes < 17 * small.nbytes
    assert large.nbytes < 40 * 1600
    np.testing.assert_allclose(large.grad(np.ones(1600))[-3:], [0.25, 0.5, 1.0])


def sum_of_slices(n):
    def f(x):
        total = 0.0
        for i in range(n):
            total = total + x[i : i + 1].sum()
        return total * 1.0

    return f


def test_slices_of_an_array_cost_a_constant_number_of_bytes_each():
    small, large = (ft.record(sum_of_slices(n), np.ones(n)) for n in (100, 2000))
    assert large.nbytes < 21 * small.nbytes
    assert large.grad(np.ones(2000)).tolist() == [1.0] * 2000


def test_writes_into_slices_cost_a_constant_number_of_bytes_each():
    def f(n):
        def run(x):
            y = x * 1.0
            for i in range(0, n, 4):
                y[i : i + 4] = y[i : i + 4] * 2.0
            return y.sum()

        return run

    small, large = (ft.record(f(n), np.ones(n)) for n in (100, 2000))
    assert large.nbytes < 21 * small.nbytes
    assert large.grad(np.ones(2000)).tolist() == [2.0] * 2000
