"""NumPy and SciPy ufuncs under recording: every name of the table, all kinds of operands, and the options refused."""

import importlib
import operator

import numpy as np
import pytest
import scipy.special
from agree import agree, same

import fasttape as ft
from fasttape import ops
from fasttape.errors import ArgumentError, ConversionError, FastTapeError, UnsupportedError

RNG = np.random.default_rng(6)
GOOD = np.array([0.21, 0.35, 0.62, 0.74, 0.93, 0.48])  # inside the domain of every row, pairwise different
PLAIN, SQUARE, SCALAR = np.ones(6), np.eye(6), np.zeros(())  # not made by the recorded function
OTHER = np.array([0.31, 0.57, 0.83, 0.12, 0.66, 0.4])


def ufuncs():
    """(name, ufunc, arguments before the traced ones) for every ufunc that the table names."""
    for op in ops.OPS:
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            if module in ("numpy", "scipy.special"):
                function = getattr(importlib.import_module(module), attribute)
                if isinstance(function, np.ufunc):
                    yield name, function, op.arity


TRUTHS = {"invert", "bitwise_and", "bitwise_or"}  # in NumPy for truth values only
UFUNCS = [x for x in ufuncs() if x[1].__name__ not in TRUTHS]
NAMED = pytest.mark.parametrize(("name", "ufunc", "arity"), UFUNCS, ids=[x[0] for x in UFUNCS])


def sample(ufunc):
    """A point in the domain: arccosh needs more than 1."""
    return GOOD + 1.0 if ufunc is np.arccosh else GOOD


def smooth(ufunc):
    """Whether derivatives can be compared with differences at the sample."""
    return ufunc(*[0.5] * ufunc.nin).dtype.kind == "f" if ufunc is not np.arccosh else True


@NAMED
def test_ufunc(name, ufunc, arity):
    x, y = sample(ufunc), OTHER
    if arity == 1:
        agree(ufunc, x, grads=smooth(ufunc))
        agree(ufunc, x.reshape(2, 3).T[::-1], grads=smooth(ufunc))
        agree(ufunc, x[:0], grads=False)
        agree(lambda t: ufunc(t) * 1.0, np.array(x[0]), grads=smooth(ufunc))
        return
    agree(ufunc, x, y, grads=smooth(ufunc))
    agree(lambda a, b: ufunc(a[:, None], b), x[:3], y[:2], grads=smooth(ufunc))
    agree(lambda a: ufunc(a, 0.45), x, grads=smooth(ufunc))
    agree(lambda b: ufunc(0.45, b), y, grads=smooth(ufunc))


