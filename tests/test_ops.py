"""The table of operations, row by row: values, partials, special points, edges, names and traits.

Exact numbers come from `oracles` (mpmath), reference behavior at edges from the functions that a row answers to. Every
test loops over OPS, so a new row needs an oracle and no test.
"""

import ctypes
import dis
import functools
import importlib
import itertools
import math
import random
import types

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttape import ops, special
from fasttape.ops import CHEAP, COMMUTATIVE, INLINE, INTEGER, LINEAR, ONES, OPS, PREDICATE, ZERO_DERIVATIVE

ULPS = 8.0  # on top of what two half-ulp moves of each operand do
SMALLEST_NORMAL = 2.0**-1022
# 1 - tanh(x)**2 knows tanh only to half an ulp of 1
ABSOLUTE = {"tanh": 2.0**-52}
# y - 1 loses half an ulp of the exponent, which log(x) magnifies; the slope exp(z**2 / 2) magnifies what z has lost by
# z**2, which is about -2 log(p) in the tails
RELATIVE = {
    "pow": lambda x, y: 2.0**-53 * abs(math.log(x)),
    "ndtri": lambda p: -(2.0**-53) * 16.0 * math.log(min(p, 1.0 - p)) if 0.0 < p < 1.0 else 0.0,
}

EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1e300, -1e300)
INTEGER_EDGES = (0, 1, 2, 3, 7, 10)
# Where the reference is the odd one out: SciPy misses poles next to 0, is left with 8 digits of a high derivative of
# digamma left of 0 and does not return far left; NumPy arrays take sqrt(x) for C's pow(x, 0.5)
REFERENCE_IS_WRONG = {
    "gammaln": lambda x: abs(x) == 5e-324,
    "digamma": lambda x: x == -5e-324,
    "polygamma": lambda x, n: x < -1e6 or (x == -2.5 and n == 10),
    "pow": lambda x, y: y == 0.5 and x in (0.0, -math.inf),
}
# Rows that no function answers to
REFERENCES = {
    "times": lambda x, y: 0.0 if 0.0 in (x, y) else x * y,
    "powi": lambda x, n: np.power(x, float(n)),
    "select": lambda c, x, y: np.where(c != 0.0, x, y),
}

each_row = pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])


@functools.cache
def compiled(function):
    """`function` under Numba, with the functions that it names compiled as well."""
    named = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    named = {name: compiled(g) if isinstance(g, types.FunctionType) else g for name, g in named.items()}
    copy = types.FunctionType(function.__code__, {"__builtins__": __builtins__, **named}, function.__name__)
    return numba.njit(error_model="numpy")(copy)


def evaluate(op, operands, through=lambda rule: rule):
    """(r, dx, dy, ...) as floats at `operands`; integers stay integers."""
    operands = [x if isinstance(x, int) else np.float64(x) for x in operands]
    with np.errstate(all="ignore"):
        r = np.float64(through(op.value)(*operands))
        partials = through(op.partials)(*operands, r)
    assert isinstance(partials, tuple)
    assert len(partials) == op.arity
    return (float(r), *map(float, partials))


def exact(op, operands):
    """What `evaluate` should give, or None where mathematics has no answer."""
    try:
        numbers = (oracles.value(op.name, operands), *oracles.partials(op.name, operands))
    except (ValueError, ZeroDivisionError):
        return None
    return numbers if all(oracles.m.im(t) == 0 and oracles.m.isfinite(t) for t in numbers) else None


def assert_accurate(op, operands, through=lambda rule: rule):
    numbers = exact(op, operands)
    if numbers is None:
        return
    for which, (got, true) in enumerate(zip(evaluate(op, operands, through), numbers, strict=True)):
        nearest = float(true)
        if got == nearest:
            continue
        unit = float(np.spacing(min(abs(nearest), 1.7e308)))
        allowed = ULPS * unit + SMALLEST_NORMAL + 2 * oracles.slack(op.name, which, operands)
        if which:
            allowed += ABSOLUTE.get(op.name, 0.0) + RELATIVE.get(op.name, lambda *x: 0.0)(*operands) * abs(true)
        bounded = min(max(got, -1.7976931348623157e308), 1.7976931348623157e308)
        assert abs(oracles.m.mpf(bounded) - true) <= allowed, (operands, which, got, nearest)


