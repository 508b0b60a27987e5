"""Whole programs against formulas worked out by hand, and against the gradients of autograd and micrograd."""

import itertools
import math

import autograd
import autograd.numpy as anp
import micrograd.engine
import numba
import numpy as np
import pytest
import scipy.optimize
import scipy.special

import fasttape as ft
from fasttape.testing import check_grads

RNG = np.random.default_rng(8)
MANY = 20_000 if numba.config.DISABLE_JIT else 1_000_000  # sweeps that run as Python take too long for a million


def close(found, expected, rtol=1e-11):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


# ---- Example 1: f(x) = sqrt(x² + exp(x²)) + cos(x² + exp(x²))


def example1(x):
    a = x * x
    b = math.exp(a)
    c = a + b
    return math.sqrt(c) + math.cos(c)


def example1_slope(x):
    """df/dx = 2x (1 + exp(x²)) (1 / (2 sqrt(c)) - sin(c))."""
    c = x * x + math.exp(x * x)
    return 2.0 * x * (1.0 + math.exp(x * x)) * (0.5 / math.sqrt(c) - math.sin(c))


@pytest.mark.parametrize("x", [0.5, -1.3, 0.0, 1.9])
def test_example1_has_the_slope_of_the_closed_form(x):
    close(ft.grad(example1)(x), example1_slope(x), 1e-12)
    value, tangent = ft.jvp(example1, (x,), (2.0,))
    close([value, tangent], [example1(x), 2.0 * example1_slope(x)], 1e-12)
    arrays = ft.grad(lambda x: np.sum(np.sqrt(x**2 + np.exp(x**2)) + np.cos(x**2 + np.exp(x**2))))
    close(arrays(np.array([x, x])), [example1_slope(x)] * 2)


# ---- Regression: ‖y - b - A X‖²


def test_linear_regression_has_the_slopes_of_the_normal_equations():
    a, x, y, b = (RNG.standard_normal(shape) for shape in ((2, 3), (3, 20), (2, 20), (2, 1)))

    def loss(a, b):
        return np.sum((y - b - a @ x) ** 2)

    residual = y - b - a @ x
    da, db = ft.grad(loss, argnums=(0, 1))(a, b)
    close(da, -2.0 * residual @ x.T)
    close(db, -2.0 * residual.sum(1, keepdims=True))
    _, tangent = ft.jvp(loss, (a, b), (da, db))
    close(tangent, np.sum(da * da) + np.sum(db * db))


# ---- Deep network: F = f_k ∘ ... ∘ f_1, f_i(x) = σ(A_i x + b_i), squared loss


def layers(widths):
    return [(0.5 * RNG.standard_normal((m, n)), RNG.standard_normal((m, 1))) for n, m in itertools.pairwise(widths)]


def sigma(x):
    return 1.0 / (1.0 + np.exp(-x))


def network_loss(parameters, x, y):
    for a, b in parameters:
        x = sigma(a @ x + b)
    return np.sum((x - y) ** 2)


def backpropagation(parameters, x, y):
    """Gradients by hand: δ_k = 2 (x_k - y) σ', δ_i = A_(i+1)ᵀ δ_(i+1) σ', ∂L/∂A_i = δ_i x_(i-1)ᵀ, ∂L/∂b_i = Σ δ_i."""
    activations = [x]
    for a, b in parameters:
        activations.append(sigma(a @ activations[-1] + b))
    slope = 2.0 * (activations[-1] - y)
    gradients = []
    for (a, _), below, above in reversed(list(zip(parameters, activations, activations[1:], strict=False))):
        delta = slope * above * (1.0 - above)
        gradients.insert(0, (delta @ below.T, delta.sum(1, keepdims=True)))
        slope = a.T @ delta
    return gradients, slope


@pytest.mark.parametrize("widths", [(3, 2), (4, 5, 3), (3, 4, 4, 4, 4, 2)])
def test_deep_network_has_the_gradients_of_backpropagation(widths):
    parameters, x, y = layers(widths), RNG.standard_normal((widths[0], 7)), RNG.uniform(size=(widths[-1], 7))
    tape = ft.record(network_loss, parameters, x, y, argnums=(0, 1))
    for point in (parameters, layers(widths)):
        found, by_x = tape.grad(point, x, y)
        expected, slope = backpropagation(point, x, y)
        for (da, db), (ea, eb) in zip(found, expected, strict=True):
            close(da, ea)
            close(db, eb)
        close(by_x, slope)


