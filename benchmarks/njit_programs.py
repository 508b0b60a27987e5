"""Functions compiled by Numba, in loops, as `benchmarks.njit` and `benchmarks.njit_costs` differentiate them."""

import math

import numba
import numpy as np


@numba.njit
def rosenbrock(x):
    s = 0.0
    for i in range(x.shape[0] - 1):
        s += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return s


@numba.njit
def recurrence(parameters, steps, h):
    x = parameters[0]
    for _ in range(steps):
        x = x + h * (math.sin(x) * math.exp(-parameters[1] * x) - parameters[2] * x)
    return x


@numba.njit
def products(x, n, times):
    matrix, u = x[: n * n].reshape(n, n), x[n * n :].copy()
    for _ in range(times):
        v = np.zeros(n)
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += matrix[i, j] * u[j]
            v[i] = 0.1 * s
        u = v
    s = 0.0
    for i in range(n):
        s += u[i]
    return s


@numba.njit
def log_sum_exp(v):
    top = v[0]
    for k in range(1, v.size):
        top = max(top, v[k])
    s = 0.0
    for k in range(v.size):
        s += math.exp(v[k] - top)
    return top + math.log(s)


@numba.njit
def mixture(weights, means, factors, points, strength):
    """The log-likelihood of a mixture of normal distributions, with a Wishart prior on the inverse covariances.

    Row k of `factors` holds the logarithms of the diagonal of a lower triangle L, then what is below it by columns;
    the inverse covariance is Lᵀ L.
    """
    (n, d), k = points.shape, weights.size
    terms, distance = np.empty(k), np.empty(d)
    likelihood, prior = 0.0, 0.0
    for i in range(n):
        for j in range(k):
            for c in range(d):
                distance[c] = points[i, c] - means[j, c]
            determinant, square = 0.0, 0.0
            for r in range(d):
                determinant += factors[j, r]
                s = math.exp(factors[j, r]) * distance[r]
                for c in range(r):
                    s += factors[j, d + c * d - c * (c + 1) // 2 + r - c - 1] * distance[c]
                square += s * s
            terms[j] = weights[j] + determinant - 0.5 * square
        likelihood += log_sum_exp(terms)
    for j in range(k):
        for c in range(d):
            prior += 0.5 * strength * strength * math.exp(2.0 * factors[j, c]) - factors[j, c]
        for c in range(d, factors.shape[1]):
            prior += 0.5 * strength * strength * factors[j, c] * factors[j, c]
    return likelihood - n * log_sum_exp(weights) - prior


@numba.njit
def attraction(y, masses, slope):
    """The derivative by time of three places and velocities in space."""
    for i in range(9):
        slope[i] = y[9 + i]
        slope[9 + i] = 0.0
    for i in range(3):
        for j in range(i):
            dx, dy, dz = y[3 * j] - y[3 * i], y[3 * j + 1] - y[3 * i + 1], y[3 * j + 2] - y[3 * i + 2]
            pull = (dx * dx + dy * dy + dz * dz) ** -1.5
            slope[9 + 3 * i] += masses[j] * pull * dx
            slope[10 + 3 * i] += masses[j] * pull * dy
            slope[11 + 3 * i] += masses[j] * pull * dz
            slope[9 + 3 * j] -= masses[i] * pull * dx
            slope[10 + 3 * j] -= masses[i] * pull * dy
            slope[11 + 3 * j] -= masses[i] * pull * dz


@numba.njit
def three_bodies(start, masses, steps, h):
    """How far apart two of three bodies are after some steps of the classical method of Runge and Kutta."""
    y, between = start.copy(), np.empty(18)
    k1, k2, k3, k4 = np.empty(18), np.empty(18), np.empty(18), np.empty(18)
    for _ in range(steps):
        attraction(y, masses, k1)
        for i in range(18):
            between[i] = y[i] + 0.5 * h * k1[i]
        attraction(between, masses, k2)
        for i in range(18):
            between[i] = y[i] + 0.5 * h * k2[i]
        attraction(between, masses, k3)
        for i in range(18):
            between[i] = y[i] + h * k3[i]
        attraction(between, masses, k4)
        for i in range(18):
            y[i] += h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i])
    return (y[0] - y[3]) ** 2 + (y[1] - y[4]) ** 2 + (y[2] - y[5]) ** 2
