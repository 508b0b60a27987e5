"""Streams: chunks from arrays, files and iterators, and where their results go."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import fasttape as ft
from fasttape.errors import ArgumentError, OutputError
from fasttape.execute import batch
from fasttape.execute.points import Points
from tests.test_points import at

RNG = np.random.default_rng(4)


def square_and_slope(x, y):
    """Two results for each point, one of which is a row."""
    return x * y, np.stack([y, x], axis=1)


def test_arrays_are_cut_and_results_put_together():
    x, y = RNG.standard_normal((2, 1_003))
    sizes = []

    def f(x, y):
        sizes.append(len(x))
        return square_and_slope(x, y)

    products, slopes = ft.stream(f, (x, y), points=100)
    assert sizes == [100] * 10 + [3]
    assert np.array_equal(products, x * y)
    assert np.array_equal(slopes, np.stack([y, x], axis=1))


def test_files_in_and_out(tmp_path):
    x = np.memmap(tmp_path / "x", float, "w+", shape=(5_000, 3))
    x[:] = RNG.standard_normal(x.shape)
    out = {"norm": np.memmap(tmp_path / "norm", float, "w+", shape=(6_000,)), "x": np.empty((6_000, 3), np.float32)}
    found = ft.stream(lambda x: {"norm": np.linalg.norm(x, axis=1), "x": x}, x, out, points=700)
    assert np.array_equal(out["norm"][:5_000], np.linalg.norm(x, axis=1))
    assert np.array_equal(found["x"], x.astype(np.float32))
    assert len(found["norm"]) == 5_000
    assert np.shares_memory(found["x"], out["x"])


def test_an_iterator_may_use_its_memory_again():
    memory = np.empty(4)

    def chunks():
        for i in range(5):
            memory[:] = i
            yield memory[: 4 - i % 2]

    assert ft.stream(lambda x: x, chunks()).tolist() == [0.0] * 4 + [1.0] * 3 + [2.0] * 4 + [3.0] * 3 + [4.0] * 4
    pairs = ((np.full(2, float(i)), np.ones(2)) for i in range(3))
    assert ft.stream(np.add, pairs).tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_a_function_takes_results_of_any_kind():
    found = []
    assert ft.stream(lambda x: float(np.sum(x)), RNG.standard_normal(100), found.append, points=30) == 4
    assert all(isinstance(x, float) for x in found)
    assert ft.stream(np.sin, [], found.append) == 0


def test_memory_is_that_of_a_chunk():
    total = np.zeros(())

    def add(part):
        total[...] += part

    chunks = (np.full(10_000, 0.5) for _ in range(300))
    ft.stream(np.sum, chunks, add)  # what is loaded at the first use
    tracemalloc.start()
    ft.stream(np.sum, (np.full(10_000, 0.5) for _ in range(300)), add)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 2 * 300 * 10_000 * 0.5
    assert peak < 4 * 10_000 * 8


def test_nothing_has_the_shape_of_nothing():
    found = ft.stream(lambda x: np.stack([x, x], 1), np.empty(0))
    assert found.shape == (0, 2)
    with pytest.raises(ArgumentError, match="no chunks"):
        ft.stream(np.sin, [])


def test_what_does_not_fit_is_refused():
    x = np.ones(10)
    with pytest.raises(ArgumentError, match="9 and 10 points"):
        ft.stream(np.add, (x, x[1:]))
    with pytest.raises(ArgumentError, match="room for 7"):
        ft.stream(np.sin, x, np.empty(7), points=4)
    with pytest.raises(OutputError, match="entry for each point"):
        ft.stream(np.sum, x)
    with pytest.raises(OutputError, match="another nest"):
        ft.stream(np.sin, x, (np.empty(10), np.empty(10)))


def test_a_batch_of_gradients():
    tape = ft.record(lambda x, y: np.sin(x) * y, 1.0, 1.0, argnums=(0, 1)).gradient_tape()
    kept = batch.choose(tape.program).executor

    def gradients(x):
        out, failed = np.empty((len(x), 3)), np.empty(len(x), np.int64)
        batch.run(kept, Points(len(x), *at(x, 0), *at(out, 0), failed))
        return out

    x = RNG.standard_normal((1_000, 2))
    expected = np.column_stack([np.sin(x[:, 0]) * x[:, 1], np.cos(x[:, 0]) * x[:, 1], np.sin(x[:, 0])])
    np.testing.assert_allclose(ft.stream(gradients, x, points=300), expected, rtol=1e-13)


@pytest.mark.slow
def test_the_bar_loads_rich_and_counts_points():
    program = (
        "import sys, numpy as np, fasttape as ft; ft.stream(np.sin, np.zeros(9)); print('rich' in sys.modules); "
        "ft.stream(np.sin, np.zeros(9), points=2, progress=True); "
        "ft.stream(np.sin, iter([np.zeros(9)]), progress=True); print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"
    assert "100%" in done.stderr
