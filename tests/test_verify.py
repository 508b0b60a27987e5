"""Every kind of broken program is refused before a kernel sees it; every recorded one is accepted."""

import math

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import InvalidTapeError
from fasttape.layout import CODE, FIRST, LENGTH, LIST, NDIM, OPERANDS, SHAPE, SIZE, STRIDES
from fasttape.verify import verify


def scalars(x, y):
    return math.exp(x * y) + 2.5 * math.sin(x) if x < y else x**3


def arrays(x, y):
    z = np.where(x > 0.0, x, 0.5) @ y
    z = z.copy()
    z[0] = 3.0 * z[1]
    return np.sum(np.tanh(z[::-1]), axis=0)


@pytest.fixture
def scalar_program():
    return ft.record(scalars, 0.5, 2.0).program


@pytest.fixture
def array_program():
    rng = np.random.default_rng(1)
    return ft.record(arrays, rng.normal(size=(3, 4)), rng.normal(size=(4, 2))).program


def broken(program, column, index, value):
    changed = getattr(program, column).copy()
    changed[index] = value
    return program._replace(**{column: changed})


def test_recorded_programs_are_valid(scalar_program, array_program):
    assert verify(scalar_program) is scalar_program
    assert verify(array_program) is array_program


@pytest.mark.parametrize(
    ("column", "value"),
    [("ops", 200), ("a", 2**31), ("b", 2**31), ("outputs", 10_000)],
)
def test_scalar_columns(scalar_program, column, value):
    with pytest.raises(InvalidTapeError):
        verify(broken(scalar_program, column, 0, value))


def test_an_operand_must_stand_before_its_result(scalar_program):
    with pytest.raises(InvalidTapeError, match="not before its result"):
        verify(broken(scalar_program, "a", 0, scalar_program.first_result))


@pytest.mark.parametrize("field", [LENGTH, SIZE, CODE, OPERANDS, NDIM, SHAPE, "first", "list", "stride"])
@pytest.mark.parametrize("value", [-7, 10**12])
def test_side_records(array_program, field, value):
    record = int(array_program.a[0])
    ndim = int(array_program.aux[record + NDIM])
    operand = record + SHAPE + ndim
    named = {"first": operand + FIRST, "list": operand + LIST, "stride": operand + STRIDES}
    place = named[field] if field in named else record + field
    if field == "stride" and array_program.aux[record + SHAPE] == 1:
        pytest.skip("a stride along one element reads nothing")
    with pytest.raises(InvalidTapeError):
        verify(broken(array_program, "aux", place, value))


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 3},
        {"inputs": -1},
        {"differentiated": ((0, 1),)},
        {"sites": ()},
        {"guards": np.zeros((0, 2), np.int64)},
        {"ops": np.zeros(1, np.uint8)},
        {"a": np.zeros(3)},
        {"constants": np.zeros(1, np.float32)},
        {"dtype": np.dtype(np.int64)},
    ],
)
def test_headers(scalar_program, change):
    with pytest.raises(InvalidTapeError):
        verify(scalar_program._replace(**change))
