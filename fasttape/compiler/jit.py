"""All decorator options of compiled code in one place, and where compiled code comes from.

`kernel` makes a function that only other compiled code calls; `entry` a C function from a factory. What has been
compiled on this machine is loaded from the cache on disk without Numba, under a key that names the text of all that is
compiled, so a change of any of it compiles anew; otherwise Numba is imported and compiles.
"""

import functools
import hashlib
import importlib.util
import os
import pathlib
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite
import numpy as np
from llvmlite import binding

from fasttape import ops
from fasttape.compiler import loading, object_cache, vector
from fasttape.compiler.late import DISABLED, Late, numba

building = Late("fasttape.compiler.building")

PACKAGE = pathlib.Path(__file__).parents[1]
SOURCES = ("ops.py", "special.py", "layout.py", "decode.py", "compiler/*.py", "execute/*.py")
WITHOUT_EFFECT = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")  # on compiled code
PATIENCE = 2.0  # seconds of compilation before the user is told what the process is doing

OPTIONS = {"error_model": "numpy", "nogil": True}
INTERNAL = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
PLAIN = INTERNAL | {"_nrt": False}  # nothing of Numba's runtime: no new arrays


class Kernel:
    """A function for compiled callers; Numba compiles it when it meets it in one of them."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        self.function, self.options = function, options
        functools.update_wrapper(self, function)

    @functools.cached_property
    def dispatcher(self) -> Any:
        return numba.njit(**self.options)(self.function)

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_


def kernel(function):
    """Compile `function` for callers that are compiled themselves. It makes no arrays."""
    return function if DISABLED else Kernel(function, PLAIN)


def making_kernel(function):
    """As `kernel`, for a function that may make arrays; needs Numba in every process that runs it."""
    return function if DISABLED else Kernel(function, INTERNAL)


def inlined(function):
    """As `kernel`, inside its callers: for what is so short that passing its arguments would take longest."""
    return function if DISABLED else Kernel(function, PLAIN | {"forceinline": True})


class Entry(NamedTuple):
    """A compiled C function."""

    address: int
    kept: Any  # what holds its code


def entry(factory: Callable[..., Any], variant: tuple[Any, ...], name: str) -> Entry:
    """The compiled C function `factory(*variant)` of words, which returns one."""
    key = factory.__module__, factory.__qualname__, repr(variant)
    return compiled(key, lambda symbol: building.c_function(factory(*variant), symbol), name)


def compiled(key: tuple[Any, ...], build: Callable[[str], tuple[Entry, bytes | None]], name: str) -> Entry:
    """The C function for a key: from disk, or from `build(symbol)`, which gives its object code, too."""
    name_on_disk = name_for(*key)
    symbol = f"fasttape_{name_on_disk[:40]}"
    data = object_cache.load(name_on_disk)
    if data is not None and loading.resolved(data):
        code = loading.Code(data, loading.host(), symbol)
        return Entry(code.functions[0], code)
    with _announced(name):
        made, data = build(symbol)
    if data is not None:
        object_cache.keep(name_on_disk, data)
    return made


def name_for(*key: Any) -> str:
    """The name on disk of the object code for a key."""
    return hashlib.sha256(repr((machine_key(), digest(), *key)).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def digest() -> str:
    """A name for the text of everything that is compiled, the rows of the table included."""
    text = hashlib.sha256(vector.available().encode())
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            text.update(path.read_bytes())
    for op in ops.OPS:
        text.update(f"{op.name} {op.arity} {sorted(op.traits)}".encode())
        for code in (op.value.__code__, op.partials.__code__):
            text.update(repr((code.co_code, code.co_names, code.co_consts)).encode())
    return text.hexdigest()


@functools.lru_cache(maxsize=1)
def machine_key() -> tuple[Any, ...]:
    """What else compiled code depends on: versions, the processor, and what Numba was told."""
    found = importlib.util.find_spec("numba")  # which is not imported for that
    folder = pathlib.Path(found.origin).parent if found and found.origin else pathlib.Path()
    version = (folder / "_version.py").read_text()
    python = sys.implementation.cache_tag, getattr(sys, "abiflags", ""), sys.byteorder, sys.maxsize
    llvm = llvmlite.__version__, binding.llvm_version_info, binding.get_process_triple()
    told = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in WITHOUT_EFFECT)
    return version, np.__version__, python, llvm, loading.host(), told


def quiet(function):
    """Run `function` without NumPy's floating-point warnings: the Python twins are to compute as LLVM does."""
    if not DISABLED:
        return function

    @functools.wraps(function)
    def run(*args, **kwargs):
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return run


def left_alone(f) -> bool:
    """Whether f may be a user's function that numba.njit left as it was, since Numba is told not to compile."""
    return DISABLED and isinstance(f, types.FunctionType)


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
