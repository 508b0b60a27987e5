"""Replays through compiled callers: every call returns what the way through Python returns, or takes that way."""

import collections
import gc
import math
import sys
import threading

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape.compiler.objects import NATIVE
from fasttape.direct import BOTH, GRADIENT, VALUE, Direct, caller_of
from fasttape.errors import FastTapeError, ReplayError
from fasttape.execute.caller import HITS

Point = collections.namedtuple("Point", "x y")
compiled_only = pytest.mark.skipif(not NATIVE, reason="without the JIT every call goes through Python")


def through_python(tape, what, args):
    return Direct(tape._evaluator, what)(*args)


def assert_same(x, y):
    """Equal trees to the last bit, with the same classes all the way down."""
    xs, ys = (optree.tree_flatten(tree, none_is_leaf=True) for tree in (x, y))
    assert xs[1] == ys[1]
    for a, b in zip(xs[0], ys[0], strict=True):
        assert type(a) is type(b)
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def answers(tape):
    """The number of calls that compiled code answered."""
    held = [vars(tape).get(name) for name in ("_value", "_gradient", "_value_and_gradient")]
    return sum(int(caller.otherwise.state[HITS]) for caller in held if caller is not None)


LEAVES = st.one_of(
    st.floats(-3, 3),
    st.lists(st.floats(-3, 3), max_size=4).map(np.array),
    st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=2).map(lambda x: np.array([x, x])),
    st.floats(-3, 3).map(np.float64),
    st.floats(-3, 3).map(np.array),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
        | st.tuples(inner, inner).map(lambda pair: Point(*pair))
    ),
    max_leaves=6,
)


def total(tree, other=1.0):
    leaves = optree.tree_leaves(tree)
    return sum((np.sum(leaf * leaf) * (1.0 + k) for k, leaf in enumerate(leaves)), 0.0 * other) + other * other


@given(TREES, st.floats(-2, 2), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_trees(tree, other, random):
    tape = ft.record(total, tree, other, argnums=(0, 1))
    moved = optree.tree_map(lambda x: x + random.uniform(-1, 1), tree)
    for args in ((tree, other), (moved, 0.5), (moved, 0.25)):
        assert_same(tape(*args), through_python(tape, VALUE, args))
        assert_same(tape.grad(*args), through_python(tape, GRADIENT, args))
        assert_same(tape.value_and_grad(*args), through_python(tape, BOTH, args))


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_trees_that_are_returned(tree):
    tape = ft.record(lambda x: optree.tree_map(lambda leaf: leaf * 2.0, x), [tree, 1.0])
    assert_same(tape([tree, 1.0]), through_python(tape, VALUE, ([tree, 1.0],)))


@compiled_only
@pytest.mark.parametrize(
    "args",
    [
        (1.5,),
        (np.float64(1.5),),
        (np.array([1.0, 2.0]),),
        (np.array(2.0),),
        (np.array([1.0, 2.0], np.float32),),
        (np.float32(2.0),),
        (np.ones(5000),),
        (np.ones((70, 70), np.float32),),
        ([1.0, (2.0, np.ones(3))],),
        ({"b": 1.0, "a": np.ones(2)},),
        ([],),
    ],
    ids=lambda args: repr(args[0])[:30],
)
def test_compiled_code_answers(args):
    tape = ft.record(total, *args)
    for k in range(3):
        assert_same(tape(*args), through_python(tape, VALUE, args))
        assert_same(tape.grad(*args), through_python(tape, GRADIENT, args))
        assert_same(tape.value_and_grad(*args), through_python(tape, BOTH, args))
        assert answers(tape) == 3 * (k + 1)


@compiled_only
def test_keys_keep_their_order():
    tape = ft.record(total, {"b": 1.0, "a": 2.0})
    for p in ({"b": 1.0, "a": 2.0}, {"".join("b"): 1.0, "".join("a"): 2.0}):
        assert list(tape.grad(p)) == list(through_python(tape, GRADIENT, (p,))) == ["b", "a"]
    with pytest.raises(ReplayError, match="in another order"):
        tape.grad({"a": 1.0, "b": 2.0})


@compiled_only
def test_unusual_arguments_take_the_other_way():
    tape = ft.record(total, np.ones((2, 3)), 2.0)
    answered = 0
    for x, y in [
        (np.ones((3, 2)).T, 2.0),
        (np.ones((4, 6))[::2, ::2], 2.0),
        (np.ones((2, 3), np.float32), 2.0),
        (np.ones((2, 3)), 2),
        (np.ones((2, 3)), np.float64(2.0)),
        (np.ones((2, 3)).view(np.recarray), 2.0),
        (np.ones((2, 3)).astype(">f8"), 2.0),
    ]:
        try:
            expected = through_python(tape, BOTH, (x, y))
        except Exception as error:
            with pytest.raises(type(error)):
                tape.value_and_grad(x, y)
        else:
            assert_same(tape.value_and_grad(x, y), expected)
        assert answers(tape) == answered
    tape.value_and_grad(np.ones((2, 3)), 2.0)
    assert answers(tape) == 1


def test_errors_are_those_of_python():
    tape = ft.record(total, np.ones(3), 2.0)
    for args in [(np.ones(4), 2.0), (np.ones(3),), (np.ones(3), "2"), ([np.ones(3)], 2.0), (np.ones(3), None)]:
        with pytest.raises(FastTapeError):
            tape.value_and_grad(*args)
    with pytest.raises(TypeError):
        tape.value_and_grad(np.ones(3), other=2.0)
    assert tape.value_and_grad(np.ones(3), 2.0)[0] == 7.0


def test_static_arguments():
    labels = np.array([2, 0, 1])
    tape = ft.record(lambda x, labels, mode: np.sum(x[labels] * np.arange(3.0)) * len(mode), np.ones(3), labels, "ab")
    x = np.array([1.0, 2.0, 3.0])
    assert_same(tape.grad(x, labels.copy(), "ab"), np.array([2.0, 4.0, 0.0]))
    assert_same(tape.grad(x, labels[::-1][::-1], "ab"), np.array([2.0, 4.0, 0.0]))
    with pytest.raises(ReplayError):
        tape.grad(x, np.array([0, 1, 2]), "ab")
    with pytest.raises(ReplayError):
        tape.grad(x, labels, "a")
    labels[:] = 0
    with pytest.raises(ReplayError):
        tape.grad(x, labels, "ab")


SCALE = 3.0
TABLE = np.array([1.0, 2.0])


def test_variables_that_change(monkeypatch):
    inner = 2.0
    tape = ft.record(lambda x: x * SCALE * inner * TABLE[1], 1.0)
    assert tape(1.0) == 12.0
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "SCALE", float("3.0"))  # another object, the same number
        assert tape(1.0) == 12.0
        patch.setitem(globals(), "SCALE", 4.0)
        with pytest.raises(ReplayError, match="SCALE"):
            tape(1.0)
    assert tape(1.0) == 12.0
    inner = 5.0
    with pytest.raises(ReplayError, match="inner"):
        tape(1.0)
    inner = 2.0
    TABLE[1] = 7.0
    with pytest.raises(ReplayError, match="TABLE"):
        tape(1.0)
    TABLE[1] = 2.0
    assert tape(1.0) == 12.0


