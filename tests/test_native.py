"""Machine code against the interpreter: every row, random programs, all kinds of batches, registers and dtypes."""

import functools
import itertools
import math
import re

import numba
import numpy as np
import programs
import pytest
from agree import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding
from numba import config
from test_points import at, evaluate

import fasttape as ft
from fasttape.compiler import machine
from fasttape.compiler.line import CHUNK, is_called, layout
from fasttape.compiler.loading import Target, host
from fasttape.errors import UnsupportedError
from fasttape.execute import native
from fasttape.execute.kernels import line
from fasttape.execute.native import Native
from fasttape.execute.points import HELD, PointByPoint, Points
from fasttape.layout import GUARD
from fasttape.ops import CODE, INTEGER, OPS
from fasttape.program import Program

EDGES = (0.0, -0.0, 1.0, -2.5, 0.5, math.inf, -math.inf, math.nan, 5e-324, 700.0)
# Rules that loop on their numbers, or name functions that neither LLVM nor libmvec has, are called lane by lane
CALLED = {
    "logaddexp",
    "logaddexp2",
    "ndtri",
    "erfinv",
    "gamma",
    "gammaln",
    "digamma",
    "polygamma",
    "floor_divide",
    "remainder",
    "fmod",
    "fmax",
    "fmin",
}
ULPS = 8  # of libmvec, and of rules that use it


def lower():
    """Processors with fewer registers, whose code this one can run."""
    features = binding.get_host_cpu_features()
    levels = {"d": ("x86-64-v3", "avx2"), "b": ("x86-64-v2", "sse4.1"), "": ("x86-64", "sse2")}
    return [Target(cpu, "", letter) for letter, (cpu, feature) in levels.items() if features.get(feature)]


TARGETS = [host(), *lower()]
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)


class Strict(Native):
    def __init__(self, program, target=None):
        super().__init__(program, strict=True, target=target)


def row_program(op, dtype=np.float64, parameter=0):
    """The program that applies one row to its inputs."""
    inputs = op.arity - (INTEGER in op.traits)
    b = [parameter & 0xFFFFFFFF] if INTEGER in op.traits else [0] if op.arity != 2 else [2]
    columns = np.array([CODE[op.name]], np.uint8), np.array([1], np.uint32), np.array(b, np.uint32)
    aux = np.array([2, 3] if op.arity == 3 else [], np.int64)
    outputs = np.array([1 + inputs], np.uint32)
    return Program(
        np.dtype(dtype),
        *columns,
        aux,
        np.zeros(0, dtype),
        inputs,
        2 + inputs,
        outputs,
        np.zeros((0, 2), np.int64),
        (),
        (),
    )


def runs(executor, program, x):
    """(outputs, failed); None where Numba would have to compile a row and is told not to compile."""
    try:
        return evaluate(executor, program, x)
    except UnsupportedError:
        if not config.DISABLE_JIT:
            raise
        return None


@pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])
def test_each_row(op):
    """To the bit in strict mode, else to what libmvec promises; at edges and inside of the domain."""
    rng = np.random.default_rng(0)
    parameters = (0, 1, 2, 3, -2, 11) if op.name == "powi" else (0, 2) if INTEGER in op.traits else (0,)
    domain = op.domain[: op.arity - (INTEGER in op.traits)]
    inside = [rng.uniform(max(low, -20.0), min(high, 20.0), 43) for low, high in domain]
    x = np.concatenate([list(itertools.product(EDGES, repeat=len(domain)))[:300], np.stack(inside, axis=1)])
    for parameter in parameters:
        program = row_program(op, parameter=parameter)
        expected, _ = evaluate(PointByPoint, program, x)
        strict, fast = runs(Strict, program, x), runs(Native, program, x)
        assert strict is None or bits(strict[0]) == bits(expected)
        assert fast is not None or op.name in CALLED
        if fast is not None:
            np.testing.assert_allclose(fast[0], expected, rtol=ULPS * 2.0**-52, atol=1e-300)


def called_rows(executor):
    """The rows whose entries a program calls."""
    text = machine.module(line(executor.program), executor.style)
    words = re.search(r"@needs = .*\[(.*)\]", text).group(1).split(", ")
    return {OPS[int(word.split()[1])].name for word in words[2:]}


