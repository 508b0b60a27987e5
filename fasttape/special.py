"""Scalar numerics that `math` and NumPy lack, as plain functions of floats.

Each runs in plain Python and compiles under Numba unchanged, never raises, and returns at poles, infinities and nan
what SciPy returns. Stated errors are against mpmath, on top of what half an ulp of the operand does. Functions call one
another as module globals (polygamma needs hurwitz and digamma), so whoever compiles one resolves its globals first.
"""

import math

import numpy as np

LOG_PI = 1.1447298858494002
HALF_LOG_2PI = 0.9189385332046728
SQRT_HALF = 0.7071067811865476
SQRT_2PI = 2.5066282746310002

# Polynomials are in Horner order, highest power first; the two fits are from mpmath.chebyfit, within 1e-17.
# lgamma(2 + z) / z for |z| <= 1/2
GAMMALN_NEAR_2 = (
    *(-1.3219945666117874e-07, 2.78740805211359e-07, -4.3252393445604814e-07, 9.200527894968101e-07),
    *(-2.0439048107029907e-06, 4.38470440459836e-06, -9.438715099211532e-06, 2.0505590755833454e-05),
    *(-4.49263133791557e-05, 9.945767355819498e-05, -0.00022315475400520507, 0.0005096695154115458),
    *(-0.0011927539118428156, 0.002890510331034267, -0.0073855510286719986, 0.02058080842778038),
    *(-0.0673523010531981, 0.32246703342411326, 0.42278433509846713),
)
# Bernoulli(2k) / (2k (2k - 1)), k = 8 ... 1
STIRLING = (
    *(-0.029550653594771242, 0.00641025641025641, -0.0019175269175269176, 0.0008417508417508417),
    *(-0.0005952380952380953, 0.0007936507936507937, -0.002777777777777778, 0.08333333333333333),
)
# The positive root of digamma in two parts, and x digamma(x) / (x - root) in powers of x - 3/2 for 1 <= x <= 2
DIGAMMA_ROOT, DIGAMMA_ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
DIGAMMA_NEAR_ROOT = (
    *(-8.330017764155427e-08, 2.086174950945902e-07, -4.343344704424389e-07, 1.0900440594791301e-06),
    *(-2.778815077217573e-06, 7.00085274570018e-06, -1.7687223169837115e-05, 4.4924967963555466e-05),
    *(-0.00011492419795785276, 0.0002971387135965835, -0.0007808823636548008, 0.002105524543932196),
    *(-0.005921836374555441, 0.017935099659936202, -0.06281369492028008, 0.315614744109642),
    1.4265838140477494,
)
# Bernoulli(2k) / 2k, k = 8 ... 1
DIGAMMA_TAIL = (
    *(-0.4432598039215686, 0.08333333333333333, -0.021092796092796094, 0.007575757575757576),
    *(-0.004166666666666667, 0.003968253968253968, -0.008333333333333333, 0.08333333333333333),
)
# Bernoulli(2k) / (2k)!, k = 1 ... 12
EULER_MACLAURIN = (
    *(0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07),
    *(2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13),
    *(8.586062056277845e-15, -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812522e-19),
)
# Wichura (1988), "Algorithm AS 241: the percentage points of the normal distribution": numerators and denominators of
# the quantile around the median, and in the tail by its distance from 1.6 and from 5
QUANTILE_CENTER = (
    (2509.0809287301227, 5226.495278852854), (33430.57558358813, 28729.085735721943),
    (67265.7709270087, 39307.89580009271), (45921.95393154987, 21213.794301586597),
    (13731.69376550946, 5394.196021424751), (1971.5909503065513, 687.1870074920579),
    (133.14166789178438, 42.31333070160091), (3.3871328727963665, 1.0),
)  # fmt: skip
QUANTILE_NEAR = (
    (0.0007745450142783414, 1.0507500716444169e-09), (0.022723844989269184, 0.0005475938084995345),
    (0.2417807251774506, 0.015198666563616457), (1.2704582524523684, 0.14810397642748008),
    (3.6478483247632045, 0.6897673349851), (5.769497221460691, 1.6763848301838038),
    (4.630337846156546, 2.053191626637759), (1.4234371107496835, 1.0),
)  # fmt: skip
QUANTILE_FAR = (
    (2.0103343992922881e-07, 2.0442631033899397e-15), (2.7115555687434876e-05, 1.421511758316446e-07),
    (0.0012426609473880784, 1.8463183175100548e-05), (0.026532189526576124, 0.0007868691311456133),
    (0.29656057182850487, 0.014875361290850615), (1.7848265399172913, 0.1369298809227358),
    (5.463784911164114, 0.599832206555888), (6.657904643501103, 1.0),
)  # fmt: skip


