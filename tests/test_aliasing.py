"""Random programs of views and assignments, on a plain array and on a traced one.

Every element is a linear function of the inputs, and NumPy computes its coefficients exactly when the same program runs
on arrays whose last axis holds the coefficients: an oracle for the derivative without differences.
"""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fasttape as ft

SHAPE = (4, 3)
SIZE = 12

INDICES = st.one_of(
    st.tuples(st.integers(-4, 3), st.integers(-3, 2)),
    st.integers(-4, 3),
    st.builds(
        slice, st.integers(-5, 5) | st.none(), st.integers(-5, 5) | st.none(), st.sampled_from([None, 1, 2, -1, -2])
    ),
    st.lists(st.integers(-4, 3), max_size=4).map(lambda x: np.array(x, np.intp)),
    st.lists(st.booleans(), min_size=4, max_size=4).map(np.array),
    st.just(Ellipsis),
)
ROWS = st.builds(slice, st.integers(-4, 4) | st.none(), st.none(), st.sampled_from([1, 2, -1]))
STEPS = st.one_of(
    st.tuples(st.just("view"), st.integers(0, 9), INDICES),
    st.tuples(st.just("transpose"), st.integers(0, 9), st.none()),
    st.tuples(st.just("reshape"), st.integers(0, 9), st.sampled_from([(-1,), (1, -1), (-1, 1)])),
    st.tuples(st.just("copy"), st.integers(0, 9), st.none()),
    st.tuples(st.just("double"), st.integers(0, 9), st.none()),
    st.tuples(st.just("assign"), st.integers(0, 9), st.tuples(INDICES, st.integers(0, 9))),
    st.tuples(st.just("add"), st.integers(0, 9), st.tuples(INDICES, st.integers(0, 9))),
    st.tuples(st.just("number"), st.integers(0, 9), INDICES),
    st.tuples(st.just("rows"), st.integers(0, 9), st.tuples(ROWS, ROWS)),
)


class Coefficients:
    """Plain arrays with one more axis, which says how much of each input an element holds; looks like an array."""

    def __init__(self, numbers):
        self.numbers = numbers

    shape = property(lambda self: self.numbers.shape[:-1])

    def __getitem__(self, key):
        return Coefficients(self.numbers[with_axis(key)])

    def __setitem__(self, key, value):
        self.numbers[with_axis(key)] = value.numbers if isinstance(value, Coefficients) else constant(value)

    def __add__(self, other):
        return Coefficients(self.numbers + other.numbers)

    def __mul__(self, factor):
        return Coefficients(self.numbers * factor)

    def reshape(self, shape):
        return Coefficients(self.numbers.reshape(*shape, SIZE + 1))

    @property
    def T(self):
        return Coefficients(self.numbers.transpose(*range(self.numbers.ndim - 2, -1, -1), -1))

    def copy(self):
        return Coefficients(self.numbers.copy())


def with_axis(key):
    return (*key, slice(None)) if isinstance(key, tuple) else (Ellipsis, slice(None)) if key is Ellipsis else key


def constant(value):
    """The coefficients of a number: the last one multiplies 1."""
    return np.append(np.zeros(SIZE), value)


def run(x, steps):
    """The arrays after all steps; a step that does not apply to the shapes at hand is left out."""
    arrays = [x * 1.0]
    for what, which, how in steps:
        y = arrays[which % len(arrays)]
        try:
            apply(what, y, how, arrays)
        except (IndexError, ValueError, TypeError):
            continue
    return arrays


def apply(what, y, how, arrays):
    if what == "view":
        arrays.append(alive(y[how]))
    elif what == "transpose":
        arrays.append(y.T)
    elif what == "reshape":
        arrays.append(y.reshape(how))
    elif what == "copy":
        arrays.append(y.copy())
    elif what == "double":
        arrays.append(y * 2.0)
    elif what == "number":
        y[how] = 3.0
    elif what == "rows":
        check_fit(y, how[0], y[how[1]])
        y[how[0]] = y[how[1]]
    else:
        key, other = how
        value = arrays[other % len(arrays)]
        check_fit(y, key, value)
        y[key] = value if what == "assign" else y[key] + value


def alive(part):
    """Only arrays are kept: an element has neither a shape nor an alias."""
    if part.shape == ():
        raise ValueError("an element")
    return part


def check_fit(y, key, value):
    """Same shapes only, so that the axis of coefficients plays no part in broadcasting."""
    if y[key].shape != value.shape or value.shape == ():
        raise ValueError("another shape")


def reference(steps):
    """Coefficients of every element of every array."""
    start = np.zeros((*SHAPE, SIZE + 1))
    start.reshape(SIZE, SIZE + 1)[:, :SIZE] = np.eye(SIZE)
    return [np.ascontiguousarray(c.numbers) for c in run(Coefficients(start), steps)]


@given(st.lists(STEPS, max_size=12), st.integers(0, 2**32 - 1))
@example(
    [
        ("view", 0, (0, 0)),
        ("copy", 0, None),
        ("view", 0, ...),
        ("number", 0, (0, 0)),
        ("add", 1, (slice(-1, None, -1), 0)),
    ],
    0,
)
@settings(max_examples=300, deadline=None)
def test_views_and_assignments(steps, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 8, SHAPE).astype(float)  # small integers: everything is exact
    expected = reference(steps)
    tape = ft.record(lambda x: [y * 1.0 if y.shape == () else y.copy() for y in run(x, steps)], x)
    found = tape(x)
    assert [y.shape for y in found] == [c.shape[:-1] for c in expected]
    for y, c in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, c[..., :SIZE] @ x.reshape(-1) + c[..., SIZE])
    weights = [rng.integers(-3, 3, c.shape[:-1]).astype(float) for c in expected]
    slope = ft.grad(lambda x: sum(np.sum(y * w) for y, w in zip(run(x, steps), weights, strict=True)))(x)
    exact = sum(np.tensordot(w, c[..., :SIZE], w.ndim) for w, c in zip(weights, expected, strict=True))
    np.testing.assert_array_equal(slope.reshape(-1), exact)
