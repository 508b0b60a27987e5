"""What needs a process of its own: start-up, warm and cold, and the memory of a long tape."""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

from benchmarks.harness import Figure, Problem, relative
from benchmarks.jax_beside import HAS_JAX

PROGRAMS = pathlib.Path(__file__).with_name("programs")


class Start(NamedTuple):
    """The point, and the folder that holds all caches while this problem is measured."""

    x: float
    folder: tempfile.TemporaryDirectory


def start(rng) -> Start:
    return Start(1.2 if rng is None else float(rng.uniform(0.5, 1.3)), tempfile.TemporaryDirectory())


def python(program: str, *arguments, cache: str | None = None, bytecode: str | None = None) -> str:
    """Run a program of benchmarks/programs in a new process, with caches in two folders or in one; what it printed."""
    command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
    # The package comes from where we have it; caches go to a folder that a cold run can find empty.
    path = os.pathsep.join([str(PROGRAMS.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    if cache is not None:
        environment |= {"NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": cache}
        # Python's own cache belongs to a warm start, as an installed package has it
        environment |= {"PYTHONPYCACHEPREFIX": bytecode or cache, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def warm(program: str):
    """A new process that finds the caches filled by an earlier one."""
    return lambda case: lambda: float(python(program, case.x, cache=case.folder.name))


def cold(program: str):
    """A new process that finds nothing."""

    def build(case):
        def run():
            with tempfile.TemporaryDirectory() as empty:
                return float(python(program, case.x, cache=empty))

        return run

    return build


def operations(rng) -> int:
    return 10_000_000 if rng is None else int(rng.integers(4, 6)) * 2_000_000


@functools.lru_cache
def chain(count: int) -> dict[str, float]:
    """Bytes that a chain of `count` operations takes; the program checks its gradient."""
    lines = python("chain.py", count).splitlines()
    return {name: float(number) for name, _, number in (line.partition(" ") for line in lines)}


PROBLEMS = (
    Problem(
        "start",
        "a new process prints the derivative of Example 1, with warm and with empty caches",
        start,
        {
            "numba, one cached function": warm("example1_numba.py"),
            "fasttape warm": warm("example1_fasttape.py"),
            "fasttape cold": cold("example1_fasttape.py"),
        }
        | ({"JAX jitted": warm("example1_jax.py")} if HAS_JAX else {}),
        (
            relative("fasttape warm", "numba, one cached function", 0.5),
            Figure("seconds with empty caches", lambda t: t["fasttape cold"], 8.0),
            *((relative("fasttape warm", "JAX jitted", 0.35),) if HAS_JAX else ()),
        ),
        least=12,
    ),
    Problem(
        "memory",
        "a chain of 10⁷ operations in Python scalars, recorded and differentiated in a process of its own",
        operations,
        {
            "the tape itself": lambda count: lambda: chain(count)["tape"],
            "held after the gradient": lambda count: lambda: chain(count)["held"],
            "peak": lambda count: lambda: chain(count)["peak"],
        },
        (
            Figure("bytes per operation held, program and numbers", lambda t: t["held after the gradient"], 40),
            Figure("bytes per operation at the peak of the process", lambda t: t["peak"], 40),
        ),
        count=lambda count: count,
        per="operation",
        counts="bytes",
    ),
)
