"""The table of operations: one row says once everything that the rest of fasttape derives.

Sweeps, lanes, machine code, NumPy and Numba dispatch, adjoint and tangent tapes, docs/ops.md and the property tests all
come from OPS; an opcode is a row's index. Rules are plain functions of floats. A `partials` rule is a branch-free
expression over operations of this table, so it compiles and records; `value` may branch. Neither raises. Names are
strings: importing the table imports only NumPy.
"""

import builtins
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from fasttape.special import (
    digamma,
    erfinv,
    expit,
    gamma,
    gammaln,
    logit,
    ndtr,
    ndtri,
    polygamma,
    powi,
    xlog1py,
    xlogy,
)  # fmt: skip

COMMUTATIVE = "commutative"  # f(x, y) and f(y, x) have the same bits
LINEAR = "linear"  # the partials are constants
ONES = "ones"  # and they are 1
ZERO_DERIVATIVE = "zero derivative"  # the partials are 0 everywhere
PREDICATE = "predicate"  # the result is a truth value, 1.0 or 0.0
INLINE = "inline"  # sweeps hold the code of the row; that of other rows is compiled when first used, and called
CHEAP = "cheap"  # binary, and so fast that sweeps compute all such rows and choose
INTEGER = "integer"  # the last operand is an integer kept in the instruction; named functions take (n, x)


class Interval(NamedTuple):
    """Closed interval from which property tests draw an operand."""

    low: float
    high: float


class Op(NamedTuple):
    """One elementary operation."""

    name: str
    value: Callable  # (x[, y[, z]]) -> r
    partials: Callable  # (x[, y[, z]], r) -> (dr/dx[, dr/dy[, dr/dz]])
    names: tuple[str, ...]  # what it answers to: "numpy.exp", "math.exp", "operator.add", "scipy.special.erf"
    formula: str
    domain: tuple[Interval, ...]  # one interval per operand
    special: tuple = ()  # ((operands...), (expected partials...)) at kinks, poles and limits
    traits: frozenset[str] = frozenset()
    vector: str = ""  # the function of libmvec that computes the value rule

    @property
    def arity(self) -> int:
        return len(self.domain)


LN2 = 0.6931471805599453
LOG2_E = 1.4426950408889634
LOG10_E = 0.4342944819032518
TWO_OVER_SQRT_PI = 1.1283791670955126
INVERSE_SQRT_2PI = 0.3989422804014327
SQRT_2PI = 2.5066282746310002
HALF_SQRT_PI = 0.8862269254527580
DEGREE = 0.017453292519943295
RADIAN = 57.29577951308232
INF = math.inf


def select(c, x, y):
    """x where c is true, else y."""
    return x if c else y


def times(x, y):
    """The product of an adjoint and a partial: exactly 0 if either factor is 0, even if the other is inf or nan."""
    return x * y if (x != 0.0) & (y != 0.0) else 0.0


def maximum(x, y):
    return x if (x > y) | (x != x) else y


def minimum(x, y):
    return x if (x < y) | (x != x) else y


def sign(x):
    return x if x != x else 1.0 * (x > 0.0) - 1.0 * (x < 0.0)


def chosen_partials(x, y, r):
    """Of an operation that returns one of its operands: a tie is split evenly."""
    return (x == r) - 0.5 * (x == y), (y == r) - 0.5 * (x == y)


def hypot_partials(x, y, r):
    """The direction of (x, y): 0 at the origin, and along the axis at infinity."""
    return (
        select(np.logical_or(r == 0.0, np.isinf(x)), np.sign(x), x / r),
        select(np.logical_or(r == 0.0, np.isinf(y)), np.sign(y), y / r),
    )


def arctan2_partials(x, y, r):
    """(y, -x) / (x**2 + y**2) without overflow; 0 at the origin."""
    h = 1.0 / np.hypot(x, y)
    return times(times(y, h), h), -times(times(x, h), h)


def pow_partials(x, y, r):
    """The exponent's partial is 0 at a zero base, the limit from the right, unless the power is infinite there."""
    return times(y, x ** (y - 1.0)), select(np.logical_and(x == 0.0, y >= 0.0), 0.0, times(r, np.log(x)))


def logaddexp_partials(x, y, r):
    """Equal infinities share evenly; the test is for infinities only, so that second derivatives hold where x = y."""
    tied = np.logical_and(x == y, np.isinf(x))
    return select(tied, 0.5, expit(x - y)), select(tied, 0.5, expit(y - x))


