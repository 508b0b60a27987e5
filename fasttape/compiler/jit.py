"""All decorator options of compiled code in one place.

`kernel` makes a function that only other compiled code calls; `sweep` makes one that Python calls, kept in Numba's
disk cache. A sweep is recompiled when any source of compiled code changes: `digest()` names that text, and each sweep
is made by a factory whose closure holds it, because Numba itself watches one file only.
"""

import functools
import hashlib
import pathlib
import sys
import threading
import types

import numba
import numpy as np

from fasttape import ops
from fasttape.compiler import vector

PACKAGE = pathlib.Path(__file__).parents[1]
SOURCES = ("ops.py", "special.py", "layout.py", "decode.py", "compiler/*.py", "execute/*.py")
PATIENCE = 2.0  # seconds of compilation before the user is told what the process is doing

OPTIONS = {"error_model": "numpy", "nogil": True}
INTERNAL = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function):
    """Compile `function` for callers that are compiled themselves."""
    return numba.njit(**INTERNAL)(function)


def inlined(function):
    """As `kernel`, inside its callers: for what is so short that passing its arguments would take longest."""
    return numba.njit(**INTERNAL, forceinline=True, _nrt=False)(function)


def sweep(factory):
    """The compiled function `factory(digest())` as `.now`, compiled when it is first called."""
    name = factory.__name__

    @functools.lru_cache(maxsize=1)
    def make():
        function = factory(digest())
        try:
            return numba.njit(**OPTIONS, cache=True)(function)
        except RuntimeError:  # no folder that we may write to: compile in every process rather than not at all
            return numba.njit(**OPTIONS)(function)

    def first(*args):
        with _announced(f"the {name} sweep"):
            result = make()(*args)
        lazy.now = make()
        return result

    lazy = types.SimpleNamespace(now=first)
    return lazy


def entry(factory, variant, signature, name):
    """The compiled C function `factory(digest(), variant)`; has an `address`."""
    with _announced(name):
        try:
            return numba.cfunc(signature, **OPTIONS, cache=True)(factory(digest(), variant))
        except RuntimeError:
            return numba.cfunc(signature, **OPTIONS)(factory(digest(), variant))


@functools.lru_cache(maxsize=1)
def digest() -> str:
    """A name for the text of everything that is compiled, the rows of the table included."""
    text = hashlib.sha256(vector.available().encode())
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            text.update(path.read_bytes())
    for op in ops.OPS:
        text.update(f"{op.name} {op.arity} {sorted(op.traits)}".encode())
        text.update(op.value.__code__.co_code + op.partials.__code__.co_code)
    return text.hexdigest()


def quiet(function):
    """Run `function` without NumPy's floating-point warnings: the Python twins are to compute as LLVM does."""
    if not numba.config.DISABLE_JIT:
        return function

    @functools.wraps(function)
    def run(*args, **kwargs):
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return run


def left_alone(f) -> bool:
    """Whether f may be a user's function that numba.njit left as it was, since Numba is told not to compile."""
    return bool(numba.config.DISABLE_JIT) and isinstance(f, types.FunctionType)


class _announced:
    """Says on stderr that kernels are being compiled when that takes longer than a moment."""

    def __init__(self, name: str):
        message = f"fasttape: compiling {name} (once for this machine; later processes load it from disk)"
        self.timer = threading.Timer(PATIENCE, print, (message,), {"file": sys.stderr, "flush": True})
        self.timer.daemon = True

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *exc):
        self.timer.cancel()
