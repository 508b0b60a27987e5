"""What gradients of compiled functions cost besides their operations: memory, compilation, first calls, threads."""

import functools
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

import fasttape as ft
from benchmarks import njit_programs as programs
from benchmarks.harness import Figure, Problem, relative
from benchmarks.njit import Call, chain, clusters, inside, orbit, valley
from benchmarks.processes import python

CALLS = 1_000  # of a gradient inside of compiled code
ROUNDS = 100  # gradients that a thread takes: short samples show which thread was the last
VALUES = 2_000  # plain values, which take about as long
PROCESSES = 3  # of which the fastest counts


class Memory(NamedTuple):
    """Bytes of records of a call, and the operations that they belong to."""

    bytes: int
    merged: int
    operations: int


@functools.cache
def records_of(f):
    """(value, slots of the tape behind it) of a compiled function."""
    from fasttape.compiler.linear_memory import LENGTH
    from fasttape.compiler.linear_tape import header, thread_tape

    @numba.njit
    def measured(*args):
        value = f(*args)
        return value, header(thread_tape())[LENGTH]

    return measured


def memory(call: Call, argnums) -> Memory:
    """Counted on the linear tape of a call, and on its program."""
    from fasttape.compiler.linear_memory import RECORD

    (_, slots), _ = ft.value_and_grad(records_of(call.f), argnums, has_aux=True)(*call.arguments)
    tape = ft.record(call.f, *call.arguments, argnums=argnums)
    inputs = sum(stop - start for start, stop in tape.program.differentiated)
    return Memory((int(slots) - 1 - inputs) * RECORD.itemsize, merged_operations(tape.program), len(tape))


def merged_operations(program) -> int:
    """The operations in which multiples of functions of two different results meet; others only scale a derivative."""
    from fasttape.layout import A_IS_SLOT, B_IS_SLOT, GUARD
    from fasttape.ops import OPS, ZERO_DERIVATIVE

    leads = np.zeros(program.slots, np.int64)
    for start, stop in program.differentiated:
        leads[start:stop] = np.arange(start, stop)
    counted = A_IS_SLOT.copy()
    counted[[code for code, op in enumerate(OPS) if ZERO_DERIVATIVE in op.traits]] = False
    results = program.ops != GUARD
    columns = program.ops[results], program.a[results], program.b[results]
    return meetings(*columns, program.first_result, leads, counted, counted & B_IS_SLOT)


@numba.njit
def meetings(ops, a, b, first, leads, unary, binary):
    count = 0
    for k in range(ops.size):
        x = leads[a[k]] if unary[ops[k]] else 0
        y = leads[b[k]] if binary[ops[k]] else 0
        leads[first + k] = max(x, y)
        if x != 0 and y != 0 and x != y:
            leads[first + k] = first + k
            count += 1
    return count


MEASURED = {
    "rosenbrock": (valley, 0),
    "recurrence": (orbit, 0),
    "products": (chain, 0),
    "mixture": (clusters, (0, 1, 2)),
}


def memories(rng) -> dict[str, Memory]:
    return {name: memory(case(rng), argnums) for name, (case, argnums) in MEASURED.items()}


def ratio(name: str, field: str):
    """The contender that counts the bytes of a program for a unit of its work."""
    return lambda case: lambda: case[name].bytes / getattr(case[name], field)


def in_a_new_thread(case):
    """The tape of a thread that has just begun has no memory yet."""
    value_and_gradient = ft.value_and_grad(case.f)

    def run():
        found = []
        thread = threading.Thread(target=lambda: found.append(value_and_gradient(*case.arguments)))
        thread.start()
        thread.join()
        return found

    return run


def in_threads(count: int, *, plain: bool = False):
    """Some threads at once, each with as many gradients, or values; they live on, and so do their tapes."""

    def build(case):
        call, rounds = ft.value_and_grad(case.f), ROUNDS
        if plain:
            call, rounds = numba.njit(nogil=True)(case.f.py_func), VALUES
        threads, ready = ThreadPoolExecutor(count), threading.Barrier(count)

        def work():
            ready.wait()  # so that each thread has one share of the work
            for _ in range(rounds):
                found = call(*case.arguments)
            return None if plain else found

        def run():
            first, *others = [threads.submit(work) for _ in range(count)]
            for share in others:
                share.result()
            return first.result()

        return run

    return build


