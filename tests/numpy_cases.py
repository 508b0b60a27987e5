"""Cases of NumPy's and SciPy's functions that are recorded as formulas of others, or through their own Python code."""

import functools
import math

import numpy as np
import scipy.linalg
import scipy.special
from scipy import integrate, interpolate, stats

RNG = np.random.default_rng(11)
V = RNG.uniform(0.3, 2.0, 5)
W = RNG.uniform(0.3, 2.0, 5)
M = RNG.uniform(0.3, 2.0, (3, 4))
N = RNG.uniform(0.3, 2.0, (4, 3))
T = RNG.uniform(0.3, 2.0, (2, 3, 4))
A = np.array([[2.0, 0.5, -0.3], [0.1, 1.5, 0.2], [-0.4, 0.3, 1.8]])
AS = np.stack([A, A.T + np.eye(3)])
MASK = np.array([True, False, True, True, False])
KNOTS = np.array([0.0, 0.5, 1.1, 1.6, 2.2])
SPLINE = interpolate.CubicSpline(KNOTS, np.sin(KNOTS))
PERIODIC = interpolate.CubicSpline(KNOTS, [0.0, 1.0, 0.3, -1.0, 0.0], bc_type="periodic")
ROUNDED = np.array([0.31, 0.92, 1.67])
WIDE = RNG.uniform(0.3, 2.0, (3, 40))


def holed(x):
    """Some values with a nan among them."""
    return np.where(np.arange(np.size(x)).reshape(np.shape(x)) == 2, np.nan, x)


def written(write):
    """A function that writes into a copy of its argument and returns it."""

    def f(x, *others):
        y = x * 1.0
        write(y, *others)
        return y

    return f


def gram(x):
    return x @ x.T + np.diag(np.arange(1.0, 1.0 + len(x)))