# fmt: off
OPERANDS = {
    "list": (lambda x: x * [1, 2, 3, 4, 5, 6], GOOD),
    "list on the left": (lambda x: [1, 2, 3, 4, 5, 6] - x, GOOD),
    "nested list": (lambda x: np.multiply([[1.0], [2.0]], x), GOOD),
    "integers": (lambda x: x + np.arange(6), GOOD),
    "integers on the left": (lambda x: np.arange(6) / x, GOOD),
    "unsigned": (lambda x: x - np.arange(6, dtype=np.uint8), GOOD),
    "truths": (lambda x: x * (np.arange(6) > 2), GOOD),
    "float64": (lambda x: np.float64(2.5) * x, GOOD),
    "float64 on the right": (lambda x: x ** np.float64(2.5), GOOD),
    "float32 array": (lambda x: x * np.arange(6, dtype=np.float32), GOOD),
    "int64": (lambda x: np.int64(3) - x, GOOD),
    "truth": (lambda x: x + True, GOOD),
    "traced scalar": (lambda x, s: s * x, GOOD, 0.5),
    "traced scalar on the right": (lambda x, s: x / s, GOOD, 0.5),
    "scalar power": (lambda x, s: x**s + s**x, GOOD, 0.5),
    "element": (lambda x: x[2] * x, GOOD),
    "array times element of list": (lambda x, s: np.add(x, [s, 1.0, s, 2.0, s, s]), GOOD, 0.5),
    "np.float64 and traced scalar": (lambda s: np.float64(2.0) * s + np.float64(1.0) / s, 0.5),
    "plain array and traced scalar": (lambda s: np.arange(3.0) * s, 0.5),
    "traced scalar and plain array": (lambda s: s ** np.arange(3.0), 0.5),
    "zero dimensions": (lambda x: x * np.array(2.0) + x[1, ...], GOOD),
    "broadcast": (lambda x, y: x[:, None] * y[None, :] + x[:, None], GOOD, OTHER),
    "both broadcast": (lambda x, y: np.broadcast_to(x, (6, 6)) * y[:, None], GOOD, OTHER),
    "empty": (lambda x: x[:0] * 2.0 + x[3:3], GOOD),
    "empty broadcast": (lambda x: x[None, :] * np.zeros((0, 1)), GOOD),
    "size one": (lambda x: x[:1] * x, GOOD),
    "reversed": (lambda x: x[::-1] * x, GOOD),
    "step": (lambda x: x[::2] - x[1::2], GOOD),
    "transposed": (lambda x: x.reshape(2, 3).T * x.reshape(3, 2), GOOD),
    "fancy": (lambda x: x[[0, 0, 4]] * x[[1, -1, 0]], GOOD),
    "fancy 2-d": (lambda x: x.reshape(2, 3)[[1, 0], [2, 1]] ** 2, GOOD),
    "fancy and slice": (lambda x: x.reshape(2, 3)[[1, 0, 1], 1:] * 3.0, GOOD),
    "mask": (lambda x: np.exp(x[np.arange(6) % 2 == 0]), GOOD),
    "mask 2-d": (lambda x: x.reshape(2, 3)[np.eye(2, 3, dtype=bool)] * 2.0, GOOD),
    "new axis": (lambda x: x[None, :, None] * x[None, None, :], GOOD),
    "ellipsis": (lambda x: x.reshape(1, 2, 3)[..., 1] * 2.0, GOOD),
    "repeated": (lambda x: x * x * x + x, GOOD),
    "square": (lambda x: x**2 + np.power(x, 2.0), GOOD),
    "cube": (lambda x: x**3 + x**-2 + x**0 + x**1, GOOD),
    "integer powers": (lambda x: x ** np.array([0, 1, 2, 3, -1, -2]), GOOD - 0.5),
    "powers": (lambda x, y: x**y, GOOD, OTHER),
    "power of a number": (lambda x: 2**x, GOOD),
    "remainders": (lambda x: x % 0.3 + np.fmod(x, 0.2), GOOD),
    "divmod": (lambda x: divmod(x, 0.3), GOOD),
    "np.divmod": (lambda x: np.divmod(x, 0.3), GOOD),
    "unary": (lambda x: -x + +x - abs(-x), GOOD),
    "comparison": (lambda x, y: x * (x < y), GOOD, OTHER),
    "or": (lambda x: x * ((x < 0.3) | (x > 0.8)), GOOD),
    "and not": (lambda x: np.where(~(x < 0.3) & (x != 0.63), x, 2.0), GOOD),
    "truth times truth": (lambda x: ((x > 0.3) * (x < 0.8)) * x, GOOD),
    "truth plus truth": (lambda x: ((x > 0.3) + (x < 0.8)) * x, GOOD),
    "truths as numbers": (lambda x: (x > 0.3).astype(float) * x, GOOD),
    "as truths": (lambda x: np.where(x.astype(bool), x, 0.0), GOOD),
    "same type": (lambda x: x.astype(np.float64) * 2.0, GOOD),
    "erf": (lambda x: scipy.special.erf(x), GOOD),
    "polygamma": (lambda x: scipy.special.polygamma(1, x), GOOD),
    "gammaln": (lambda x: scipy.special.gammaln(x[::2]), GOOD),
    "iteration": (lambda x: sum(t * i for i, t in enumerate(x)), GOOD),
    "unpacking": (lambda x: operator.mul(*x[:2]), GOOD),
    "enumerated flat": (lambda x: sum(t * t for t in x.reshape(2, 3).T.flat), GOOD),
    "list of items": (lambda x: x.tolist()[2] * x.reshape(2, 3).tolist()[1][0], GOOD),
    "item": (lambda x: x.item(3) * x.reshape(2, 3).item(1, 2), GOOD),
}
# fmt: on


@pytest.mark.parametrize("case", OPERANDS.values(), ids=OPERANDS.keys())
def test_operands(case):
    f, *args = case
    agree(f, *args, rtol=1e-12)


def test_comparisons_return_truth_values():
    for f in (lambda x, y: x < y, lambda x, y: ~(x >= y), lambda x, y: (x > 0.5) & (y > 0.5), lambda x, y: np.isnan(x)):
        agree(f, GOOD, OTHER, grads=False)


def test_a_truth_value_array_keeps_its_type_when_written():
    def f(x):
        mask = x > 0.5
        mask[0] = 3.0
        return mask, np.where(mask, x, 0.0)

    agree(f, GOOD, grads=False)


def test_out_writes_into_traced_arrays():
    def f(x):
        y = x * 0.0
        z = np.multiply(x, x, out=y[::-1])
        np.exp(x[:2], out=z[1:3])
        np.matmul(x[:4].reshape(2, 2), x[:4].reshape(2, 2), out=(made := x[:4].reshape(2, 2) * 1.0))
        return y, made

    agree(f, GOOD)


