"""A chain of operations: prints the bytes of its tape, of everything held after the gradient, and of the peak."""

import sys

from memory import peak, resident

import fasttape as ft


def chain(x, rounds):
    """Two operations in a round; the factor stays so close to 1 that adjoints neither vanish nor overflow."""
    for _ in range(rounds):
        x = x * 0.9999999 + 1e-7
    return x


rounds = int(sys.argv[1]) // 2
ft.record(chain, 2.0, 10).value_and_grad(2.0, 10)  # kernels and their compiler are loaded before memory is counted
before = resident()
tape = ft.record(chain, 2.0, rounds)
_, derivative = tape.value_and_grad(2.0, rounds)
error = derivative / 0.9999999**rounds - 1
if abs(error) > 1e-6:
    raise SystemExit(f"the derivative is wrong by {error:.1e}")
print("tape", tape.nbytes)
print("held", resident() - before)
print("peak", peak() - before)
