"""‖y − b − X A‖² on scikit-learn's bundled diabetes data, descended along the tape's gradient.

The least-squares solution is known in closed form, so the descent has somewhere exact to arrive; the gradient is taken
in both modes, which have nothing in common but the table of operations.
"""

import numpy as np
from sklearn.datasets import load_diabetes

import fasttape as ft

STEPS = 10_000
REPORTS = (0, 10, 100, 1_000, STEPS)


def show() -> None:
    """Print the descent, its distance from the exact solution, and both modes side by side."""
    X, y = data()

    def loss(A, b):
        return np.sum((y - b - X @ A) ** 2)

    A, b = np.zeros(X.shape[1]), 0.0
    tape = ft.record(loss, A, b, argnums=(0, 1))
    compare(tape, loss, A, b)
    A, b = descend(tape, A, b, step_size(X))
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(len(y))]), y, rcond=None)[0]
    print(
        f"\nLargest distance of a coefficient from the least-squares solution: {abs(np.append(A, b) - exact).max():.1e}"
    )
    print("A =", np.array2string(A, precision=3, suppress_small=True), f" b = {b:.3f}")


def data():
    """442 patients: ten measurements each, with mean 0 and variance 1, and the progression of the disease."""
    X, y = load_diabetes(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def step_size(X) -> float:
    """One over the largest curvature of the loss: the longest step that cannot overshoot."""
    return 0.5 / np.linalg.norm(np.column_stack([X, np.ones(len(X))]), 2) ** 2


def descend(tape, A, b, rate):
    """Plain gradient descent: one recording, `STEPS` replays."""
    print("     step   ‖y − b − XA‖²")
    for step in range(STEPS + 1):
        value, (dA, db) = tape.value_and_grad(A, b)
        if step in REPORTS:
            print(f"{step:9,d}   {value:,.4f}")
        if step < STEPS:
            A, b = A - rate * dA, b - rate * db
    return A, b


def compare(tape, loss, A, b) -> None:
    """One reverse sweep gives the whole gradient; forward mode needs a sweep for each coordinate."""
    dA, db = tape.grad(A, b)
    along = [ft.jvp(loss, (A, b), (direction, 0.0))[1] for direction in np.eye(len(A))]
    along.append(ft.jvp(loss, (A, b), (np.zeros_like(A), 1.0))[1])
    reverse = np.append(dA, db)
    error = abs(reverse - along).max() / abs(reverse).max()
    print(f"Gradient at zero: one reverse sweep and {len(along)} forward sweeps differ by {error:.1e} (relative).\n")