REFUSED = {
    "where": lambda x: np.exp(x, where=np.arange(6) > 2),
    "dtype": lambda x: np.exp(x, dtype=np.float32),
    "order": lambda x: np.add(x, 1.0, order="F"),
    "axes": lambda x: np.matmul(x, x, axes=[0, 0, ()]),
    "plain out": lambda x: np.exp(x, out=PLAIN.copy()),
    "plain out of matmul": lambda x: np.matmul(x.reshape(6, 1), x.reshape(1, 6), out=SQUARE.copy()),
    "sum out": lambda x: np.sum(x, out=SCALAR.copy()),
    "sum dtype": lambda x: np.sum(x, dtype=np.float32),
    "sum int": lambda x: x.sum(dtype=int),
    "mean out": lambda x: x.mean(out=SCALAR.copy()),
    "take out": lambda x: np.take(x, range(6), out=PLAIN.copy()),
    "take positional out": lambda x: np.take(x, range(6), 0, PLAIN.copy()),
    "concatenate out": lambda x: np.concatenate([x[:3], x[3:]], out=PLAIN.copy()),
    "concatenate dtype": lambda x: np.concatenate([x, x], dtype=np.float32),
    "stack dtype": lambda x: np.stack([x, x], dtype=int, casting="unsafe"),
    "dot out": lambda x: np.dot(x, x, out=SCALAR.copy()),
    "outer out": lambda x: np.outer(x, x, SQUARE.copy()),
    "clip out": lambda x: np.clip(x, 0.0, 1.0, out=PLAIN.copy()),
    "compress out": lambda x: x.compress([True] * 6, out=PLAIN.copy()),
    "at": lambda x: np.add.at(PLAIN.copy(), [0, 1], x[:2]),
    "difference of truths": lambda x: (x > 0.5) - (x > 0.7),
    "exponential of truths": lambda x: np.exp(x > 0.5),
    "astype": lambda x: x.astype(np.float32),
    "astype int": lambda x: x.astype(int),
    "astype complex": lambda x: x.astype(complex),
    "view as bytes": lambda x: x.view(np.uint8),
    "array dtype": lambda x: np.array([x[0], x[1]], dtype=np.float32),
    "traced index": lambda x: x[x[0]],
    "traced index in a list": lambda x: x[[x[0], 1]],
    "traced index in a tuple": lambda x: x.reshape(2, 3)[0, x[1]],
    "traced shape": lambda x: np.reshape(x, (x[0], 2)),
    "traced repeats": lambda x: np.repeat(x, x),
    "traced pad width": lambda x: np.pad(x, x[0]),
    "traced take": lambda x: np.take(np.arange(3.0), x),
    "traced insert": lambda x: np.insert(np.arange(3.0), x[0], 1.0),
    "traced axis": lambda x: np.concatenate([x, x], axis=x[0]),
    "iadd of a plain array": lambda x: operator.iadd(PLAIN.copy(), x),
    "iadd of a plain array by a scalar": lambda x: operator.iadd(PLAIN.copy(), x[0]),
    "imatmul of a plain array": lambda x: operator.imatmul(SQUARE.copy(), x * np.eye(6)),
}


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED.keys())
def test_options_that_are_not_recorded_are_refused(f):
    with pytest.raises((UnsupportedError, ConversionError)):
        ft.record(f, GOOD)


DATA = {
    "complex": lambda x: x * np.array([1j] * 6),
    "complex number": lambda x: x * 1j,
    "text": lambda x: x + np.array(["a"] * 6),
    "objects": lambda x: x + np.array([None] * 6),
    "dates": lambda x: x + np.array(["2020-01-01"] * 6, "M8[D]"),
    "none": lambda x: np.add(x, None),
    "longdouble": lambda x: x * np.ones(6, np.longdouble),
}


@pytest.mark.parametrize("f", DATA.values(), ids=DATA.keys())
def test_other_data_is_refused(f):
    with pytest.raises((ArgumentError, TypeError), match=r"cannot|would turn|unsupported operand") as caught:
        ft.record(f, GOOD)
    assert isinstance(caught.value, FastTapeError) or "unsupported operand" in str(caught.value)


def test_single_precision_stays_single_precision():
    x = GOOD.astype(np.float32)

    def f(x):
        y = np.exp(x) * 2.0 + 1
        y[1:] = y[:-1] * np.float32(3.0)
        return y @ y + np.sum(y * np.arange(6, dtype=np.int8)) / 7, y.mean(), np.where(y > 1.0, y, 0)

    tape = ft.record(f, x)
    assert tape.program.dtype == np.float32
    same(tape(x), f(x), 1e-6)
    slope = ft.grad(lambda x: f(x)[0])(x)
    assert slope.dtype == np.float32
    np.testing.assert_allclose(slope, ft.grad(lambda x: f(x)[0])(GOOD.astype(np.float32).astype(float)), rtol=1e-5)
    with pytest.raises(ArgumentError, match=r"x\.astype\(np\.float32\)"):
        ft.record(lambda x: x * np.arange(6.0), x)