def logaddexp2_partials(x, y, r):
    """As logaddexp_partials, in base 2."""
    tied = np.logical_and(x == y, np.isinf(x))
    return select(tied, 0.5, 1.0 / (1.0 + np.exp2(y - x))), select(tied, 0.5, 1.0 / (1.0 + np.exp2(x - y)))


def fmod_partials(x, y, r):
    """Rounded, because x / y itself may round up to the next integer."""
    return 1.0, -np.rint((x - r) / y)


REAL = Interval(-1e6, 1e6)
POSITIVE = Interval(1e-6, 1e6)
UNIT = Interval(-1.0, 1.0)
EXPONENT = Interval(-700.0, 700.0)
TRUTH = Interval(0.0, 1.0)

# Short names keep most rows on a line: domains by their initials (_RP: a real and a positive operand), traits (_T is a
# truth value, _N an integer), and the special points that several rows share.
_R, _RR, _RP, _P, _U = (REAL,), (REAL, REAL), (REAL, POSITIVE), (POSITIVE,), (UNIT,)
_E, _TT = (EXPONENT,), (TRUTH, TRUTH)
_C, _L, _Z, _1 = frozenset({COMMUTATIVE}), frozenset({LINEAR}), frozenset({ZERO_DERIVATIVE}), frozenset({ONES})
_I, _F = frozenset({INLINE}), frozenset({INLINE, CHEAP})
_N, _T, _CT = frozenset({INTEGER}), frozenset({PREDICATE}) | _Z, frozenset({PREDICATE}) | _Z | _C

FLAT_LEFT = (((-INF,), (0.0,)),)
FLAT_ENDS = (((INF,), (0.0,)), ((-INF,), (0.0,)))
STEEP_AT_0 = (((0.0,), (INF,)), ((INF,), (0.0,)))
STEEP_ENDS = (((1.0,), (INF,)), ((-1.0,), (INF,)))
TIES = (((1.0, 1.0), (0.5, 0.5)), ((0.0, -0.0), (0.5, 0.5)))
SOFT_TIES = (((-INF, -INF), (0.5, 0.5)), ((INF, INF), (0.5, 0.5)), ((-INF, 0.0), (0.0, 1.0)), ((INF, 0.0), (1.0, 0.0)))

