"""Exact values and derivatives of the table's operations, by row name, from mpmath at 50 digits.

Closed forms written here, independent of the rules under test: nothing of fasttape is imported. An oracle takes and
returns mpf numbers. `value(name, operands)` and `partials(name, operands)` take floats and may raise where the function
is not defined; `slack` says how far the result moves when the operands move by half a unit in the last place, the error
that no algorithm that receives rounded operands can avoid.
"""

from fractions import Fraction

import mpmath
from mpmath import mpf

CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 50
m = CONTEXT

HALF_ULP = mpf(2) ** -53


def _exact(fraction):
    return m.mpf(fraction.numerator) / fraction.denominator


def _quotient(x, y):
    return Fraction(float(x)) / Fraction(float(y))


def _floor(x, y):
    return Fraction(_quotient(x, y).__floor__())


def _trunc(x, y):
    return Fraction(_quotient(x, y).__trunc__())


def _left_over(quotient, x, y):
    return _exact(Fraction(float(x)) - quotient(x, y) * Fraction(float(y)))


def _side(y):
    if y == 0:
        raise ValueError("mpf has no signed zero")
    return 1 if y > 0 else -1


def _angle(x, y):
    return m.atan2(x, y) if x or y > 0 else m.pi * _side(x)


def _cbrt(x):
    return m.sign(x) * m.cbrt(abs(x))


def _sigma(x):
    return 1 / (1 + m.exp(-x))


def _log_gamma(x):
    return m.re(m.loggamma(x))


def _bell(x):
    return 2 / m.sqrt(m.pi) * m.exp(-x * x)


def _erfc(x):
    return m.erfc(x) if abs(x) < 1e5 else m.mpf(2 * (x < 0))


def _ndtr(x):
    return _erfc(-x / m.sqrt(2)) / 2


def _quantile(p):
    """The root of log ndtr(z) = log p, by symmetry left of 0."""
    if 2 * p > 1:
        return -_quantile(1 - p)
    start = -m.sqrt(-2 * m.log(p)) if p < m.mpf("0.01") else m.sqrt(2) * m.erfinv(2 * p - 1)
    return m.findroot(lambda z: m.log(_ndtr(z) / p), start) if p < m.mpf("0.01") else start


def _power(x, n):
    return m.power(x, int(n))


def _zero(*operands):
    return m.mpf(0)


def _one(*operands):
    return m.mpf(1)


def _tied(first, second):
    return m.mpf(first > second) + m.mpf(first == second) / 2


def _truth(relation):
    return (lambda *operands: m.mpf(bool(relation(*operands))), *[_zero] * relation.__code__.co_argcount)


_SMALLER = (lambda x, y: min(x, y), lambda x, y: _tied(y, x), lambda x, y: _tied(x, y))
_LARGER = (lambda x, y: max(x, y), _tied, lambda x, y: _tied(y, x))
_PRODUCT = (lambda x, y: x * y, lambda x, y: y, lambda x, y: x)
_POWER = (lambda x, n: _power(x, n), lambda x, n: n * _power(x, n - 1) if n else m.mpf(0), _zero)

