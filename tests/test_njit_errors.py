"""What compiled functions do that cannot be recorded: one line, which names the construct and where it stands."""

import collections
import math

import numba
import numpy as np
import pytest
from numba import config, float64, typed, types
from numba.experimental import jitclass

import fasttape as ft
from fasttape.errors import FastTapeError, OutputError, UnsupportedError

compiled_only = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="without compilation this is plain Python")
LONGEST = 400  # characters of a message that is no page


@jitclass([("value", float64)])
class Box:
    def __init__(self, value):
        self.value = value


@numba.njit
def boxes(x):
    box = Box(x)
    return box.value * 2.0


@numba.njit
def typed_dict(x):
    found = typed.Dict.empty(types.unicode_type, types.float64)
    found["a"] = x
    return found["a"] * x


@numba.njit
def truncates(x):
    counts = np.zeros(3, np.int64)
    counts[0] = x
    return counts[0] * x


@numba.njit
def complex_number(x):
    z = complex(x, 1.0)
    return (z * z).real


@numba.njit
def eigenvalues(x):
    return np.linalg.eigvals(np.outer(np.array([x, 1.0]), np.array([1.0, x])) + np.eye(2))[0]


@numba.njit
def nonsense(x):
    return x + "a"


@numba.njit
def object_mode(x):
    with numba.objmode(y="float64"):
        y = math.sin(x)
    return y * x


CASES = {
    boxes: ("jitclass", "box = Box(x)"),
    typed_dict: ("typed dict", 'found["a"] = x'),
    truncates: ("integer array", "counts[0] = x"),
    complex_number: ("complex", "z = complex(x, 1.0)"),
    eigenvalues: ("eigvals", "np.linalg.eigvals"),
}
each_case = pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)


def check(error, f):
    construct, code = CASES[f]
    message = str(error.value)
    assert len(message) < LONGEST
    assert construct in message
    assert "test_njit_errors.py" in message or isinstance(error.value, ft.errors.ConversionError)
    return message, code


@compiled_only
@each_case
def test_compiled_callers_get_one_line(f):
    caller = ft.njit_value_and_grad(f)
    with pytest.raises(FastTapeError) as error:
        caller(2.5)
    message, code = check(error, f)
    assert code in message or f is boxes  # of which the line is in the class


@compiled_only
@pytest.mark.parametrize("transform", [ft.grad, ft.value_and_grad, lambda f: lambda x: ft.record(f, x), ft.compile])
@pytest.mark.parametrize("f", [boxes, typed_dict, truncates], ids=lambda f: f.__name__)
def test_python_callers_get_one_line(f, transform):
    with pytest.raises(FastTapeError) as error:
        transform(f)(2.5)
    message, code = check(error, f)
    assert code in message
    assert "nopython" not in message


@pytest.mark.parametrize("f", [complex_number, eigenvalues], ids=lambda f: f.__name__)
def test_what_neither_recorder_takes(f):
    with pytest.raises(FastTapeError, match=CASES[f][0]):
        ft.grad(f)(2.5)


@compiled_only
def test_an_error_in_the_function_itself_names_its_line():
    with pytest.raises(UnsupportedError, match=r"test_njit_errors.py:\d+ \(return x \+ \"a\"\).* add\("):
        ft.njit_value_and_grad(nonsense)(2.5)


def test_an_error_in_the_function_itself_from_python():
    with pytest.raises(TypeError):
        ft.grad(nonsense)(2.5)


def test_python_in_compiled_code_is_recorded_as_python():
    value, slope = ft.value_and_grad(object_mode)(2.5)
    assert (value, slope) == pytest.approx((2.5 * math.sin(2.5), math.sin(2.5) + 2.5 * math.cos(2.5)), rel=1e-15)


@compiled_only
def test_object_mode_is_nothing_for_compiled_callers():
    with pytest.raises(UnsupportedError, match="object-mode block"):
        ft.njit_value_and_grad(object_mode)(2.5)


@numba.njit
def nothing(x):
    pass


@numba.njit
def an_array(x):
    return np.array([x, x])


@numba.njit
def two(x):
    return x, x


@compiled_only
@pytest.mark.parametrize(("f", "words"), [(nothing, "nothing"), (an_array, "an array"), (two, "a tuple of 2")])
def test_compiled_callers_need_one_number(f, words):
    with pytest.raises(OutputError, match=words):
        ft.njit_value_and_grad(f)(2.5)


@numba.njit
def picky(x):
    if x > 1.0:
        raise ValueError("too large", x)
    return x * x


@pytest.mark.parametrize("run", [ft.grad(picky), lambda x: ft.record(picky, x), lambda x: ft.vjp(picky, x)])
def test_exceptions_show_numbers(run):
    with pytest.raises(ValueError, match="too large") as error:
        run(2.5)
    assert error.value.args == ("too large", 2.5)
    assert ft.grad(picky)(0.5) == 1.0


def test_exceptions_of_python_code_show_numbers():
    def f(x):
        raise KeyError("missing", [x * 2.0])

    with pytest.raises(KeyError) as error:
        ft.grad(f)(2.5)
    assert error.value.args == ("missing", [5.0])


@numba.njit
def shows(x):
    print("x =", x)  # noqa: T201
    return x * x


@compiled_only
def test_what_is_printed_is_the_value(capfd):
    assert ft.grad(shows)(2.5) == 5.0
    assert capfd.readouterr().out == "x = 2.5\n"


@numba.njit
def logarithm(x):
    return math.log(x) * 0.0 + x


def test_nan_goes_where_it_goes_in_the_plain_function():
    plain, (value, slope) = logarithm(np.nan), ft.value_and_grad(logarithm)(np.nan)
    assert np.isnan(plain) == np.isnan(value)
    assert slope == pytest.approx(1.0, nan_ok=True)


@numba.njit
def bounded(x):
    s, weights = 0.0, np.array([1.0, 2.0, 3.0])
    for _ in range(int(x)):
        s += x * weights[int(x)]
    return s


def test_whole_numbers_of_active_ones_bound_loops_and_index():
    assert ft.value_and_grad(bounded)(2.5) == (15.0, 6.0)
    tape = ft.record(bounded, 2.5)
    assert tape(2.25) == 13.5
    with pytest.raises(ft.errors.ReplayError):
        tape(1.5)


Point = collections.namedtuple("Point", ["x", "y"])


@numba.njit
def product_of_lists(x):
    items = [x, x * 2.0]
    items.append(x * 3.0)
    point, s = Point(items[0], items[1]), 0.0
    for item in items:
        s += item * item
    return s * point.x + point.y


def test_lists_and_named_tuples_hold_active_numbers():
    assert ft.value_and_grad(product_of_lists)(2.0) == (116.0, 170.0)


@compiled_only
def test_the_python_function_under_a_compiled_one():
    assert ft.grad(lambda x: product_of_lists.py_func(x) * logarithm(x))(2.0) == pytest.approx(170.0 * 2.0 + 116.0)
