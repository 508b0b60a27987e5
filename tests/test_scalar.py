"""Python numbers under recording: operators, branches and the guards that they leave, constants, and misuse."""

import math
import operator
import re
import struct

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, ConversionError, LeakError, ReplayError, UnsupportedError
from fasttape.recorders.builder import INITIAL

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.floordiv, operator.mod]
NUMBERS = [3, 3.0, np.float64(3.0), np.float32(3.0), np.int64(3), np.int8(3), np.uint16(3), True, np.True_]


def slope_of(f, x, step=1e-6):
    return (f(x + step) - f(x - step)) / (2.0 * step)


@pytest.mark.parametrize("other", NUMBERS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_operators_mix_with_numbers_on_both_sides(op, other):
    plain = float(other)
    for f, g in [
        (lambda x: op(x, other), lambda x: op(x, plain)),
        (lambda x: op(other, x), lambda x: op(plain, x)),
    ]:
        value, slope = ft.value_and_grad(f)(2.2)
        assert type(value) is type(slope) is float
        assert value == pytest.approx(g(2.2), rel=1e-15)
        assert slope == pytest.approx(slope_of(g, 2.2), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_operators_on_two_traced_values(op):
    value, slopes = ft.value_and_grad(op, (0, 1))(5.3, 2.2)
    assert value == pytest.approx(op(5.3, 2.2), rel=1e-15)
    assert slopes[0] == pytest.approx(slope_of(lambda x: op(x, 2.2), 5.3), rel=1e-7, abs=1e-8)
    assert slopes[1] == pytest.approx(slope_of(lambda y: op(5.3, y), 2.2), rel=1e-7, abs=1e-8)


@pytest.mark.parametrize(("f", "slope"), [(operator.neg, -1.0), (operator.pos, 1.0), (abs, -1.0)])
def test_operators_of_one_operand(f, slope):
    assert ft.value_and_grad(f)(-2.0) == (f(-2.0), slope)


def test_divmod():
    assert ft.grad(lambda x: divmod(x, 2.0)[1] + divmod(7.0, x)[1])(3.5) == 1.0 - 2.0
    assert ft.value_and_grad(lambda x: divmod(x, 2.0)[0])(3.5) == (1.0, 0.0)


@pytest.mark.parametrize("n", range(-9, 13))
def test_integer_powers(n):
    f = lambda x: x**n  # noqa: E731
    for x in (2.0, -1.5):
        value, slope = ft.value_and_grad(f)(x)
        assert value == pytest.approx(float(x) ** n, rel=1e-14)
        assert slope == pytest.approx(n * float(x) ** (n - 1), rel=1e-14)
        assert ft.value_and_grad(lambda x: x ** np.int64(n))(x) == (value, slope)
        assert ft.value_and_grad(lambda x: x ** float(n))(x) == (value, slope)
    at_zero = {0: (1.0, 0.0), 1: (0.0, 1.0)}.get(n, (0.0, 0.0) if n > 0 else (math.inf, None))
    value, slope = ft.value_and_grad(f)(0.0)
    assert value == at_zero[0]
    assert math.isinf(slope) if at_zero[1] is None else slope == at_zero[1]


def test_powers_at_a_zero_base():
    assert ft.grad(lambda x, y: x**y, (0, 1))(0.0, 2.0) == (0.0, 0.0)
    assert ft.grad(lambda x: 0.0**x)(2.0) == 0.0
    assert ft.grad(lambda x: x**0.5)(0.0) == math.inf


def test_a_branch_follows_the_point_in_grad_and_is_guarded_in_a_tape():
    def f(x):
        if x > 1.0:  # the condition
            return x * x
        return -x

    line = f.__code__.co_firstlineno + 1
    assert [ft.grad(f)(x) for x in (2.0, 0.0, 3.0)] == [4.0, -1.0, 6.0]
    tape = ft.record(f, 2.0)
    assert tape.grad(5.0) == 10.0
    for use in (tape, tape.grad, tape.value_and_grad, tape.trace, lambda x: tape.jvp((x,), (1.0,))):
        with pytest.raises(ReplayError, match=re.escape(f"{__file__}:{line} (if x > 1.0:  # the condition)")):
            use(0.0)
    assert tape.value_and_grad(4.0) == (16.0, 8.0)


@pytest.mark.parametrize(
    "compare",
    [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne],
    ids=lambda op: op.__name__,
)
def test_comparisons(compare):
    for point in (1.0, 2.0, 3.0):
        for f in (lambda x: compare(x, 2.0), lambda x: compare(2, x), lambda x: compare(x, x + 0.0)):
            sign = 1.0 if f(point) else -1.0
            assert ft.value_and_grad(lambda x: x if f(x) else -x)(point) == (sign * point, sign)  # noqa: B023


@pytest.mark.parametrize(
    ("convert", "inside", "outside"),
    [
        (int, 2.9, 3.1),
        (round, 2.4, 2.6),
        (math.floor, 2.9, 3.1),
        (math.ceil, 2.9, 3.1),
        (math.trunc, 2.9, 3.1),
        (bool, 1.0, 0.0),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_conversions_to_whole_numbers_are_guarded(convert, inside, outside):
    def f(x):
        n = convert(x)
        assert type(n) in (int, bool)
        return n * x

    tape = ft.record(f, 2.2)
    assert tape.value_and_grad(inside) == (convert(2.2) * inside, float(convert(2.2)))
    with pytest.raises(ReplayError, match=f"test_scalar.py:{f.__code__.co_firstlineno + 1} "):
        tape(outside)


def test_index_by_a_traced_value():
    table = [10.0, 20.0, 30.0]
    assert ft.value_and_grad(lambda x: table[int(x)] * x)(1.5) == (30.0, 20.0)


def test_while_loops():
    def f(x):
        count = 0
        while x < 100.0:
            x = x * x
            count += 1
        return x * count

    assert ft.value_and_grad(f)(3.0) == (81.0**2 * 3, 8 * 3.0**7 * 3)
    tape = ft.record(f, 3.0)
    assert tape(2.9) == f(2.9)
    with pytest.raises(ReplayError, match=r"while x < 100\.0"):
        tape(20.0)


def test_builtin_min_and_max_follow_the_branch():
    assert ft.grad(lambda x: max(x, 2.0) + min(x, 5.0, x * x))(3.0) == 2.0
    assert ft.grad(lambda x: max(x, 3.0))(3.0) == 1.0
    assert ft.grad(lambda x, y: max(x, y), (0, 1))(3.0, 3.0) == (1.0, 0.0)
    assert ft.grad(lambda x: sorted([x, 1.0, -x])[0])(3.0) == -1.0
    tape = ft.record(lambda x: max(x, 2.0), 3.0)
    with pytest.raises(ReplayError, match="max"):
        tape(1.0)


def test_signs_of_zero_and_payloads_of_nan_survive():
    payload = struct.unpack("d", struct.pack("Q", 0x7FF8_0000_0000_1234))[0]

    def f(x):
        signs = np.copysign(1.0, x * 0.0 + -0.0) + np.copysign(x, -0.0) + np.copysign(x, 0.0)
        return signs, x * 0.0 + payload, -0.0 * x

    first, second, third = ft.record(f, 2.0)(3.0)
    assert first == 1.0
    assert struct.pack("d", second) == struct.pack("d", payload)
    assert math.copysign(1.0, third) == -1.0
    assert math.copysign(1.0, ft.record(lambda x: -0.0 * x + -0.0, 2.0)(3.0)) == -1.0


def test_constants_are_stored_once():
    tape = ft.record(lambda x: (x + 2.5) * 2.5 + np.float64(2.5) + 7 * x + 7.0 + 0 * x + 0.0, 1.0)
    assert sorted(tape.program.constants.tolist()) == [2.5, 7.0]


def test_how_a_traced_value_looks():
    def f(x):
        assert repr(x * 2.0) == "TracedScalar(4.5)"
        assert f"{x:.3f}|{x:8.1e}|{x}" == "2.250| 2.2e+00|2.25"
        assert (x.shape, x.ndim, x.size, x.dtype) == ((), 0, 1, np.float64)
        assert x.real is x.conjugate() is x.item() is x
        return x

    assert ft.grad(f)(2.25) == 1.0


@pytest.mark.parametrize(
    ("misuse", "error", "message"),
    [
        (float, ConversionError, "use the value as it is"),
        (complex, ConversionError, "complex numbers are not recorded"),
        (hash, TypeError, "unhashable type: 'TracedScalar'"),
        (lambda x: {x: 1}, TypeError, "unhashable"),
        (lambda x: round(x, 2), UnsupportedError, "the nearest that can: round"),
        (lambda x: pow(x, 2, 3), UnsupportedError, "the nearest that can: x"),
        (lambda x: [1.0, 2.0][x], TypeError, "indices must be integers"),
        (lambda x: x + 1j, ArgumentError, "complex numbers cannot be mixed with traced values"),
        (lambda x: x + "text", TypeError, "unsupported operand"),
        (lambda x: x < None, TypeError, "not supported between"),
        (lambda x: math.nextafter(x, 1.0), ConversionError, "float"),
    ],
)
def test_misuse(misuse, error, message):
    with pytest.raises(error, match=message):
        ft.grad(lambda x: (misuse(x), x)[1])(2.0)


LEAKS = {
    "operator": lambda x: x + 1.0,
    "reflected": lambda x: 1.0 - x,
    "constant": lambda x: x * 123.456,
    "itself": lambda x: x * x,
    "unary": lambda x: -x,
    "power": lambda x: x**3,
    "comparison": lambda x: x > 0.0,
    "truth": bool,
    "int": int,
    "floor": math.floor,
    "numpy": np.exp,
    "numpy function": lambda x: np.sum(x),
    "repr": repr,
    "format": lambda x: f"{x:.2f}",
    "primal": lambda x: x.primal,
    "with an array": lambda x: x * np.ones(3),
    "divmod": lambda x: divmod(x, 2.0),
}


@pytest.mark.parametrize("use", LEAKS.values(), ids=LEAKS.keys())
@pytest.mark.parametrize("made", ["argument", "result"])
def test_values_that_outlive_their_recording(use, made):
    kept = []

    def f(x):
        kept.append(x if made == "argument" else x * x)
        return x * x

    assert ft.grad(f)(3.0) == 6.0
    with pytest.raises(LeakError, match="after its recording ended"):
        use(kept[0])


def test_a_value_used_in_a_later_recording():
    kept = []

    def first(x):
        kept.append(x)
        return x

    ft.grad(first)(1.0)
    for f in (lambda x: x * kept[0], lambda x: kept[0] * x, lambda x: np.hypot(x, kept[0]), lambda x: kept[0]):
        with pytest.raises(LeakError):
            ft.grad(f)(1.0)
    assert ft.grad(lambda x: x * x)(1.0) == 2.0


def test_values_of_two_recordings_at_once():
    def outer(x):
        for f in (lambda y: x * y, lambda y: np.maximum(y, x), lambda y: x):
            with pytest.raises(LeakError, match="two recordings"):
                ft.record(f, 2.0)
        with pytest.raises(UnsupportedError, match="inside of a recorded function"):
            ft.record(lambda y: y * y, x)
        inner = [lambda y: x * y, lambda y: np.maximum(y, x), lambda y: x]
        return x * x + sum(ft.grad(f)(2.0) for f in inner) + ft.grad(lambda y: y * y)(x)

    assert ft.value_and_grad(outer)(3.0) == (9.0 + 3.0 + 6.0, 6.0 + 1.0 + 2.0)


@pytest.mark.parametrize("length", [INITIAL - 1, INITIAL, INITIAL + 1, 2 * INITIAL + 3, 5 * INITIAL])
def test_more_instructions_than_a_stage_holds(length):
    def f(x):
        y = x
        for k in range(length):
            y = y + x * (1.0 if k % 2 else 0.5)
        return y

    tape = ft.record(f, 2.0)
    assert len(tape) == 2 * length
    assert tape.grad(3.0) == 1.0 + 0.5 * length + 0.5 * (length // 2)


@pytest.mark.slow
def test_long_chains_do_not_recurse():
    def f(x):
        y = x
        for _ in range(100_000):
            y = y * 1.0000001
        return y

    value, slope = ft.value_and_grad(f)(1.0)
    assert value == slope == pytest.approx(1.0000001**100_000, rel=1e-9)


def test_recordings_in_float32():
    x = np.float32(0.3)
    value, slope = ft.value_and_grad(lambda x: np.exp(x) * 2.0 + x**3)(x)
    assert type(value) is type(slope) is np.float32
    assert slope == pytest.approx(np.exp(x) * 2.0 + 3.0 * x * x, rel=1e-6)
    with pytest.raises(ArgumentError, match="would make a float32 recording float64"):
        ft.grad(lambda x: x * np.float64(2.0))(x)
    tape = ft.record(lambda x: x * 0.1, x)
    assert tape(np.float32(3.0)) == np.float32(3.0) * np.float32(0.1)
    with pytest.raises(ReplayError, match="recorded in float32"):
        tape(np.float64(3.0))
