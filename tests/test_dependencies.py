"""What a compiled function depends on: every way to make a replay lie, one test each."""

import collections
import datetime
import functools
import random
import time
import types
import uuid
from time import perf_counter

import numpy as np
import optree
import pytest
import user_module
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from fasttape.errors import RandomnessError, ReplayError

RATE = 2.0
TABLE = np.array([1.0, 2.0])
SETTINGS = {"power": 2, "weights": [1.0, 2.0]}
RNG = np.random.default_rng(0)


def scaled(x):
    return x * RATE


def told(f):
    info = f.info()
    return info.hits, info.recordings


def test_what_a_function_only_adds_to():
    log, seen, n = [], set(), 0

    @ft.compile
    def f(x):
        nonlocal n
        log.append(x)
        seen.add("f")
        n += 1
        return x * 2.0

    @ft.compile
    def g(x):
        nonlocal n
        n += 1
        log.append(x)
        return x * n * len(log)

    assert [f(1.0), f(2.0)] == [2.0, 4.0]
    assert (n, len(log), seen, told(f)) == (1, 1, {"f"}, (1, 1))
    assert [g(1.0), g(1.0)] == [4.0, 9.0]


# ---- what may change between two calls


def test_a_branch():
    f = ft.compile(ft.value_and_grad(lambda x: x * x if x > 0.0 else -x))
    for x in (2.0, -2.0, 3.0, -3.0, 0.0):
        assert f(x) == ((x * x, 2.0 * x) if x > 0.0 else (-x, -1.0))
    assert told(f) == (3, 2)
    assert any("test_dependencies.py" in cause for cause in f.info().causes)


def test_a_mask():
    f = ft.compile(ft.grad(lambda x: np.sum(x[x > 0.0] ** 2)))
    for x in ([1.0, -1.0], [2.0, -3.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]):
        np.testing.assert_array_equal(f(np.array(x)), np.where(np.array(x) > 0.0, 2.0 * np.array(x), 0.0))
    assert told(f) == (1, 4)


def test_a_label_array():
    f = ft.compile(lambda x, labels: np.sum(x[labels]))
    x, labels = np.array([1.0, 10.0, 100.0]), np.array([0, 2])
    assert f(x, labels) == 101.0
    assert f(x, labels.copy()) == 101.0
    labels[1] = 1
    assert f(x, labels) == 11.0
    assert told(f) == (1, 2)


def test_an_index_argument():
    f = ft.compile(ft.grad(lambda x, i: x[i] * 2.0))
    for i in (0, 1, 0, 1):
        np.testing.assert_array_equal(f(np.ones(2), i), 2.0 * (np.arange(2) == i))
    assert told(f) == (2, 2)


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), ("a", "b"), (None, 0), (0.0, -0.0), (2, 2**70)])
def test_a_static_keyword_or_argument_of_another_class(first, second):
    def f(x, *, flag):
        return x * (3.0 if flag is first else 5.0) + (1.0 if repr(flag) == repr(second) else 0.0)

    compiled = ft.compile(f)
    for flag in (first, second, first, second):
        assert compiled(1.0, flag=flag) == f(1.0, flag=flag)


def test_a_rebound_global(monkeypatch):
    f = ft.compile(lambda x: x * RATE)
    assert f(1.0) == 2.0
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "RATE", 5.0)
        assert f(1.0) == 5.0
    assert f(1.0) == 2.0
    assert told(f) == (1, 2)
    assert f.info().causes["the global variable RATE has changed"] == 1


def test_a_rebound_helper(monkeypatch):
    f = ft.compile(lambda x: scaled(x) + 1.0)
    assert f(1.0) == 3.0
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "scaled", lambda x: x * 10.0)
        assert f(1.0) == 11.0
    assert f(1.0) == 3.0


def test_a_global_behind_a_helper(monkeypatch):
    f = ft.compile(ft.grad(lambda x: scaled(x) * x))
    assert f(1.0) == 4.0
    monkeypatch.setitem(globals(), "RATE", 3.0)
    assert f(1.0) == 6.0


