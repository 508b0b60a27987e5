"""Properties that hold for every program: values as NumPy's, both modes equal, replays equal recordings, twins too."""

import json
import os
import pathlib
import subprocess
import sys

import numba
import numpy as np
import pytest
from agree import same
from hypothesis import HealthCheck, given, settings
from programs import ALL, CONTINUOUS, SMOOTH, fixed, function, loss, programs, run

import fasttape as ft

HERE = pathlib.Path(__file__).parent
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
EXAMPLES = 30 if numba.config.DISABLE_JIT else 100
SEEDS = range(12)

quietly = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def every(args):
    return tuple(range(len(args)))


@quietly
@given(programs(CONTINUOUS))
@settings(max_examples=EXAMPLES, **SLOW)
def test_values_are_those_of_plain_numpy(case):
    program, args = case
    same_values(ft.record(function(program), *args)(*args), run(program, *args))


def same_values(found, expected, rtol=1e-9):
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@quietly
@given(programs(ALL))
@settings(max_examples=EXAMPLES, **SLOW)
def test_both_modes_agree_inside_the_domains(case):
    program, args = case
    f = loss(program)
    rng = np.random.default_rng(0)
    v = tuple(rng.standard_normal() if isinstance(x, float) else rng.standard_normal(x.shape) for x in args)
    _, tangent = ft.jvp(f, tuple(args), v)
    slopes = ft.grad(f, argnums=every(args))(*args)
    terms = np.concatenate([np.ravel(s * t) for s, t in zip(slopes, v, strict=True)])
    if np.isfinite(terms).all():
        np.testing.assert_allclose(np.sum(terms), tangent, rtol=1e-9, atol=1e-9 * (1.0 + np.sum(np.abs(terms))))


@quietly
@given(programs(ALL, inside=False, length=5))
@settings(max_examples=EXAMPLES, **SLOW)
def test_both_modes_agree_at_singular_points(case):
    """Entry by entry of the Jacobian, infinities included; nan is what infinities of both signs leave, in any order."""
    program, args = case
    f = loss(program)
    tape = ft.record(f, *args, argnums=every(args))
    slopes = tape.grad(*args)
    for position, x in enumerate(args):
        for i in np.ndindex(np.shape(x)):
            zeros = [0.0 if isinstance(y, float) else np.zeros(y.shape) for y in args]
            if isinstance(x, float):
                zeros[position] = 1.0
            else:
                zeros[position][i] = 1.0
            _, forward = tape.jvp(tuple(args), tuple(zeros))
            reverse = np.asarray(slopes[position])[i]
            if not np.isnan(forward) and not np.isnan(reverse):
                np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-300)


@quietly
@given(programs(ALL))
@settings(max_examples=EXAMPLES, **SLOW)
def test_a_replay_has_the_bits_of_a_new_recording(case):
    program, args = case
    elsewhere = [0.5 * x + 0.25 for x in args]
    f = loss(program)
    old, new = (ft.record(f, *point, argnums=every(args)) for point in (args, elsewhere))
    assert bits(old.value_and_grad(*elsewhere)) == bits(new.value_and_grad(*elsewhere))
    assert str(old) == str(new)


def bits(tree):
    if isinstance(tree, tuple):
        return [bits(x) for x in tree]
    return np.asarray(tree).tobytes()


@quietly
@given(programs(SMOOTH, shapes=((),)))
@settings(max_examples=EXAMPLES, **SLOW)
def test_scalars_and_arrays_of_one_element_agree(case):
    program, args = case
    arrays = [np.full((1, 1), x) for x in args]
    value, slopes = ft.value_and_grad(loss(program), argnums=every(args))(*args)
    same_value, same_slopes = ft.value_and_grad(loss(program), argnums=every(args))(*arrays)
    np.testing.assert_allclose(same_value, value, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose([x.item() for x in same_slopes], slopes, rtol=1e-6, atol=1e-9)


@quietly
@given(programs(CONTINUOUS, length=5), programs(CONTINUOUS, length=5))
@settings(max_examples=EXAMPLES // 3, **SLOW)
def test_a_recording_does_not_depend_on_the_one_before(first, second):
    program, args = second
    before = ft.record(loss(program), *args, argnums=every(args)).value_and_grad(*args)
    ft.record(loss(first[0]), *first[1])
    assert bits(before) == bits(ft.record(loss(program), *args, argnums=every(args)).value_and_grad(*args))


def figures():
    """Values and gradients of the fixed programs, inside the domains and at singular points."""
    made = []
    for seed in SEEDS:
        program, args = fixed(seed)
        value, slopes = ft.value_and_grad(loss(program), argnums=every(args))(*args)
        _, tangent = ft.jvp(loss(program), tuple(args), tuple(args))
        made.append([float(value), float(tangent), *(np.ravel(s).tolist() for s in slopes)])
    return made


@pytest.mark.slow
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="compares compiled code with its Python twins")
def test_compiled_code_agrees_with_its_python_twins():
    program = "import json, test_programs; print(json.dumps(test_programs.figures()))"
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", ""), str(HERE.parent)])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "ignore", "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    with np.errstate(all="ignore"):
        for found, expected in zip(figures(), json.loads(printed), strict=True):
            for x, y in zip(found, expected, strict=True):
                same(np.asarray(x), np.asarray(y), 1e-8)
