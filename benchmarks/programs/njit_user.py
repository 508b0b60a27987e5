"""Functions of 30 lines as a user might have them, kept by Numba's cache; an argument of the process is a constant."""

import math
import sys

import numba
import numpy as np

RATE = float(sys.argv[2])


@numba.njit(cache=True)
def smooth(a, b):
    return math.sqrt(a * a + b * b + 0.1)


@numba.njit(cache=True)
def loops(x, steps):
    n = x.size
    state = np.zeros(n)
    energy, worst = 0.0, -1.0
    for i in range(n):
        state[i] = x[i] * RATE + 1.0
    for k in range(steps):
        total = 0.0
        for i in range(1, n - 1):
            left, right = state[i - 1], state[i + 1]
            slope = (right - left) / 2.0
            if slope > 0.0:
                total += slope**2 * math.exp(-state[i])
            else:
                total -= math.sin(slope) * x[i]
            state[i] += 0.01 * (left - 2.0 * state[i] + right)
        energy += smooth(total, state[k % n])
        size = 0.0
        for i in range(n):
            size = max(size, abs(state[i]))
        worst = max(worst, size)
        while total > 1.0:
            total = total / 2.0
            energy += math.log(1.0 + total)
    weight = 0.0
    for i in range(n // 2, n):
        weight += state[i] * x[i]
    penalty = math.tanh(weight) * math.cos(worst)
    return energy + worst * weight + penalty / (1.0 + x[0] * x[1])


@numba.njit(cache=True)
def arrays(x, steps):
    n = x.size
    state = x * RATE + 1.0
    energy, worst = 0.0, -1.0
    for k in range(steps):
        total = 0.0
        for i in range(1, n - 1):
            left, right = state[i - 1], state[i + 1]
            slope = (right - left) / 2.0
            if slope > 0.0:
                total += slope**2 * math.exp(-state[i])
            else:
                total -= math.sin(slope) * x[i]
            state[i] += 0.01 * (left - 2.0 * state[i] + right)
        energy += smooth(total, state[k % n])
        state *= 0.99
        size = 0.0
        for i in range(n):
            size = max(size, abs(state[i]))
        worst = max(worst, size)
        while total > 1.0:
            total = total / 2.0
            energy += math.log(1.0 + total)
    tail = state[n // 2 :]
    weight = np.mean(tail) + tail[0] * x[-1]
    penalty = math.tanh(weight) * math.cos(worst)
    return energy + worst * weight + penalty / (1.0 + np.sum(x * x))
