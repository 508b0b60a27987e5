"""Replaying a tape: what must be as it was, passive inputs, variables that the recording read, threads, pickles."""

import math
import pickle
import re
import threading

import numpy as np
import pytest
import user_module

import fasttape as ft
from fasttape.errors import ArgumentError, ReplayError, UnsupportedError

RATE = 2.0
TABLE = np.arange(3.0)


def choose(x, n, mode):
    return np.sum(x[n] * (2.0 if mode == "double" else 1.0))


def test_shapes_must_be_as_recorded():
    tape = ft.record(lambda x: np.sum(x * x), np.ones(3))
    assert tape.grad(np.arange(3.0)).tolist() == [0.0, 2.0, 4.0]
    for x, shape in ((np.ones(4), "(4,)"), (np.ones((3, 1)), "(3, 1)"), (1.0, "()"), (np.empty(0), "(0,)")):
        message = f"argument 0 has shape {shape}, but the tape was recorded with (3,); record again"
        for use in (tape, tape.grad, tape.value_and_grad, tape.trace, lambda x: tape.jvp((x,), (x,))):
            with pytest.raises(ReplayError, match=re.escape(message)):
                use(x)


def test_static_arguments_must_be_as_recorded():
    x = np.array([1.0, 2.0, 3.0])
    tape = ft.record(choose, x, 1, "double")
    assert tape.grad(10 * x, 1, "double").tolist() == [0.0, 2.0, 0.0]
    with pytest.raises(ReplayError, match="argument 1 is part of this recording: it was 1 and now is 2; record again"):
        tape(x, 2, "double")
    with pytest.raises(ReplayError, match="it was 'double' and now is 'single'"):
        tape(x, 1, "single")
    with pytest.raises(ReplayError, match="it was 1 and now is True"):
        tape(x, True, "double")


def test_integer_arrays_are_compared_by_content():
    x, index = np.array([1.0, 2.0, 3.0]), np.array([2, 0])
    tape = ft.record(choose, x, index, "single")
    assert tape(x, np.array([2, 0]), "single") == 4.0
    for other in (np.array([2, 1]), np.array([2, 0], np.int32), np.array([2]), [2, 0]):
        with pytest.raises(ReplayError, match="argument 1"):
            tape(x, other, "single")
    index[0] = 1
    with pytest.raises(ReplayError, match=re.escape("it was array([2, 0]) and now is array([1, 0])")):
        tape(x, index, "single")


def test_passive_floats_are_inputs():
    tape = ft.record(lambda x, p: np.sum(x * p["w"]) + p["b"], np.ones(2), {"w": np.ones(2), "b": 1.0})
    assert tape(np.array([1.0, 2.0]), {"w": np.array([3.0, 4.0]), "b": 5.0}) == 16.0
    assert tape.grad(np.ones(2), {"w": np.array([3.0, 4.0]), "b": 5.0}).tolist() == [3.0, 4.0]
    with pytest.raises(ReplayError, match="argument 1 has another structure than the one that was recorded"):
        tape(np.ones(2), {"w": np.ones(2)})
    with pytest.raises(ReplayError, match="takes 2 arguments, not 1"):
        tape(np.ones(2))


def test_tangents_of_what_is_not_differentiated_must_be_zero():
    tape = ft.record(lambda x, y, n: x * y * n, 2.0, 3.0, 2)
    assert tape.jvp((2.0, 3.0, 2), (1.0, 0.0, None)) == (12.0, 6.0)
    with pytest.raises(ArgumentError, match="tangent 1 is not zero, but the tape does not differentiate argument 1"):
        tape.jvp((2.0, 3.0, 2), (1.0, 1.0, None))
    both = ft.record(lambda x, y: x * y, 2.0, 3.0, argnums=(0, 1))
    assert both.jvp((2.0, 3.0), (1.0, 1.0)) == (6.0, 5.0)


def test_a_tape_of_several_outputs_runs_forward_only():
    tape = ft.record(lambda x: (x * 2.0, [x > 1.0, "text"]), np.array([1.0, 2.0]))
    first, (mask, text) = tape(np.array([3.0, 0.0]))
    assert first.tolist() == [6.0, 0.0]
    assert mask.dtype == bool
    assert mask.tolist() == [True, False]
    assert text == "text"


def test_float32_tapes_take_python_numbers():
    tape = ft.record(lambda x, y: np.sum(x * y), np.ones(2, np.float32), 2.0)
    assert tape.grad(np.ones(2, np.float32), 3.0).dtype == np.float32
    with pytest.raises(ReplayError, match="argument 0 is float64, but the tape was recorded in float32"):
        tape(np.ones(2), 2.0)