def test_softmax_network_agrees_with_autograd():
    w1, w2, x = RNG.standard_normal((5, 4)), RNG.standard_normal((4, 3)), RNG.standard_normal((6, 5))
    labels = np.array([0, 2, 1, 1, 0, 2])

    def loss(xp):
        def f(w1, w2):
            z = xp.dot(xp.tanh(xp.dot(x, w1)), w2)
            z = z - xp.max(z, axis=1, keepdims=True)
            log_p = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
            return -xp.mean(log_p[np.arange(6), labels])

        return f

    found = ft.grad(loss(np), argnums=(0, 1))(w1, w2)
    for mine, theirs in zip(found, autograd.grad(loss(anp), argnum=(0, 1))(w1, w2), strict=True):
        close(mine, theirs)


# ---- Statistics


def test_logistic_regression():
    x, y, w = RNG.standard_normal((30, 4)), RNG.integers(0, 2, 30), RNG.standard_normal(4)

    def loss(w):
        z = x @ w
        return np.sum(np.logaddexp(0.0, z) - y * z)

    close(ft.grad(loss)(w), x.T @ (scipy.special.expit(x @ w) - y))


def test_log_sum_exp_has_the_slope_of_softmax():
    x = RNG.standard_normal((3, 5)) * 300.0

    def f(x):
        top = np.max(x, axis=1, keepdims=True)
        return np.sum(top[:, 0] + np.log(np.sum(np.exp(x - top), axis=1)))

    close(ft.grad(f)(x), scipy.special.softmax(x, axis=1))


def test_gaussian_mixture():
    data, means, scales, logits = RNG.standard_normal((40, 1)), *(RNG.standard_normal(3) for _ in range(3))

    def log_likelihood(means, scales, logits):
        log_w = logits - np.log(np.sum(np.exp(logits)))
        z = (data - means) * np.exp(-scales)
        parts = log_w - scales - 0.5 * z**2 - 0.5 * math.log(2.0 * math.pi)
        top = np.max(parts, axis=1, keepdims=True)
        return np.sum(np.log(np.sum(np.exp(parts - top), axis=1)) + top[:, 0])

    def by_hand():
        z = (data - means) * np.exp(-scales)
        weight = scipy.special.softmax(logits)
        share = weight * np.exp(-scales - 0.5 * z**2)
        share /= share.sum(1, keepdims=True)  # responsibilities
        return (share * z * np.exp(-scales)).sum(0), (share * (z**2 - 1.0)).sum(0), (share - weight).sum(0)

    found = ft.grad(log_likelihood, argnums=(0, 1, 2))(means, scales, logits)
    for mine, expected in zip(found, by_hand(), strict=True):
        close(mine, expected, 1e-10)


def black_scholes(spot, strike, rate, volatility, expiry):
    d1 = (np.log(spot / strike) + (rate + 0.5 * volatility**2) * expiry) / (volatility * np.sqrt(expiry))
    d2 = d1 - volatility * np.sqrt(expiry)
    return spot * scipy.special.ndtr(d1) - strike * np.exp(-rate * expiry) * scipy.special.ndtr(d2), d1, d2


@pytest.mark.parametrize("spot", [90.0, np.array([80.0, 100.0, 125.0])])
def test_black_scholes_has_the_greeks_of_the_textbook(spot):
    strike, rate, volatility, expiry = 100.0, 0.03, 0.2, 0.75
    _, d1, d2 = black_scholes(spot, strike, rate, volatility, expiry)
    density = np.exp(-0.5 * d1**2) / math.sqrt(2.0 * math.pi)
    discount = math.exp(-rate * expiry)
    delta, by_strike, rho, vega, by_expiry = ft.grad(
        lambda *args: np.sum(black_scholes(*args)[0]), argnums=(0, 1, 2, 3, 4)
    )(spot, strike, rate, volatility, expiry)
    close(delta, scipy.special.ndtr(d1))
    close(by_strike, np.sum(-discount * scipy.special.ndtr(d2)))
    close(rho, np.sum(strike * expiry * discount * scipy.special.ndtr(d2)))
    close(vega, np.sum(spot * density * math.sqrt(expiry)))
    carry = rate * strike * discount * scipy.special.ndtr(d2)
    close(by_expiry, np.sum(spot * density * volatility / (2.0 * math.sqrt(expiry)) + carry))


