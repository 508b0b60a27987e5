"""Machine code in two tiers, of products and sums that are rounded once: the same bits soon, and well."""

import math
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import programs
import pytest
from agree import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config
from test_native import TARGETS, each_target, runs
from test_points import evaluate

import fasttape as ft
from fasttape.compiler import object_cache
from fasttape.execute import kernels
from fasttape.execute.kernels import SOON, WELL, Source
from fasttape.execute.native import Native
from fasttape.execute.points import PointByPoint


def walk(x, y):
    """Products that are terms of sums, of several sums, and results; quotients; functions of libraries."""
    total = x
    for k in range(60):
        product = x * y
        total = total * y + product if k % 3 else total - x * y
        x, y = x - product / (2.0 + total * total), y * 0.5 - math.tanh(x) * total / (2.0 + total * total)
    return total, x * y


def gradient(dtype=np.float64):
    f = ft.grad(lambda v: sum(walk(v[0], v[1])))
    return ft.record(f, np.array([0.3, 0.7], dtype)).program


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTTAPE_CACHE_DIR", str(tmp_path / "objects"))


@each_target
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_both_tiers_give_the_same_bits(target, dtype, folder):
    program = gradient(dtype)
    x = np.random.default_rng(0).normal(size=(101, 2)).astype(dtype)
    executor = Native(program, target=target)
    if target.registers == "" and config.DISABLE_JIT:
        pytest.skip("for this processor Numba compiles tanh")
    soon, code = evaluate(lambda _: executor, program, x)[0], executor.code(())
    assert code.kernel.style.lanes < executor.lanes or target.registers == ""
    code.improve()
    assert code.kernel.style == executor.style
    assert bits(evaluate(lambda _: executor, program, x)[0]) == bits(soon)
    expected, _ = evaluate(PointByPoint, program, x)
    np.testing.assert_allclose(soon, expected, rtol=1e5 * np.finfo(dtype).eps, atol=1e3 * np.finfo(dtype).eps)


@settings(max_examples=10, deadline=None)
@given(programs.programs(programs.SMOOTH), st.sampled_from(TARGETS))
def test_of_random_gradients(case, target):
    program, args = case
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args)))).gradient_tape().optimize()
    x = np.stack([np.concatenate([np.ravel(a) for a in args]) * scale for scale in (1.0, 0.5, 0.9)])
    well = Native(tape.program, target=target)
    expected = runs(lambda _: well, tape.program, x)
    if expected is not None:
        soon = Native(tape.program, target=target)
        soon.code(()).kernel = soon.code(()).best._replace(level=SOON).kernel()
        assert bits(evaluate(lambda _: soon, tape.program, x)[0]) == bits(expected[0])


def test_improves_while_it_is_at_work(folder, monkeypatch):
    """After so many points, fewer where less is to be compiled; the next one finds the better code on disk."""
    monkeypatch.setattr(kernels, "SETTLED", 100)
    program, x = gradient(), np.random.default_rng(0).normal(size=(100, 2))
    executor = Native(program)
    code = executor.code(())
    assert 1 < code.settled < 100
    for size in (1, code.settled - 1):
        assert code.improves
        evaluate(lambda _: executor, program, x[:size])
    assert not code.improves
    for thread in threading.enumerate():
        if thread.name == kernels.THREAD:
            thread.join()
    assert code.kernel.style == executor.style
    again = Native(program).code(())
    assert not again.improves
    assert again.kernel.style == executor.style


def test_short_programs_are_compiled_well_at_once(folder):
    program = ft.record(lambda x: math.exp(x) * x, 1.0).program
    code = Native(program).code(())
    assert not code.improves
    assert object_cache.load(Source(program, code.best.style, code.best.target, WELL).name()) is not None


PROGRAM = """
import os, sys, threading
import numpy as np
from test_kernels import gradient, evaluate, kernels
import fasttape as ft
from fasttape.execute.native import Native
kernels.SETTLED = 1
x, executor = np.ones((3, 2)), Native(gradient())
small = ft.record(lambda x: x * x + 1.0, 1.0)
small.native()(x[:, 0])
evaluate(lambda _: executor, executor.program, x)
compiles = [thread for thread in threading.enumerate() if thread.name == kernels.THREAD]
assert compiles
while sys.argv[1] == "fork" and compiles[0].is_alive():
    child = os.fork()
    if not child:
        assert small.native()(x[:, 0]).tolist() == [2.0] * 3
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["fork", "exit"])
def test_processes_fork_and_end_while_code_is_compiled(then, tmp_path):
    paths = [pathlib.Path(ft.__file__).parents[1], pathlib.Path(__file__).parent]
    environment = os.environ | {"FASTTAPE_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, "-c", PROGRAM, then], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_what_is_contracted(folder):
    """Products that are part of one sum and wanted nowhere else, and divisors of more than one number."""

    def f(x, y, z):
        product = x * y
        return product + z * 2.0, product / z, x / z, x * z - y, y - x * x * 0.5, y / x

    text = Source(ft.record(f, 1.0, 2.0, 3.0).program, Native(gradient()).style, TARGETS[0], WELL).text()
    body = text[text.index("@kernel") :]
    assert body.count("@llvm.fmuladd") == 3
    assert body.count("fdiv") == 2
