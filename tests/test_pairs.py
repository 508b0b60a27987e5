"""Pairs of operations in lanes: each has the bits of one after the other, and nothing is joined that others need."""

import itertools

import numpy as np
import pytest

import fasttape as ft
from fasttape.execute.lanes import Lanes
from fasttape.execute.points import PointByPoint, Points
from fasttape.layout import FIRST_PAIR, PAIRS
from fasttape.ops import CODE, OPS
from fasttape.program import Program
from tests.agree import bits
from tests.test_points import at

NUMBERS = [0.0, -0.0, 1.5, -3.0, 1e-310, -1e300, np.inf, -np.inf, np.nan, 0.1]
NAMES = ["-".join((OPS[first].name, OPS[second].name, str(place))) for first, second, place in PAIRS]


def evaluated(executor, x):
    """The outputs at the rows of x."""
    out, failed = np.full((len(x), executor.program.outputs.size), np.nan, x.dtype), np.empty(len(x), np.int64)
    executor.run(Points(len(x), *at(x, 0), *at(out, 0), failed), 0, len(x))
    return out


def codes(program, shared=()) -> list[int]:
    """What runs in lanes at points that share some inputs."""
    return Lanes(program).plan(np.array(shared, np.int64)).code.ops.tolist()


def two_operations(first, second, place, dtype) -> Program:
    """The second operation of the first one's result and an input."""
    a, b = np.uint32([1, 4 if place == 0 else 3]), np.uint32([2, 3 if place == 0 else 4])
    columns = np.uint8([first, second]), a, b, np.empty(0, np.int64)
    rest = np.empty(0, dtype), 3, 6, np.uint32([5]), np.empty((0, 2), np.int64), (), ()
    return Program(np.dtype(dtype), *columns, *rest)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_bits_are_those_of_one_after_the_other(pair, dtype):
    program = two_operations(*pair, dtype)
    (code,) = codes(program)
    first, second, _ = PAIRS[code - FIRST_PAIR]
    assert (first, second) == pair[:2]
    with np.errstate(over="ignore"):
        x = np.array(list(itertools.product(NUMBERS, repeat=3))).astype(dtype)
    assert bits(evaluated(Lanes(program), x)) == bits(evaluated(PointByPoint(program), x))


def test_of_three_in_a_row_two_are_joined():
    program = ft.record(lambda x, y: np.sin(x * y - x + y), 1.0, 2.0).program
    assert [OPS[code].name if code < len(OPS) else "pair" for code in codes(program)] == ["pair", "add", "sin"]


def product_and_sum(x, y):
    z = x * y
    return z, z + y


def product_of_sums(x, y):
    z = x * y
    return (z + x) / (z - y)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (product_and_sum, ["mul", "add"]),
        (product_of_sums, ["mul", "add", "sub", "div"]),
        (lambda x, y: np.sin(x) * np.exp(y), ["sin", "exp", "mul"]),
        (lambda x, y: np.exp(x * y), ["mul", "exp"]),
        (lambda x, y: x * y if x * y > 0.0 else x, ["mul", "greater", "guard"]),
    ],
    ids=["an output", "read twice", "functions", "read by a function", "read by a condition"],
)
def test_what_is_left_alone(f, expected):
    program = ft.record(f, 1.0, 2.0).optimize().program
    assert [OPS[code].name if code < len(OPS) else "guard" for code in codes(program)] == expected


def test_a_square_is_not_joined_with_what_it_squares():
    program = ft.record(lambda x, y: (x * y) * (x * y), 1.0, 2.0).optimize().program
    assert codes(program) == [CODE["mul"]] * 2


def test_what_follows_from_shared_inputs_is_not_joined_with_what_does_not():
    program = ft.record(lambda x, y: x * x + y, 1.0, 2.0).program
    assert codes(program, shared=[0]) == [CODE["mul"], CODE["add"]]
    assert len(codes(program)) == len(codes(program, shared=[0, 1])) == 1
