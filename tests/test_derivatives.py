"""Derivatives that compose: the adjoint transform on every row and on random programs, nested transforms, Jacobians."""

import functools
import math
import threading

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

import fasttape as ft
from fasttape import ops
from fasttape.errors import ArgumentError, LeakError, OutputError
from fasttape.layout import GUARD
from fasttape.ops import INTEGER, OPS, ZERO_DERIVATIVE
from fasttape.recorders.builder import Builder
from fasttape.recorders.scalar import traced
from fasttape.testing import check_grads
from fasttape.transform.programs import gradient_program, thaw
from fasttape.transform.rules import partials_of
from fasttape.verify import verify
from tests import programs
from tests.oracles import CONTEXT

each_row = pytest.mark.parametrize("opcode", range(len(OPS)), ids=[op.name for op in OPS])
SMOOTH = [name for name in programs.SMOOTH if name not in ("powi", "polygamma")]


@each_row
def test_rules_record_without_a_guard(opcode):
    op = OPS[opcode]
    builder = Builder(np.float64, 4, lambda out: out.fill(0.6))
    count = op.arity - (INTEGER in op.traits)
    operands = [traced(builder, 1 + k) for k in range(count)]
    parameter = (3,) if INTEGER in op.traits else ()
    partials = partials_of(opcode)(*operands, *parameter, traced(builder, 4))
    assert len(partials) == op.arity
    assert GUARD not in builder.columns.arrays[0][: builder.n]
    builder.close()


def nested(f, order):
    for _ in range(order):
        f = ft.grad(f)
    return f


UNARY = [name for name in (*SMOOTH, "abs", "cbrt") if len(programs.DOMAINS[name]) == 1]


def oracle(name):
    """The function of mpmath, written here from its definition."""
    m = CONTEXT
    functions = {
        "neg": lambda x: -x,
        "positive": lambda x: x,
        "square": lambda x: x * x,
        "reciprocal": lambda x: 1 / x,
        "arcsin": m.asin,
        "arccos": m.acos,
        "arctan": m.atan,
        "arcsinh": m.asinh,
        "arccosh": m.acosh,
        "arctanh": m.atanh,
        "exp2": lambda x: m.mpf(2) ** x,
        "log2": lambda x: m.log(x) / m.log(2),
        "log10": m.log10,
        "log1p": lambda x: m.log(1 + x),
        "expm1": lambda x: m.exp(x) - 1,
        "deg2rad": lambda x: x * m.pi / 180,
        "rad2deg": lambda x: x * 180 / m.pi,
        "ndtr": lambda x: (1 + m.erf(x / m.sqrt(2))) / 2,
        "ndtri": lambda p: m.sqrt(2) * m.erfinv(2 * p - 1),
        "expit": lambda x: 1 / (1 + m.exp(-x)),
        "logit": lambda x: m.log(x / (1 - x)),
        "gammaln": m.loggamma,
        "abs": m.fabs,
        "cbrt": lambda x: m.sign(x) * m.cbrt(m.fabs(x)),
    }
    return functions.get(name) or getattr(m, name)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_higher_derivatives_of_rows(name, order):
    (domain,) = programs.DOMAINS[name]
    low, high = max(domain.low, -0.9), min(domain.high, 0.9)
    low = 1.2 if low >= 1.0 else low
    high = max(high, low + 0.8)
    points = np.linspace(low + 0.15 * (high - low), high - 0.15 * (high - low), 4)
    derivative = nested(programs.FUNCTIONS[name], order)
    along = nested(lambda x: np.sum(programs.FUNCTIONS[name](x * np.ones(2))), order)
    for x in points.tolist():
        exact = float(mpmath.re(CONTEXT.diff(oracle(name), CONTEXT.mpf(x), order)))
        assert derivative(x) == pytest.approx(exact, rel=1e-12, abs=1e-12)
        assert along(x) == pytest.approx(2 * exact, rel=1e-12, abs=1e-12)


def select_oracle(c, x, y):
    return x if c > 0.5 else y


