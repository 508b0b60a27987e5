"""Optimized programs are well formed, shorter, stable under optimization, and compute the same bits."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape import trees
from fasttape.errors import ReplayError
from fasttape.layout import FIRST_STRUCTURAL
from fasttape.ops import CODE, OPS
from fasttape.recorders.scalar import traced
from fasttape.transform.identities import EXACT, LOOSE
from fasttape.transform.optimize import fold, optimize, prune, share
from fasttape.verify import verify
from tests import programs
from tests.agree import bits


def same_programs(x, y):
    assert all(np.array_equal(p, q) for p, q in zip(x.columns, y.columns, strict=True))
    assert x.constants.tobytes() == y.constants.tobytes()


def check(tape, args):
    """The optimized tape agrees with the plain one, and cannot be optimized any further."""
    short = tape.optimize()
    for one in (prune, fold, share):
        once = verify(one(tape.program))
        same_programs(one(once), once)
    again = optimize(verify(short.program))
    assert len(again.ops) == len(short) <= len(tape)
    same_programs(again, short.program)
    assert bits(tape(*args)) == bits(short(*args))
    return short


@settings(max_examples=150, deadline=None)
@given(programs.programs())
def test_random_programs(drawn):
    program, args = drawn
    check(ft.record(programs.function(program), *args), args)


@settings(max_examples=100, deadline=None)
@given(programs.programs(inside=False))
def test_programs_at_singular_points(drawn):
    program, args = drawn
    check(ft.record(programs.function(program), *args), args)


@settings(max_examples=60, deadline=None)
@given(programs.programs(programs.SMOOTH))
def test_gradients_of_optimized_programs(drawn):
    program, args = drawn
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args))))
    if not tape.program.outputs.size:
        return
    gradient = tape.grad(*args)
    for other in (tape.optimize(), tape.gradient_tape().optimize()):
        found = other.grad(*args) if other.program.outputs.size == 1 else other(*args)[1]
        for x, y in zip(gradient, found, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * np.max(np.abs(x), initial=1.0))
    check(tape.gradient_tape(), args)


def test_what_is_shared():
    def f(x, y):
        return math.exp(x * y) + math.exp(y * x) + (x - y) * (y - x)

    short = ft.record(f, 1.0, 2.0, argnums=(0, 1)).optimize()
    assert [line.split()[2] for line in str(short).splitlines()[1:-1]] == [
        "mul",
        "exp",
        "add",
        "sub",
        "sub",
        "mul",
        "add",
    ]


@pytest.mark.parametrize(
    "f", [lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x / 1.0, lambda x: x - 0.0, lambda x: +x, np.positive]
)
def test_exact_identities(f):
    short = check(ft.record(f, 3.0), (3.0,))
    assert len(short) == 0
    for x in (-0.0, math.inf, 5e-324):
        assert math.copysign(1.0, short(x)) == math.copysign(1.0, x)
        assert short(x) == x
    assert math.isnan(short(math.nan))


@pytest.mark.parametrize(
    "f", [lambda x: x + 0.0, lambda x: 0.0 - x, lambda x: x * 0.0, lambda x: x / x, lambda x: 1.0 / x]
)
def test_what_is_not_exact_stays(f):
    assert len(check(ft.record(f, 3.0), (3.0,))) == 1


def test_dead_code_and_dead_constants():
    def f(x):
        x * np.arange(1000.0)
        return np.sum(x**2) * 2.0

    tape = ft.record(f, np.ones(1000))
    short = check(tape, (np.ones(1000),))
    assert (len(tape), len(short)) == (4, 3)
    assert short.program.constants.size == 1


def test_guards_stay_and_hold():
    def f(x):
        return (x * x if x * x > 1.0 else x) + x * x

    tape = ft.record(f, 2.0)
    short = check(tape, (2.0,))
    assert len(short) == len(tape) - 2
    with pytest.raises(ReplayError, match="test_optimize"):
        short(0.5)


def test_array_instructions():
    rng = np.random.default_rng(3)
    a, x = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))

    def f(a, x):
        y, z = np.tanh(a @ x), np.tanh(a @ x)
        w = y.copy()
        w[1:3] = z[::-1][:2] * 2.0
        return np.sum(w) + np.sum(y[[0, 0, 3]]) + np.sum(z[[0, 0, 3]]) + np.where(y > 0.0, y, z)[0, 0]

    tape = ft.record(f, a, x, argnums=(0, 1))
    short = check(tape, (a, x))
    assert len(short) == len(tape) - 3
    for p, q in zip(tape.grad(a, x), short.grad(a, x), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_long_tapes_take_linear_time():
    def f(x):
        for _ in range(20_000):
            x = x * x + 0.5 * x - x * x
        return x

    tape = ft.record(f, 0.3)
    short = check(tape, (0.3,))
    assert len(short) < len(tape)
    assert len(prune(tape.program).ops) == len(tape)


# ---- identities

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -3.0, 1e-3, 5e-324, -5e-324, 1e308, -1e308, math.inf, -math.inf, math.nan)
each_exact = pytest.mark.parametrize("identity", EXACT, ids=str)


def constant(x, c):
    """A traced value that is a constant, as transforms make them."""
    return traced(x.builder, x.builder.constant(c))


def recorded(pattern, named):
    """A pattern on traced values by their names."""
    if isinstance(pattern, str):
        return named[pattern]
    if isinstance(pattern, float):
        return constant(named["x"], pattern)
    row, *operands = pattern
    parameter = operands.pop() if isinstance(operands[-1], int) else 0
    slots = [recorded(x, named).slot for x in operands]
    b = parameter & 0xFFFFFFFF if parameter else slots[-1] if len(slots) == 2 else 0
    builder = named["x"].builder
    return traced(builder, builder.emit(CODE[row], slots[0], b))


def computed(pattern, named):
    """A pattern on numbers, by the rows' own values."""
    if isinstance(pattern, str):
        return named[pattern]
    if isinstance(pattern, float | int):
        return type(named["x"])(pattern) if isinstance(pattern, float) else pattern
    return OPS[CODE[pattern[0]]].value(*(computed(x, named) for x in pattern[1:]))


