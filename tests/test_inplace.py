"""Assignment into traced arrays: NumPy's aliasing, what is read-only, and what it costs."""

import numba
import numpy as np
import pytest
from agree import agree
from inplace import MASK, PROGRAMS, V

import fasttape as ft
from fasttape.errors import MutationError, UnsupportedError

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


WRITES = {
    "copyto": lambda y, x: np.copyto(y, x[::-1]),
    "copyto a number": lambda y, x: np.copyto(y, x[2]),
    "copyto where": lambda y, x: np.copyto(y, x, where=MASK),
    "copyto where traced": lambda y, x: np.copyto(y, 2.0, where=x > 0.5),
    "put": lambda y, x: np.put(y, [4, -6], x[1:3]),
    "put cycled": lambda y, x: np.put(y, [0, 3, 5], x[1:3]),
    "put clipped": lambda y, x: np.put(y, [0, 9], x[1:3], mode="clip"),
    "put in a view": lambda y, x: y[::2].put([1], x[0]),
    "place": lambda y, x: np.place(y, MASK, x[:2]),
    "putmask": lambda y, x: np.putmask(y, MASK, x[::-1]),
    "putmask cycled": lambda y, x: np.putmask(y, MASK, x[:2]),
    "fill_diagonal": lambda y, x: np.fill_diagonal(y.reshape(2, 3), x[5]),
    "fill_diagonal wrapped": lambda y, x: np.fill_diagonal(y.reshape(6, 1), x[4:], wrap=True),
    "put_along_axis": lambda y, x: np.put_along_axis(y.reshape(2, 3), np.array([[2], [0]]), x[:2].reshape(2, 1), 1),
    "put_along_axis flat": lambda y, x: np.put_along_axis(y, np.array([5, 1]), x[:2], None),
    "add.at": lambda y, x: np.add.at(y, [0, 3, 0, 0], x[:4]),
    "add.at of one number": lambda y, x: np.add.at(y, [1, 1], x[0]),
    "subtract.at a slice": lambda y, x: np.subtract.at(y, slice(1, 4), x[:3]),
    "multiply.at rows": lambda y, x: np.multiply.at(y.reshape(2, 3), ([1, 1], [0, 2]), x[:2]),
    "negative.at": lambda y, x: np.negative.at(y, [2, 2, 4]),
}


@pytest.mark.parametrize("name", WRITES)
def test_functions_that_write(name):
    write = WRITES[name]

    def f(x):
        y = x * 1.5
        write(y, x)
        return np.sum(y * y * np.arange(1.0, 7.0))

    def g(x):
        y = np.linspace(0.0, 1.0, 6)
        write(y, x)
        return np.sum(y * y * np.arange(1.0, 7.0))

    for each in (f, g):
        value, gradient = ft.value_and_grad(each)(V)
        np.testing.assert_allclose(value, each(V), rtol=1e-14)
        steps = 1e-6 * np.eye(6)
        np.testing.assert_allclose(gradient, [(each(V + e) - each(V - e)) / 2e-6 for e in steps], rtol=1e-6, atol=1e-7)


def test_functions_that_write_take_no_options_that_depend_on_numbers():
    with pytest.raises(UnsupportedError, match="index"):
        ft.record(lambda x: np.put(x * 1.0, x[0], 1.0), V)


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
