"""NumPy's functions in compiled code: recorded inside of it, with the values of the plain function and its slopes."""

import math

import numba
import numpy as np
import pytest

import fasttape as ft

POINT = np.array([0.43, -0.32, 0.96, 1.27])
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="Python's way is not recorded")


@numba.vectorize
def weighted(a, b, c):
    return a * b + c


@numba.njit
def quotients(x):
    q, r = divmod(x[3], x[0])
    many, rest = np.divmod(x, 0.3)
    return q * x[1] + r * x[2] + np.sum(many * x + rest * x)


@numba.njit
def searches(x):
    ordered = np.sort(x)
    k = np.searchsorted(ordered, x[0])
    spread = np.searchsorted(np.array([-1.0, 0.0, 1.0]), x, side="right")
    bins = np.digitize(x, ordered[1:3])
    first = np.searchsorted(np.cumsum(x * x), 0.5)
    return ordered[k] * x[1] + k + np.sum(x * spread) + np.sum(bins * x * x) + x[first] * x[0]


@numba.njit
def middles(x):
    return np.median(x) * x[0] + np.sum(np.quantile(x, np.array([0.1, 0.9])) ** 2)


@numba.njit
def spacings(x):
    s = np.sum(np.linspace(0.0, x[1], 7) ** 3)
    for v in np.linspace(x[0], x[3], 5):
        s += v * v
    return s


@numba.njit
def replacements(x):
    y = np.zeros((2, 4))
    y[0], y[1] = x, x[0]
    y[1, 2] = np.nan
    z = np.nan_to_num(y * x, nan=2.0)
    np.fill_diagonal(y, x[3])
    return np.sum(z * z) + np.nan_to_num(x[1]) * x[0] + np.nansum(y) + np.nanmax(y) * np.nanmin(y) + np.nanmean(y)


@numba.njit
def bounds(x):
    y = np.clip(x, -0.2, 1.0) * x.clip(x[1], x[3]) + np.clip(x, None, x[0]) + np.maximum(x, x[2])
    return np.sum(y) + np.ptp(x) * x[0]


@numba.njit
def roundings(x):
    y = np.round(x, 1) + np.around(x) + np.trunc(x)
    return (
        np.sum(y * x) + np.round(x[0], 2) * x[1] + round(x[3], 1) * x[2] + round(x[2] * 128.0, -1) * x[0] + round(x[3])
    )


@numba.njit
def integrals(x):
    points = np.array([0.0, 1.0, 3.0, 4.0])
    return np.trapezoid(x * x, points) + np.trapezoid(x, dx=0.5) + np.sum(np.ediff1d(x) ** 2)


@numba.njit
def products(x):
    m = np.outer(x, x) + np.eye(4)
    y = np.cross(x[:3], x[1:]) * np.vdot(x, m[0])
    return np.sum(y) + np.linalg.matrix_power(m, 3)[0, 1]


@numba.njit
def norms(x):
    y = np.linalg.norm(x) + np.linalg.norm(x, 1) + np.linalg.norm(x, 2) + np.linalg.norm(x, 3.0)
    return y + np.linalg.norm(x, np.inf) * np.linalg.norm(x, -np.inf)


@numba.njit
def statistics(x):
    m = np.outer(x, x)
    m[1, 2] += 1.0
    y = np.cov(m[:2])[0, 1] + np.average(x, weights=np.arange(1.0, 5.0))
    return y + np.nanvar(x) * np.nanstd(x)


@numba.njit
def filters(x):
    y = np.convolve(x, np.array([1.0, 2.0]))[1] * np.correlate(x, np.array([1.0, -2.0]))[1]
    counts = np.bincount(np.array([0, 1, 1, 0]), weights=x)
    return y + np.sum(counts**2) + np.sum(np.sinc(x)) + np.sum(np.unique(x) * np.arange(4.0))


@numba.njit
def selections(x):
    y = np.select([x > 0.5, x > 0.0], [x * x, x * 3.0])
    return np.sum(y) + np.sum(np.extract(x > 0.0, x) ** 2) + np.sum(x[np.isclose(x, 0.43)]) + x[np.argmax(x)] ** 2