def expit(x):
    """Logistic function 1 / (1 + exp(-x)), to 2 ulp down to its underflow."""
    e = np.exp(-np.abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


def logit(x):
    """Inverse of expit, log(x / (1 - x)), to 2 ulp, also next to its root 1/2."""
    if x > 0.25:
        return 2.0 * np.arctanh(2.0 * x - 1.0)
    return np.log(x) - np.log1p(-x)


def ndtr(x):
    """Standard normal distribution function; as accurate as x is, so x**2 / 2 ulp in the far left tail."""
    return 0.5 * math.erfc(-x * SQRT_HALF)


def quantile(q, tail):
    """The quantile of the normal distribution at 1/2 + q; `tail` is the smaller of the probabilities on both sides."""
    top, bottom = 0.0, 0.0
    if np.abs(q) <= 0.425:
        r = 0.180625 - q * q
        for n, d in QUANTILE_CENTER:
            top, bottom = top * r + n, bottom * r + d
        return q * top / bottom
    r = np.sqrt(-np.log(tail))
    if r <= 5.0:
        for n, d in QUANTILE_NEAR:
            top, bottom = top * (r - 1.6) + n, bottom * (r - 1.6) + d
    else:
        for n, d in QUANTILE_FAR:
            top, bottom = top * (r - 5.0) + n, bottom * (r - 5.0) + d
    return np.copysign(top / bottom, q)


def ndtri(p):
    """Inverse of ndtr, to 8 ulp; infinite at 0 and 1, nan outside."""
    if p == 0.0 or p == 1.0:
        return np.copysign(np.inf, p - 0.5)
    if not 0.0 < p < 1.0:
        return np.nan
    return quantile(p - 0.5, p if p < 0.5 else 1.0 - p)


def erfinv(y):
    """Inverse of erf, to 8 ulp; infinite at -1 and 1, nan outside."""
    if np.abs(y) == 1.0:
        return np.copysign(np.inf, y)
    if not np.abs(y) < 1.0:
        return np.nan
    return SQRT_HALF * quantile(0.5 * y, 0.5 * (1.0 - np.abs(y)))


def xlogy(x, y):
    """x log(y), and 0 where x = 0 (unless y is nan)."""
    return 0.0 if (x == 0.0) & (y == y) else x * np.log(y)


def xlog1py(x, y):
    """x log(1 + y), and 0 where x = 0 (unless y is nan)."""
    return 0.0 if (x == 0.0) & (y == y) else x * np.log1p(y)


def stirling(q):
    """What Stirling's formula lacks of log(Gamma(q)), for large q."""
    s = 0.0
    for c in STIRLING:
        s = s / (q * q) + c
    return s / q


def around_two(q):
    """Where q gets in steps down to at most 2.5, the product of the steps, its distance z from an integer, and
    log(Gamma(2 + z)).
    """
    p = 1.0
    while q > 2.5:
        q = q - 1.0
        p = p * q
    z = q - 2.0 if q > 1.5 else (q - 1.0 if q > 0.5 else q)
    s = 0.0
    for c in GAMMALN_NEAR_2:
        s = s * z + c
    return q, p, z, z * s


def gammaln(x):
    """Logarithm of |Gamma(x)|, to 2 ulp; left of 0, where it has roots, to 2 ulp of 1 or of the result."""
    if x == np.floor(x) and x <= 0.0:
        return x if x == -np.inf else np.inf
    q = x if x > 0.0 else 1.0 - x
    if q >= 10.0:
        r = (q - 0.5) * (np.log(q) - 1.0) + (HALF_LOG_2PI - 0.5) + stirling(q) if q < np.inf else q
    else:
        q, p, z, s = around_two(q)
        r = s + (np.log(p) if q > 1.5 else (-np.log1p(z) if q > 0.5 else -np.log1p(z) - np.log(q)))
    if x > 0.0:
        return r
    return LOG_PI - np.log(np.abs(np.sin(np.pi * (x - np.rint(x))))) - r


def gamma(x):
    """Gamma, to 8 ulp right of 0, exact at small integers: factors times the value near 2, later Stirling's formula."""
    if x == 0.0:
        return np.copysign(np.inf, x)
    if x == np.floor(x) and x < 0.0:
        return np.nan
    q = x if x > 0.0 else 1.0 - x
    if q >= 24.0:
        root = np.power(q, 0.5 * q - 0.25)  # half of the power, which itself may overflow
        r = root * np.exp(-q) * SQRT_2PI * np.exp(stirling(q)) * root if q < 190.0 else np.inf
    else:
        q, p, z, s = around_two(q)
        r = np.exp(s) * p
        if q <= 1.5:
            r = r / (1.0 + z) if q > 0.5 else r / (1.0 + z) / q
    if x > 0.0 or np.isnan(x):
        return r
    nearest = np.rint(x)
    sine = np.sin(np.pi * (x - nearest))
    return np.pi / ((sine if nearest % 2.0 == 0.0 else -sine) * r)


def digamma(x):
    """Derivative of gammaln, to 2 ulp, also next to its positive root."""
    if x == 0.0:
        return -np.copysign(np.inf, x)
    if x == np.floor(x) and x < 0.0:
        return np.nan
    q = x if x > 0.0 else 1.0 - x
    if q >= 10.0:
        s = 0.0
        for c in DIGAMMA_TAIL:
            s = s / (q * q) + c
        r = np.log(q) - 0.5 / q - s / (q * q) if q < np.inf else q
    else:
        shift = 0.0
        if q < 1.0:
            shift = -1.0 / q
            q = q + 1.0
        while q > 2.0:
            q = q - 1.0
            shift = shift + 1.0 / q
        s = 0.0
        for c in DIGAMMA_NEAR_ROOT:
            s = s * (q - 1.5) + c
        r = ((q - DIGAMMA_ROOT) - DIGAMMA_ROOT_LOW) / q * s + shift
    if x > 0.0:
        return r
    return r - np.pi / np.tan(np.pi * (x - np.rint(x)))


def hurwitz(s, q):
    """Hurwitz zeta, the sum over k >= 0 of (q + k)**-s, for q > 0 and s >= 2, by Euler and Maclaurin's formula."""
    reach = 10.0 + min(s, 200.0)
    shift = int(np.ceil(reach - q)) if q < reach else 0
    a = q + shift
    whole = np.power(a, 1.0 - s)
    power = whole / a
    tail = whole / (s - 1.0) + 0.5 * power
    term = s * power / a
    for k, c in enumerate(EULER_MACLAURIN):
        tail = tail + c * term
        term = term * ((s + 2.0 * k + 1.0) / a) * ((s + 2.0 * k + 2.0) / a)
    for k in range(shift):
        tail = tail + np.power(q + (shift - 1.0 - k), -s)
    return tail


def polygamma(x, n):
    """Derivative of order n of digamma, to 2 ulp for n <= 10; nan for negative n."""
    if n == 0:
        return digamma(x)
    if n < 0 or np.isnan(x):
        return np.nan
    s = n + 1.0
    scale = 1.0 if n % 2 else -1.0
    for k in range(2, min(n, 171) + 1):
        scale = scale * k
    if x > 0.0:
        return scale * hurwitz(s, x)
    if x == np.floor(x):
        return scale * np.inf
    # The poles left of 0 are the integers without those right of x: only sums of positive terms
    f = x - np.rint(x)
    left, right = (f, 1.0 - f) if f > 0.0 else (1.0 + f, -f)
    mirrored = hurwitz(s, right) - hurwitz(s, 1.0 - x)
    return scale * (hurwitz(s, left) - mirrored if n % 2 == 0 else hurwitz(s, left) + mirrored)


def powi(x, n):
    """x to the integer power n; by repeated multiplication (the same bits everywhere) up to |n| = 8."""
    m = -n if n < 0 else n
    if m > 8:
        return np.power(x, 1.0 * n)
    r = 1.0
    square = x
    while m > 0:
        if m % 2:
            r = r * square
        square = square * square
        m = m // 2
    return r if n >= 0 else np.divide(1.0, r)
