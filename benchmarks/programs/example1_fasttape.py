"""A process that needs one gradient."""

import math
import sys

import fasttape as ft


def f(x):
    return math.sqrt(x**2 + math.exp(x**2)) + math.cos(x**2 + math.exp(x**2))


print(ft.grad(f)(float(sys.argv[1])))