m = CONTEXT
# A function of mpmath for each row of several operands, and the line of points through which it is taken
LINES = {
    "add": (lambda x, y: x + y, (0.3, 0.4), (1.0, -0.6)),
    "sub": (lambda x, y: x - y, (0.3, 0.4), (1.0, -0.6)),
    "mul": (lambda x, y: x * y, (0.3, 0.4), (1.0, -0.6)),
    "div": (lambda x, y: x / y, (0.3, 0.7), (1.0, -0.6)),
    "pow": (lambda x, y: x**y, (0.7, 1.3), (1.0, -0.6)),
    "hypot": (lambda x, y: m.sqrt(x * x + y * y), (0.3, -0.4), (1.0, 0.6)),
    "logaddexp": (lambda x, y: m.log(m.exp(x) + m.exp(y)), (0.3, 0.4), (1.0, -0.6)),
    "logaddexp2": (lambda x, y: m.log(m.mpf(2) ** x + m.mpf(2) ** y) / m.log(2), (0.3, 0.4), (1.0, -0.6)),
    "xlogy": (lambda x, y: x * m.log(y), (0.3, 0.7), (1.0, -0.6)),
    "xlog1py": (lambda x, y: x * m.log(1 + y), (0.3, 0.7), (1.0, -0.6)),
    "arctan2": (lambda x, y: m.atan2(x, y), (0.3, -0.7), (1.0, 0.6)),
    "maximum": (max, (0.3, 0.7), (1.0, -0.6)),
    "minimum": (min, (0.3, 0.7), (1.0, -0.6)),
    "fmax": (max, (0.3, 0.7), (1.0, -0.6)),
    "fmin": (min, (0.3, 0.7), (1.0, -0.6)),
    "fmod": (lambda x, y: x - y * int(x / y), (-3.3, 0.7), (1.0, -0.6)),
    "remainder": (lambda x, y: x - y * m.floor(x / y), (-3.3, 0.7), (1.0, -0.6)),
    "copysign": (lambda x, y: -abs(x), (0.3, -0.7), (1.0, 0.6)),
    "select": (select_oracle, (0.9, 0.3, 0.4), (0.0, 1.0, -0.6)),
}
SEVERAL = [name for name in programs.CONTINUOUS + tuple(programs.JUMPS) if len(programs.DOMAINS[name]) > 1]
SEVERAL = sorted(name for name in set(SEVERAL) if ZERO_DERIVATIVE not in OPS[ops.CODE[name]].traits)


def test_every_row_of_several_operands_has_a_line():
    assert set(SEVERAL) <= set(LINES) | {"polygamma"}


@pytest.mark.parametrize("name", LINES)
def test_higher_derivatives_along_lines(name):
    exact, at, along = LINES[name]
    cubed = lambda f: lambda t: f(*(a + d * (t + t**3) for a, d in zip(at, along, strict=True)))  # noqa: E731
    found, reference = cubed(programs.FUNCTIONS[name]), cubed(exact)
    for order in (1, 2, 3):
        expected = float(CONTEXT.diff(reference, CONTEXT.mpf(0.1), order))
        assert nested(found, order)(0.1) == pytest.approx(expected, rel=1e-11, abs=1e-11)
        array = nested(lambda t: np.sum(found(t * np.ones(2))), order)
        assert array(0.1) == pytest.approx(2 * expected, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_higher_derivatives_of_polygamma(n):
    polygamma = programs.importlib.import_module("scipy.special").polygamma
    for order in (1, 2, 3):
        expected = float(CONTEXT.psi(n + order, CONTEXT.mpf(1.7)))
        assert nested(lambda x: polygamma(n, x), order)(1.7) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("n", [-2, 0, 1, 2, 3, 5])
def test_higher_derivatives_of_powers(n):
    for order in (1, 2, 3):
        factor = math.prod(n - k for k in range(order))
        expected = factor * 1.3 ** (n - order)
        assert nested(lambda x: x**n, order)(1.3) == pytest.approx(expected, rel=1e-13, abs=1e-300)
    assert nested(lambda x: x**2, 2)(0.0) == 2.0
    assert nested(lambda x: x**3, 3)(0.0) == 6.0


@settings(max_examples=60, deadline=None)
@given(programs.programs(programs.SMOOTH))
def test_gradient_programs_compute_the_gradient(drawn):
    program, args = drawn
    tape = ft.record(programs.loss(program), *args, argnums=tuple(range(len(args))))
    if not tape.program.outputs.size:
        return
    second = tape.gradient_tape()
    verify(second.program)
    value, gradient = tape.value_and_grad(*args)
    again, also = second(*args)
    assert again == value
    for x, y in zip(gradient, also, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * np.max(np.abs(x), initial=1.0))


@settings(max_examples=40, deadline=None)
@given(programs.programs(SMOOTH, length=5))
def test_hessians_are_symmetric_and_agree_with_their_products(drawn):
    program, args = drawn
    f, x = programs.loss(program), args[0]
    rest = args[1:]
    v = np.asarray(np.random.default_rng(1).normal(size=np.shape(x)))
    v = v if np.ndim(x) else float(v)
    matrix = np.reshape(ft.hessian(f)(x, *rest), (np.size(x), np.size(x)))
    product = np.reshape(ft.hvp(f)(x, v, *rest), -1)
    scale = max(1.0, np.abs(matrix).max())
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-8, atol=1e-8 * scale)
    np.testing.assert_allclose(matrix @ np.reshape(v, -1), product, rtol=1e-8, atol=1e-8 * scale)
    tape = ft.record(f, *args)
    if tape.program.outputs.size:
        np.testing.assert_allclose(np.reshape(tape.hessian(*args), matrix.shape), matrix, rtol=1e-9, atol=1e-9 * scale)
        along = (v, *(np.zeros_like(y) if np.ndim(y) else 0.0 for y in rest))
        np.testing.assert_allclose(np.reshape(tape.hvp(args, along), -1), product, rtol=1e-9, atol=1e-9 * scale)
        slope = functools.partial(nested_product, f, v)
        np.testing.assert_allclose(np.reshape(ft.grad(slope)(x, *rest), -1), product, rtol=1e-7, atol=1e-8 * scale)


