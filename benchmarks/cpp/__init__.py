"""Contenders in C++: tapes of libraries, and batches by hand; built from the sources here when one is timed first.

A library takes part if its headers are in the folder that its environment variable names (or in `include` below that),
where the system has them, or in a package of this Python environment. Without them it is left out, and without a
compiler everything in C++ is.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fasttape.compiler.loading import host

HERE = pathlib.Path(__file__).parent
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-w", "-shared", "-fPIC")
# With these GCC calls libmvec, and uses the widest registers also where it thinks that they lower the clock; the last
# leaves out what it links for fast mathematics, which would turn subnormal numbers off in the process that loads it
VECTORS = ("-ffast-math", "-fopenmp-simd", "-mprefer-vector-width=512", "-nostartfiles")
KINDS = {int: ctypes.c_long, float: ctypes.c_double}


class Library(NamedTuple):
    """A library of C++ tapes: the folder of its headers goes into an environment variable."""

    name: str
    header: str
    variable: str
    source: str
    more: Callable[[pathlib.Path], list[str]] = lambda folder: []  # to compile and link besides, given that folder


def adept_itself(folder: pathlib.Path) -> list[str]:
    """The sources beside its headers, or the library that is installed."""
    sources = sorted(folder.parent.glob("adept/Stack*.cpp"))
    return list(map(str, sources)) or [f"-L{folder.parent / 'lib'}", f"-Wl,-rpath,{folder.parent / 'lib'}", "-ladept"]


LIBRARIES = (
    Library("CoDiPack", "codi.hpp", "CODIPACK_PATH", "codipack.cpp"),
    Library("Adept", "adept.h", "ADEPT_PATH", "adept.cpp", adept_itself),
    Library("CppAD", "cppad/cppad.hpp", "CPPAD_PATH", "cppad.cpp"),
    Library("ADOL-C", "adolc/adolc.h", "ADOLC_PATH", "adolc.cpp", lambda folder: ["-ladolc"]),
)


def folders(library: Library) -> Iterator[pathlib.Path]:
    """Where the headers of a library may be."""
    given = os.environ.get(library.variable)
    if given:
        yield from (pathlib.Path(given) / "include", pathlib.Path(given))
    packages = pathlib.Path(sysconfig.get_path("purelib"))
    yield from (packages / "cmeel.prefix" / "include", pathlib.Path("/usr/local/include"), pathlib.Path("/usr/include"))


def found(library: Library) -> pathlib.Path | None:
    """The folder that has the headers of a library."""
    return next((folder for folder in folders(library) if (folder / library.header).is_file()), None)


def missing() -> list[str]:
    """The names of the libraries that are not here."""
    return [library.name for library in LIBRARIES if found(library) is None]


@functools.lru_cache
def built(library: Library) -> ctypes.CDLL:
    """The compiled programs with the tape of a library."""
    folder = found(library)
    options = [f"-I{folder}", str(HERE / library.source), *library.more(folder)]
    return compiled(library.name, options, folder.joinpath(library.header).parent.glob("*.h*"))


@functools.lru_cache
def batches() -> ctypes.CDLL:
    """The compiled batches."""
    return compiled("batches", [*VECTORS, str(HERE / "batches.cpp")])


def compiled(name: str, options: Sequence[str], headers: Iterable[pathlib.Path] = ()) -> ctypes.CDLL:
    """A shared library, from an earlier run if nothing has changed."""
    command = [COMPILER, *FLAGS, *options]
    compiler = subprocess.run([COMPILER, "--version"], check=True, capture_output=True, text=True).stdout
    text = hashlib.sha256(f"{command} {compiler} {host().cpu}".encode())
    for path in sorted([*HERE.glob("*.?pp"), *headers]):
        text.update(path.read_bytes())
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "fasttape-benchmarks"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = cache / f"{name}-{text.hexdigest()[:16]}.so"
    if not target.exists():
        fresh = target.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(fresh)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {COMPILER} failed\n{done.stderr}")
        fresh.rename(target)
    return ctypes.CDLL(str(target))


def has_compiler() -> bool:
    """Whether anything can be built."""
    return shutil.which(COMPILER) is not None


def batch(program: str, case, rows: bool = False) -> Callable[[], np.ndarray]:
    """A batch by hand at the points of a case; the result has the points in columns."""
    function = getattr(batches(), f"{program}_{'rows' if rows else 'columns'}")
    function.restype = None
    inputs, size = case.x.shape
    outputs = case.tape.program.outputs.size
    x = np.ascontiguousarray(case.x.T if rows else case.x)
    out = np.empty((size, outputs) if rows else (outputs, size))
    pointers = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data)

    def run():
        function(*pointers, ctypes.c_long(size), ctypes.c_long(inputs))
        return out.T if rows else out

    run.x = x  # the addresses hold no reference
    return run


def contender(library: Library, program: str) -> Callable[[Any], Callable[[], Any]]:
    """The value and the gradient by the first of `case.arguments`, of a program that takes the others, too."""

    def build(case):
        function, (x, *others) = getattr(built(library), program), case.arguments
        function.restype = ctypes.c_double
        x, gradient = np.ascontiguousarray(x), np.empty(x.size)
        plain = [KINDS[type(value)](value) for value in others]
        arguments = [ctypes.c_void_p(x.ctypes.data), ctypes.c_long(x.size), *plain]
        arguments.append(ctypes.c_void_p(gradient.ctypes.data))

        def run():
            return function(*arguments), gradient

        run.x = x  # the addresses hold no reference
        return run

    return build


def contenders(program: str) -> dict[str, Callable[[Any], Callable[[], Any]]]:
    """A program with the tape of each library that is here; CoDiPack's also with one operation in each statement."""
    made = {}
    for library in LIBRARIES:
        if found(library) is not None:
            made[library.name] = contender(library, program)
            if library.name == "CoDiPack":
                made["CoDiPack, operations apart"] = contender(library, f"{program}_in_operations")
    return made