def draw(interval, rng):
    """A number of the interval, of everyday size or of any magnitude; endpoints of a million stand for no bound."""
    low, high = interval
    if isinstance(low, int):
        return rng.randint(low, high)
    if rng.random() < 0.5:
        return rng.uniform(max(low, -20.0), min(high, 20.0))
    low = {-1e6: -1e300, 1e-6: 1e-300}.get(low, low)
    high = 1e300 if high == 1e6 else high
    magnitude = 10 ** rng.choice((rng.uniform(-300, 300), rng.uniform(-18, 4))) * rng.choice((-1, 1))
    return next((x for x in (magnitude, -magnitude, high - abs(magnitude)) if low <= x <= high), high)


def points(op, count):
    rng = random.Random(op.name)
    return [tuple(draw(interval, rng) for interval in op.domain) for _ in range(count)]


def edge_points(op):
    last = INTEGER_EDGES if INTEGER in op.traits else EDGES
    return itertools.product(*[EDGES] * (op.arity - 1), last)


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def close(a, b, ulps=4.0):
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= ulps * np.spacing(abs(b)) + SMALLEST_NORMAL


@each_row
def test_value_and_partials_are_accurate(op):
    for operands in points(op, 60):
        assert_accurate(op, operands)


@each_row
def test_compiled_rules_are_accurate(op):
    for operands in points(op, 60):
        assert_accurate(op, operands, compiled)


def operands_of(domain):
    """Without subnormal numbers: a result there has lost digits that its partials can no longer have."""
    return st.tuples(
        *[
            st.integers(low, high) if isinstance(low, int) else st.floats(low, high, allow_subnormal=False)
            for low, high in domain
        ]
    )


@each_row
def test_drawn_from_the_domain(op):
    @settings(max_examples=30, deadline=None, database=None)
    @given(operands_of(op.domain))
    def run(operands):
        assert_accurate(op, operands)

    run()


@each_row
def test_special_points(op):
    for operands, expected in op.special:
        for through in (lambda rule: rule, compiled):
            assert evaluate(op, operands, through)[1:] == expected, operands


@each_row
def test_edges_equal_the_named_function(op):
    reference = resolve(op.names[0]) if op.names else REFERENCES[op.name]
    for operands in edge_points(op):
        if op.name in REFERENCE_IS_WRONG and REFERENCE_IS_WRONG[op.name](*operands):
            continue
        with np.errstate(all="ignore"):
            expected = float(reference(*(operands[::-1] if INTEGER in op.traits and op.names else operands)))
        got = evaluate(op, operands)[0]
        assert close(got, expected, 40.0), (operands, got, expected)


@each_row
def test_edges_compiled_equal_python(op):
    for operands in edge_points(op):
        for got, expected in zip(evaluate(op, operands, compiled), evaluate(op, operands), strict=True):
            assert close(got, expected, ULPS), (operands, got, expected)


@each_row
def test_partials_are_nan_only_where_the_value_is(op):
    """On the closed domain, its poles and infinities included, a derivative is a number."""
    unbounded = {-1e6: -math.inf, 1e-6: 0.0, 1e6: math.inf}
    for operands in edge_points(op):
        inside = all(
            unbounded.get(i.low, i.low) <= x <= unbounded.get(i.high, i.high)
            for i, x in zip(op.domain, operands, strict=True)
        )
        r, *partials = evaluate(op, operands)
        if inside and not math.isnan(r):
            assert not np.isnan(partials).any(), operands


@each_row
def test_names_agree(op):
    """Every function that the row answers to computes the row's value."""
    for name in op.names:
        reference = resolve(name)
        if name.startswith("operator.") and any(n in name for n in ("and_", "or_", "invert")):
            continue  # of Python numbers these are about bits; arrays come here through the ufuncs
        for operands in points(op, 25):
            got = evaluate(op, operands)[0]
            try:
                with np.errstate(all="ignore"):
                    arguments = operands[::-1] if INTEGER in op.traits else operands
                    if isinstance(reference, np.ufunc) and not any("d" in loop for loop in reference.types):
                        arguments = [bool(x) for x in arguments]  # bitwise functions: of truth values only
                    expected = float(reference(*arguments))
            except (OverflowError, ValueError, ZeroDivisionError):  # `math` and Python raise where NumPy returns inf
                continue
            wobble = 4 * float(oracles.slack(op.name, 0, operands)) if exact(op, operands) else 0.0
            assert close(got, expected, 40.0) or abs(got - expected) <= wobble, (name, operands, got, expected)


def test_names_are_unique():
    names = [name for op in OPS for name in op.names]
    assert len(names) == len(set(names))
    assert len({op.name for op in OPS}) == len(OPS)
    assert len(OPS) < 200, "opcodes share a byte with the structural instructions"
    assert [ops.CODE[op.name] for op in OPS] == list(range(len(OPS)))


