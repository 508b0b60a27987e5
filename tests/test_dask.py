"""Batches and losses over dask arrays, on a cluster of processes of which one is killed at work."""

import contextlib
import functools
import math
import os
import signal

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import fasttape as ft

X = np.random.default_rng(0).normal(size=(400, 3))
W = np.array([0.3, -0.2, 0.5])


def score(w, x):
    return math.exp(-np.sum(x * w)) if x[0] > 0.0 else np.tanh(np.sum(x * w))


def total(w, x):
    """The loss of a chunk."""
    return np.sum(ft.vmap(score, in_axes=(None, 0))(w, x))


def dying(function, folder, w, x):
    """What a function returns; the first worker that gets here is killed."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(folder / "dead", os.O_CREAT | os.O_EXCL))
        os.kill(os.getpid(), signal.SIGKILL)
    return function(w, x)


@pytest.fixture(scope="module")
def client():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 5}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_gradients_of_all_points(client):
    chunks = da.from_array(X, chunks=(60, 3))
    slope = ft.vmap(ft.grad(functools.partial(score, W)))
    found = chunks.map_blocks(slope, dtype=float).compute()
    np.testing.assert_array_equal(found, slope(X))


def test_a_step_of_training_with_a_worker_killed(client, tmp_path):
    chunks = da.from_array(X, chunks=(40, 3)).to_delayed().ravel()
    slope = dask.delayed(functools.partial(dying, ft.grad(total), tmp_path))
    parts = dask.compute(*(slope(W, chunk) for chunk in chunks))
    assert (tmp_path / "dead").exists()
    np.testing.assert_allclose(sum(parts), ft.grad(total)(W, X), rtol=1e-12)


def test_compiled_functions_and_tapes_travel(client):
    compiled, tape = ft.compile(ft.grad(score)), ft.record(score, W, X[0])
    calls = [client.submit(dask.utils.apply, f, (W, X[0])) for f in (compiled, tape, tape.grad)]
    slope, value, again = client.gather(calls)
    assert value == score(W, X[0])
    assert slope.tolist() == again.tolist() == tape.grad(W, X[0]).tolist()