def test_which_rows_are_called_lane_by_lane():
    """All others are vector instructions, and a rule that stops being one is noticed."""
    called = set().union(*(called_rows(Native(row_program(op, parameter=2))) for op in OPS))
    missing = {op.name for op in OPS if op.vector} if host().registers == "" else set()
    assert called - missing == CALLED


def polynomial(x, y):
    """Only operations whose bits are the same everywhere, so that strict mode and twins know them."""
    a = x * y + 0.1
    b = np.sqrt(np.abs(a)) / (y * y + 1.0)
    return np.maximum(a, b) - np.floor(a) * 0.5, np.where(a < b, x, y), b


@functools.cache
def polynomials(dtype):
    return ft.record(polynomial, dtype(1.0), dtype(2.0)).optimize().program


@each_target
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_batch_sizes(target, dtype):
    """From none to more than a panel, with a last register that is not full."""
    program, lanes = polynomials(dtype), target.lanes(np.dtype(dtype).name)
    x = np.random.default_rng(1).normal(size=(4099, 2)).astype(dtype)
    expected, _ = evaluate(PointByPoint, program, x[:200])
    for executor in (Strict, Native):
        made = functools.partial(executor, target=target)
        for size in (0, 1, lanes - 1, lanes, lanes + 1, 200):
            out, failed = evaluate(made, program, x[:size])
            assert out.shape == (size, 3)
            assert (failed == HELD).all()
            rtol = 0.0 if executor is Strict else 4 * np.finfo(dtype).eps
            np.testing.assert_allclose(out, expected[:size], rtol=rtol, atol=rtol)
        whole, _ = evaluate(made, program, x)
        parts = [evaluate(made, program, x[start : start + 1000])[0] for start in range(0, 4099, 1000)]
        assert np.array_equal(np.concatenate(parts), whole)
        assert np.array_equal(whole[:200], evaluate(made, program, x[:200])[0])


def test_any_steps():
    """Rows, columns, gaps, reversed axes; the last points of a register are read and written nowhere else."""
    program = polynomials(np.float64)
    wide = np.random.default_rng(2).normal(size=(101, 6))
    expected, _ = evaluate(PointByPoint, program, np.ascontiguousarray(wide[:, :2]))
    for x in (
        wide[:, :2],
        np.asfortranarray(wide[:, :2]),
        wide[::-1, 1::-1][::-1, ::-1],
        np.repeat(wide, 2, 0)[::2, :2],
    ):
        assert np.array_equal(evaluate(Strict, program, x)[0], expected)
    assert np.array_equal(evaluate(Strict, program, wide[::-1, :2])[0], expected[::-1])
    columns = np.full((3, 150), np.nan)
    points = Points(101, *at(wide, 0), *at(columns, 1), np.full(101, 7))
    points = points._replace(sources=points.sources[:2], source_steps=points.source_steps[:2])
    executor = Strict(program)
    executor.run(points, 0, 37)
    executor.run(points, 37, 37)
    executor.run(points, 37, 101)
    assert np.array_equal(columns[:, :101], expected.T)
    assert np.isnan(columns[:, 101:]).all()
    assert (points.failed == HELD).all()


def test_inputs_that_all_points_share():
    """What depends on them alone is computed once, also where it is an output or a condition."""

    def f(x, shared, z):
        common = shared * shared + 1.0
        return (x * common if shared > 0.0 else x), common, shared, x + z

    program = ft.record(f, 1.0, 2.0, 3.0).program
    x, shared, out, failed = np.arange(37.0), np.array([2.0]), np.empty((37, 4)), np.full(37, 7)
    sources, steps = at(x[:, None], 0)
    point = at(shared[:, None], 0)[0]
    points = Points(37, np.concatenate([sources, point, point]), np.array([*steps, 0, 0]), *at(out, 0), failed)
    executor = Strict(program)
    for value in (2.0, -1.0, 3.0):
        shared[:] = value
        executor.run(points, 0, 20)
        executor.run(points, 20, 37)
        assert (failed == (HELD if value > 0 else np.flatnonzero(program.ops == GUARD)[0])).all()
        if value > 0:
            common = value * value + 1.0
            assert np.array_equal(out, np.stack([x * common, x * 0 + common, x * 0 + value, x + value], axis=1))
    prologue = layout(line(executor.program, (1, 2))).chunks[0]
    assert [OPS[operation.code].name for operation in prologue] == ["mul", "add", "greater"]


