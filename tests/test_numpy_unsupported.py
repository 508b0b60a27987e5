"""What NumPy offers and fasttape does not record: it must say so by name, and never compute on untraced values.

The tests run through NumPy's namespaces as they are installed, so that a function that a new version brings is covered.
"""

import copy
import operator

import numpy as np
import pytest
from agree import same

import fasttape as ft
from fasttape.errors import ConversionError, FastTapeError, UnsupportedError
from fasttape.ops import OPS
from fasttape.recorders import numpy_formulas, numpy_names

X = np.array([0.3, 1.2, 0.7, 2.1])
M = X.reshape(2, 2)
PLAIN = np.zeros(4)  # not made by the recorded function
NAMESPACES = {"numpy": np, "numpy.linalg": np.linalg, "numpy.fft": np.fft}
WRITING = {"numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt"}  # into the folder of the tests
DISPATCHING = type(np.sum)
FUNCTIONS = sorted(
    {
        f"{space}.{name}": getattr(module, name)
        for space, module in NAMESPACES.items()
        for name in dir(module)
        if isinstance(getattr(module, name), DISPATCHING | np.ufunc) and f"{space}.{name}" not in WRITING
    }.items()
)
EVERY = pytest.mark.parametrize("function", [f for _, f in FUNCTIONS], ids=[name for name, _ in FUNCTIONS])
# One dispatches on an argument, so any of these calls that NumPy itself accepts must be right or refused.
CALLS = {
    "x": lambda f, x: f(x),
    "x, x": lambda f, x: f(x, x),
    "x, 1": lambda f, x: f(x, 1),
    "1, x": lambda f, x: f(1, x),
    "x, x, x": lambda f, x: f(x, x, x),
    "[x, x]": lambda f, x: f([x, x]),
    "x, [0, 1]": lambda f, x: f(x, [0, 1]),
    "matrix": lambda f, x: f(x.reshape(2, 2)),
    "matrix, matrix": lambda f, x: f(x.reshape(2, 2), x.reshape(2, 2)),
    "matrix, 0": lambda f, x: f(x.reshape(2, 2), 0),
    "matrix, (1, 0)": lambda f, x: f(x.reshape(2, 2), (1, 0)),
    "matrix, 0, 1": lambda f, x: f(x.reshape(2, 2), 0, 1),
    "constant, x": lambda f, x: f(np.array([0, 1, 1, 0]), x),
    "subscripts, x": lambda f, x: f("i,i", x, x),
    "x, plain out": lambda f, x: f(x, out=np.zeros(4)),
    "x, traced out": lambda f, x: f(x, out=x * 0.0),
    "x, axis": lambda f, x: f(x.reshape(2, 2), axis=-1),
    "element": lambda f, x: f(x[0]),
    "elements": lambda f, x: f([x[0], x[1]]),
    "element, x": lambda f, x: f(x[0], x),
}


# What NumPy refuses and we do not, harmlessly: a single bound (as ndarray.clip takes it), an array as a dtype or an
# order, operations on truth values, of which a traced scalar does not know that it is one, and scalars where
# polynomials are expected.
LENIENT = (
    np.clip, np.can_cast, np.copy, np.empty_like, np.ones_like, np.zeros_like, np.invert, np.astype, np.poly, np.roots,
    np.common_type, np.result_type,
)  # fmt: skip


def plain_result(call, function):
    """(whether NumPy accepts the call, what it returns)."""
    try:
        with np.errstate(all="ignore"):
            return True, call(function, X.copy())
    except (Exception, Warning):
        return False, None


def comparable(expected):
    """Whether a result is made of numbers, so that it can be compared with the recorded one."""
    if isinstance(expected, list | tuple):
        return all(map(comparable, expected))
    return isinstance(expected, np.ndarray | np.generic | float | int) and np.asarray(expected).dtype.kind in "fiub"


@EVERY
def test_every_function_is_right_or_refused(function):
    for call in CALLS.values():
        check_call(function, call)


def check_call(function, call):
    """One call: the numbers of NumPy, an error of ours, or some error where NumPy raises one."""
    accepted, expected = plain_result(call, function)
    try:
        found = ft.record(lambda x: call(function, x), X)(X)
    except FastTapeError:
        return
    except Exception as error:
        if accepted or isinstance(error, RecursionError):
            raise AssertionError(f"NumPy returns {expected!r}, but fasttape raises {error!r}") from error
        return
    if function in LENIENT and not accepted:
        return
    assert accepted, f"NumPy refuses the call, but fasttape returns {found!r}"
    if not comparable(expected):
        assert found == expected
    elif function is not np.empty_like:
        same_numbers(found, expected)


def same_numbers(found, expected):
    """As `same`, but counts of truth values may be floats in a recording of floats, and truth values numbers."""
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            same_numbers(x, y)
        return
    if np.asarray(expected).dtype.kind == "f" and np.ndim(expected):
        same(found, expected, 1e-12)
        return
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


UFUNCS = {getattr(np, name[6:]) for op in OPS for name in op.names if name.startswith("numpy.")}
UFUNCS |= {np.matmul, *numpy_formulas.UFUNCS}


