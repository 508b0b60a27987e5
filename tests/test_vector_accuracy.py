"""Each function of libmvec that a row names, in all registers of this processor, against exact numbers of mpmath."""

import math

import numpy as np
import oracles
import pytest

from benchmarks import vector_accuracy as accuracy

BOUND = 4.0  # units in the last place: what glibc tests libmvec for (sourceware.org/glibc/wiki/libmvec)
POINTS = 400
EXACT = oracles.m.mpf


@pytest.mark.parametrize("dtype", accuracy.DTYPES)
@pytest.mark.parametrize("op", accuracy.ROWS, ids=lambda op: op.name)
def test_rows_by_libmvec_are_as_accurate_as_it_promises(op, dtype):
    program = accuracy.program(op, dtype)
    drawn = accuracy.points(op, dtype, np.random.default_rng(0), POINTS)
    assert (drawn.kinds == 0).sum() >= POINTS // 4
    for target in accuracy.targets():
        executor = accuracy.Native(program, target=target)
        found = accuracy.results(executor, drawn.x)
        errors = [accuracy.error(*pair, dtype) for pair in zip(drawn.exact, found, strict=True)]
        worst = int(np.argmax(errors))
        assert errors[worst] <= BOUND, (target.registers, drawn.x[worst], found[worst])


@pytest.mark.parametrize("dtype", accuracy.DTYPES)
def test_errors_are_in_units_of_the_last_place(dtype):
    """Of the exact number's own binade, also where the next one begins and where numbers are subnormal."""
    one, step = dtype(1.0), np.finfo(dtype).eps
    tiny, least = np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    for exact, found, expected in [
        (EXACT(1), one, 0.0),
        (EXACT(1), one + step, 1.0),
        (EXACT(1), one - step / 2, 0.5),
        (EXACT(1) - EXACT(float(step)) / 2, one, 1.0),
        (EXACT(1) + EXACT(float(step)) / 4, one, 0.25),
        (EXACT(-3), dtype(-3.0) - 2 * step, 1.0),
        (EXACT(float(least)) / 2, dtype(0.0), 0.5),
        (EXACT(float(tiny)), tiny - least, 1.0),
        (EXACT(0), least, 1.0),
        (EXACT(2), dtype(math.nan), math.inf),
        (EXACT(2), dtype(math.inf), math.inf),
    ]:
        assert accuracy.error(exact, found, dtype) == expected, (exact, found)


@pytest.mark.parametrize("dtype", accuracy.DTYPES)
def test_points_are_drawn_where_results_become_subnormal_and_overflow(dtype):
    (op,) = (op for op in accuracy.ROWS if op.name == "exp")
    drawn, limits = accuracy.points(op, dtype, np.random.default_rng(0), 4000), np.finfo(dtype)
    results = [float(number) for number in drawn.exact]
    assert max(results) > 0.99 * float(limits.max)
    assert sum(0.0 < r < limits.tiny for r in results) > 100
    assert min(r for r in results if r) < 4.0 * float(limits.smallest_subnormal)


def test_a_table_is_written_with_a_line_for_each_row(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr("sys.argv", ["vector_accuracy", "--points", "20"])
    accuracy.main()
    text = accuracy.PAGE.read_text(encoding="utf-8")
    assert "`python -m benchmarks.vector_accuracy --points 20`" in text
    for op in accuracy.ROWS:
        assert text.count(f"\n| {op.name} | {op.vector} |") == len(accuracy.DTYPES)