def nested_product(f, v, x, *rest):
    return np.sum(ft.grad(f)(x, *rest) * v)


@settings(max_examples=60, deadline=None)
@given(programs.programs(programs.SMOOTH, length=6))
def test_rows_and_columns_of_jacobians_agree(drawn):
    program, args = drawn
    f = programs.function(program)
    fwd, rev, own = ft.jacfwd(f)(*args), ft.jacrev(f)(*args), ft.jacobian(f)(*args)
    for value, x, y, z in zip(f(*args), fwd, rev, own, strict=True):
        assert np.shape(x) == np.shape(value) + np.shape(args[0])
        scale = np.max(np.abs(x), initial=1.0)
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * scale)
        np.testing.assert_allclose(x, z, rtol=1e-9, atol=1e-9 * scale)


@settings(max_examples=60, deadline=None)
@given(programs.programs(programs.SMOOTH, length=6))
def test_pullbacks_are_the_transposes_of_pushforwards(drawn):
    program, args = drawn
    f = programs.function(program)
    rng = np.random.default_rng(4)
    value, pullback = ft.vjp(f, *args)
    again, pushforward = ft.linearize(f, *args)
    draw = lambda x: rng.normal(size=np.shape(x)) if np.shape(x) else float(rng.normal())  # noqa: E731
    tangents, cotangents = [draw(x) for x in args], [draw(x) for x in value]
    along, back = pushforward(*tangents), pullback(cotangents)
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(value, again, strict=True))
    left = sum(np.sum(x * y) for x, y in zip(along, cotangents, strict=True))
    right = sum(np.sum(x * y) for x, y in zip(back, tangents, strict=True))
    scale = sum(np.sum(np.abs(np.asarray(x) * y)) for x, y in zip(back, tangents, strict=True))
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9 * max(scale, 1.0))


# Arrays with every kind of instruction


def everything(a, x, b):
    z = np.tanh(a @ x + b)
    picked = z[[0, 0, 2], :] * z[:, ::-1][:1]
    lists = np.concatenate([z[1], x[0, :2]])
    return np.sum(picked**2) + np.prod(b) + np.max(z * a[0, 0]) + np.sum(lists**3) / np.linalg.norm(a) + np.std(x)


