"""Helpers: threads that take part in a batch, and stay for a moment in case that another one follows.

They hold nothing while they wait, so a fork loses nothing: the child starts its own.
"""

import _thread
import collections
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

PATIENCE = 0.1  # seconds that a helper waits for work


class Helper:
    """A thread and what it is to do."""

    def __init__(self) -> None:
        self.work: Callable[[], Any] | None = None
        self.called = threading.Lock()
        self.called.acquire()

    def run(self) -> None:
        while self.waits():
            assert self.work is not None
            self.work()
            self.work = None
            IDLE.append(self)

    def waits(self) -> bool:
        """Wait for work. A helper that nobody calls leaves, unless somebody has taken it at this very moment."""
        if self.called.acquire(timeout=PATIENCE):
            return True
        try:
            IDLE.remove(self)
        except ValueError:
            return self.called.acquire()
        return False


IDLE: collections.deque[Helper] = collections.deque()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IDLE.clear)


def call(work: Callable[..., Any], *arguments: Any) -> None:
    """Let a helper do some work soon, in the context of the caller; it raises nothing."""
    try:
        helper = IDLE.pop()
    except IndexError:
        helper = Helper()
        _thread.start_new_thread(helper.run, ())  # `threading.Thread` would let the caller wait until it runs
    helper.work = functools.partial(contextvars.copy_context().run, work, *arguments)
    helper.called.release()