@pytest.mark.parametrize(
    ("f", "name", "value", "kind"),
    [
        (lambda x: x * RATE, "RATE", 3.0, "global"),
        (lambda x: x * len(str(RATE)), "RATE", None, "global"),
        (lambda x: x * np.sum(TABLE), "TABLE", np.ones(3), "global"),
        (lambda x: user_module.SCALE * x, "SCALE", 3.0, "global"),
        (lambda x: user_module.helper(x), "SCALE", "text", "global"),
    ],
)
def test_global_variables_are_part_of_the_recording(f, name, value, kind, monkeypatch):
    tape = ft.record(f, 1.0)
    first = tape(2.0)
    module = user_module if name == "SCALE" else __import__(__name__)
    kept = getattr(module, name)
    monkeypatch.setattr(module, name, value)
    for use in (tape, tape.grad, tape.trace, lambda x: tape.jvp((x,), (1.0,))):
        with pytest.raises(ReplayError, match=f"the {kind} variable {name} is part of this recording and has changed"):
            use(2.0)
    monkeypatch.setattr(module, name, kept)
    assert tape(2.0) == first


def test_closure_variables_are_part_of_the_recording():
    weight, data, other = 2.0, np.ones(3), 1.0

    def helper(x):
        return x * weight

    def f(x):
        return helper(x) + np.sum(data * x)

    tape = ft.record(f, 1.0)
    assert tape.grad(3.0) == 5.0
    data[1] = 7.0
    with pytest.raises(ReplayError, match="the closure variable data is part of this recording and has changed"):
        tape(3.0)
    data[1] = 1.0
    other += 1.0
    assert tape.grad(3.0) == 5.0
    weight = 4.0
    with pytest.raises(ReplayError, match="the closure variable weight is part of this recording and has changed"):
        tape(3.0)
    assert ft.grad(f)(3.0) == 7.0
    assert other == 2.0


def test_what_a_recording_writes_before_it_reads_it_does_not_depend_on():
    def f(x):
        global RATE
        RATE = 2.0
        return x * RATE

    tape = ft.record(f, 1.0)
    assert tape(3.0) == 6.0


def test_nan_in_a_variable_is_no_change(monkeypatch):
    monkeypatch.setitem(globals(), "RATE", math.nan)
    missing = np.array([math.nan, 1.0])
    tape = ft.record(lambda x: x * missing[1] if math.isnan(RATE) else x, 2.0)
    assert tape(3.0) == 3.0


def test_a_pickled_tape_replays():
    tape = ft.record(lambda x, n: np.sum(np.tanh(x) ** n) * RATE if x[0] > 0.0 else 0.0, np.ones(3), 2)
    again = pickle.loads(pickle.dumps(tape))
    x = np.array([0.5, -1.0, 2.0])
    assert again(x, 2) == tape(x, 2)
    assert again.grad(x, 2).tolist() == tape.grad(x, 2).tolist()
    assert str(again) == str(tape)
    with pytest.raises(ReplayError, match=r"test_replay\.py"):
        again(-x, 2)
    with pytest.raises(ReplayError, match="argument 1 is part of this recording"):
        again(x, 3)


def test_threads_share_a_tape():
    def f(x):
        y = x
        for _ in range(50):
            y = np.sin(y) * x + 0.5
        return np.sum(y)

    x = np.linspace(0.1, 1.0, 40)
    tape = ft.record(f, x)
    points = [x * k for k in range(1, 9)]
    wanted = [tape.value_and_grad(p) for p in points]
    wrong = []

    def work(k):
        for _ in range(10):
            value, gradient = tape.value_and_grad(points[k])
            if value != wanted[k][0] or gradient.tobytes() != wanted[k][1].tobytes():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(points))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tape_called_while_another_function_records():
    tape = ft.record(lambda x: math.exp(x) * x, 1.0)

    def f(x):
        return x * tape.grad(1.0) + tape(0.0)

    assert ft.grad(f)(2.0) == pytest.approx(2.0 * math.e)
    with pytest.raises(UnsupportedError, match="inside of a recorded function"):
        ft.grad(lambda x: tape(x))(2.0)


def test_a_failed_replay_leaves_the_tape_ready():
    tape = ft.record(lambda x: x * x if x > 0.0 else x, 1.0)
    for _ in range(3):
        with pytest.raises(ReplayError, match="condition true"):
            tape.grad(-1.0)
        assert tape.grad(3.0) == 6.0


def test_results_do_not_share_memory_with_the_tape():
    tape = ft.record(lambda x: x * 2.0, np.ones(3))
    first = tape(np.ones(3))
    first[...] = 7.0
    second = tape(np.zeros(3))
    assert first.tolist() == [7.0] * 3
    assert second.tolist() == [0.0] * 3
    summed = ft.record(lambda x: np.sum(x * x), np.ones(3))
    gradient = summed.grad(np.ones(3))
    gradient[...] = 7.0
    assert summed.grad(np.ones(3)).tolist() == [2.0] * 3
    recorded = np.ones(2)
    constant = ft.record(lambda x: (x, recorded), 1.0)
    assert constant(2.0)[1] is not recorded
