"""The linear tape: against the sweeps that it stands for, many directions at once, sharing, memory, singular points."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape.errors import ArgnumsError, ArgumentError, LeakError, OutputError, ReplayError
from fasttape.evaluation import Evaluator
from fasttape.recording import record_call
from tests import programs


def linear_tape(f, *args):
    """(evaluator, its leaves, the linear tape) of a function with all arguments differentiated."""
    recording, values = record_call(f, args, {}, tuple(range(len(args))), passive=False)
    evaluator = Evaluator(recording, whole=True)
    return evaluator, values, evaluator.linearize(values)[1]


def by_sweeps(evaluator, values):
    """The Jacobian by one reverse sweep for each output, and by one tangent sweep for each input."""
    outputs, inputs = evaluator.program.outputs.size, evaluator.signature.size

    def rows(workspace):
        made = []
        for seed in np.eye(outputs, dtype=evaluator.program.dtype):
            made.append(workspace.reverse(seed)[1 : 1 + inputs].copy())
            workspace.clear()
        return np.reshape(made, (outputs, inputs))

    def columns(workspace):
        return np.reshape([workspace.tangent(seed) for seed in np.eye(inputs)], (inputs, outputs)).T

    return evaluator.run(values, rows), evaluator.run(values, columns)


def every_way(linear):
    """The Jacobian of a linear tape in every way that it can be had."""
    rows, columns = np.eye(linear.outputs.size, dtype=linear.dtype), np.eye(linear.inputs, dtype=linear.dtype)
    yield from (linear.jacobian(mode) for mode in (None, "fwd", "rev"))
    yield from (linear.pull(rows), linear.push(columns))
    yield np.reshape([linear.pull(row[None])[0] for row in rows], (len(rows), len(columns)))
    yield np.reshape([linear.push(column[None])[:, 0] for column in columns], (len(columns), len(rows))).T


@settings(max_examples=80, deadline=None)
@given(programs.programs())
def test_jacobians_of_random_programs_are_those_of_the_sweeps(drawn):
    program, args = drawn
    evaluator, values, linear = linear_tape(programs.function(program), *args)
    reverse, tangent = by_sweeps(evaluator, values)
    scale = np.max(np.abs(reverse), initial=1e-300, where=np.isfinite(reverse))
    np.testing.assert_allclose(tangent, reverse, rtol=1e-9, atol=1e-12 * scale)
    for found in every_way(linear):
        np.testing.assert_allclose(found, reverse, rtol=1e-9, atol=1e-12 * scale)


@settings(max_examples=150, deadline=None)
@given(programs.programs(inside=False))
def test_singular_points_have_the_derivatives_of_the_sweeps(drawn):
    """Zeros absorb in folded coefficients as they do step by step: inf and nan are where the sweeps have them."""
    program, args = drawn
    with np.errstate(all="ignore"):
        evaluator, values, linear = linear_tape(programs.function(program), *args)
    reverse, tangent = by_sweeps(evaluator, values)
    rows, columns = np.eye(linear.outputs.size), np.eye(linear.inputs)
    np.testing.assert_allclose(linear.pull(), reverse, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(linear.pull(rows), reverse, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(linear.push(), tangent, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(linear.push(columns), tangent, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(linear.jacobian("fwd"), tangent, rtol=1e-9, atol=1e-9)


def test_adjoints_are_those_of_the_sweep_to_the_last_bit_where_nothing_is_folded():
    rng = np.random.default_rng(0)
    chosen = [(rng.integers(4), *rng.choice(12, 2, replace=False)) for _ in range(200)]

    def f(x):
        values = list(x)
        for row, i, j in chosen:
            a, b = values[-1 - i], values[-1 - j]
            values.append((a + b, a - b, a * b, a / b)[row])
        return values[-1]

    x = rng.uniform(0.9, 1.1, 12).tolist()
    assert ft.vjp(f, x)[1](1.0)[0] == ft.record(f, x).grad(x)


def test_what_has_one_active_operand_takes_no_entry():
    def chain(x):
        return -3.0 * np.exp(np.tanh(2.0 * x) / 7.0) + 1.0

    x = np.linspace(-1.0, 1.0, 5)
    assert linear_tape(chain, x)[2].terms.size == 0
    assert linear_tape(lambda x: np.where(x > 0.0, x * x, 1.0), x)[2].terms.size == 0
    np.testing.assert_allclose(np.diag(ft.jacobian(chain)(x)), ft.elementwise_grad(chain)(x), rtol=1e-15)


def test_what_leads_to_no_output_is_dropped():
    def f(x, wasted):
        total = x[0] * x[1]
        for k in range(wasted):
            np.sum(x * x[k % 3])
        return total * x[2]

    x = np.array([2.0, 3.0, 5.0])
    assert linear_tape(lambda x: f(x, 20), x)[2].terms.size == linear_tape(lambda x: f(x, 0), x)[2].terms.size == 2
    np.testing.assert_array_equal(ft.vjp(lambda x: f(x, 20), x)[1](1.0)[0], [15.0, 10.0, 6.0])


def test_infinite_partials_are_not_folded():
    # The adjoint of s is exactly zero, and so is its product with the infinite partial of the root
    f = lambda x: (lambda s: s - s)(np.sqrt(2.0 * x))  # noqa: E731
    assert ft.vjp(f, 0.0)[1](1.0) == (0.0,)
    assert ft.linearize(f, 0.0)[1](0.0) == 0.0
    assert ft.vjp(np.sqrt, 0.0)[1](0.0) == (0.0,)
    assert ft.vjp(np.sqrt, 0.0)[1](1.0) == (np.inf,)
    huge = lambda x: 1e-200 * (1e200 * (1e200 * (1e-200 * x)))  # noqa: E731
    assert ft.vjp(huge, 3.0)[1](1.0)[0] == pytest.approx(1.0, rel=1e-14)


# Many directions


def network(a, x, b):
    z = np.tanh(a @ x + b)
    return z, np.sum(z, axis=0), np.max(z * a[0, 0], axis=1), np.linalg.norm(a @ x)


def network_arguments(dtype=np.float64):
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (4, 5), (5,)))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_directions_are_as_many_calls(count, dtype):
    rng = np.random.default_rng(count)
    args, rtol = network_arguments(dtype), 1e-12 if dtype == np.float64 else 1e-4
    value, pullback = ft.vjp(network, *args)
    cotangents = tuple(rng.normal(size=(count, *np.shape(x))).astype(dtype) for x in value)
    made = pullback.many(cotangents)
    for x, stack in zip(args, made, strict=True):
        assert stack.shape == (count, *x.shape)
        assert stack.dtype == dtype
    for k in range(count):
        for stack, single in zip(made, pullback(tuple(c[k] for c in cotangents)), strict=True):
            np.testing.assert_allclose(stack[k], single, rtol=rtol, atol=rtol)
    _, pushforward = ft.linearize(network, *args)
    tangents = [rng.normal(size=(count, *x.shape)).astype(dtype) for x in args]
    made = pushforward.many(*tangents)
    for k in range(count):
        for stack, single in zip(made, pushforward(*(t[k] for t in tangents)), strict=True):
            np.testing.assert_allclose(stack[k], single, rtol=rtol, atol=rtol)


def test_many_directions_of_scalars_trees_and_constants():
    def f(p):
        return {"a": p["w"] * p["b"], "c": (p["b"], 3.0)}

    _, pullback = ft.vjp(f, {"w": np.array([1.0, 2.0]), "b": 5.0})
    weights = np.array([1.0, 0.0, -1.0])
    cotangents = {"a": np.ones((3, 2)) * weights[:, None], "c": (weights, weights)}
    (made,) = pullback.many(cotangents)
    np.testing.assert_array_equal(made["w"], 5.0 * cotangents["a"])
    np.testing.assert_array_equal(made["b"], 3.0 * weights + weights)
    _, pushforward = ft.linearize(f, {"w": np.array([1.0, 2.0]), "b": 5.0})
    along = pushforward.many({"w": np.zeros((3, 2)), "b": weights})
    np.testing.assert_array_equal(along["a"], weights[:, None] * [1.0, 2.0])
    np.testing.assert_array_equal(along["c"][0], weights)
    np.testing.assert_array_equal(along["c"][1], np.zeros(3))


def test_many_directions_inside_of_a_recording():
    x, seeds = np.array([0.3, -0.4, 0.5]), np.array([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])

    def pulled(x):
        return np.sum(ft.vjp(lambda y: y**3, x)[1].many(seeds)[0] ** 2)

    def pushed(x):
        return np.sum(ft.linearize(lambda y: y**3, x)[1].many(seeds) ** 2)

    expected = np.sum(seeds**2, axis=0) * 36 * x**3
    np.testing.assert_allclose(ft.grad(pulled)(x), expected, rtol=1e-13)
    np.testing.assert_allclose(ft.grad(pushed)(x), expected, rtol=1e-13)
    assert ft.record(pulled, x)(2 * x) == pytest.approx(pulled(2 * x), rel=1e-14)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: ft.vjp(lambda x: x, np.ones(2))[1].many(np.ones(2)), r"shape \(2,\), but its output has \(2, 2\)"),
        (lambda: ft.vjp(lambda x: (x, x), 1.0)[1].many((np.ones(2), np.ones(3))), "leading axis of one length"),
        (lambda: ft.vjp(lambda x: x, 1.0)[1].many(1.0), "leading axis of one length"),
        (lambda: ft.vjp(lambda x: x, 1.0)[1].many(np.ones(2, int)), "int64, but its output holds floats"),
        (lambda: ft.linearize(lambda x: x, 1.0)[1].many(np.ones((2, 2))), r"shape \(2, 2\), but its primal has \(2,\)"),
        (lambda: ft.linearize(lambda x, y: x, 1.0, 2.0)[1].many(np.ones(2)), "one tangent per primal"),
        (lambda: ft.linearize(lambda x: x, np.ones(2, np.float32))[1](np.ones(2)), r"astype\(np.float32\)"),
        (lambda: ft.vjp(lambda x: x, np.ones(2, np.float32))[1](np.ones(2)), r"astype\(np.float32\)"),
        (lambda: ft.linearize(lambda x: x, 1.0)[1](1j), "complex, but its primal holds floats"),
        (lambda: ft.linearize(lambda x: x, 1.0)[1](True), "bool, but its primal holds floats"),
        (lambda: ft.record(lambda x: x * x, 1.0).hvp((1.0,), (np.ones(2),)), "tangent 0 has shape"),
        (lambda: ft.record(lambda x: x * x, 1.0).hvp((1.0,), (1.0, 2.0)), "one tangent per primal"),
        (lambda: ft.record(lambda x, y: x * y, 1.0, 2.0).hvp((1.0, 2.0), (1.0, 1.0)), "tangent 1 is not zero"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises(ArgumentError, match=message):
        misuse()


def test_misuse_of_transforms():
    with pytest.raises(OutputError, match="returned 'text', which has no derivative"):
        ft.jacobian(lambda x: (x, "text"))(1.0)
    with pytest.raises(OutputError, match="has_aux=True needs"):
        ft.jacobian(lambda x: x, has_aux=True)(1.0)
    with pytest.raises(ArgnumsError, match="of hvp must be one position"):
        ft.hvp(lambda x: x * x, argnums=(0,))
    with pytest.raises(ArgnumsError, match="names argument 3"):
        ft.jacobian(lambda x: x, argnums=3)(1.0)
    with pytest.raises(ReplayError):
        ft.record(lambda x: x * x if x > 0.0 else x, 1.0).hvp((-1.0,), (1.0,))


# Points that are kept


@pytest.mark.parametrize("size", [2, 100])
def test_overwritten_arguments_change_nothing(size):
    rng = np.random.default_rng(2)
    a, x = rng.normal(size=(size, size)), rng.normal(size=(size, size))
    f = lambda a, x: np.sum(np.tanh(a @ x) * x) + np.sum(a * a)  # noqa: E731
    tape = ft.record(f, a, x, argnums=(0, 1))
    expected = tape.grad(a.copy(), x.copy())
    pullbacks = [ft.vjp(f, a, x)[1], tape.vjp(a, x)[1]]
    (_, pushforward) = ft.linearize(f, a, x)
    along = pushforward(a, x)
    tangents = a.copy(), x.copy()
    a[:], x[:] = np.nan, np.inf
    tape(np.ones_like(a), np.ones_like(x))  # what a tape does elsewhere is nothing to its pullbacks
    for pullback in pullbacks:
        for _ in range(2):
            for found, right in zip(pullback(1.0), expected, strict=True):
                np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)
    assert pushforward(*tangents) == along


def test_results_do_not_alias_each_other():
    _, pullback = ft.vjp(lambda x: np.tanh(x) * x[::-1], np.arange(3.0))
    first = pullback(np.ones(3))[0]
    kept = first.copy()
    first[:] = 7.0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], kept)
    pullback(np.zeros(3))
    np.testing.assert_array_equal(pullback(np.ones(3))[0], kept)


def test_threads_share_a_linearization():
    args = network_arguments()
    value, pullback = ft.vjp(network, *args)
    rng = np.random.default_rng(3)
    seeds = [
        tuple(rng.normal(size=np.shape(x)) if np.ndim(x) else float(rng.normal()) for x in value) for _ in range(8)
    ]
    expected = [pullback(seed) for seed in seeds]
    failures = []

    def work(k):
        for _ in range(100):
            found = pullback(seeds[k])
            if not all(np.array_equal(x, y) for x, y in zip(found, expected[k], strict=True)):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_threads_differentiate_nested_functions():
    def f(c):
        inner = lambda x: np.sum(np.sin(x * c)) * ft.grad(lambda y: np.sum(y**3) * c)(x)[0]  # noqa: E731
        return lambda x: np.sum(ft.grad(inner)(x) * ft.jacobian(lambda y: y * y * c)(x)[0, 0])

    x, found = np.array([0.2, 0.7]), {}
    expected = {k: ft.grad(f(1.0 + k))(x) for k in range(6)}

    def work(k):
        found[k] = [ft.grad(f(1.0 + k))(x) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, gradients in found.items():
        assert len(gradients) == 5
        for gradient in gradients:
            np.testing.assert_array_equal(gradient, expected[k])


def test_values_that_leak_from_inner_transforms_are_refused():
    kept = []

    def outer(x):
        ft.grad(lambda y: kept.append(y) or y * y)(2.0)
        return x * kept[0]

    with pytest.raises(LeakError):
        ft.grad(outer)(1.0)


# Sparse Jacobians


def banded(x):
    return 100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2


@pytest.mark.parametrize("size", [2, 9, 64, 65, 130, 300])
def test_columns_that_share_no_row_go_along_in_one_lane(size):
    x = np.random.default_rng(size).uniform(0.5, 1.5, size)
    _, _, linear = linear_tape(banded, x)
    colored = linear.coloring()
    assert (colored is None) == (size <= linear.lanes)
    assert colored is None or colored[0] == 2
    np.testing.assert_array_equal(linear.jacobian("fwd"), linear.push())
    np.testing.assert_allclose(linear.jacobian(), linear.pull(), rtol=1e-14)
    hessian = ft.record(lambda x: np.sum(banded(x)), x).hessian(x)
    expected = np.zeros((size, size))
    inner = np.arange(size - 1)
    expected[inner, inner] += 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    expected[inner + 1, inner + 1] += 200.0
    expected[inner, inner + 1] = expected[inner + 1, inner] = -400.0 * x[:-1]
    np.testing.assert_allclose(hessian, expected, rtol=1e-13, atol=1e-12)


def test_random_patterns():
    rng = np.random.default_rng(5)
    for density in (0.01, 0.05, 0.2, 1.0):
        size = 150
        pattern = rng.uniform(size=(size, size)) < density
        weights = np.where(pattern, rng.normal(size=(size, size)), 0.0)

        def f(x, pattern=pattern, weights=weights):
            return [sum((weights[i, j] * x[j] * x[j] for j in np.flatnonzero(pattern[i])), 0.0) for i in range(20)]

        x = rng.normal(size=size).tolist()
        _, _, linear = linear_tape(f, x)
        expected = 2.0 * weights[:20] * x
        for found in every_way(linear):
            rows = [k for k in range(20) if pattern[k].any()]
            np.testing.assert_allclose(found, expected[rows], rtol=1e-13)
        colored = linear.coloring()
        assert colored is None or colored[0] >= pattern[:20].sum(axis=1).max()


# Conventions


def test_outputs_that_depend_on_no_input():
    x = np.ones(3)
    np.testing.assert_array_equal(ft.jacobian(lambda x: np.ones((2, 2)))(x), np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(ft.jacrev(lambda x: 7)(x), np.zeros(3))
    np.testing.assert_array_equal(ft.jacfwd(lambda x: x > 2.0)(x), np.zeros((3, 3)))
    first, second = ft.jacobian(lambda x: (np.arange(2), x * 2.0))(x)
    np.testing.assert_array_equal(first, np.zeros((2, 3)))
    np.testing.assert_array_equal(second, 2.0 * np.eye(3))
    assert ft.vjp(lambda x: (3, x), 1.0)[1]((0, 2.0)) == (2.0,)


def test_empty_and_zero_dimensional_arrays():
    assert ft.jacobian(lambda x: x**2)(np.zeros(0)).shape == (0, 0)
    assert ft.jacrev(lambda x: x[:0])(np.ones(3)).shape == (0, 3)
    assert ft.hessian(lambda x: np.sum(x * x))(np.zeros((0, 2))).shape == (0, 2, 0, 2)
    found = ft.hessian(lambda x: x**3)(np.array(2.0))
    assert isinstance(found, np.ndarray)
    assert (found.shape, found) == ((), 12.0)
    assert ft.jacobian(lambda x: x**3)(np.float32(2.0)).dtype == np.float32
    assert ft.hessian(lambda x: np.sum(x**3))(np.ones(2, np.float32)).dtype == np.float32


def test_auxiliary_outputs():
    x = np.array([1.0, 2.0])
    f = lambda x: (x**2, {"kept": x[0] * 3.0})  # noqa: E731
    for transform in (ft.jacobian, ft.jacfwd, ft.jacrev):
        matrix, aux = transform(f, has_aux=True)(x)
        np.testing.assert_array_equal(matrix, np.diag(2.0 * x))
        assert aux == {"kept": 3.0}
    matrix, aux = ft.hessian(lambda x: (np.sum(x**3), x), has_aux=True)(x)
    np.testing.assert_array_equal(matrix, np.diag(6.0 * x))
    np.testing.assert_array_equal(aux, x)
    _, pushforward, aux = ft.linearize(f, x, has_aux=True)
    np.testing.assert_array_equal(pushforward(x), 2.0 * x * x)
    assert aux == {"kept": 3.0}
    nested = ft.grad(lambda x: np.sum(ft.jacobian(f, has_aux=True)(x)[0]))(x)
    np.testing.assert_array_equal(nested, [2.0, 2.0])


def test_products_with_hessians_at_any_position():
    f = lambda x, y, s: np.sum(x**2 * y[0]) * s + np.sum(y**3)  # noqa: E731
    x, y, v = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([1.0, -1.0])
    np.testing.assert_array_equal(ft.hvp(f)(x, v, y, 2.0), 2.0 * y[0] * v * 2.0)
    for argnums in (1, -2):
        np.testing.assert_array_equal(ft.hvp(f, argnums=argnums)(y, v, x, 2.0), 6.0 * y * v)
    tape = ft.record(f, x, y, 2.0, argnums=(0, 1))
    by_x, by_y = tape.hvp((x, y, 2.0), (v, v, 0.0))
    np.testing.assert_allclose(by_x, 4.0 * y[0] * v + 4.0 * x * v[0])
    np.testing.assert_allclose(by_y, 6.0 * y * v + [4.0 * np.sum(x * v), 0.0])
    tree = ft.record(lambda p: p["a"] ** 2 * np.sum(p["b"]), {"a": 2.0, "b": x})
    found = tree.hvp(({"a": 2.0, "b": x},), ({"a": 1.0, "b": v},))
    assert found["a"] == 2.0 * 3.0 + 4.0 * 0.0
    np.testing.assert_array_equal(found["b"], [4.0, 4.0])


def test_calls_go_by_sweeps():
    cube = ft.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, w: (3.0 * x**2 * w,))
    x = np.array([1.0, 2.0])
    f = lambda x: (cube(x) * x[0], x[1])  # noqa: E731
    expected = [[4.0, 0.0], [8.0, 12.0]]
    for transform in (ft.jacobian, ft.jacrev):
        matrix, last = transform(f)(x)
        np.testing.assert_allclose(matrix, expected)
        np.testing.assert_array_equal(last, [0.0, 1.0])
    _, pullback = ft.vjp(f, x)
    (stack,) = pullback.many((np.eye(2), np.zeros(2)))
    np.testing.assert_allclose(stack, expected)
    np.testing.assert_allclose(ft.record(f, x).jacobian(x)[0], expected)
    np.testing.assert_allclose(ft.linearize(ft.checkpoint(lambda x: x**2), x)[1].many(np.eye(2)), np.diag(2.0 * x))
