"""Assignment into traced arrays: NumPy's aliasing, what is read-only, and what it costs."""

import numba
import numpy as np
import pytest
from agree import agree
from inplace import MASK, PROGRAMS, V

import fasttape as ft
from fasttape.errors import ConversionError, MutationError, UnsupportedError

MANY = 1_600 if numba.config.DISABLE_JIT else 10_000
FEW = 100


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
    small, large = (ft.record(recurrence(n), np.ones(n)) for n in (FEW, MANY))
    assert large.nbytes < 1.05 * MANY / FEW * small.nbytes
    assert large.nbytes < 40 * MANY
    np.testing.assert_allclose(large.grad(np.ones(MANY))[-3:], [0.25, 0.5, 1.0])


def sum_of_slices(n):
    def f(x):
        total = 0.0
        for i in range(n):
            total = total + x[i : i + 1].sum()
        return total * 1.0

    return f


def test_slices_of_an_array_cost_a_constant_number_of_bytes_each():
    small, large = (ft.record(sum_of_slices(n), np.ones(n)) for n in (FEW, MANY))
    assert large.nbytes < 1.05 * MANY / FEW * small.nbytes
    assert large.grad(np.ones(MANY)).tolist() == [1.0] * MANY


def test_writes_into_slices_cost_a_constant_number_of_bytes_each():
    def f(n):
        def run(x):
            y = x * 1.0
            for i in range(0, n, 4):
                y[i : i + 4] = y[i : i + 4] * 2.0
            return y.sum()

        return run

    small, large = (ft.record(f(n), np.ones(n)) for n in (FEW, MANY))
    assert large.nbytes < 1.05 * MANY / FEW * small.nbytes
    assert large.grad(np.ones(MANY)).tolist() == [2.0] * MANY