def size(pattern):
    return 1 + sum(map(size, pattern[1:])) if isinstance(pattern, tuple) else 0


@each_exact
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_identities_hold_at_special_points(identity, dtype):
    pattern, result = identity
    for x, y in itertools.product(map(dtype, SPECIAL), repeat=2):
        with np.errstate(all="ignore"):
            one, other = (dtype(computed(p, {"x": x, "y": y})) for p in (pattern, result))
        assert bits([one]) == bits([other]), (x, y)


@each_exact
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_identities_are_applied(identity, dtype):
    pattern, result = identity
    args = dtype(0.7), dtype(0.3)
    tape = ft.record(lambda x, y: recorded(pattern, {"x": x, "y": y}), *args, argnums=(0, 1))
    short = check(tape, args)
    assert len(short) <= size(result) < max(len(tape), 2)
    for x, y in itertools.product(map(dtype, SPECIAL), repeat=2):
        assert bits(tape(x, y)) == bits(short(x, y)), (x, y)


@pytest.mark.parametrize("identity", LOOSE, ids=str)
def test_inexact_identities_wait_for_the_request(identity):
    pattern, result = identity
    tape = ft.record(lambda x, y: recorded(pattern, {"x": x, "y": y}), 0.7, 0.3, argnums=(0, 1))
    exact, loose = check(tape, (0.7, 0.3)), tape.optimize(inexact=True)
    verify(loose.program)
    assert len(loose) <= size(result)
    assert len(loose) < len(exact) or str(loose) != str(exact)
    for x, y in itertools.product((0.7, 1.5, 2.0), repeat=2):
        assert loose(x, y) == pytest.approx(tape(x, y), rel=1e-14)
        np.testing.assert_allclose(loose.grad(x, y), tape.grad(x, y), rtol=1e-13, atol=1e-15)
    for x, y in itertools.product(SPECIAL, repeat=2):
        assert bits(exact(x, y)) == bits(tape(x, y))


@pytest.mark.parametrize("f", [lambda x: x * 1.0, lambda x: x / 1.0, lambda x: x - 0.0, lambda x: +x])
def test_arrays_that_are_only_copied(f):
    x = np.array([-0.0, math.inf, math.nan, 5e-324, 1.0])
    tape = ft.record(lambda x: np.exp(f(x)), x)
    assert len(check(tape, (x,))) == 1
    assert len(check(ft.record(lambda x: np.exp(f(x[1:4])), x), (x,))) == 1
    check(ft.record(lambda x: np.exp(f(x[::2])), x), (x,))  # readers of a run do not learn to stride


# ---- constants


def test_constants_are_folded_to_the_bits_of_a_sweep():
    def f(x):
        c = constant(x, 0.3)
        for row in ("exp", "sin", "cbrt", "expm1"):
            c = traced(x.builder, x.builder.emit(CODE[row], c.slot))
        return x * c + x

    tape = ft.record(f, 2.0)
    short = check(tape, (2.0,))
    assert (len(tape), len(short)) == (6, 2)
    assert short.program.constants.size == 1
    assert bits([tape(x) for x in (1.0, -0.0, 1e300)]) == bits([short(x) for x in (1.0, -0.0, 1e300)])