# name: (value, derivative by the first operand, ...)
ORACLES = {
    "add": (lambda x, y: x + y, _one, _one),
    "sub": (lambda x, y: x - y, _one, lambda x, y: m.mpf(-1)),
    "mul": _PRODUCT,
    "times": _PRODUCT,
    "div": (lambda x, y: x / y, lambda x, y: 1 / y, lambda x, y: -x / y**2),
    "pow": (lambda x, y: m.power(x, y), lambda x, y: y * m.power(x, y - 1), lambda x, y: m.power(x, y) * m.log(x)),
    "powi": _POWER,
    "positive": (lambda x: x, _one),
    "neg": (lambda x: -x, lambda x: m.mpf(-1)),
    "abs": (abs, lambda x: m.sign(x)),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2),
    "sqrt": (m.sqrt, lambda x: 1 / (2 * m.sqrt(x))),
    "cbrt": (_cbrt, lambda x: 1 / (3 * _cbrt(x) ** 2)),
    "hypot": (m.hypot, lambda x, y: x / m.hypot(x, y), lambda x, y: y / m.hypot(x, y)),
    "exp": (m.exp, m.exp),
    "exp2": (lambda x: m.power(2, x), lambda x: m.power(2, x) * m.log(2)),
    "expm1": (m.expm1, m.exp),
    "log": (m.log, lambda x: 1 / x),
    "log2": (lambda x: m.log(x, 2), lambda x: 1 / (x * m.log(2))),
    "log10": (m.log10, lambda x: 1 / (x * m.log(10))),
    "log1p": (m.log1p, lambda x: 1 / (1 + x)),
    "logaddexp": (
        lambda x, y: max(x, y) + m.log1p(m.exp(-abs(x - y))),
        lambda x, y: _sigma(x - y),
        lambda x, y: _sigma(y - x),
    ),
    "logaddexp2": (
        lambda x, y: max(x, y) + m.log1p(m.power(2, -abs(x - y))) / m.log(2),
        lambda x, y: 1 / (1 + m.power(2, y - x)),
        lambda x, y: 1 / (1 + m.power(2, x - y)),
    ),
    "xlogy": (lambda x, y: x * m.log(y), lambda x, y: m.log(y), lambda x, y: x / y),
    "xlog1py": (lambda x, y: x * m.log1p(y), lambda x, y: m.log1p(y), lambda x, y: x / (1 + y)),
    "sin": (m.sin, m.cos),
    "cos": (m.cos, lambda x: -m.sin(x)),
    "tan": (m.tan, lambda x: m.sec(x) ** 2),
    "arcsin": (m.asin, lambda x: 1 / m.sqrt(1 - x * x)),
    "arccos": (m.acos, lambda x: -1 / m.sqrt(1 - x * x)),
    "arctan": (m.atan, lambda x: 1 / (1 + x * x)),
    "arctan2": (_angle, lambda x, y: y / (x * x + y * y), lambda x, y: -x / (x * x + y * y)),
    "sinh": (m.sinh, m.cosh),
    "cosh": (m.cosh, m.sinh),
    "tanh": (m.tanh, lambda x: m.sech(x) ** 2),
    "arcsinh": (m.asinh, lambda x: 1 / m.sqrt(1 + x * x)),
    "arccosh": (m.acosh, lambda x: 1 / m.sqrt(x * x - 1)),
    "arctanh": (m.atanh, lambda x: 1 / (1 - x * x)),
    "deg2rad": (lambda x: x * m.pi / 180, lambda x: m.pi / 180),
    "rad2deg": (lambda x: x * 180 / m.pi, lambda x: 180 / m.pi),
    "erf": (m.erf, _bell),
    "erfc": (_erfc, lambda x: -_bell(x)),
    "ndtr": (_ndtr, lambda x: m.exp(-x * x / 2) / m.sqrt(2 * m.pi)),
    "expit": (_sigma, lambda x: _sigma(x) * _sigma(-x)),
    "logit": (lambda x: m.log(x / (1 - x)), lambda x: 1 / (x * (1 - x))),
    "ndtri": (_quantile, lambda x: m.sqrt(2 * m.pi) * m.exp(_quantile(x) ** 2 / 2)),
    "erfinv": (m.erfinv, lambda x: m.sqrt(m.pi) / 2 * m.exp(m.erfinv(x) ** 2)),
    "gamma": (m.gamma, lambda x: m.gamma(x) * m.digamma(x)),
    "gammaln": (_log_gamma, m.digamma),
    "digamma": (m.digamma, lambda x: m.psi(1, x)),
    "polygamma": (lambda x, n: m.psi(int(n), x), lambda x, n: m.psi(int(n) + 1, x), _zero),
    "sign": (m.sign, _zero),
    "floor": (m.floor, _zero),
    "ceil": (m.ceil, _zero),
    "trunc": (lambda x: m.floor(x) if x > 0 else m.ceil(x), _zero),
    "rint": (lambda x: m.mpf(round(Fraction(float(x)))), _zero),
    "floor_divide": (lambda x, y: _exact(_floor(x, y)), _zero, _zero),
    "remainder": (lambda x, y: _left_over(_floor, x, y), _one, lambda x, y: -_exact(_floor(x, y))),
    "fmod": (lambda x, y: _left_over(_trunc, x, y), _one, lambda x, y: -_exact(_trunc(x, y))),
    "copysign": (lambda x, y: abs(x) * _side(y), lambda x, y: m.sign(x) * _side(y), _zero),
    "maximum": _LARGER,
    "minimum": _SMALLER,
    "fmax": _LARGER,
    "fmin": _SMALLER,
    "select": (
        lambda c, x, y: x if c else y,
        _zero,
        lambda c, x, y: m.mpf(bool(c)),
        lambda c, x, y: m.mpf(not c),
    ),
    "less": _truth(lambda x, y: x < y),
    "less_equal": _truth(lambda x, y: x <= y),
    "greater": _truth(lambda x, y: x > y),
    "greater_equal": _truth(lambda x, y: x >= y),
    "equal": _truth(lambda x, y: x == y),
    "not_equal": _truth(lambda x, y: x != y),
    "logical_and": _truth(lambda x, y: bool(x) and bool(y)),
    "logical_or": _truth(lambda x, y: bool(x) or bool(y)),
    "logical_not": _truth(lambda x: not x),
    "isnan": _truth(lambda x: False),
    "isinf": _truth(lambda x: False),
    "isfinite": _truth(lambda x: True),
}

# These jump, so moving an operand says nothing about rounding
PIECEWISE = {"sign", "floor", "ceil", "trunc", "rint", "floor_divide", "remainder", "fmod", "copysign", "select"}
PIECEWISE |= {"maximum", "minimum", "fmax", "fmin"}
PIECEWISE |= {name for name, (_, *derivatives) in ORACLES.items() if all(d is _zero for d in derivatives)}


def value(name, operands):
    """The exact value at floats `operands`."""
    return ORACLES[name][0](*map(m.mpf, map(float, operands)))


def partials(name, operands):
    """The exact derivatives at floats `operands`, one per operand."""
    return tuple(d(*map(m.mpf, map(float, operands))) for d in ORACLES[name][1:])


def slack(name, which, operands):
    """How far oracle `which` (0: the value, k: the derivative by operand k) moves for half an ulp in each operand."""
    if name in PIECEWISE:
        return m.mpf(0)
    oracle = ORACLES[name][which]
    exact = [m.mpf(float(x)) for x in operands]
    center, total = oracle(*exact), m.mpf(0)
    for i, x in enumerate(exact):
        if isinstance(operands[i], int):
            continue
        moves = []
        for nudge in (1 - HALF_ULP, 1 + HALF_ULP):
            try:
                moved = oracle(*exact[:i], x * nudge, *exact[i + 1 :])
            except (ValueError, ZeroDivisionError):
                continue
            if m.im(moved) == 0:
                moves.append(abs(moved - center))
        total += max(moves, default=m.mpf(0))
    return total
