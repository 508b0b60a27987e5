"""Sweeps: compiled functions that Python calls with arrays, numbers and tuples of these.

There is one compiled form for each kind of arguments: the dtypes and dimensions of arrays, the lengths of tuples. It
returns an integer or nothing and never raises.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fasttape.compiler.calling import NEXT, Caller, State, caller_class, described
from fasttape.compiler.jit import Entry, building, compiled
from fasttape.compiler.late import DISABLED
from fasttape.compiler.objects import NATIVE

CODE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)


class sweep:  # a decorator
    """A function as `.now`; other than Python's it is compiled when it is first called.

    From the second call on, compiled code takes the arguments apart: what is called once is not worth loading it for.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function, self.lock = function, threading.RLock()
        self.forms: dict[Any, tuple[Entry, Any]] = {}
        self.states: dict[Any, State | None] = {}
        self.now: Any = function if DISABLED else self.run

    def run(self, *arguments: Any) -> int:
        """A call that compiled code did not take apart by itself."""
        kinds = tuple(map(kind, arguments))
        with self.lock:
            if kinds not in self.forms:
                self.forms[kinds] = self.compile(kinds, arguments)
            elif NATIVE and kinds not in self.states:
                self.states[kinds] = self.describe(arguments, self.forms[kinds][0].address)
            _, call = self.forms[kinds]
        given = [word for x in arguments for word in words(x)] or [0]
        memory = (ctypes.c_int64 * len(given))(*given)
        if call(memory):
            raise RuntimeError(f"the {self.function.__name__} sweep met what it cannot do")
        return memory[0]

    def compile(self, kinds: Any, arguments: tuple[Any, ...]) -> tuple[Entry, Any]:
        f = self.function
        key = f.__module__, f.__qualname__, repr(kinds)
        code = compiled(key, lambda symbol: building.words_function(f, arguments, symbol), f"the {f.__name__} sweep")
        return code, CODE(code.address)

    def describe(self, arguments: tuple[Any, ...], code: int) -> State | None:
        """Let compiled code take arguments like these apart, if it can."""
        nodes = described(arguments)
        if nodes is None:
            return None
        if not isinstance(self.now, Caller):
            made = caller_class(Caller)()
            made.otherwise, made.state = self.run, 0
            self.now = made
        state = State(nodes, len(arguments), code, [x.dtype for x in arrays(arguments)])
        state.words[NEXT], self.now.state = self.now.state, state.address
        return state


def kind(x: Any) -> Any:
    """What code depends on in an argument."""
    if isinstance(x, np.ndarray):
        return x.dtype, x.ndim, x.flags.c_contiguous, x.flags.aligned
    if isinstance(x, tuple):
        return type(x).__qualname__, *map(kind, x)
    return "truth" if isinstance(x, bool | np.bool_) else "integer"


def words(x: Any) -> list[int]:
    """The words of an argument, as `building.Reader` reads them."""
    if isinstance(x, np.ndarray):
        return [x.__array_interface__["data"][0], *x.shape, *(() if x.flags.c_contiguous else x.strides)]
    if isinstance(x, tuple):
        return [word for item in x for word in words(item)]
    return [int(x)]


def arrays(x: Any) -> list[np.ndarray]:
    """The arrays in some arguments."""
    return [item for part in x for item in arrays(part)] if isinstance(x, tuple) else [x] * isinstance(x, np.ndarray)
