"""Run as a program: adds a row to the table, loads the rest of fasttape, and uses the row everywhere.

The row answers to `numpy.spacing` and `math.ulp`, which have no row of their own; its rule is softsign, so that a
right result cannot come from these functions themselves.
"""

import importlib.util
import math
import sys

import numpy as np

# The table first, alone: the package imports all of itself when it is run
found = importlib.util.find_spec("fasttape")
package = sys.modules["fasttape"] = importlib.util.module_from_spec(found)
from fasttape import ops  # noqa: E402


def softsign_partials(x, r):
    return ((1.0 - np.abs(r)) ** 2,)


ROW = ops.Op(
    "softsign",
    lambda x: x / (1.0 + np.abs(x)),
    softsign_partials,
    ("numpy.spacing", "math.ulp"),
    "x / (1 + |x|)",
    (ops.REAL,),
    traits=frozenset({ops.INLINE}) if "inline" in sys.argv else frozenset(),
)
assert not any(name in op.names for op in ops.OPS for name in ROW.names)
ops.OPS += (ROW,)
ops.CODE[ROW.name] = len(ops.OPS) - 1

found.loader.exec_module(package)
import fasttape as ft  # noqa: E402
from fasttape.execute.lanes import Lanes  # noqa: E402
from fasttape.execute.points import Points  # noqa: E402


def softsign(x):
    return x / (1.0 + np.abs(x))


def slope(x):
    return 1.0 / (1.0 + np.abs(x)) ** 2


for function in (np.spacing, math.ulp):
    for at in (1.0, -3.0):
        assert ft.value_and_grad(lambda x: function(x))(at) == (softsign(at), slope(at))  # noqa: B023
    assert ft.jvp(function, (1.0,), (2.0,)) == (0.5, 0.5)

for x in (np.array([0.5, -2.0, 0.0]), np.linspace(-1.0, 1.0, 12).reshape(3, 4)[:, ::2], np.float32([0.25, 3.0])):
    value, gradient = ft.value_and_grad(lambda x: np.sum(np.spacing(x) * x))(x)
    assert gradient.dtype == x.dtype
    np.testing.assert_allclose(gradient, softsign(x) + x * slope(x), rtol=1e-6 if x.dtype == np.float32 else 1e-14)
    tape = ft.record(lambda x: np.spacing(x) + 0.0, x)
    np.testing.assert_allclose(tape(2 * x), softsign(2 * x), rtol=1e-6 if x.dtype == np.float32 else 1e-14)
    value, tangent = tape.jvp((x,), (np.ones_like(x),))
    np.testing.assert_allclose(tangent, slope(x), rtol=1e-6 if x.dtype == np.float32 else 1e-14)

tape = ft.record(lambda x: math.ulp(x) * 3.0, 0.5)
assert "softsign x" in str(tape)
assert tape.grad(-3.0) == 3.0 * slope(-3.0)
row = next(row for row in tape.trace(1.0).rows if row.operation == "softsign x")
assert row.partials == (("x", 0.25),)
assert "softsign" in tape.trace(0.5).dot()

at, out = np.array([-2.0, 0.0, 0.5, 3.0]), np.empty(4)
sources, targets = (np.uint64([x.__array_interface__["data"][0]]) for x in (at, out))
points = Points(4, sources, np.array([8]), targets, np.array([8]), np.empty(4, np.int64))
Lanes(tape.program).run(points, 0, 4)
np.testing.assert_allclose(out, 3.0 * softsign(at), rtol=1e-15)
np.testing.assert_allclose(tape.native()(at), 3.0 * softsign(at), rtol=1e-15)
assert np.array_equal(tape.native(strict=True)(at), out)
sys.stdout.write("the row works")
