"""Value and gradient at some points on all cores: prints the bytes of the peak beyond inputs and outputs."""

import sys

import numpy as np
from memory import peak, resident

from benchmarks.batches import Case, black_scholes, greeks, priced_in_jax, replayed
from fasttape import record
from fasttape.execute.lanes import Lanes

size = int(sys.argv[1])
tape = record(black_scholes, 100.0, 95.0, 0.7, 0.03, 0.01, 0.25, argnums=tuple(range(6))).gradient_tape().optimize()
build = replayed(Lanes, threads=None)
x = np.repeat([[100.0], [95.0], [0.7], [0.03], [0.01], [0.25]], size, axis=1)
case = Case(tape.operations, tape, x, greeks, priced_in_jax)
build(case._replace(x=x[:, :1_000].copy()))()  # kernels and their compiler are loaded before memory is counted
before = resident()
out = build(case)()
if not (out == out[:, :1]).all():
    raise SystemExit("equal points have different results")
print(peak() - before - out.nbytes)