# fmt: off
# ruff: noqa: E501
FORMULAS = {
    np.cumsum: [(np.cumsum, V), (np.cumsum, M), (lambda x: np.cumsum(x, axis=0), M), (lambda x: x.cumsum(-1), T), (lambda x: np.cumsum(x, 0), WIDE), (lambda x: np.cumsum(x[:0]), V), (lambda x: np.cumsum(x[::-2]), V), (np.add.accumulate, V)],
    np.cumprod: [(np.cumprod, V), (lambda x: x.cumprod(1), M), (lambda x: np.cumprod(x, axis=0), WIDE)],
    np.cumulative_sum: [(lambda x: np.cumulative_sum(x, include_initial=True), V), (lambda x: np.cumulative_sum(x, axis=1), M)],
    np.cumulative_prod: [(lambda x: np.cumulative_prod(x, axis=0, include_initial=True), M)],
    np.round: [(lambda x: x * np.round(x, 1), ROUNDED), (lambda x: x - np.round(100.0 * x, -1), ROUNDED), (lambda x: x.round(1) * x, ROUNDED)],
    np.around: [(lambda x: x * np.around(x, 1), ROUNDED)],
    np.correlate: [(np.correlate, V, W), (lambda x: np.correlate(x, [1.0, 2.0], "full"), V), (lambda x, y: np.correlate(x[:2], y, "same"), V, W), (lambda x, y: np.correlate(x, y[:3], "same"), V, W), (lambda x, y: np.correlate(x[:2], y, "full"), V, W), (lambda x, y: np.correlate(x, y[:4], "same"), V, W)],
    np.convolve: [(np.convolve, V, W), (lambda x: np.convolve(x, [1.0, 2.0, -1.0], "same"), V), (lambda x, y: np.convolve(x[:2], y, "valid"), V, W), (lambda x, y: np.convolve(x[:2], y, "same"), V, W)],
    np.bincount: [(lambda w: np.bincount([0, 1, 1, 3, 0], weights=w), V), (lambda w: np.bincount([0, 1, 1, 3, 0], w, 6), V)],
    np.choose: [(lambda x, y: np.choose([0, 1, 0, 1, 1], [x, y]), V, W), (lambda x: np.choose([4, 0, 1, 2, 2], [x, np.ones(5)], mode="wrap"), V)],
    np.piecewise: [(lambda x: np.piecewise(x, [x < 0.8, x >= 0.8], [lambda t: t * t, lambda t: 3.0 * t]), V), (lambda x: np.piecewise(x, [x < 1.0], [1.0, np.exp]), M), (lambda x: np.piecewise(x, x < 1.0, [np.sin, np.cos]), V)],
    np.result_type: [(lambda x: x.astype(np.result_type(x, 1.0)), V)],
    np.can_cast: [(lambda x: x if np.can_cast(x, float) else None, V)],
    np.common_type: [(lambda x: x if np.common_type(x) is np.float64 else None, V)],
    np.einsum: [(lambda x, y: np.einsum("ij,jk->ik", x, y), M, N), (lambda x, y: np.einsum("i,i", x, y), V, W), (lambda x: np.einsum("ii->i", x), A), (lambda x: np.einsum("ii", x), A), (lambda x: np.einsum("ij->ji", x), M), (lambda x: np.einsum("ij->", x), M),
                (lambda x, y: np.einsum("i,j->ji", x, y), V, W), (lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z), M, N, A), (lambda x, y: np.einsum("bij,bjk->bik", x, y), T, T.swapaxes(1, 2)), (lambda x, y: np.einsum("...ij,...j->...i", x, y), T, T[:, 0]),
                (lambda x, y: np.einsum("bij,jk", x, y), T, N), (lambda x: np.einsum("ij,ij->i", x, np.ones((3, 4))), M), (lambda x: np.einsum("i,ij,j->", [1.0, 2.0, 3.0], x, [1, 0, 2, 1]), M), (lambda x: np.einsum("iij->j", np.stack([x, x, x])), A), (lambda x, s: np.einsum(",i->i", s, x), V, 0.5),
                (lambda x, y: np.einsum("i...,i...->...", x, y), T, T + 1.0)],
    np.nansum: [(lambda x: np.nansum(holed(x)), V), (lambda x: np.nansum(holed(x), axis=0), M)],
    np.nanmean: [(lambda x: np.nanmean(holed(x)), V), (lambda x: np.nanmean(holed(x), axis=1, keepdims=True), M)],
    np.nanvar: [(lambda x: np.nanvar(holed(x)), V), (lambda x: np.nanvar(holed(x), axis=1, ddof=1), M)],
    np.nanstd: [(lambda x: np.nanstd(holed(x)), M)],
    np.copyto: [(written(lambda y: np.copyto(y, 2.0)), V), (written(np.copyto), V, W), (written(lambda y, x: np.copyto(y, x, where=MASK)), V, W)],
    np.put: [(written(lambda y, x: np.put(y, [0, 3], x[:2])), V, W)],
    np.place: [(written(lambda y, x: np.place(y, MASK, x[:2])), V, W)],
    np.putmask: [(written(lambda y, x: np.putmask(y, MASK, x)), V, W)],
    np.fill_diagonal: [(written(lambda y, x: np.fill_diagonal(y, x)), A, V[:3])],
    np.put_along_axis: [(written(lambda y, x: np.put_along_axis(y, np.array([[1], [0], [3]]), x[:3, None], 1)), M, V)],
    np.linalg.eigh: [(lambda x: np.linalg.eigh(gram(x))[0], A), (lambda x: np.linalg.eigh(gram(x))[1] ** 2, A), (lambda x: np.linalg.eigh(x + x.swapaxes(1, 2)).eigenvalues, AS), (lambda x: np.linalg.eigh(gram(x), "U")[1] ** 2, A)],
    np.linalg.eigvalsh: [(lambda x: np.linalg.eigvalsh(gram(x)), A), (lambda x: np.linalg.eigvalsh(x + x.swapaxes(1, 2), "U"), AS)],
    np.linalg.svd: [(lambda x: np.linalg.svd(x, full_matrices=False)[1], M), (lambda x: np.linalg.svd(x, False).U ** 2, N), (lambda x: np.linalg.svd(x, full_matrices=False)[2] ** 2, M), (lambda x: np.linalg.svd(x)[0] ** 2, A), (lambda x: np.linalg.svd(x, compute_uv=False), AS),
                    (lambda x: functools.reduce(np.matmul, (lambda u, s, v: (u, np.diag(s), v))(*np.linalg.svd(x, full_matrices=False))), M)],
    np.linalg.svdvals: [(np.linalg.svdvals, M), (np.linalg.svdvals, AS)],
    np.linalg.cond: [(np.linalg.cond, A), (lambda x: np.linalg.cond(x, 1), A), (lambda x: np.linalg.cond(x, -2), AS)],
    np.linalg.qr: [(lambda x: np.linalg.qr(x)[0], N), (lambda x: np.linalg.qr(x).R, N), (lambda x: np.linalg.qr(x, mode="r"), A), (lambda x: np.linalg.qr(x)[0], AS)],
    np.linalg.pinv: [(np.linalg.pinv, M), (np.linalg.pinv, N), (np.linalg.pinv, AS), (lambda x, y: np.linalg.pinv(np.outer(x, y)), V[:3], W[:2])],
    np.linalg.lstsq: [(lambda x, y: np.linalg.lstsq(x, y)[0], N, V[:4]), (lambda x, y: np.linalg.lstsq(x, y, rcond=None)[1], N, T[0].T), (lambda x, y: np.linalg.lstsq(x, y)[0], M, V[:3]), (lambda x, y: np.linalg.lstsq(x, y)[3], N, V[:4])],
}
# Functions of NumPy that are recorded through their own code.
BORROWED = {
    "average": [(lambda x: np.average(x, weights=W, returned=True), V), (lambda x, w: np.average(x, axis=(0, 2), weights=w), T, M[:2])],
    "corrcoef": [(np.corrcoef, M)],
    "cov": [(np.cov, M), (lambda x, y: np.cov(x, y, ddof=0), V, W)],
    "cross": [(np.cross, A[0], A[1]), (lambda x: np.cross(x, x[::-1], axis=0), A), (np.linalg.cross, A[0], A[1])],
    "ediff1d": [(lambda x: np.ediff1d(x, to_begin=0.0), V)],
    "geomspace": [(lambda x: np.geomspace(x[0], x[1], 4), V)],
    "gradient": [(np.gradient, V), (lambda x: np.gradient(x, 0.1), V), (lambda x: np.gradient(x, axis=1), M), (lambda x, y: np.gradient(x, np.cumsum(y)), V, W)],
    "histogram": [(lambda w: np.histogram(W, bins=3, weights=w)[0], V)],
    "kron": [(np.kron, A, A), (np.kron, V, W)],
    "logspace": [(lambda x: np.logspace(x[0], x[1], 4), V)],
    "matrix_power": [(lambda x: np.linalg.matrix_power(x, 3), A), (lambda x: np.linalg.matrix_power(x, -2), A)],
    "meshgrid": [(lambda x, y: np.meshgrid(x, y), V, W[:3]), (lambda x: np.meshgrid(x, [1.0, 2.0], indexing="ij")[0], V)],
    "multi_dot": [(lambda x, y: np.linalg.multi_dot([x, y, x]), M, N)],
    "nanmax": [(lambda x: np.nanmax(holed(x)), V), (lambda x: np.nanmin(holed(x), axis=0), M)],
    "nanmedian": [(lambda x: np.nanmedian(x), V)],
    "norms": [(lambda x: np.linalg.norm(x, 2), M), (lambda x: np.linalg.norm(x, "nuc"), M), (lambda x: np.linalg.norm(x, 1), M), (lambda x: np.linalg.norm(x, -np.inf, axis=(0, 2)), T), (lambda x: np.linalg.norm(x, 2, axis=(1, 2), keepdims=True), T),
              (np.linalg.vector_norm, V), (np.linalg.matrix_norm, M)],
    "percentile": [(lambda x: np.percentile(x, 30), V), (lambda x: np.percentile(x, [10, 90], axis=0), M), (lambda x: np.quantile(x, 0.25, method="lower"), V)],
    "polynomials": [(lambda x: np.polyval(x, 1.3), V), (lambda x: np.polyval([1.0, 2.0, 3.0], x), V), (lambda y: np.polyfit(W, y, 2), V), (lambda x: np.polynomial.polynomial.polyval(1.5, x), V), (lambda x: np.polynomial.chebyshev.chebval(0.5, x), V),
                    (lambda x: np.poly(x), V), (np.vander, V)],
    "select": [(lambda x: np.select([x > 1.5, x > 0.8], [x * x, 3.0 * x], 0.1 * x), V)],
    "sinc": [(np.sinc, V)],
    "trapezoid": [(lambda x, y: np.trapezoid(x, np.cumsum(y)), V, W), (lambda x: np.trapezoid(x, dx=0.1), M), (lambda x: integrate.simpson(x, dx=0.1), V)],
    "truths": [(lambda x: x if np.allclose(x, x + 1e-14) else 2.0 * x, V), (lambda x: np.where(np.isclose(x, 1.0), x, 2.0 * x), V), (lambda x: np.where(np.logical_xor(x > 0.5, x > 1.0), x, 0.0), V), (lambda x: np.where(np.signbit(x - 1.0), x, 3.0 * x), V)],
    "unwrap": [(lambda x: np.unwrap(4.0 * x), V)],
    "ufuncs": [(lambda x: np.heaviside(x - 1.0, 0.5) * x, V), (lambda x: np.modf(3.0 * x)[0], V), (lambda x: np.ldexp(x, 3), V), (np.vecdot, V, W), (np.matvec, M, V[:4]), (np.vecmat, V[:3], M), (lambda x: np.divmod(x, 0.6), V), (lambda x: np.fix(3.3 * x) * x, V)],
    "methods of ufuncs": [(np.multiply.outer, V, M), (lambda x: np.add.reduceat(x, [0, 2, 1]), V), (lambda x: np.add.reduceat(x, [0, 3], axis=1), M), (np.logaddexp.reduce, V), (lambda x: np.subtract.reduce(x, axis=1, keepdims=True), M), (np.maximum.accumulate, V),
                          (lambda x: np.log(x, where=x > 1.0, out=np.zeros(5)), V)],
    "where": [(lambda x: np.sum(x, where=MASK), V), (lambda x: np.mean(x, where=MASK), V), (lambda x: np.var(x, where=x > 0.7), V), (lambda x: np.max(x, where=MASK, initial=0.1), V), (lambda x: x * np.all(x > 1.0, where=MASK), V)],
    "lists": [(lambda x: np.sum([x[0], x[1] * x[2]]), V), (lambda x: np.exp([x[0], 1.0]), V), (lambda x, y: np.max([x, y], axis=0), V, W), (lambda x: np.dot([x[0], x[1]], [1.0, 2.0]), V), (lambda x: np.mean([t * t for t in x]), V), (lambda x: np.full((2, 2), x[0]), V)],
    "elements": [(lambda x: np.vectorize(lambda t: t * t if t > 1.0 else t)(x), M), (lambda x: np.apply_along_axis(lambda row: row * row.sum(), 1, x), M), (lambda x: x[0].sum() * x[1].max(), V)],
    "scipy.special": [(scipy.special.logsumexp, V), (lambda x: scipy.special.logsumexp(x, axis=1, keepdims=True), M), (lambda x, y: scipy.special.logsumexp(x, b=y), V, W), (scipy.special.softmax, V), (lambda x: scipy.special.log_softmax(x, axis=0), M), (lambda x: scipy.special.multigammaln(x[0] + 3.0, 2), V),
                      (scipy.special.betaln, V, W), (scipy.special.beta, V, W), (scipy.special.entr, V), (scipy.special.rel_entr, V, W), (scipy.special.kl_div, V, W), (lambda x: scipy.special.huber(1.0, x), V), (lambda x: scipy.special.pseudo_huber(0.7, x), V), (lambda x: scipy.special.log_expit(x), V),
                      (lambda x: scipy.special.log_ndtr(x - 1.0), V), (lambda x: scipy.special.log_ndtr(-20.0 * x), V), (lambda x: scipy.special.boxcox(x, 0.3), V), (lambda x: scipy.special.poch(x, 2.5), V), (lambda x: scipy.special.rgamma(x), V)],
    "scipy.linalg": [(lambda x, y: scipy.linalg.solve(x, y), A, V[:3]), (lambda x, y: scipy.linalg.solve(gram(x), y, assume_a="pos"), A, V[:3]), (lambda x, y: scipy.linalg.cho_solve(scipy.linalg.cho_factor(gram(x)), y), A, V[:3]), (lambda x: scipy.linalg.cholesky(gram(x)), A),
                     (lambda x: scipy.linalg.cholesky(gram(x), lower=True), A), (lambda x, y: scipy.linalg.solve_triangular(x, y), A, V[:3]), (lambda x, y: scipy.linalg.solve_triangular(x, y, trans=1, lower=True, unit_diagonal=True), A, M[:, :2]), (lambda x: scipy.linalg.expm(0.3 * x), A), (scipy.linalg.inv, A), (scipy.linalg.det, A)],
    "scipy.stats": [(lambda x, m, s: stats.norm.logpdf(x, m, s), V, 0.3, 1.2), (lambda x: stats.norm.cdf(x), V), (lambda x: stats.norm.ppf(0.4 * x), V), (lambda m, s: stats.norm(m, s).logpdf(V), 0.3, 1.2), (lambda x: stats.norm.logsf(x), V), (lambda x: stats.norm.logcdf(x - 8.0), V),
                    (lambda x, a: stats.gamma.logpdf(x, a), V, 2.0), (lambda x, a: stats.beta.logpdf(0.4 * x, a, 2.0), V, 1.5), (lambda x, n: stats.t.logpdf(x, n), V, 5.0), (lambda x: stats.lognorm.logpdf(x, 0.5), V), (lambda s: stats.expon.logpdf(V, scale=s), 0.5),
                    (lambda m: stats.poisson.logpmf([1, 2, 0, 3, 1], m), V), (lambda p: stats.binom.logpmf([1, 2, 0, 3, 1], 4, 0.4 * p), V), (lambda x: stats.multivariate_normal.logpdf(x, np.zeros(5), np.eye(5)), V)],
    "scipy.interpolate": [(SPLINE, V), (lambda x: SPLINE(x[0]) * x[1], V), (lambda x: SPLINE(x, 1), M), (lambda x: interpolate.PchipInterpolator(KNOTS, np.stack([KNOTS, KNOTS**2], 1))(x), V), (lambda x: interpolate.CubicSpline(KNOTS, np.sin(KNOTS), extrapolate=False)(x[:2] + 0.0), V),
                          (lambda x: PERIODIC(x + 1.0), V), (lambda x: interpolate.interp1d(KNOTS, KNOTS**2)(1.0) * x, V)],
    "math": [(lambda x: math.fsum(x.tolist()), V), (lambda x: math.dist(list(x), [0.0] * 5), V), (lambda x: math.hypot(*x), V), (lambda x: math.ldexp(x[0], 3), V), (lambda x: math.modf(3.0 * x[0])[0], V), (lambda x: math.remainder(x[0], 0.7), V), (lambda x: x if math.isclose(x[0], x[0]) else None, V),
             (lambda x: math.prod(x), V)],
}
# fmt: on
