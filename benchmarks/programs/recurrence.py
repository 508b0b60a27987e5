"""A recurrence of some steps in blocks of some size, or in none for 0: prints the bytes of the peak."""

import sys

from memory import peak, resident

from benchmarks.recurrence import apart, by_formula, differentiated, plain

count, size = int(sys.argv[1]), int(sys.argv[2])
f = apart if size else plain
differentiated(f, 2.0, max(size, 10), size)  # kernels and their compiler are loaded before memory is counted
before = resident()
found = differentiated(f, 2.0, count, size)
error = max(abs(x - y) / abs(y) for x, y in zip(found, by_formula(2.0, count), strict=True))
if error > 1e-6:
    raise SystemExit(f"the value or the derivative is wrong by {error:.1e}")
print(peak() - before)