class Source(NamedTuple):
    """A constant in the module that is compiled, and the folder of the caches that are filled."""

    rate: float
    folder: tempfile.TemporaryDirectory


def source(rng) -> Source:
    return Source(0.25 if rng is None else float(rng.uniform(0.2, 0.3)), tempfile.TemporaryDirectory())


def compiled(what: str, cold: bool):
    """Seconds that the first result in a process takes, with empty caches or with those of an earlier process."""

    def once(case):
        if not cold:
            return float(python("njit_compile.py", what, case.rate, cache=case.folder.name))
        with tempfile.TemporaryDirectory() as empty:
            return float(python("njit_compile.py", what, case.rate, cache=empty, bytecode=case.folder.name))

    def build(case):
        once(case)  # leaves bytecode behind, as installing does
        return lambda: min(once(case) for _ in range(PROCESSES))

    return build


def point(rng) -> Call:
    x = np.array([0.3, -0.2, 0.9, 1.1]) if rng is None else rng.normal(size=4)
    return Call(programs.rosenbrock, (x,), CALLS)


def in_compiled_code(differentiated: bool):
    """A loop in compiled code over calls at points that move; the last value."""

    def build(case):
        plain, value_and_gradient = case.f, ft.njit_value_and_grad(case.f)

        @numba.njit
        def values(x):
            x, value = x.copy(), 0.0
            for _ in range(CALLS):
                value = plain(x)
                x[0] += 1e-9
            return value

        @numba.njit
        def gradients(x):
            x, value = x.copy(), 0.0
            for _ in range(CALLS):
                value, slope = value_and_gradient(x)
                x[0] += 1e-9 if slope[0] == slope[0] else 1.0
            return value

        chosen = gradients if differentiated else values
        return lambda: chosen(*case.arguments)

    return build


ONE, TWO = "one thread", "two threads"
PROBLEMS = (
    Problem(
        "njit-memory",
        "records of compiled functions on the linear tape",
        memories,
        {f"{name}, per merged operation": ratio(name, "merged") for name in MEASURED}
        | {f"{name}, per operation": ratio(name, "operations") for name in MEASURED},
        tuple(
            Figure(f"{name}: bytes per merged operation", lambda t, name=name: t[f"{name}, per merged operation"], 24)
            for name in MEASURED
        ),
        counts="bytes",
    ),
    Problem(
        "njit-first",
        "Rosenbrock's function in a compiled loop on a tape that has no memory yet, in a thread of its own",
        valley,
        {"new thread": in_a_new_thread, "warm": inside(0)},
        (relative("new thread", "warm", 2.0),),
    ),
    Problem(
        "njit-compile",
        "the first gradient in a process after the value, of 30 lines of loops, and of loops and array expressions",
        source,
        {
            f"{what}, {caches}": compiled(what, caches == "empty caches")
            for what in ("loops", "arrays", "plain loops", "plain arrays")
            for caches in ("empty caches", "filled caches")
        },
        tuple(
            Figure(f"{what}: seconds with {caches}", lambda t, key=f"{what}, {caches}": t[key], limit)
            for what in ("loops", "arrays")
            for caches, limit in (("empty caches", 3.0), ("filled caches", 0.2))
        ),
        counts="seconds",
    ),
    Problem(
        "njit-small",
        "Rosenbrock's function of 4 numbers and its gradient, called by compiled code",
        point,
        {"value and gradient": in_compiled_code(True), "plain value": in_compiled_code(False)},
        (
            Figure("microseconds per call", lambda t: 1e6 * t["value and gradient"], 0.3),
            relative("value and gradient", "plain value"),
        ),
        count=lambda case: case.operations,
        per="call",
    ),
    Problem(
        "njit-threads",
        f"Rosenbrock's function in a compiled loop, {ROUNDS} gradients in each thread, or {VALUES} plain values",
        valley,
        {ONE: in_threads(1), TWO: in_threads(2)}
        | {f"{threads}, plain": in_threads(count, plain=True) for count, threads in ((1, ONE), (2, TWO))},
        (
            Figure(
                "two threads: gradients for each of one thread", lambda t: 2.0 * t[ONE] / t[TWO], 1.8, at_most=False
            ),
            Figure(
                "two threads: plain values for each of one thread, which is what the machine has to give",
                lambda t: 2.0 * t[f"{ONE}, plain"] / t[f"{TWO}, plain"],
            ),
        ),
    ),
)
