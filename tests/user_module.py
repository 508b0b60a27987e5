"""A module as a user might have it; `test_lift` calls it from recorded functions."""

import math
from math import exp

SCALE = 2.0
counter = 0


def helper(x):
    return SCALE * math.sin(x)


def twice(x):
    return helper(helper(x))


def count_and_exp(x):
    global counter
    counter += 1
    return exp(x)


class Layer:
    made = 0

    def __init__(self, weight):
        self.weight = weight
        Layer.made += 1

    def __call__(self, x):
        return math.tanh(self.weight * x)
