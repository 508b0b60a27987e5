"""A reference in plain Python: one object per operation, its parents and local partials in it.

This is the shape that most small engines have. The topological order is found with a stack of our own, so that long
chains work, and objects never form cycles, so that the garbage collector finds nothing to do.
"""

import math


class Number:
    """A float that remembers where it came from."""

    __slots__ = ("parents", "partials", "value")

    def __init__(self, value, parents=(), partials=()):
        self.value, self.parents, self.partials = value, parents, partials

    def __add__(self, other):
        if isinstance(other, Number):
            return Number(self.value + other.value, (self, other), (1.0, 1.0))
        return Number(self.value + other, (self,), (1.0,))

    def __sub__(self, other):
        if isinstance(other, Number):
            return Number(self.value - other.value, (self, other), (1.0, -1.0))
        return Number(self.value - other, (self,), (1.0,))

    def __rsub__(self, other):
        return Number(other - self.value, (self,), (-1.0,))

    def __mul__(self, other):
        if isinstance(other, Number):
            return Number(self.value * other.value, (self, other), (other.value, self.value))
        return Number(self.value * other, (self,), (other,))

    def __pow__(self, exponent):
        return Number(self.value**exponent, (self,), (exponent * self.value ** (exponent - 1),))

    __radd__, __rmul__ = __add__, __mul__


def relu(x):
    return Number(max(x.value, 0.0), (x,), (float(x.value > 0),))


def sqrt(x):
    root = math.sqrt(x.value)
    return Number(root, (x,), (0.5 / root,))


def exp(x):
    result = math.exp(x.value)
    return Number(result, (x,), (result,))


def cos(x):
    return Number(math.cos(x.value), (x,), (-math.sin(x.value),))


def gradient(result, inputs):
    """Adjoints of `inputs`: each object passes its own on once all of its consumers have added to it."""
    waiting, stack = {result: 0}, [result]
    while stack:
        for parent in stack.pop().parents:
            if parent not in waiting:
                waiting[parent] = 0
                stack.append(parent)
            waiting[parent] += 1
    adjoints, ready = {result: 1.0}, [result]
    while ready:
        node = ready.pop()
        for parent, partial in zip(node.parents, node.partials, strict=True):
            adjoints[parent] = adjoints.get(parent, 0.0) + partial * adjoints[node]
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    return [adjoints.get(x, 0.0) for x in inputs]
