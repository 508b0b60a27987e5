"""The compiled operators of traced scalars record what their twins in Python do, and do not leak."""

import gc
import math
import operator
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape import ops
from fasttape.compiler.objects import NATIVE
from fasttape.errors import LeakError
from fasttape.recorders.builder import Builder
from fasttape.recorders.scalar import TracedScalar, recording, traced

OPERATORS = [getattr(operator, name.partition(".")[2]) for op in ops.OPS for name in op.names if "operator." in name]
NUMBERS = [0, 0.0, -0.0, 1, 2.5, -3.0, math.nan, math.inf, True, np.float64(2.5), np.int32(3), 2**40]
OTHERS = ["text", None, 1j, [1.0], object()]
operands = st.one_of(st.sampled_from([0, 1, 2]).map(lambda k: ("traced", k)), st.sampled_from(NUMBERS))


class Twin(TracedScalar):
    """The scalars whose operators are all in Python."""

    __slots__ = ("slot",)


def builder(kind=None):
    made = Builder(np.float64, 3, lambda out: out.fill(1.5))
    made.scalar = kind or made.scalar
    return made


def apply(function, arity, made, x, y):
    """What an application appends and returns, or the error that it raises."""
    inputs = [traced(made, 1 + k) for k in range(3)]
    chosen = [inputs[z[1]] if isinstance(z, tuple) else z for z in (x, y)][:arity]
    try:
        result = function(*chosen)
    except Exception as error:
        return type(error), str(error).replace("Twin", "TracedScalar")
    return (result.slot, type(result) is made.scalar) if isinstance(result, TracedScalar) else result


def columns(made):
    arrays = made.columns.arrays
    return [column[: made.n].tolist() for column in arrays], made.n, made.next, made.pool, [at for at, *_ in made.runs]


def arity(function):
    return 1 if function in (operator.neg, operator.pos, operator.abs, operator.invert) else 2


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.tuples(st.sampled_from(OPERATORS), operands, operands), min_size=1, max_size=30))
def test_compiled_operators_append_what_their_twins_do(program):
    native, twin = builder(), builder(Twin)
    for function, x, y in program:
        if isinstance(x, tuple) or (isinstance(y, tuple) and arity(function) == 2):
            assert apply(function, arity(function), native, x, y) == apply(function, arity(function), twin, x, y)
    assert columns(native) == columns(twin)
    assert bool(native.unlinked) == bool(twin.unlinked)


@pytest.mark.parametrize("function", [f for f in OPERATORS if arity(f) == 2], ids=lambda f: f.__name__)
@pytest.mark.parametrize("other", OTHERS, ids=lambda x: type(x).__name__)
def test_other_operands_meet_the_twins(function, other):
    for x, y in ((("traced", 0), other), (other, ("traced", 0))):
        assert apply(function, 2, builder(), x, y) == apply(function, 2, builder(Twin), x, y)


def test_functions_take_the_short_way_for_scalars_only():
    made = builder()
    x = traced(made, 1)
    exp, add = (recording(ops.CODE[name], n, f) for name, n, f in (("exp", 1, np.exp), ("add", 2, np.add)))
    assert (exp(x).slot, add(x, 2.0).slot, add(2.0, x).slot) == (4, 6, 7)
    assert exp(0.0) == 1.0
    assert add.reduce([1.0, 2.0]) == 3.0
    np.testing.assert_array_equal(add(np.ones(2), 1.0), [2.0, 2.0])
    np.testing.assert_array_equal(exp(np.zeros(2), where=[True, True], out=np.zeros(2)), [1.0, 1.0])
    with pytest.raises(TypeError):
        exp()


def test_scalars_keep_their_recording_alive_and_nothing_else():
    made = builder()
    before = sys.getrefcount(made)
    x = traced(made, 1)
    kept = [x * x + 2.0 * x for _ in range(50)]
    assert sys.getrefcount(made) == before + 1 + len(kept)
    del x, kept
    assert sys.getrefcount(made) == before


def test_recording_many_times_takes_no_memory():
    def run():
        ft.grad(lambda x: sum(x * k - math.exp(x) / (1.0 + k) for k in range(100)))(1.0)

    def objects():
        gc.collect()
        return len(gc.get_objects()), sys.getallocatedblocks()

    for _ in range(20):
        run()
    tracked, blocks = objects()
    for _ in range(200):
        run()
    after = objects()
    assert after[0] - tracked < 50
    assert after[1] - blocks < 200


def test_a_scalar_of_an_ended_recording_raises_in_every_operator():
    made = builder()
    x = traced(made, 1)
    made.close()
    for function in OPERATORS:
        with pytest.raises(LeakError):
            function(*(x,) * arity(function))


def test_scalars_of_two_recordings_do_not_mix():
    for function in OPERATORS:
        if arity(function) == 2:
            with pytest.raises(LeakError):
                function(traced(builder(), 1), traced(builder(), 1))


def test_the_class_says_who_it_is():
    x = traced(builder(), 1)
    assert isinstance(x, TracedScalar)
    assert type(x).__name__ == "TracedScalar"
    assert type(x).__module__ == "fasttape.recorders.scalar"
    assert ("__add__" in vars(type(x))) == NATIVE