def test_a_list_that_changed_before_the_first_replay():
    data = [1.0] * 500
    tape = ft.record(lambda x: x * sum(data), 1.0)
    data[7] = 2.0
    with pytest.raises(ReplayError, match="data"):
        tape(1.0)
    data[7] = 1.0
    assert tape(1.0) == 500.0
    data[7] = 3.0
    with pytest.raises(ReplayError, match="data"):
        tape(1.0)


def test_guards_are_checked():
    tape = ft.record(lambda x: x * x if x > 0 else -x, 2.0)
    assert tape.value_and_grad(3.0) == (9.0, 6.0)
    with pytest.raises(ReplayError, match="x > 0"):
        tape.value_and_grad(-3.0)
    assert tape.value_and_grad(4.0) == (16.0, 8.0)


def test_results_are_the_callers_own():
    tape = ft.record(lambda x: (np.sum(x * x), x)[0], np.ones(5000))
    x = np.arange(5000.0)
    first, second = tape.grad(x), tape.grad(x)
    first[:] = 0.0
    np.testing.assert_array_equal(second, 2.0 * x)
    assert second.flags.carray
    value = ft.record(lambda x: x * 1.0, np.ones(4))
    out = value(np.arange(4.0))
    out[:] = 9.0
    np.testing.assert_array_equal(value(np.arange(4.0)), np.arange(4.0))


def test_an_argument_may_be_released_after_the_call():
    tape = ft.record(lambda x: np.sum(np.exp(x)), np.ones(8192))
    values = [tape(np.full(8192, 0.001 * k)) for k in range(20)]
    np.testing.assert_allclose(values, [8192 * math.exp(0.001 * k) for k in range(20)], rtol=1e-12)


def test_threads():
    tape = ft.record(lambda x: np.sum(np.sin(x) * x), np.ones(20000))
    found = {}

    def work(k):
        x = np.full(20000, 0.1 * k)
        found[k] = [tape.value_and_grad(x) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(6):
        y = 0.1 * k
        for value, gradient in found[k]:
            assert value == pytest.approx(20000 * math.sin(y) * y, rel=1e-12)
            np.testing.assert_allclose(gradient, math.sin(y) + y * math.cos(y), rtol=1e-12)


@compiled_only
def test_no_references_are_lost():
    arguments = {"w": np.ones((80, 60)), "b": [np.ones(3), 2.0]}, 3.0
    tape = ft.record(total, *arguments, argnums=(0, 1))
    assert_same(tape.value_and_grad(*arguments), through_python(tape, BOTH, arguments))
    numbers = (*arguments, arguments[0]["w"], arguments[0]["b"], arguments[0]["b"][0])
    counts = [sys.getrefcount(x) for x in numbers]
    gc.collect()
    objects = len(gc.get_objects())
    blocks = sys.getallocatedblocks()
    for _ in range(1000):
        tape.value_and_grad(*arguments)
    assert np.abs(np.subtract([sys.getrefcount(x) for x in numbers], counts)).max() == 0
    assert abs(len(gc.get_objects()) - objects) < 50
    assert abs(sys.getallocatedblocks() - blocks) < 200
    result = tape.value_and_grad(*arguments)
    found = [sys.getrefcount(x) for x in (result, result[1], result[1][0], result[1][0]["w"], result[1][0]["b"][0])]
    assert found == [4] * 5  # its container, the tuple, x, the argument


@compiled_only
def test_a_tape_is_freed_with_its_memory():
    tape = ft.record(total, np.ones(5000))
    tape.value_and_grad(np.ones(5000))
    direct = tape._value_and_gradient.otherwise
    del tape
    assert sys.getrefcount(direct) == 2


@compiled_only
def test_a_caller_without_a_description():
    tape = ft.record(lambda x: x > 0.5, np.ones(3))
    caller = caller_of(tape._evaluator, VALUE)
    assert caller.state == 0
    np.testing.assert_array_equal(caller(np.array([0.0, 1.0, 2.0])), [False, True, True])
