"""f(x) = √(x² + exp x²) + cos(x² + exp x²): the graph, the local derivatives, and df/dx by working backward."""

import math

import fasttape as ft

POINT = 1.2


def f(x):
    """An ordinary function of `math`; it knows nothing of tapes."""
    return math.sqrt(x**2 + math.exp(x**2)) + math.cos(x**2 + math.exp(x**2))


def derivative(x):
    """The closed form, with u = x² + exp x²: (1 / (2 √u) − sin u) · 2x (1 + exp x²)."""
    u = x**2 + math.exp(x**2)
    return (0.5 / math.sqrt(u) - math.sin(u)) * 2 * x * (1 + math.exp(x**2))


def show() -> str:
    """Print the trace beside the closed form; the result is the Graphviz source of the graph."""
    tape = ft.record(f, POINT)
    trace = tape.trace(POINT)
    print(f"f(x) = sqrt(x² + exp(x²)) + cos(x² + exp(x²)) at x = {POINT}\n")
    print(trace)
    print(f"\ndf/dx by the reverse sweep   {tape.grad(POINT):.15f}")
    print(f"df/dx by the closed form     {derivative(POINT):.15f}")
    return trace.dot()