# fmt: off
# ruff: noqa: E501
OPS: tuple[Op, ...] = (
    # Arithmetic
    Op("add",      lambda x, y: x + y,    lambda x, y, r: (1.0, 1.0),       ("numpy.add", "operator.add"), "x + y", _RR, traits=_C | _L | _1 | _F),
    Op("sub",      lambda x, y: x - y,    lambda x, y, r: (1.0, -1.0),      ("numpy.subtract", "operator.sub"), "x - y", _RR, traits=_L | _F),
    Op("mul",      lambda x, y: x * y,    lambda x, y, r: (y, x),           ("numpy.multiply", "operator.mul"), "x y", _RR, traits=_C | _F),
    Op("div",      lambda x, y: x / y,    lambda x, y, r: (1.0 / y, -(r / y)), ("numpy.divide", "numpy.true_divide", "operator.truediv"), "x / y", _RP, traits=_I),
    Op("pow",      lambda x, y: x ** y,   pow_partials,                     ("numpy.power", "numpy.float_power", "math.pow", "operator.pow"), "x^y",
       (POSITIVE, Interval(-40.0, 40.0)),
       (((0.0, 2.0), (0.0, 0.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0, 0.5), (INF, 0.0)), ((0.0, 0.0), (0.0, 0.0)), ((2.0, 0.0), (0.0, LN2))),
       vector="pow"),
    Op("powi",     lambda x, n: powi(x, n), lambda x, n, r: (times(n, powi(x, n - 1)), 0.0), (), "x^n", (REAL, Interval(-9, 12)),
       (((0.0, 0), (0.0, 0.0)), ((0.0, 1), (1.0, 0.0)), ((0.0, 2), (0.0, 0.0)), ((0.0, -1), (-INF, 0.0)), ((-2.0, 3), (12.0, 0.0))), _N),
    Op("times",    lambda x, y: times(x, y), lambda x, y, r: (y, x),        (), "x y, 0 if either factor is 0", _RR, (((0.0, INF), (INF, 0.0)),), _C | _I),
    Op("positive", lambda x: x,           lambda x, r: (1.0,),              ("numpy.positive", "numpy.conjugate", "operator.pos"), "x", _R, traits=_L | _1 | _I),
    Op("neg",      lambda x: -x,          lambda x, r: (-1.0,),             ("numpy.negative", "operator.neg"), "-x", _R, traits=_L | _I),
    Op("abs",      lambda x: np.abs(x),   lambda x, r: (np.sign(x),),       ("numpy.absolute", "numpy.fabs", "math.fabs", "operator.abs"), "|x|", _R,
       (((0.0,), (0.0,)), ((-0.0,), (0.0,))), traits=_I),
    Op("square",   lambda x: x * x,       lambda x, r: (2.0 * x,),          ("numpy.square",), "x²", _R, traits=_I),
    Op("reciprocal", lambda x: 1.0 / x,   lambda x, r: (-(r * r),),           ("numpy.reciprocal",), "1 / x", _P,
       (((0.0,), (-INF,)), ((INF,), (0.0,))), traits=_I),
    Op("sqrt",     lambda x: np.sqrt(x),  lambda x, r: (0.5 / r,),          ("numpy.sqrt", "math.sqrt"), "√x", _P, STEEP_AT_0, traits=_I),
    Op("cbrt",     lambda x: np.cbrt(x),  lambda x, r: (1.0 / (3.0 * r * r),), ("numpy.cbrt", "math.cbrt", "scipy.special.cbrt"), "∛x", _R,
       STEEP_AT_0, vector="cbrt"),
    Op("hypot",    lambda x, y: np.hypot(x, y), hypot_partials,             ("numpy.hypot", "math.hypot"), "√(x² + y²)", _RR,
       (((0.0, 0.0), (0.0, 0.0)), ((INF, 1.0), (1.0, 0.0)), ((1.0, -INF), (0.0, -1.0))), _C, "hypot"),

    # Exponentials and logarithms
    Op("exp",      lambda x: np.exp(x),   lambda x, r: (r,),                ("numpy.exp", "math.exp"), "e^x", _E, FLAT_LEFT, vector="exp", traits=_I),
    Op("exp2",     lambda x: np.exp2(x),  lambda x, r: (LN2 * r,),          ("numpy.exp2", "math.exp2", "scipy.special.exp2"), "2^x", _E, FLAT_LEFT,
       vector="exp2"),
    Op("expm1",    lambda x: np.expm1(x), lambda x, r: (np.exp(x),),        ("numpy.expm1", "math.expm1", "scipy.special.expm1"), "e^x - 1", _E,
       FLAT_LEFT, vector="expm1"),
    Op("log",      lambda x: np.log(x),   lambda x, r: (1.0 / x,),          ("numpy.log", "math.log"), "log x", _P, STEEP_AT_0, vector="log", traits=_I),
    Op("log2",     lambda x: np.log2(x),  lambda x, r: (LOG2_E / x,),       ("numpy.log2", "math.log2"), "log x / log 2", _P, STEEP_AT_0,
       vector="log2"),
    Op("log10",    lambda x: np.log10(x), lambda x, r: (LOG10_E / x,),      ("numpy.log10", "math.log10"), "log x / log 10", _P, STEEP_AT_0,
       vector="log10"),
    Op("log1p",    lambda x: np.log1p(x), lambda x, r: (1.0 / (1.0 + x),),  ("numpy.log1p", "math.log1p", "scipy.special.log1p"), "log(1 + x)",
       (Interval(-0.999, 1e6),), (((-1.0,), (INF,)),), vector="log1p"),
    Op("logaddexp", lambda x, y: np.logaddexp(x, y), logaddexp_partials,    ("numpy.logaddexp",), "log(e^x + e^y)", _RR, SOFT_TIES, _C),
    Op("logaddexp2", lambda x, y: np.logaddexp2(x, y), logaddexp2_partials, ("numpy.logaddexp2",), "log(2^x + 2^y) / log 2", _RR, SOFT_TIES, _C),
    Op("xlogy",    lambda x, y: xlogy(x, y), lambda x, y, r: (np.log(y), times(x, 1.0 / y)), ("scipy.special.xlogy",), "x log y, 0 if x = 0", _RP,
       (((0.0, 0.0), (-INF, 0.0)),)),
    Op("xlog1py",  lambda x, y: xlog1py(x, y), lambda x, y, r: (np.log1p(y), times(x, 1.0 / (1.0 + y))), ("scipy.special.xlog1py",),
       "x log(1 + y), 0 if x = 0", _RP, (((0.0, -1.0), (-INF, 0.0)),)),

    # Circular and hyperbolic functions
    Op("sin",      lambda x: np.sin(x),   lambda x, r: (np.cos(x),),        ("numpy.sin", "math.sin"), "sin x", _R, vector="sin", traits=_I),
    Op("cos",      lambda x: np.cos(x),   lambda x, r: (-np.sin(x),),       ("numpy.cos", "math.cos"), "cos x", _R, vector="cos", traits=_I),
    Op("tan",      lambda x: np.tan(x),   lambda x, r: (1.0 + r * r,),      ("numpy.tan", "math.tan"), "tan x", _R, vector="tan"),
    Op("arcsin",   lambda x: np.arcsin(x), lambda x, r: (1.0 / np.sqrt((1.0 - x) * (1.0 + x)),), ("numpy.arcsin", "math.asin"), "arcsin x", _U,
       STEEP_ENDS, vector="asin"),
    Op("arccos",   lambda x: np.arccos(x), lambda x, r: (-1.0 / np.sqrt((1.0 - x) * (1.0 + x)),), ("numpy.arccos", "math.acos"), "arccos x", _U,
       (((1.0,), (-INF,)), ((-1.0,), (-INF,))), vector="acos"),
    Op("arctan",   lambda x: np.arctan(x), lambda x, r: (1.0 / (1.0 + x * x),), ("numpy.arctan", "math.atan"), "arctan x", _R, FLAT_ENDS,
       vector="atan"),
    Op("arctan2",  lambda x, y: np.arctan2(x, y), arctan2_partials,         ("numpy.arctan2", "math.atan2"), "angle of the point (y, x)", _RR,
       (((0.0, 0.0), (0.0, 0.0)), ((0.0, -0.0), (0.0, 0.0)), ((1.0, INF), (0.0, 0.0))), vector="atan2"),
    Op("sinh",     lambda x: np.sinh(x),  lambda x, r: (np.cosh(x),),       ("numpy.sinh", "math.sinh"), "sinh x", _E, vector="sinh"),
    Op("cosh",     lambda x: np.cosh(x),  lambda x, r: (np.sinh(x),),       ("numpy.cosh", "math.cosh"), "cosh x", _E, vector="cosh"),
    Op("tanh",     lambda x: np.tanh(x),  lambda x, r: ((1.0 - r) * (1.0 + r),), ("numpy.tanh", "math.tanh"), "tanh x", _R, FLAT_ENDS, vector="tanh", traits=_I),
    Op("arcsinh",  lambda x: np.arcsinh(x), lambda x, r: (1.0 / np.hypot(1.0, x),), ("numpy.arcsinh", "math.asinh"), "arcsinh x", _R,
       (((INF,), (0.0,)),), vector="asinh"),
    Op("arccosh",  lambda x: np.arccosh(x), lambda x, r: (1.0 / (np.sqrt(x - 1.0) * np.sqrt(x + 1.0)),), ("numpy.arccosh", "math.acosh"), "arccosh x",
       (Interval(1.0, 1e6),), (((1.0,), (INF,)),), vector="acosh"),
    Op("arctanh",  lambda x: np.arctanh(x), lambda x, r: (1.0 / ((1.0 - x) * (1.0 + x)),), ("numpy.arctanh", "math.atanh"), "arctanh x", _U,
       STEEP_ENDS, vector="atanh"),
    Op("deg2rad",  lambda x: x * DEGREE,  lambda x, r: (DEGREE,),           ("numpy.deg2rad", "numpy.radians", "math.radians"), "π x / 180", _R,
       traits=_L),
    Op("rad2deg",  lambda x: x * RADIAN,  lambda x, r: (RADIAN,),           ("numpy.rad2deg", "numpy.degrees", "math.degrees"), "180 x / π", _R,
       traits=_L),

    # Special functions
    Op("erf",      lambda x: math.erf(x), lambda x, r: (TWO_OVER_SQRT_PI * np.exp(-x * x),), ("scipy.special.erf", "math.erf"), "erf x", _R,
       FLAT_ENDS, vector="erf"),
    Op("erfc",     lambda x: math.erfc(x), lambda x, r: (-TWO_OVER_SQRT_PI * np.exp(-x * x),), ("scipy.special.erfc", "math.erfc"), "1 - erf x", _R,
       FLAT_ENDS, vector="erfc"),
    Op("ndtr",     lambda x: ndtr(x),     lambda x, r: (INVERSE_SQRT_2PI * np.exp(-0.5 * x * x),), ("scipy.special.ndtr",), "(1 + erf(x / √2)) / 2",
       _R, FLAT_ENDS),
    Op("expit",    lambda x: expit(x),    lambda x, r: (r * expit(-x),),    ("scipy.special.expit",), "1 / (1 + e^-x)", _R, FLAT_ENDS),
    Op("logit",    lambda x: logit(x),    lambda x, r: (1.0 / (x * (1.0 - x)),), ("scipy.special.logit",), "log(x / (1 - x))", (Interval(0.0, 1.0),),
       (((0.0,), (INF,)), ((1.0,), (INF,)))),
    Op("ndtri",    lambda x: ndtri(x),    lambda x, r: (SQRT_2PI * np.exp(0.5 * r * r),), ("scipy.special.ndtri",), "inverse of ndtr",
       (Interval(0.0, 1.0),), STEEP_AT_0[:1]),
    Op("erfinv",   lambda x: erfinv(x),   lambda x, r: (HALF_SQRT_PI * np.exp(r * r),), ("scipy.special.erfinv",), "inverse of erf", _U, STEEP_ENDS),
    Op("gamma",    lambda x: gamma(x),    lambda x, r: (r * digamma(x),),   ("scipy.special.gamma", "math.gamma"), "Γ(x)", (Interval(1e-3, 170.0),),
       (((INF,), (INF,)),)),
    Op("gammaln",  lambda x: gammaln(x),  lambda x, r: (digamma(x),),       ("scipy.special.gammaln", "math.lgamma"), "log |Γ(x)|", _P,
       (((0.0,), (-INF,)), ((INF,), (INF,)))),
    Op("digamma",  lambda x: digamma(x),  lambda x, r: (polygamma(x, 1),),  ("scipy.special.digamma", "scipy.special.psi"), "Γ'(x) / Γ(x)", _P,
       STEEP_AT_0),
    Op("polygamma", lambda x, n: polygamma(x, n), lambda x, n, r: (polygamma(x, n + 1), 0.0), ("scipy.special.polygamma",), "derivative n of digamma",
       (POSITIVE, Interval(0, 9)), traits=_N),

    # Piecewise functions
    Op("sign",     lambda x: sign(x),     lambda x, r: (0.0,),              ("numpy.sign",), "sign of x", _R, (((0.0,), (0.0,)),), _Z),
    Op("floor",    lambda x: np.floor(x), lambda x, r: (0.0,),              ("numpy.floor",), "⌊x⌋", _R, traits=_Z),
    Op("ceil",     lambda x: np.ceil(x),  lambda x, r: (0.0,),              ("numpy.ceil",), "⌈x⌉", _R, traits=_Z),
    Op("trunc",    lambda x: np.trunc(x), lambda x, r: (0.0,),              ("numpy.trunc",), "x rounded towards 0", _R, traits=_Z),
    Op("rint",     lambda x: np.rint(x),  lambda x, r: (0.0,),              ("numpy.rint",), "x rounded to nearest, ties to even", _R, traits=_Z),
    Op("floor_divide", lambda x, y: x // y, lambda x, y, r: (0.0, 0.0),     ("numpy.floor_divide", "operator.floordiv"), "⌊x / y⌋", _RP, traits=_Z),
    Op("remainder", lambda x, y: x % y,   lambda x, y, r: (1.0, -(x // y)), ("numpy.remainder", "operator.mod"), "x - y ⌊x / y⌋", _RP),
    Op("fmod",     lambda x, y: np.fmod(x, y), fmod_partials,               ("numpy.fmod", "math.fmod"), "x - y trunc(x / y)", _RP),
    Op("copysign", lambda x, y: np.copysign(x, y), lambda x, y, r: (np.sign(x) * np.copysign(1.0, y), 0.0), ("numpy.copysign", "math.copysign"),
       "|x| with the sign of y", _RR, (((0.0, 1.0), (0.0, 0.0)), ((-2.0, -0.0), (1.0, 0.0)), ((-2.0, 0.0), (-1.0, 0.0)))),
    Op("maximum",  lambda x, y: maximum(x, y), chosen_partials,             ("numpy.maximum",), "larger, nan if either is", _RR, TIES, traits=_I),
    Op("minimum",  lambda x, y: minimum(x, y), chosen_partials,             ("numpy.minimum",), "smaller, nan if either is", _RR, TIES, traits=_I),
    Op("fmax",     lambda x, y: np.fmax(x, y), chosen_partials,             ("numpy.fmax",), "larger, ignoring nan", _RR,
       (((1.0, 1.0), (0.5, 0.5)), ((math.nan, 1.0), (0.0, 1.0)))),
    Op("fmin",     lambda x, y: np.fmin(x, y), chosen_partials,             ("numpy.fmin",), "smaller, ignoring nan", _RR,
       (((1.0, 1.0), (0.5, 0.5)), ((1.0, math.nan), (1.0, 0.0)))),
    Op("select",   lambda c, x, y: select(c, x, y), lambda c, x, y, r: (0.0, select(c, 1.0, 0.0), select(c, 0.0, 1.0)), (), "x if c else y",
       (TRUTH, REAL, REAL), (((0.0, 1.0, 2.0), (0.0, 0.0, 1.0)),), traits=_I),

    # Truth values
    Op("less",          lambda x, y: 1.0 * (x < y),  lambda x, y, r: (0.0, 0.0), ("numpy.less", "operator.lt"),          "x < y", _RR, traits=_T | _I),
    Op("less_equal",    lambda x, y: 1.0 * (x <= y), lambda x, y, r: (0.0, 0.0), ("numpy.less_equal", "operator.le"),    "x ≤ y", _RR, traits=_T | _I),
    Op("greater",       lambda x, y: 1.0 * (x > y),  lambda x, y, r: (0.0, 0.0), ("numpy.greater", "operator.gt"),       "x > y", _RR, traits=_T | _I),
    Op("greater_equal", lambda x, y: 1.0 * (x >= y), lambda x, y, r: (0.0, 0.0), ("numpy.greater_equal", "operator.ge"), "x ≥ y", _RR, traits=_T | _I),
    Op("equal",         lambda x, y: 1.0 * (x == y), lambda x, y, r: (0.0, 0.0), ("numpy.equal", "operator.eq"),         "x = y", _RR, traits=_CT | _I),
    Op("not_equal",     lambda x, y: 1.0 * (x != y), lambda x, y, r: (0.0, 0.0), ("numpy.not_equal", "operator.ne"),     "x ≠ y", _RR, traits=_CT | _I),
    Op("logical_and",   lambda x, y: 1.0 * ((x != 0.0) & (y != 0.0)), lambda x, y, r: (0.0, 0.0), ("numpy.logical_and", "numpy.bitwise_and", "operator.and_"),     "x and y", _TT, traits=_CT),
    Op("logical_or",    lambda x, y: 1.0 * ((x != 0.0) | (y != 0.0)), lambda x, y, r: (0.0, 0.0), ("numpy.logical_or", "numpy.bitwise_or", "operator.or_"),       "x or y", _TT, traits=_CT),
    Op("logical_not",   lambda x: 1.0 * (x == 0.0), lambda x, r: (0.0,),  ("numpy.logical_not", "numpy.invert", "operator.invert"), "not x", (TRUTH,), traits=_T),
    Op("isnan",         lambda x: 1.0 * (x != x), lambda x, r: (0.0,),        ("numpy.isnan", "math.isnan"), "x is nan", _R, traits=_T),
    Op("isinf",         lambda x: 1.0 * (np.abs(x) == INF), lambda x, r: (0.0,),        ("numpy.isinf", "math.isinf"), "x is infinite", _R, traits=_T),
    Op("isfinite",      lambda x: 1.0 * (np.abs(x) < INF), lambda x, r: (0.0,),     ("numpy.isfinite", "math.isfinite"), "x is finite", _R, traits=_T),
)
# fmt: on

CODE = {op.name: code for code, op in enumerate(OPS)}


def rebound(rule: FunctionType, replaced: Callable[[str, Any], Any]) -> FunctionType:
    """A copy of a rule, and of the functions that it names, with what `replaced(name, value)` gives for a global.

    None leaves the global as it is.
    """
    names: dict[str, Any] = {"__builtins__": builtins}
    for name in rule.__code__.co_names:
        if name in rule.__globals__:
            value = rule.__globals__[name]
            other = replaced(name, value)
            if other is None:
                other = rebound(value, replaced) if isinstance(value, FunctionType) else value
            names[name] = other
    return FunctionType(rule.__code__, names, rule.__name__, rule.__defaults__, rule.__closure__)