def test_second_derivatives_of_array_programs():
    rng = np.random.default_rng(2)
    args = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=5)
    for n in range(3):
        matrix = ft.hessian(everything, argnums=n)(*args).reshape(args[n].size, args[n].size)
        step, slope = 1e-6, ft.grad(everything, argnums=n)
        for k in range(args[n].size):
            moved = [[x.copy() for x in args] for _ in range(2)]
            moved[0][n].flat[k] += step
            moved[1][n].flat[k] -= step
            column = (slope(*moved[0]) - slope(*moved[1])).reshape(-1) / (2 * step)
            np.testing.assert_allclose(matrix[:, k], column, rtol=2e-6, atol=2e-6)


def test_many_slices_take_a_linear_number_of_slots():
    def sliced(x):
        return sum(np.sum(x[i : i + 4] ** 2) for i in range(len(x) - 4))

    sizes = [gradient_program(ft.record(sliced, np.ones(n)).program).slots for n in (50, 100, 200)]
    assert sizes[2] - sizes[1] <= 2.1 * (sizes[1] - sizes[0])


def test_thawing_changes_nothing():
    def f(x, y):
        z = x[[0, 2, 2]] * 3.0 + np.where(y > 0.0, y, 2.0)
        return np.sum(z) if z[0] > 0.0 else np.sum(x)

    tape = ft.record(f, np.arange(3.0), np.ones(3))
    builder = thaw(tape.program)
    assert builder.next == tape.program.slots
    assert [tuple(site) for site in builder.known_sites] == [tuple(site) for site in tape.program.sites]
    builder.close()
    second = tape.gradient_tape()
    assert second(np.arange(3.0), np.ones(3))[0] == tape(np.arange(3.0), np.ones(3))
    with pytest.raises(ft.errors.ReplayError, match="test_derivatives"):
        second(np.array([-9.0, 0.0, 0.0]), np.ones(3))


def test_adjoints_that_are_constants_between_those_that_are_not():
    def f(x):
        z = np.tanh(x)
        return z[1] * x[0] * x[1] - z[0]

    x = np.array([0.3, 0.5])
    t0, t1 = np.tanh(x)
    expected = [t1 * x[1] - (1 - t0**2), (1 - t1**2) * x[0] * x[1] + t1 * x[0]]
    np.testing.assert_allclose(ft.record(f, x).gradient_tape()(x)[1], expected, rtol=1e-14)
    np.testing.assert_allclose(ft.jvp(ft.grad(f), (x,), (np.ones(2),))[1], ft.hessian(f)(x).sum(axis=1), rtol=1e-13)
    mixed = (1 - t1**2) * x[0]  # what the second derivatives by both have besides t1
    matrix = [[2 * t0 * (1 - t0**2), t1 + mixed * x[1] / x[0]], [0.0, 2 * mixed - 2 * t1 * (1 - t1**2) * x[0] * x[1]]]
    matrix[1][0] = matrix[0][1]
    np.testing.assert_allclose(ft.hessian(f)(x), matrix, rtol=1e-13)
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.grad(f)(x) * [0.7, -0.4]))(x), np.dot(matrix, [0.7, -0.4]))


@pytest.mark.parametrize("x", [(2.0, 3.0, 5.0, 7.0), (0.0, 3.0, 5.0, 7.0), (0.0, 3.0, 0.0, 7.0), (0.0, 0.0, 0.0, 7.0)])
def test_second_and_third_derivatives_of_products_with_zeros(x):
    x, n = np.array(x), 4
    without = lambda *places: np.prod([x[k] for k in range(n) if k not in places])  # noqa: E731
    expected = [[0.0 if i == j else without(i, j) for j in range(n)] for i in range(n)]
    np.testing.assert_array_equal(ft.hessian(np.prod)(x), expected)
    np.testing.assert_array_equal(ft.record(np.prod, x).hessian(x), expected)
    columns = ft.hessian(lambda y: np.sum(np.prod(y, axis=0)))(np.column_stack([x, x]))
    for k in range(2):
        np.testing.assert_array_equal(columns[:, k, :, k], expected)
    third = ft.jacfwd(ft.hessian(np.prod))(x)
    for i, j, k in np.ndindex(n, n, n):
        assert third[i, j, k] == (without(i, j, k) if len({i, j, k}) == 3 else 0.0)


# Nesting