@numba.njit
def sums(x):
    m = np.empty((2, 2, 2))
    for i in range(2):
        m[i] = x.reshape(2, 2) * (i + 1)
    return np.sum(np.sum(m * m, axis=2)[0]) + m.sum(axis=0)[1, 1] ** 2 + m.sum(axis=-2)[1, 0] ** 3


@numba.njit
def outputs(x):
    y, z = np.empty(4), np.empty(4)
    np.multiply(x, x, y)
    np.exp(y, z)
    np.add(z, x[0], z)
    return np.sum(y * z)


@numba.njit
def containers(x):
    items = [0.0] * 4
    for i in range(4):
        items[i] = x[i] * x[0]
    made = np.array((x[0], 1.0, x[1] * x[2]))
    pairs, one = np.array(((x[0], 1.0), (2.0, x[3]))), np.array(x[1])
    return items[1] * items[3] + np.sum(made**2) + pairs[1, 1] * pairs[0, 0] + one[()] + np.sum(np.asarray([x[0], 2.0]))


@numba.njit
def kinds(x):
    y = x[0] if isinstance(x[1], float) else x[1]
    z = x[2] if isinstance(x[3], int) else x[3]
    for v in np.nditer(x):
        z += v.item().real ** 2
    return np.sum(np.conj(x)) * y * z + np.finfo(x.dtype).eps + math.ldexp(x[0], 2) + np.int64(x[3] * 3.0) * x[2]


@numba.njit
def ternary(x):
    return np.sum(weighted(x, 2.0, x[::-1])) * weighted(x[0], x[1], 1.0)


EVERYWHERE = [quotients, middles, spacings, replacements, bounds, integrals, products, norms]
EVERYWHERE += [statistics, sums, outputs, containers, ternary]
COMPILED = [searches, roundings, filters, selections, kinds]  # of these, some function is for compiled code only
FUNCTIONS = EVERYWHERE + [pytest.param(f, marks=compiled_only) for f in COMPILED]
REPLAYED = [quotients, spacings, replacements, bounds, norms, containers, ternary]
REPLAYED += [pytest.param(f, marks=compiled_only) for f in (searches, roundings, kinds)]


def name_of(f):
    return f.__name__


def slopes(f, x, h=1e-6):
    return [(f(x + h * e) - f(x - h * e)) / (2.0 * h) for e in np.eye(x.size)]


@pytest.mark.parametrize("f", FUNCTIONS, ids=name_of)
def test_it_is_recorded_inside(f):
    from fasttape.compiler.compiled_gradient import MADE

    value, gradient = ft.value_and_grad(f)(POINT)
    if not numba.config.DISABLE_JIT:
        (run,) = MADE[f].values()
        assert not run.refused, "recorded as Python"
        assert not any(made.library.has_dynamic_globals for made in run.compiled.overloads.values()), "not to be cached"
    np.testing.assert_allclose(value, f(POINT), rtol=4e-15)
    np.testing.assert_allclose(gradient, slopes(f, POINT), rtol=1e-7, atol=1e-8)


@numba.njit
def repeated(x, f):
    s = 0.0
    for _ in range(2):
        s += f(x)
    return s


@pytest.mark.parametrize("f", REPLAYED, ids=name_of)
def test_it_is_recorded_as_a_program(f):
    """A function with a loop calls it, because functions without are left to the Python recorder."""
    elsewhere = POINT + 1e-4 * np.cos(POINT)
    twice = numba.njit(lambda x: repeated(x, f))
    tape = ft.record(twice, POINT)
    np.testing.assert_allclose(tape(elsewhere), twice(elsewhere), rtol=4e-15)
    np.testing.assert_allclose(tape.grad(elsewhere), slopes(twice, elsewhere), rtol=1e-7, atol=1e-8)


@numba.vectorize
def ramp(a):
    return a * a if a > 0.0 else 0.5 * a


