"""Prints the seconds that the first value of a function in `njit_user` takes, or after that its first gradient."""

import sys
import time

import njit_user
import numpy as np

import fasttape as ft

kind, _, name = sys.argv[1].rpartition(" ")
f = getattr(njit_user, name)
x = np.linspace(0.1, 0.9, 30)
start = time.perf_counter()
expected = f(x, 3)
between = time.perf_counter()
value, gradient = ft.value_and_grad(f)(x, 3)
stop = time.perf_counter()
h = 1e-6
slope = (f(x + h, 3) - f(x - h, 3)) / (2.0 * h)
if abs(value - expected) > 1e-12 or abs(gradient.sum() - slope) > 1e-5:
    raise SystemExit("the gradient is wrong")
print(between - start if kind == "plain" else stop - between)