def test_a_product_with_zero_is_folded_through():
    def f(x):
        zero = traced(x.builder, x.builder.emit(CODE["times"], x.slot, constant(x, 0.0).slot))
        return traced(x.builder, x.builder.emit(CODE["cos"], zero.slot)) * x

    short = check(ft.record(f, 2.0), (2.0,))
    assert len(short) == 0
    assert short(math.pi) == math.pi


def test_constants_of_equal_bits_are_kept_once():
    a = np.array([0.0, -0.0, math.nan, 1.0, 1.0])
    tape = ft.record(lambda x: (x * a, x + a[::-1].copy(), x * 1.5, 1.5 - x), np.ones(5))
    check(tape, (np.ones(5),))


# ---- guards


def test_a_guard_that_is_repeated_goes_and_sites_follow():
    def f(x):
        y = x if x > 0.0 else -x
        if y > 1.0:
            y = y * 2.0
        for _ in range(3):
            y = y + x if x > 0.0 else y
        return y

    tape = ft.record(f, 2.0)
    short = check(tape, (2.0,))
    assert (len(tape.program.guards), len(short.program.guards)) == (5, 2)
    assert len(short.program.sites) == 2
    for x in (-1.0, 0.5):
        messages = []
        for one in (tape, short):
            with pytest.raises(ReplayError) as error:
                one(x)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


# ---- transforms


@settings(max_examples=40, deadline=None)
@given(programs.programs(programs.SMOOTH, length=4))
def test_hessians_of_optimized_programs(drawn):
    program, args = drawn
    tape = ft.record(programs.loss(program), *args, argnums=0)
    if not tape.program.outputs.size:
        return
    plain, short = (np.asarray(one.hessian(*args)) for one in (tape, tape.optimize()))
    np.testing.assert_allclose(plain, short, rtol=1e-7, atol=1e-8 * np.max(np.abs(plain), initial=1.0))


@settings(max_examples=40, deadline=None)
@given(programs.programs())
def test_derivatives_along_a_direction(drawn):
    program, args = drawn
    tape = ft.record(programs.function(program), *args, argnums=tuple(range(len(args))))
    along = tuple(np.ones_like(x) if isinstance(x, np.ndarray) else 1.0 for x in args)
    for x, y in zip(*(trees.flatten(one.jvp(args, along))[0] for one in (tape, tape.optimize())), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * np.max(np.abs(x), initial=1.0))


def test_the_gradient_tape_of_equal_expressions_has_one_adjoint():
    def f(x):
        return math.sqrt(x**2 + math.exp(x**2)) + math.cos(x**2 + math.exp(x**2))

    tape = ft.record(f, 1.2)
    gradient = tape.gradient_tape().optimize()
    assert gradient.operations <= 2.2 * tape.optimize().operations
    assert gradient(0.7) == (tape(0.7), pytest.approx(tape.grad(0.7), rel=1e-14))


# ---- what is reported


def test_the_report_counts_by_pass():
    def f(x):
        np.exp(x)
        return np.sum(x * x) + np.sum(x * x) * 1.0

    tape = ft.record(f, np.ones(4))
    short = tape.optimize()
    assert tape.report is None
    names, counts, operations = zip(*short.report.passes, strict=True)
    assert (names[0], names[1]) == ("as recorded", "dead code")
    assert counts[:2] == (7, 6)
    assert (counts[-1], operations[-1]) == (len(short), short.operations) == (3, 9)
    assert (operations[0], tape.operations) == (22, 22)
    assert list(counts) == sorted(counts, reverse=True)
    assert str(short.report).splitlines()[1].split() == ["as", "recorded", "7", "22"]
    assert pickle.loads(pickle.dumps(short)).report == short.report


def test_operations_of_a_product_count_twice():
    tape = ft.record(lambda a, b: np.sum(a @ b), np.ones((2, 3)), np.ones((3, 4)))
    assert tape.operations == 2 * 24 + 8
    assert not (tape.program.ops < FIRST_STRUCTURAL).any()


def test_nothing_to_optimize():
    for f, x in ((lambda x: x, 2.0), (lambda x: 3.0, 2.0), (lambda x: (), 2.0), (lambda x: x, np.zeros((0, 2)))):
        short = check(ft.record(f, x), (x,))
        assert len(short) == 0