def test_vectorized_functions_are_taken_by_elements_in_python_code():
    found = ft.grad(lambda x: np.sum(ramp(x) * x))(POINT)
    np.testing.assert_allclose(found, np.where(POINT > 0.0, 3.0 * POINT**2, POINT), rtol=1e-15)


@compiled_only
def test_generalized_ufuncs_are_refused_by_name():
    @numba.guvectorize(["void(float64[:], float64[:])"], "(n)->(n)")
    def doubled(a, out):
        out[:] = 2.0 * a

    with pytest.raises(ft.errors.UnsupportedError, match=r"vectorized doubled cannot be recorded with.* signature="):
        ft.grad(lambda x: np.sum(doubled(x)))(POINT)


@numba.njit
def oscillator(y):
    out = np.zeros(2)
    out[0], out[1] = y[1], -np.sin(y[0])
    return out


@numba.njit
def euler(y, slope, n):
    for _ in range(n):
        y = y + 0.1 * slope(y)
    return np.sum(y * y)


def test_compiled_functions_as_arguments():
    y = np.array([0.4, 0.2])
    found = ft.grad(euler)(y, oscillator, 5)
    np.testing.assert_allclose(
        found, [(euler(y + h, oscillator, 5) - euler(y - h, oscillator, 5)) / 2e-6 for h in 1e-6 * np.eye(2)], rtol=1e-7
    )
    traced = ft.grad(lambda y: euler(y * 1.0, oscillator, 5))(y)
    np.testing.assert_allclose(traced, found, rtol=1e-14)


@numba.njit
def integrated(slope, y, n):
    return euler(y, slope, n)


@pytest.mark.filterwarnings("error::numba.NumbaExperimentalFeatureWarning")
def test_a_compiled_function_as_the_first_argument():
    y = np.array([0.4, 0.2])
    expected = ft.grad(euler)(y, oscillator, 5)
    np.testing.assert_allclose(ft.grad(integrated, argnums=1)(oscillator, y, 5), expected, rtol=1e-15)
    np.testing.assert_allclose(ft.jacobian(integrated, argnums=1)(oscillator, y, 5), expected, rtol=1e-15)
    np.testing.assert_allclose(ft.record(lambda y: integrated(oscillator, y, 5), y).grad(y), expected, rtol=1e-14)
    value_and_grad = ft.njit_value_and_grad(integrated, argnums=1)
    np.testing.assert_allclose(numba.njit(lambda y: value_and_grad(oscillator, y, 5))(y)[1], expected, rtol=1e-15)


def plain_extremes(x):
    s = 0.0
    for _ in range(2):
        s += np.max(x) + 2.0 * np.min(x)
    return s


extremes = numba.njit(plain_extremes)


@pytest.mark.parametrize("x", [[1.0, 3.0, 3.0, 3.0], [1.0, 3.0, 2.0, 3.0], [4.0, 1.0, 1.0, 2.0]])
def test_extremes_replay_where_other_elements_are_extreme(x):
    x = np.array(x)
    tape = ft.record(extremes, x)
    assert tape(x) == extremes(x)
    np.testing.assert_allclose(tape.grad(x), ft.grad(plain_extremes)(x), rtol=1e-15)
    if np.sum(x == x.max()) < 3:
        elsewhere = x[::-1] ** 2 - 5.0
        assert tape(elsewhere) == extremes(elsewhere)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: np.sum(np.clip(x, 0.0, 1.0)), [0.0, 1.0, 0.5, 2.0]),
        (lambda x: np.ptp(x), [1.0, 1.0, 2.0, 1.5]),
        (lambda x: np.nanmax(x) + 2.0 * np.nanmin(x), [1.0, 1.0, 2.0, 2.0]),
        (lambda x: np.linalg.norm(x, np.inf), [-2.0, 2.0, 1.0, 0.0]),
        (lambda x: np.median(x), [2.0, 1.0, 1.0, 1.0]),
    ],
    ids=["clip", "ptp", "nanmax", "norm", "median"],
)
def test_kinks_are_those_of_python_code(function, x):
    x = np.array(x)
    np.testing.assert_array_equal(ft.grad(numba.njit(function))(x), ft.grad(function)(x))