# ---- Slices, loops and in-place writes


def test_rosenbrock_with_slices():
    x = RNG.standard_normal(10)
    f = lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)  # noqa: E731
    assert abs(ft.grad(f)(np.ones(10))).max() == 0.0
    close(ft.grad(f)(x), scipy.optimize.rosen_der(x))


def test_recurrent_network_with_writes_agrees_with_one_that_stacks():
    w, u, x = 0.4 * RNG.standard_normal((3, 3)), RNG.standard_normal((3, 2)), RNG.standard_normal((6, 2))

    def writing(w, u, x):
        states = np.zeros((7, 3)) * x[0, 0]
        for t in range(6):
            states[t + 1] = np.tanh(w @ states[t] + u @ x[t])
        return np.sum(states[1:] ** 2)

    def stacking(w, u, x):
        states = [anp.zeros(3)]
        for t in range(6):
            states.append(anp.tanh(anp.dot(w, states[t]) + anp.dot(u, x[t])))
        return anp.sum(anp.stack(states[1:]) ** 2)

    found = ft.grad(writing, argnums=(0, 1, 2))(w, u, x)
    for mine, theirs in zip(found, autograd.grad(stacking, argnum=(0, 1, 2))(w, u, x), strict=True):
        close(mine, theirs)
    check_grads(writing, (w, u, x))


def test_heat_equation_in_place_has_the_transposed_steps_as_its_gradient():
    n, steps = 20, 15
    start, target = RNG.standard_normal(n), RNG.standard_normal(n)

    def loss(u):
        u = u.copy()
        for _ in range(steps):
            u[1:-1] += 0.2 * (u[2:] - 2.0 * u[1:-1] + u[:-2])
        return np.sum((u - target) ** 2)

    step = np.eye(n)
    for i in range(1, n - 1):
        step[i, i - 1 : i + 2] += [0.2, -0.4, 0.2]
    power = np.linalg.matrix_power(step, steps)
    close(ft.grad(loss)(start), 2.0 * power.T @ (power @ start - target))


def test_micrograd_program():
    def program(a, b, relu):
        c = a + b
        d = a * b + b**3
        c = c + c + 1.0
        c = c + 1.0 + c + (-a)
        d = d + d * 2.0 + relu(b + a)
        d = d + 3.0 * d + relu(b - a)
        e = c - d
        f = e**2
        g = f / 2.0
        return g + 10.0 / f

    theirs = [micrograd.engine.Value(x) for x in (-4.0, 2.0)]
    result = program(*theirs, lambda v: v.relu())
    result.backward()
    value, slopes = ft.value_and_grad(lambda a, b: program(a, b, lambda v: v if v > 0.0 else 0.0 * v), argnums=(0, 1))(
        -4.0, 2.0
    )
    close(value, result.data, 1e-14)
    close(slopes, [v.grad for v in theirs], 1e-14)


# ---- Where zero absorbs what is infinite, and at kinks

