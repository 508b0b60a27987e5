"""Threads that help: what they are asked to do is done, they are taken again, and they leave when nobody asks."""

import contextvars
import threading
import time

import pytest

from fasttape.execute import helpers

VARIABLE = contextvars.ContextVar("VARIABLE", default="nothing")


def outcome(work):
    """What some work returns in a helper."""
    found, done = [], threading.Event()

    def run():
        found.append(work())
        done.set()

    helpers.call(run)
    assert done.wait(30.0)
    return found[0]


def until(condition):
    for _ in range(3_000):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def patient(monkeypatch):
    """Helpers that stay, and none from before."""
    assert until(lambda: not helpers.IDLE)
    monkeypatch.setattr(helpers, "PATIENCE", 30.0)
    yield
    monkeypatch.setattr(helpers, "PATIENCE", 0.0)
    while helpers.IDLE:  # each waits with the patience that it had
        outcome(lambda: None)
        until(lambda: not helpers.IDLE)


@pytest.mark.usefixtures("patient")
def test_a_helper_is_taken_again_and_keeps_nothing():
    first = outcome(threading.get_ident)
    assert first != threading.get_ident()
    assert until(lambda: helpers.IDLE)
    assert helpers.IDLE[0].work is None
    assert outcome(threading.get_ident) == first


def test_a_helper_works_in_the_context_of_its_caller():
    token = VARIABLE.set("something")
    assert outcome(VARIABLE.get) == "something"
    VARIABLE.reset(token)
    assert outcome(VARIABLE.get) == "nothing"


def test_helpers_leave():
    outcome(lambda: None)
    assert until(lambda: not helpers.IDLE)


@pytest.mark.parametrize("patience", [0.0, 1e-4])
def test_whoever_leaves_at_the_moment_of_a_call_works_nevertheless(monkeypatch, patience):
    monkeypatch.setattr(helpers, "PATIENCE", patience)
    for k in range(500):
        assert outcome(lambda k=k: k) == k