def test_perturbations_are_not_confused():
    # Siskind and Pearlmutter 2005, "Perturbation confusion and referential transparency"
    assert ft.grad(lambda x: x * ft.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert ft.grad(lambda x: x * ft.grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert ft.grad(lambda x: ft.grad(lambda y: x * y * y)(x))(3.0) == 12.0
    inner = lambda x: ft.grad(lambda y: ft.grad(lambda z: x * y * z)(1.0) * y)(x)  # noqa: E731
    assert inner(3.0) == 2 * 3.0 * 3.0
    assert ft.grad(inner)(3.0) == 4 * 3.0


def test_a_higher_order_function_keeps_its_levels_apart():
    # Manzyuk et al. 2019, "Perturbation confusion in forward automatic differentiation of higher-order functions"
    def shift(u):
        return lambda f: lambda x: f(x + u)

    assert ft.grad(lambda u: ft.grad(lambda v: shift(u)(shift(v)(math.sin))(0.5))(0.2))(0.1) == pytest.approx(
        -math.sin(0.8), rel=1e-14
    )
    assert ft.grad(lambda u: shift(u)(ft.grad(shift(u)(math.sin)))(0.5))(0.0) == pytest.approx(
        -2 * math.sin(0.5), rel=1e-14
    )


@settings(max_examples=40, deadline=None)
@given(programs.programs(programs.SMOOTH, length=6))
def test_recorded_tangents_are_the_tangents(drawn):
    program, args = drawn
    f = programs.function(program)
    rng = np.random.default_rng(6)
    tangents = tuple(rng.normal(size=np.shape(x)) if np.shape(x) else float(rng.normal()) for x in args)
    value, along = ft.jvp(f, tuple(args), tangents)
    tape = ft.record(lambda *args: ft.jvp(f, args, tangents), *args)
    again, also = tape(*args)
    for x, y in zip([*value, *along], [*again, *also], strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-9 * np.max(np.abs(x), initial=1.0))


def test_modes_nest_in_every_order():
    rng = np.random.default_rng(3)
    args = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=5)
    v = rng.normal(size=(3, 4))
    f = lambda a: everything(a, *args[1:])  # noqa: E731
    product = ft.hvp(f)(args[0], v)
    reverse_over_forward = ft.grad(lambda a: ft.jvp(f, (a,), (v,))[1])(args[0])
    np.testing.assert_allclose(reverse_over_forward, product, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        ft.grad(lambda a: np.sum(ft.hvp(f)(a, v) * v))(args[0]),
        ft.jvp(lambda a: ft.hvp(f)(a, v), (args[0],), (v,))[1],
        rtol=1e-9,
        atol=1e-9,
    )
    second = ft.jvp(lambda a: ft.jvp(f, (a,), (v,))[1], (args[0],), (v,))[1]
    assert second == pytest.approx(np.sum(product * v), rel=1e-9)
    assert ft.jvp(lambda x: x * ft.jvp(lambda y: x * y, (2.0,), (1.0,))[1], (3.0,), (1.0,)) == (9.0, 6.0)


def test_every_transform_can_be_recorded():
    rng = np.random.default_rng(9)
    a, x, v = rng.normal(size=(3, 2)), rng.normal(size=2), rng.normal(size=2)

    def f(x):
        return np.tanh(a @ x) * x[0], x[1] ** 3

    def loss(x, transform):
        first, second = transform(x)
        return np.sum(first**2) + np.sum(second)

    def pulled(x):
        value, pullback = ft.vjp(f, x)
        return value[0], pullback((value[0] * 2.0, x[0]))[0]

    def pushed(x):
        value, pushforward = ft.linearize(f, x)
        return value[0] * value[1], pushforward(x * v)[0]

    def second_order(x):
        g = lambda x: np.sum(f(x)[0] ** 2)  # noqa: E731
        return ft.hessian(g)(x), ft.hvp(g)(x, v)

    for transform in (f, pulled, pushed, second_order, ft.jacfwd(f), ft.jacrev(f), ft.jacobian(f)):
        value, gradient = ft.value_and_grad(lambda x: loss(x, transform))(x)  # noqa: B023
        assert value == pytest.approx(loss(x, transform), rel=1e-12)
        for k in range(2):
            step = 1e-6 * np.eye(2)[k]
            slope = (loss(x + step, transform) - loss(x - step, transform)) / 2e-6
            assert gradient[k] == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_inner_functions_see_arrays_trees_and_aux():
    def inner(parameters, scale):
        return np.sum(parameters["w"] ** 3) * scale + parameters["b"], parameters["b"] * 2.0

    def outer(w, b):
        slopes, aux = ft.grad(inner, has_aux=True)({"w": w, "b": b}, b)
        (value, _), again = ft.value_and_grad(inner, has_aux=True)({"w": w, "b": b}, b)
        return np.sum(slopes["w"]) + np.sum(again["w"]) + slopes["b"] + aux + value

    w, b = np.array([1.0, 2.0]), 0.5
    # 6 b Σ w² + 1 + 2 b + b Σ w³ + b
    value, (dw, db) = ft.value_and_grad(outer, argnums=(0, 1))(w, b)
    assert value == pytest.approx(6 * b * 5 + 1 + 2 * b + b * 9 + b)
    np.testing.assert_allclose(dw, 12 * b * w + 3 * b * w**2)
    assert db == pytest.approx(6 * 5 + 3 + 9)


def test_inner_calls_without_traced_values_are_plain():
    seen = []

    def f(x):
        seen.append(ft.grad(lambda y: y**3)(2.0))
        return x * seen[-1]

    assert ft.grad(f)(1.0) == 12.0
    assert type(seen[-1]) is float


def test_what_does_not_depend_on_the_input_has_zero_derivatives():
    assert ft.grad(lambda x: x * ft.grad(lambda y: 3.0 * x)(1.0))(2.0) == 0.0
    assert ft.grad(ft.grad(lambda x: 2.0))(1.0) == 0.0
    assert ft.grad(ft.grad(lambda x: 2.0 * x))(1.0) == 0.0
    np.testing.assert_array_equal(ft.hessian(lambda x: np.sum(x))(np.ones(2)), np.zeros((2, 2)))
    constant = ft.record(lambda x: 2.0, np.ones(2))
    np.testing.assert_array_equal(constant.hessian(np.ones(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(constant.hvp((np.ones(2),), (np.ones(2),)), np.zeros(2))
    np.testing.assert_array_equal(ft.jacobian(lambda x: np.ones(3))(np.ones(2)), np.zeros((3, 2)))


def test_branches_inside_inner_functions_guard_the_tape():
    tape = ft.record(lambda x: ft.grad(lambda y: y * y if y > 0.0 else -y)(x) * x, 2.0)
    assert tape(3.0) == 18.0
    with pytest.raises(ft.errors.ReplayError):
        tape(-3.0)


def test_inner_errors():
    with pytest.raises(OutputError):
        ft.grad(lambda x: np.sum(ft.grad(lambda y: y * x)(np.ones(2) * x)))(1.0)
    kept = []
    ft.grad(lambda x: kept.append(x) or x)(1.0)
    with pytest.raises(LeakError):
        ft.grad(lambda y: y * kept[0])(1.0)


def test_a_leaked_outer_value_of_another_thread_is_refused():
    found = []

    def f(x):
        def work():
            try:
                ft.grad(lambda y: y * x)(1.0)
            except LeakError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x * 1.0

    assert ft.grad(f)(1.0) == 1.0
    assert len(found) == 1


# Jacobians and products of trees, and misuse


def test_jacobians_of_trees():
    def f(parameters, t):
        return {"a": parameters["w"] * t, "b": (parameters["b"] ** 2, 1.0)}

    w = np.array([1.0, 2.0])
    blocks = ft.jacobian(f, argnums=(0, 1))({"w": w, "b": 3.0}, 4.0)
    by_parameters, by_t = blocks["a"]
    np.testing.assert_array_equal(by_parameters["w"], 4.0 * np.eye(2))
    np.testing.assert_array_equal(by_parameters["b"], np.zeros(2))
    np.testing.assert_array_equal(by_t, w)
    squared, constant = blocks["b"]
    assert squared[0]["b"] == 6.0
    assert constant[0]["b"] == constant[1] == 0.0


def test_hessians_of_several_arguments():
    blocks = ft.hessian(lambda x, y: x**2 * y**3, argnums=(0, 1))(2.0, 3.0)
    assert blocks == ((54.0, 108.0), (108.0, 72.0))
    assert ft.hvp(lambda x, y: x**2 * y**3, argnums=1)(3.0, 1.0, 2.0) == 72.0


def test_pullbacks_do_not_alias_the_arguments():
    x = np.array([1.0, 2.0])
    big = np.ones((100, 100))
    _, pullback = ft.vjp(lambda x, big: np.sum(x**2) * np.sum(big * big), x, big)
    x[:] = 7.0
    big[:] = 0.0
    slope, _ = pullback(1.0)
    np.testing.assert_array_equal(slope, 2 * np.array([1.0, 2.0]) * 10_000)
    np.testing.assert_array_equal(pullback(1.0)[0], slope)


def test_elementwise_gradients():
    x = np.linspace(-1.0, 1.0, 5)
    np.testing.assert_allclose(ft.elementwise_grad(np.tanh)(x), 1 - np.tanh(x) ** 2)
    np.testing.assert_allclose(ft.elementwise_grad(ft.elementwise_grad(np.sin))(x), -np.sin(x), atol=1e-15)
    np.testing.assert_array_equal(ft.elementwise_grad(lambda x, y: x * y, argnums=1)(x, x + 1), x)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: ft.vjp(lambda x: x, np.ones(2))[1](np.ones(3)), r"shape \(3,\), but its output has \(2,\)"),
        (lambda: ft.vjp(lambda x: x, 1.0)[1]((1.0, 2.0)), "another structure"),
        (lambda: ft.vjp(lambda x: x, 1.0)[1]("text"), "str"),
        (lambda: ft.linearize(lambda x: x, np.ones(2))[1](np.ones(3)), "shape"),
        (lambda: ft.linearize(lambda x: x, 1.0)[1](1.0, 2.0), "one tangent per primal"),
        (lambda: ft.hvp(lambda x: np.sum(x))(np.ones(2), np.ones(3)), "shape"),
        (lambda: ft.jacobian(lambda x: x)(np.ones(2, int)), "astype"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises(ArgumentError, match=message):
        misuse()


def test_gradients_of_gradients_need_scalars():
    for transform in (ft.hessian, lambda f: lambda x: ft.hvp(f)(x, x)):
        with pytest.raises(OutputError):
            transform(lambda x: x * 2.0)(np.ones(2))
    with pytest.raises(OutputError):
        ft.record(lambda x: x * 2.0, np.ones(2)).gradient_tape()


def test_kinks_have_the_second_derivatives_of_their_sides():
    assert ft.grad(ft.grad(lambda x: np.maximum(x, 0.0) ** 2))(0.0) == 0.5
    assert ft.grad(ft.grad(abs))(0.0) == 0.0
    assert ZERO_DERIVATIVE in OPS[ops.CODE["sign"]].traits


@pytest.mark.parametrize("order", [2, 3])
def test_check_grads_of_higher_order(order):
    check_grads(lambda x, y: np.sum(np.tanh(x) * y**2), (np.array([0.3, -0.2]), 0.7), order)
    check_grads(lambda p: {"a": p["w"] ** 3, "b": p["w"][0] * 2.0}, ({"w": np.array([0.3, -0.2])},), order)


def test_check_grads_notices_a_wrong_second_derivative():
    def f(x):  # x³ with the right first derivative; the second is lost in constants
        return x**3 if isinstance(x, float) else 3.0 * x.primal**2 * x - 2.0 * x.primal**3

    check_grads(f, (1.5,))
    with pytest.raises(AssertionError):
        check_grads(f, (1.5,), 2)


def test_adjoints_beside_a_constant_are_no_run_of_slots():
    def f(x):
        z = np.stack([x, 2.0 * x]) * np.array([1.5, 2.5])
        slope = x * x  # the adjoint of z[0], in the slot before that of the constant, the adjoint of z[1]
        return z[1] * 7.0 + z[0] * slope

    def g(x):
        z = np.stack([x, 2.0 * x]) * np.array([1.5, 2.5])
        slope = x * x
        rest = z[1] * 7.0
        return z[0] * slope + rest

    for h in (f, g):
        assert ft.grad(h)(2.0) == pytest.approx(53.0)
        assert ft.grad(ft.grad(h))(2.0) == pytest.approx(18.0)
        assert ft.hessian(h)(2.0) == pytest.approx(18.0)