# ruff: noqa: E501
SINGULAR = {
    "where around a root": (lambda x: np.sum(np.where(x > 0.0, np.sqrt(x), 0.0)), [0.0, 4.0], [0.0, 0.25]),
    "where around a logarithm": (lambda x: np.sum(np.where(x > 0.0, np.log(x), x)), [0.0, 2.0], [1.0, 0.5]),
    "where around a quotient": (lambda x: np.sum(np.where(x == 0.0, 1.0, np.sin(x) / x)), [0.0, 1.0], [0.0, math.cos(1.0) - math.sin(1.0)]),
    "norm at zero": (np.linalg.norm, [0.0, 0.0], [0.0, 0.0]),
    "norm of rows": (lambda x: np.sum(np.linalg.norm(x.reshape(2, 2), axis=1)), [0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 0.6, 0.8]),
    "hypot at zero": (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
    "ties of maximum": (lambda x: np.maximum(x[0], x[1]), [2.0, 2.0], [0.5, 0.5]),
    "ties of max": (np.max, [1.0, 3.0, 3.0, 3.0], [0.0, 1 / 3, 1 / 3, 1 / 3]),
    "ties of min by rows": (lambda x: np.sum(x.reshape(2, 2).min(1)), [1.0, 1.0, 2.0, 3.0], [0.5, 0.5, 1.0, 0.0]),
    "rectifier at zero": (lambda x: np.sum(np.maximum(x, 0.0)), [0.0, -1.0, 2.0], [0.5, 0.0, 1.0]),
    "absolute value": (lambda x: np.sum(np.abs(x)), [0.0, -0.0, -2.0], [0.0, 0.0, -1.0]),
    "product with a zero": (np.prod, [2.0, 0.0, 3.0], [0.0, 6.0, 0.0]),
    "product with two zeros": (np.prod, [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    "power 0": (lambda x: np.sum(x**0), [0.0, 2.0], [0.0, 0.0]),
    "power 1": (lambda x: np.sum(x**1), [0.0, -2.0], [1.0, 1.0]),
    "power 2.0": (lambda x: np.sum(x**2.0), [0.0, -2.0], [0.0, -4.0]),
    "powers": (lambda x: np.sum(x ** np.array([0.0, 1.0, 2.0])), [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
    "zero to a power": (lambda x: np.sum(0.0**x), [1.0, 2.0], [0.0, 0.0]),
    "xlogy": (lambda x: scipy.special.xlogy(0.0, x[0]) + scipy.special.xlogy(x[1], x[1] + 1.0), [0.0, 0.0], [0.0, 0.0]),
    "entropy": (lambda x: np.sum(scipy.special.xlogy(np.where(x > 0.0, x, 0.0), np.where(x > 0.0, x, 1.0))), [0.0, 1.0], [0.0, 1.0]),
    "root of a square": (lambda x: np.sum(np.sqrt(x * x)), [0.0, -3.0], [0.0, -1.0]),
    "deviation of equals": (np.std, [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]),
    "infinite weight on nothing": (lambda x: np.sum(x[:1] * 0.0 / (x[1:] * x[1:])), [0.0, 1.0], [0.0, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize("case", SINGULAR.values(), ids=SINGULAR.keys())
def test_singular_points_by_both_modes(case):
    f, point, expected = case
    x = np.array(point)
    close(ft.grad(f)(x), expected)
    for i in range(x.size):
        close(ft.jvp(f, (x,), (np.eye(x.size)[i],))[1], expected[i])


# ---- Accuracy


def test_long_sums_are_as_accurate_as_those_of_numpy():
    x = RNG.uniform(0.0, 1.0, MANY)
    exact = math.fsum(x)
    assert abs(ft.record(np.sum, x)(x) - exact) <= max(2.0 * abs(np.sum(x) - exact), 8.0 * np.spacing(exact))
    assert abs(ft.record(np.mean, x)(x) - exact / MANY) <= 8.0 * np.spacing(exact / MANY)
    single = x.astype(np.float32)
    exact = math.fsum(single.astype(float))
    found = ft.record(np.sum, single)(single)
    assert abs(found - exact) <= max(2.0 * abs(float(np.sum(single)) - exact), 8.0 * np.spacing(np.float32(exact)))


def test_gradients_of_a_broadcast_operand_are_summed_accurately():
    w = RNG.uniform(0.0, 1.0, MANY)
    exact = math.fsum(w)
    assert abs(ft.grad(lambda s: np.sum(s * w))(2.0) - exact) <= 64.0 * np.spacing(exact)
    columns = RNG.uniform(0.0, 1.0, (MANY // 10, 10))
    slope = ft.grad(lambda b: np.sum(b * columns))(np.ones(10))
    close(slope, [math.fsum(c) for c in columns.T], 1e-13)