@each_target
def test_guards_split_batches(target):
    """The first guard that fails at a point is told, whichever fail at its neighbors."""

    def f(x, y):
        total = x if x > 0.0 else -x
        for k in range(1, 5):
            total = total * y if y > 0.1 * k else total - y
        return total

    program = ft.record(f, 1.0, 1.0).program
    x = np.random.default_rng(3).uniform(-0.3, 0.6, (500, 2))
    expected, failed = evaluate(PointByPoint, program, x)
    assert np.unique(failed).size == 6
    out, found = evaluate(functools.partial(Strict, target=target), program, x)
    assert np.array_equal(found, failed)
    assert np.array_equal(out[failed == HELD], expected[failed == HELD])


def test_long_programs_go_through_cells_that_are_used_again():
    """Chunks hand on what later ones read, some of it from far before."""

    def f(x, y):
        early = x * y
        for k in range(700):
            x, y = y - x * 0.5, x + 0.01 * k
        return x + early, y

    tape = ft.record(f, 1.0, 2.0)
    assert len(tape) > 4 * CHUNK
    points = np.random.default_rng(4).normal(size=(19, 2))
    expected, _ = evaluate(PointByPoint, tape.program, points)
    executor = Strict(tape.program)
    plan = layout(line(executor.program))
    assert len(plan.chunks) > 5
    assert plan.cells < 15
    assert np.array_equal(evaluate(lambda program: executor, tape.program, points)[0], expected)


@each_target
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6), st.permutations(range(7)), st.sampled_from([1, 8, 9, 37, 600]))
def test_numbers_of_a_point_lie_anywhere_in_its_row(target, dtype, columns, count, places, size):
    """Side by side or not, in any order; nothing else in the rows of the results is touched."""

    def f(x):
        return x * 2.0, x[::-1] + x

    program = ft.record(f, np.ones(count, dtype)).program
    x = np.random.default_rng(size).integers(-9, 9, (size, 6)).astype(dtype)
    out, wanted = np.full((size, 14), 99.0, dtype), np.full((size, 14), 99.0, dtype)
    used, chosen = x[:, columns[:count]], [*places[:count], *(7 + k for k in places[:count])]
    wanted[:, chosen] = np.concatenate([used * 2, used[:, ::-1] + used], axis=1)
    (sources, steps), (targets, target_steps) = at(x, 0), at(out, 0)
    given = sources[columns[:count]], steps[:count], targets[chosen], target_steps[: 2 * count]
    Native(program, target=target).run(Points(size, *given, np.full(size, HELD, np.int64)), 0, size)
    assert np.array_equal(out, wanted)


def test_calls_come_first():
    """In each chunk, with what they need; operands before results, and guards in the order of the program."""

    def f(x, y):
        total = x
        for k in range(60):
            total = total * math.tanh(x * k) + math.log(total * total + y * y) / (x if y > k else y)
        return total

    for chunk in layout(line(ft.record(f, 0.3, 0.2).gradient_tape().optimize().program)).chunks:
        results = {x.slot: k for k, x in enumerate(chunk) if x.code != GUARD}
        assert all(results.get(slot, -1) < k for k, x in enumerate(chunk) for slot in x.operands)
        guards = [x.slot for x in chunk if x.code == GUARD]
        assert guards == sorted(guards)
        last = max((k for k, x in enumerate(chunk) if is_called(x)), default=-1)
        needed = {slot for x in chunk[: last + 1] for slot in x.operands}
        assert all(is_called(x) or x.slot in needed for x in chunk[: last + 1])


@pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NumPy's tanh, of the twins, is not to the bit the C library's"
)
@settings(max_examples=12, deadline=None)
@given(st.booleans().flatmap(lambda inside: programs.programs(inside=inside)))
def test_random_programs(case):
    """Strict mode has the interpreter's bits, arrays and reductions included."""
    program, args = case
    with np.errstate(all="ignore"):
        recorded = ft.record(programs.loss(program), *args).program
    x = np.stack([np.concatenate([np.ravel(a) for a in args]) * scale for scale in (1.0, 0.5, 1.25)])
    expected, failed = evaluate(PointByPoint, recorded, x)
    strict = runs(Strict, recorded, x)
    if strict is not None:
        assert np.array_equal(strict[1], failed)
        assert bits(strict[0][failed == HELD]) == bits(expected[failed == HELD])