def test_a_variable_of_another_module(monkeypatch):
    monkeypatch.setattr(user_module, "FACTOR", 2.0, raising=False)
    f = ft.compile(lambda x: x * user_module.FACTOR)
    assert f(1.0) == 2.0
    monkeypatch.setattr(user_module, "FACTOR", 7.0)
    assert f(1.0) == 7.0


def test_a_changed_closure_cell():
    rate = 2.0
    f = ft.compile(lambda x: x * rate)
    assert f(1.0) == 2.0
    rate = 3.0
    assert f(1.0) == 3.0
    rate = 2.0
    assert f(1.0) == 2.0
    assert told(f) == (1, 2)


def test_an_array_mutated_outside():
    f = ft.compile(lambda x: np.sum(x * TABLE))
    x = np.ones(2)
    assert f(x) == 3.0
    TABLE[0] = 5.0
    assert f(x) == 7.0
    TABLE[0] = 1.0
    assert f(x) == 3.0
    assert told(f) == (1, 2)


def test_a_large_array_mutated_outside():
    big = np.ones(2_000_000)
    f = ft.compile(lambda x: x * big[-1])
    assert (f(1.0), f(2.0)) == (1.0, 2.0)
    big[-1] = 3.0
    assert f(1.0) == 3.0
    assert told(f) == (1, 2)


def test_containers_mutated_outside():
    f = ft.compile(lambda x: x ** SETTINGS["power"] * SETTINGS["weights"][0])
    assert f(3.0) == 9.0
    SETTINGS["power"] = 3
    assert f(3.0) == 27.0
    SETTINGS["weights"][0] = 2.0
    assert f(3.0) == 54.0
    SETTINGS.update(power=2, weights=[1.0, 2.0])
    assert f(3.0) == 9.0
    assert told(f) == (1, 3)


def first_key(p):
    return 10.0 * next(iter(p.values())) + sum(p.values())


def test_keys_in_another_order():
    f = ft.compile(first_key)
    tape = ft.record(first_key, {"a": 1.0, "b": 2.0})
    for p in ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}, {"".join("b"): 3.0, "a": 4.0}, {"a": 5.0, "b": 6.0}):
        assert f(p) == first_key(p)
    assert told(f) == (2, 2)
    assert list(f.info().causes) == ["the first call", "argument 0 has keys in another order"]
    with pytest.raises(ReplayError, match="keys of a dict in another order"):
        tape({"b": 2.0, "a": 1.0})
    nested = ft.compile(lambda x: sum(map(first_key, x)))
    for x in ([{"a": 1.0, "b": 2.0}], [{"b": 1.0, "a": 2.0}]):
        assert nested(x) == first_key(x[0])


def test_keys_in_another_order_outside():
    reached = {"a": 1.0, "b": 2.0}
    f = ft.compile(lambda x: x * first_key(reached))
    assert f(1.0) == 13.0
    reached["a"] = reached.pop("a")
    assert f(1.0) == f(1.0) == 23.0
    assert told(f) == (1, 2)


