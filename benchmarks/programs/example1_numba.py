"""A process that imports Numba and calls one cached function on an array."""

import math
import sys

import numba
import numpy as np


@numba.njit(cache=True)
def derivatives(points):
    result = np.empty_like(points)
    for i in range(points.size):
        x = points[i]
        u = x**2 + math.exp(x**2)
        result[i] = (0.5 / math.sqrt(u) - math.sin(u)) * 2 * x * (1 + math.exp(x**2))
    return result


print(derivatives(np.array([float(sys.argv[1])]))[0])