@settings(max_examples=8, deadline=None)
@given(programs.programs(programs.SMOOTH))
def test_gradients_of_random_programs(case):
    """Fused and by libmvec, they are the tape's own up to rounding."""
    program, args = case
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args)))).gradient_tape().optimize()
    x = np.stack([np.concatenate([np.ravel(a) for a in args]) * scale for scale in (1.0, 0.5, 0.9)])
    expected, _ = evaluate(PointByPoint, tape.program, x)
    found = runs(Native, tape.program, x)
    if found is not None:
        np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-9 * np.max(np.abs(expected)))


def test_reductions_and_products_of_arrays():
    def f(x):
        return np.sum(x * x), np.sum(x, axis=0), np.prod(x), np.max(x, axis=1), np.sum(x[:, :0])

    x = np.random.default_rng(5).normal(size=(7, 3 * 5))
    program = ft.record(f, x[0].reshape(3, 5)).program
    expected, _ = evaluate(PointByPoint, program, x)
    assert np.array_equal(evaluate(Strict, program, x)[0], expected)
    product = ft.record(lambda a: np.sum(a @ a.T, axis=0), x[0].reshape(3, 5)).program
    expected, _ = evaluate(PointByPoint, product, x)
    np.testing.assert_allclose(evaluate(Native, product, x)[0], expected, rtol=1e-13)
    with pytest.raises(UnsupportedError, match="BLAS"):
        Strict(product)


def test_long_sums_are_folded_as_the_interpreter_does():
    for shape in ((1300,), (3, 600), (600, 3)):
        x = np.random.default_rng(6).normal(size=(2, math.prod(shape)))
        for axis in range(len(shape)):
            program = ft.record(lambda x, axis=axis: np.sum(x, axis=axis), x[0].reshape(shape)).program
            assert np.array_equal(evaluate(Strict, program, x)[0], evaluate(PointByPoint, program, x)[0])


def test_code_lives_while_it_runs(monkeypatch):
    tape = ft.record(lambda x: x * x + 1.0, 1.0)
    executor = Native(tape.program)
    monkeypatch.setattr(native, "driver", native.driver.__wrapped__)  # as if another thread's had taken its place
    x, out = np.arange(40.0)[:, None], np.empty((40, 1))
    executor.run(Points(40, *at(x, 0), *at(out, 0), np.empty(40, np.int64)), 0, 40)
    assert np.array_equal(out, x * x + 1.0)


def test_what_has_no_machine_code_says_why():
    @ft.custom_vjp
    def call(x):
        return x * 2.0

    call.defvjp(lambda x: (x * 2.0, None), lambda _, w: (w * 2.0,))
    with pytest.raises(UnsupportedError, match="rule of its own"):
        Native(ft.record(lambda x: call(x), 1.0).program)
    with pytest.raises(UnsupportedError, match="operations, of which"):
        Native(ft.record(lambda x: np.sum(np.sin(x)), np.zeros(1 << 17)).program)


def test_the_memory_of_a_run_that_has_ended_is_taken_again_by_the_same_kernel_alone():
    native = Native(ft.record(lambda x, y: np.sin(x) * y, 1.0, 2.0).program)
    x, y = np.random.default_rng(2).standard_normal((2, 100, 2)), np.full((100, 2), 3.0)
    out = np.empty((100, 1))
    places = []
    for points, shared in ((x[0], ()), (y, ()), (x[1], (1,)), (x[0], ())):
        seen = np.array([1 if k in shared else 0 for k in range(2)])
        addresses, steps = at(points, 0)
        native.run(Points(100, addresses, np.where(seen, 0, steps), *at(out, 0), np.empty(0, np.int64)), 0, 100)
        factor = points[0, 1] if shared else points[:, 1]
        np.testing.assert_allclose(out[:, 0], np.sin(points[:, 0]) * factor, rtol=1e-14)
        (room,) = native.idle
        places.append(room)
    assert places[0] is places[1]
    assert places[1] is not places[2] is not places[3]