@EVERY
def test_what_is_not_recorded_is_named(function):
    recorded = function in UFUNCS if isinstance(function, np.ufunc) else function in numpy_names.FUNCTIONS
    if not recorded:
        with pytest.raises(UnsupportedError, match=rf"{function.__name__}\b.*cannot be recorded"):
            ft.record(lambda x: dispatch(function, x), X)


def dispatch(function, x):
    """Call a function through the protocol of the traced array, whatever its arguments are."""
    if isinstance(function, np.ufunc):
        return function(*[x] * function.nin)
    return x.__array_function__(function, (type(x),), (x,), {})


@pytest.mark.parametrize("method", ["accumulate", "outer", "reduceat", "at", "reduce"])
@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.subtract, np.hypot], ids=lambda f: f.__name__)
def test_ufunc_methods_are_right_or_refused(ufunc, method):
    arguments = {"outer": [X], "reduceat": [[0, 2]], "at": [[0, 1], 2.0]}.get(method, [])

    def f(x):
        y = x * 1.0
        made = getattr(ufunc, method)(y, *arguments)
        return y if made is None else made

    try:
        found = ft.record(f, X)(X)
    except UnsupportedError as error:
        refusal = str(error)
    else:
        same(found, f(X))
        return
    assert f"numpy.{ufunc.__name__}.{method} cannot be recorded" in refusal


METHODS = sorted(name for name in dir(np.ndarray) if not name.startswith("__"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_an_array_works_or_is_refused(name):
    def f(x):
        attribute = getattr(x, name)
        return attribute() if callable(attribute) else attribute

    try:
        expected, accepted = f(X.copy()), True
    except Exception:
        expected, accepted = None, False
    try:
        found = ft.record(lambda x: f(x * 1.0), X)(X)
    except FastTapeError:
        return
    except (TypeError, ValueError, AttributeError) as error:
        if accepted or isinstance(error, AttributeError):
            raise AssertionError(f"NumPy returns {expected!r}, but fasttape raises {error!r}") from error
        return
    if comparable(expected):
        same_numbers(found, expected)
    elif name not in ("flat", "flags"):
        assert found == expected


def test_methods_that_are_refused_are_named():
    for name in ("tobytes", "byteswap", "resize"):
        with pytest.raises(UnsupportedError, match=name):
            ft.record(lambda x, name=name: getattr(x * 1.0, name)(), X)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="traced array has no attribute 'foo'"):
        ft.record(lambda x: x.foo, X)
    ft.record(lambda x: x if not hasattr(x, "foo") else None, X)


def test_error_names_the_nearest_function():
    with pytest.raises(
        UnsupportedError, match=r"numpy\.argpartition cannot be recorded; the nearest that can: numpy\.argsort"
    ):
        ft.record(lambda x: np.argpartition(x, 2), X)


# fmt: off
CONVERSIONS = {
    "float": lambda x: float(x.sum()),
    "float of an array": lambda x: float(x[:1]),
    "complex": lambda x: complex(x.sum()),
    "complex of an array": lambda x: complex(x[:1].reshape(())),
    "element of a plain array": lambda x: operator.setitem(PLAIN.copy(), 0, x[0]),
    "slice of a plain array": lambda x: operator.setitem(PLAIN.copy(), slice(None), x),
    "slice of a plain array by a scalar": lambda x: operator.setitem(PLAIN.copy(), slice(None), x[0]),
    "mask of a plain array": lambda x: operator.setitem(PLAIN.copy(), X > 1.0, x[:2]),
    "np.float64": lambda x: np.float64(x[0]),
    "np.fromiter": lambda x: np.fromiter(x, float),
    "np.polynomial": lambda x: np.polynomial.Polynomial(x)(0.5),
    "memoryview": lambda x: np.frombuffer(x),
}
# fmt: on


@pytest.mark.parametrize("f", CONVERSIONS.values(), ids=CONVERSIONS.keys())
def test_nothing_becomes_a_plain_number(f):
    with pytest.raises((ConversionError, TypeError), match=r"would lose its derivative|bytes-like"):
        ft.record(f, X)


def test_arrays_of_objects_never_arise():
    seen = []

    def f(x):
        made = [np.array([x[0], 1.0]), np.asarray([x, x]), np.stack([x[0], x[1]]), np.array(x, ndmin=2)]
        seen.extend(made)
        return [y * 2.0 for y in made]

    same(ft.record(f, X)(X), f(X))
    assert [type(y).__name__ for y in seen[:4]] == ["TracedArray"] * 4


def test_copies_of_containers_hold_copies_of_arrays():
    def f(x):
        state = copy.deepcopy({"x": x})
        other = copy.copy(x)
        state["x"][0] = 0.0
        other[1] = 5.0
        return state["x"].sum() + other.sum() * 2.0 + x.sum() * 3.0

    assert ft.grad(f)(X).tolist() == [5.0, 4.0, 6.0, 6.0]


def test_truth_of_an_array_is_ambiguous():
    with pytest.raises(ValueError, match="ambiguous"):
        ft.record(lambda x: 1.0 if x > 0.5 else x, X)