def test_every_row_has_an_oracle():
    assert {op.name for op in OPS} == set(oracles.ORACLES)


@each_row
def test_row_is_consistent(op):
    operands = points(op, 1)[0]
    assert op.arity == len(op.domain) == op.value.__code__.co_argcount
    assert op.partials.__code__.co_argcount == op.arity + 1
    assert all(i.low < i.high for i in op.domain)
    assert all(len(at) == len(expected) == op.arity for at, expected in op.special)
    assert op.formula
    assert len(evaluate(op, operands)) == op.arity + 1


@each_row
def test_partials_are_branch_free(op):
    assert not [i.opname for i in dis.get_instructions(op.partials) if "JUMP" in i.opname]


@each_row
def test_partials_use_the_table_only(op):
    """So they record: every function that a rule calls answers to a row, every other global is a number."""
    answered = {name.partition(".")[2] for row in OPS for name in row.names if name.startswith("numpy.")}
    for name in set(op.partials.__code__.co_names) - {"np"}:
        known = op.partials.__globals__.get(name)
        assert isinstance(known, float) or name in answered or (callable(known) and name in ops.CODE), name


@each_row
def test_traits(op):
    drawn = points(op, 30) + list(edge_points(op))
    numbers = [evaluate(op, operands) for operands in drawn]
    if COMMUTATIVE in op.traits:
        for operands, (r, *_) in zip(drawn, numbers, strict=True):
            swapped = evaluate(op, operands[::-1])[0]
            assert np.isnan([r, swapped]).all() or (r, math.copysign(1, r)) == (swapped, math.copysign(1, swapped))
    if LINEAR in op.traits:
        assert len({tuple(partials) for _, *partials in numbers}) == 1
        assert not evaluate(op, [0.0] * op.arity)[0]
    if PREDICATE in op.traits:
        assert {r for r, *_ in numbers} <= {0.0, 1.0}
        assert ZERO_DERIVATIVE in op.traits
    if INTEGER in op.traits:
        assert all(partials[-1] == 0.0 for _, *partials in numbers)
    assert (ZERO_DERIVATIVE in op.traits) == (not any(any(partials) for _, *partials in numbers))
    assert (ONES in op.traits) == all(set(partials) == {1.0} for _, *partials in numbers)
    assert op.traits <= {CHEAP, COMMUTATIVE, INLINE, LINEAR, ONES, PREDICATE, INTEGER, ZERO_DERIVATIVE}


@each_row
def test_vector_functions_exist(op):
    try:
        library = ctypes.CDLL("libmvec.so.1")
    except OSError:
        pytest.skip("no libmvec here")
    if op.vector:
        assert hasattr(library, f"_ZGVdN{'4v' if op.arity == 1 else '4vv'}_{op.vector}")


@pytest.mark.parametrize("name", ["gammaln", "digamma", *(f"polygamma {n}" for n in (1, 2, 3, 6, 10))])
def test_reflection(name):
    """Left of 0, to a few ulp of the exact value or of what the nearest operands give."""
    name, _, order = name.partition(" ")
    rng = random.Random(name)
    for _ in range(100):
        x = -rng.choice((rng.uniform(0, 3), rng.uniform(0, 30), 10 ** rng.uniform(-20, 4)))
        operands = (x, int(order)) if order else (x,)
        got, true = getattr(special, name)(*operands), oracles.value(name, operands)
        allowed = ULPS * float(np.spacing(max(1.0, abs(float(true))))) + 4 * oracles.slack(name, 0, operands)
        assert got == float(true) or abs(oracles.m.mpf(float(got)) - true) <= allowed, (x, got, true)


@pytest.mark.parametrize("n", range(-8, 9))
def test_small_powers_are_products(n):
    for x in (-1.7, 0.3, 2.0, -0.0):
        exact_product = np.float64(x) ** 0
        for _ in range(abs(n)):
            exact_product = exact_product * x
        with np.errstate(divide="ignore"):
            expected = exact_product if n >= 0 else np.float64(1.0) / exact_product
            assert close(special.powi(np.float64(x), n), float(expected))


def test_second_derivatives_survive_ties():
    """Partials test for infinities, not for equal operands, where their own derivative would be lost."""
    for name in ("logaddexp", "logaddexp2"):
        op = OPS[ops.CODE[name]]
        x, h = np.float64(1.0), 2.0**-20
        slope = (op.partials(x + h, x, op.value(x + h, x))[0] - op.partials(x - h, x, op.value(x - h, x))[0]) / (2 * h)
        assert slope == pytest.approx(0.25 * (math.log(2) if name == "logaddexp2" else 1.0), rel=1e-6)