@pytest.mark.parametrize("n", [50, 500, 5000])
@pytest.mark.parametrize("value", [-1.0, True, 1])
def test_many_numbers(n, value):
    data = [1.0] * n
    table = {str(k): 1.0 for k in range(n)}
    f = ft.compile(lambda x: sum(type(y) is float for y in data) * x + sum(map(float, table.values())))
    assert (f(1.0), f(1.0)) == (2.0 * n, 2.0 * n)
    data[n // 2] = value
    assert f(1.0) == 2.0 * n - (not isinstance(value, float))
    table["0"] = 3.0
    assert f(1.0) == 2.0 * n + 2.0 - (not isinstance(value, float))
    assert told(f) == (1, 3)


def test_a_longer_list():
    terms = [1.0, 2.0]
    f = ft.compile(lambda x: sum((c * x for c in terms), 0.0 * x))
    assert f(1.0) == 3.0
    terms.append(4.0)
    assert f(1.0) == 7.0
    del terms[0]
    assert f(1.0) == 6.0


class Model:
    shift = 0.5

    def __init__(self, scale):
        self.scale = scale
        self.layers = [np.ones(2)]

    def value(self, x):
        return np.sum(self.layers[0] * x) * self.scale + self.shift

    def __call__(self, x):
        return x * self.scale


class Slotted:
    __slots__ = ("scale",)

    def __init__(self, scale):
        self.scale = scale


@pytest.mark.parametrize("reach", ["method", "closure", "argument", "partial", "callable"])
def test_an_object_that_changed(reach, monkeypatch):
    model = Model(2.0)
    f = {
        "method": ft.compile(model.value),
        "closure": ft.compile(lambda x: model.value(x)),
        "argument": functools.partial(lambda f, x: f(x, model), ft.compile(lambda x, m: m.value(x))),
        "partial": ft.compile(functools.partial(Model.value, model)),
        "callable": ft.compile(model),
    }[reach]
    plain = model if reach == "callable" else model.value
    assert f(1.0) == plain(1.0)
    model.scale = 3.0
    assert f(1.0) == plain(1.0)
    model.layers[0][1] = 7.0
    assert f(1.0) == plain(1.0)
    model.layers = [np.zeros(2)]
    assert f(1.0) == plain(1.0)
    monkeypatch.setattr(Model, "shift", 10.0)
    assert f(1.0) == plain(1.0)
    model.shift = 20.0
    assert f(1.0) == plain(1.0)


def test_an_object_with_slots():
    held = Slotted(2.0)
    f = ft.compile(lambda x: x * held.scale)
    assert f(1.0) == 2.0
    held.scale = 3.0
    assert f(1.0) == 3.0


def test_an_object_that_computes_its_attributes():
    class Fresh:
        numbers = (1.0,)

        def __getattribute__(self, name):
            return [2.0] if name == "numbers" else object.__getattribute__(self, name)

    held = Fresh()
    f = ft.compile(lambda x: x * held.numbers[0])
    assert [f(1.0), f(2.0), f(3.0)] == [2.0, 4.0, 6.0]
    assert told(f) == (0, 3)
    assert f.info().unknown == ("the closure variable held",)


def test_default_arguments():
    shared = [1.0, 2.0]

    def f(x, weights=shared):
        return x * weights[0]

    compiled = ft.compile(f)
    assert compiled(1.0) == 1.0
    shared[0] = 4.0
    assert compiled(1.0) == 4.0


def test_a_method_as_a_decorated_attribute():
    class Line:
        def __init__(self, slope):
            self.slope = slope

        @ft.compile
        def at(self, x):
            return self.slope * x

    one, two = Line(2.0), Line(3.0)
    assert (one.at(1.0), two.at(1.0), one.at(2.0), two.at(2.0)) == (2.0, 3.0, 4.0, 6.0)
    one.slope = 5.0
    assert one.at(1.0) == 5.0
    assert isinstance(Line.at, ft.compiled.Compiled)


def test_code_that_depends_on_shapes():
    f = ft.compile(ft.grad(lambda x: np.sum(x) * (2.0 if len(x) > 2 else 3.0)))
    for n in (2, 3, 2, 3, 4):
        np.testing.assert_array_equal(f(np.ones(n)), np.full(n, 2.0 if n > 2 else 3.0))
    assert told(f) == (2, 3)
    assert f.info().causes["argument 0 has another shape"] == 2


@pytest.mark.parametrize(
    "others",
    [
        (np.ones(3, np.float32), np.ones(3)),
        ([1.0, 2.0], (1.0, 2.0)),
        ({"a": 1.0}, {"b": 1.0}),
        ([1.0], [1.0, 2.0]),
        (np.ones((2, 1)), np.ones((1, 2))),
        (1.0, np.float64(1.0)),
        (1.0, np.array(1.0)),
    ],
    ids=repr,
)
def test_dtypes_and_structures(others):
    def total(tree):
        return optree.tree_map(lambda leaf: leaf * 2.0, tree)

    f = ft.compile(total)
    for tree in (*others, *others):
        found, expected = f(tree), total(tree)
        assert optree.tree_structure(found) == optree.tree_structure(expected)
        for a, b in zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype


# ---- what no replay repeats


@pytest.mark.parametrize(
    ("f", "source"),
    [
        (lambda x: x * np.random.normal(), "numpy.random"),  # noqa: NPY002
        (lambda x: x * random.random(), "random"),
        (lambda x: x * RNG.normal(), "RNG"),
        (lambda x: x * np.random.default_rng().normal(), "default_rng"),
        (lambda x: x + float(uuid.uuid4().int % 2), "uuid4"),
    ],
    ids=["numpy", "random", "generator", "unseeded", "uuid"],
)
@pytest.mark.parametrize(
    "transform", [ft.compile, lambda f: ft.compile(ft.grad(f)), lambda f: lambda x: ft.record(f, x)]
)
def test_randomness(f, source, transform):
    with pytest.raises(RandomnessError, match=rf"{source}.*pass them as an argument"):
        transform(f)(1.0)


def test_a_generator_as_an_argument():
    with pytest.raises(RandomnessError, match="argument 1"):
        ft.compile(lambda x, rng: x * rng.normal())(1.0, np.random.default_rng(0))


def test_a_generator_with_a_seed_repeats_itself():
    f = ft.compile(lambda x: x * np.random.default_rng(7).normal())
    assert f(2.0) == 2.0 * f(1.0)
    assert told(f) == (1, 1)


@pytest.mark.parametrize(
    "clock",
    [
        lambda: time.time(),
        lambda: perf_counter(),
        lambda: datetime.datetime.now().timestamp(),
        lambda: time.monotonic_ns(),
    ],
)
def test_the_time(clock):
    f = ft.compile(lambda x: x * 0.0 + clock())
    first = f(1.0)
    time.sleep(0.002)
    assert f(1.0) > first
    assert told(f) == (0, 2)
    assert "clock" in str(f.info())


def test_what_cannot_be_compared():
    feed = iter(np.arange(100.0))
    f = ft.compile(lambda x: x * next(feed))
    assert [f(1.0), f(1.0), f(1.0)] == [0.0, 1.0, 2.0]
    assert told(f) == (0, 3)
    assert "feed" in str(f.info())


def test_more_than_can_be_compared():
    many = [[float(k)] for k in range(5000)]
    f = ft.compile(lambda x: x * many[4000][0])
    assert f(1.0) == 4000.0
    many[4000][0] = 1.0
    assert f(1.0) == 1.0
    assert "many" in f.info().unknown[0]


def test_a_counter_that_the_function_writes():
    calls = collections.Counter()

    def f(x):
        calls["f"] += 1
        return x * calls["f"]

    compiled = ft.compile(f)
    assert [compiled(1.0) for _ in range(3)] == [1.0, 2.0, 3.0]


STEPS = st.lists(st.sampled_from(["x", "n", "rate", "table", "model", "branch"]), min_size=1, max_size=12)


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_replay_is_what_recording_anew_gives(steps, generator):
    state = types.SimpleNamespace(x=1.0, n=2)
    rate, table, model = 2.0, np.ones(3), Model(1.5)

    def f(x, n):
        y = x * rate + np.sum(table * x) ** n + model.value(x)
        return y if y > 10.0 else -y * x

    compiled = ft.compile(ft.value_and_grad(f))
    for step in steps:
        value = generator.choice([0.5, 1.0, 2.0, 3.0])
        if step == "x":
            state.x = value
        elif step == "n":
            state.n = int(value) + 1
        elif step == "rate":
            rate = value
        elif step == "table":
            table[generator.randrange(3)] = value
        elif step == "model":
            model.scale = value
        assert compiled(state.x, state.n) == ft.value_and_grad(f)(state.x, state.n)
