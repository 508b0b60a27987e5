"""Programs that people differentiate, in plain loops: the compiled function, its Python and an independent formula."""

import itertools
import math
import types

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasttape as ft
from benchmarks.njit_programs import mixture, three_bodies

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="there is one recorder then")


@numba.njit
def rotated(r, p, out):
    """A point turned about a vector by its length (Rodrigues 1840), in series where that is short."""
    square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    if square > 1e-8:
        angle = math.sqrt(square)
        half = math.sin(0.5 * angle) / angle
        c, s, k = math.cos(angle), math.sin(angle) / angle, 2.0 * half * half
    else:
        c, s, k = 1.0 - square / 2.0, 1.0 - square / 6.0, 0.5 - square / 24.0
    along = k * (r[0] * p[0] + r[1] * p[1] + r[2] * p[2])
    for i in range(3):
        j, m = (i + 1) % 3, (i + 2) % 3
        out[i] = c * p[i] + s * (r[j] * p[m] - r[m] * p[j]) + along * r[i]


@numba.njit
def reprojection(cameras, points, weights, seen, pairs):
    """The sum of squares of a bundle adjustment: 11 numbers of a camera, radial distortion, and a weight for each."""
    moved, turned, total = np.empty(3), np.empty(3), 0.0
    for n in range(len(pairs)):
        camera, point = cameras[pairs[n, 0]], points[pairs[n, 1]]
        for i in range(3):
            moved[i] = point[i] - camera[3 + i]
        rotated(camera[:3], moved, turned)
        u, v = turned[0] / turned[2], turned[1] / turned[2]
        square = u * u + v * v
        distortion = 1.0 + square * (camera[9] + square * camera[10])
        for i in range(2):
            place = camera[7 + i] + camera[6] * distortion * (u if i == 0 else v)
            total += (weights[n] * (place - seen[n, i])) ** 2
        total += (1.0 - weights[n] * weights[n]) ** 2
    return total


@numba.njit
def sigmoid(x):
    if x < 0.0:
        e = math.exp(x)
        return e / (1.0 + e)
    return 1.0 / (1.0 + math.exp(-x))


@numba.njit
def lstm(gates, bias, extra, sequence):
    """The negative log-likelihood of a sequence under stacked cells with diagonal gates and a softmax behind."""
    layers, _, d = gates.shape[0], gates.shape[1], gates.shape[2]
    hidden, memory, x = np.zeros((layers, d)), np.zeros((layers, d)), np.empty(d)
    loss = 0.0
    for t in range(sequence.shape[0] - 1):
        for j in range(d):
            x[j] = sequence[t, j] * extra[0, j]
        for k in range(layers):
            for j in range(d):
                forget = sigmoid(x[j] * gates[k, 0, j] + bias[k, 0, j])
                store = sigmoid(hidden[k, j] * gates[k, 1, j] + bias[k, 1, j])
                out = sigmoid(x[j] * gates[k, 2, j] + bias[k, 2, j])
                change = math.tanh(hidden[k, j] * gates[k, 3, j] + bias[k, 3, j])
                memory[k, j] = memory[k, j] * forget + store * change
                hidden[k, j] = out * math.tanh(memory[k, j])
                x[j] = hidden[k, j]
        total = 2.0
        for j in range(d):
            total += math.exp(x[j] * extra[1, j] + extra[2, j])
        for j in range(d):
            loss -= sequence[t + 1, j] * (x[j] * extra[1, j] + extra[2, j] - math.log(total))
    return loss / (d * (sequence.shape[0] - 1))


def of_mixture(rng):
    k, d = 3, 3
    weights, means, factors = rng.normal(size=k), rng.normal(size=(k, d)), rng.normal(size=(k, d * (d + 1) // 2))
    return mixture, (weights, means, factors, rng.normal(size=(5, d)), 0.7), (0, 1, 2)


def of_bodies(rng):
    places = np.array([1.0, 0.0, 0.0, -1.0, 0.1, 0.0, 0.0, 1.0, 0.2])
    start = np.concatenate([places + 0.05 * rng.normal(size=9), 0.3 * rng.normal(size=9)])
    return three_bodies, (start, rng.uniform(0.9, 1.1, 3), 4, 1e-2), (0, 1)


def of_cameras(rng):
    cameras = np.concatenate([0.3 * rng.normal(size=(2, 3)), rng.normal(size=(2, 3)) - [0, 0, 5.0]], axis=1)
    cameras = np.concatenate([cameras, rng.uniform(1.0, 2.0, (2, 1)), 0.1 * rng.normal(size=(2, 4))], axis=1)
    pairs = np.array([[0, 0], [1, 0], [1, 2], [0, 1]])
    observed = rng.uniform(0.5, 1.0, 4), rng.normal(size=(4, 2)), pairs
    return reprojection, (cameras, rng.normal(size=(3, 3)), *observed), (0, 1, 2)


def of_lstm(rng):
    shape = (2, 4, 3)
    sequence = rng.integers(0, 2, (5, 3)).astype(float)
    return lstm, (rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(3, 3)), sequence), (0, 1, 2)


CASES = {"mixture": of_mixture, "bodies": of_bodies, "cameras": of_cameras, "lstm": of_lstm}


# The same in formulas for whole arrays, which take complex numbers: a tiny step along the imaginary axis gives exact
# derivatives (Squire and Trapp 1998).


def mixture_in_numpy(weights, means, factors, points, strength):
    (n, d), k = points.shape, weights.size
    triangles = np.zeros((k, d, d), factors.dtype)
    triangles[:, range(d), range(d)] = np.exp(factors[:, :d])
    columns, rows = np.triu_indices(d, 1)
    triangles[:, rows, columns] = factors[:, d:]
    scaled = np.einsum("kij,nkj->nki", triangles, points[:, None] - means)
    terms = weights + factors[:, :d].sum(axis=1) - 0.5 * (scaled**2).sum(axis=2)
    prior = 0.5 * strength**2 * (triangles**2).sum() - factors[:, :d].sum()
    return np.log(np.exp(terms).sum(axis=1)).sum() - n * np.log(np.exp(weights).sum()) - prior


def bodies_in_numpy(start, masses, steps, h):
    def slope(y):
        places, speeds = y[:9].reshape(3, 3), y[9:]
        away = places[None] - places[:, None]
        cubes = np.sqrt((away**2).sum(axis=2) + np.eye(3)) ** 3
        return np.concatenate([speeds, (masses[None, :, None] * away / cubes[:, :, None]).sum(axis=1).ravel()])

    y = start
    for _ in range(steps):
        k1 = slope(y)
        k2 = slope(y + 0.5 * h * k1)
        k3 = slope(y + 0.5 * h * k2)
        y = y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + slope(y + h * k3))
    return ((y[:3] - y[3:6]) ** 2).sum()


def turn(r):
    """The exponential of the matrix that takes the cross product with r."""
    cross = np.array([[0.0 * r[0], -r[2], r[1]], [r[2], 0.0 * r[0], -r[0]], [-r[1], r[0], 0.0 * r[0]]])
    term = total = np.eye(3)
    for n in range(1, 30):
        term = term @ cross / n
        total = total + term
    return total


def reprojection_in_numpy(cameras, points, weights, seen, pairs):
    total = 0.0
    for (i, j), weight, place in zip(pairs, weights, seen, strict=True):
        turned = turn(cameras[i, :3]) @ (points[j] - cameras[i, 3:6])
        flat = turned[:2] / turned[2]
        square = (flat**2).sum()
        distorted = (1.0 + cameras[i, 9] * square + cameras[i, 10] * square**2) * flat
        residuals = weight * (cameras[i, 6] * distorted + cameras[i, 7:9] - place)
        total = total + (residuals**2).sum() + (1.0 - weight**2) ** 2
    return total


def lstm_in_numpy(gates, bias, extra, sequence):
    def opened(x, k, n):
        return 1.0 / (1.0 + np.exp(-(x * gates[k, n] + bias[k, n])))

    hidden, memory, total = [0.0, 0.0], [0.0, 0.0], 0.0
    for now, after in itertools.pairwise(sequence):
        x = now * extra[0]
        for k in range(2):
            change = np.tanh(hidden[k] * gates[k, 3] + bias[k, 3])
            memory[k] = memory[k] * opened(x, k, 0) + opened(hidden[k], k, 1) * change
            x = hidden[k] = opened(x, k, 2) * np.tanh(memory[k])
        scores = x * extra[1] + extra[2]
        total = total - (after * (scores - np.log(2.0 + np.exp(scores).sum()))).sum()
    return total / (sequence.shape[1] * (len(sequence) - 1))


FORMULAS = {"mixture": mixture_in_numpy, "bodies": bodies_in_numpy}
FORMULAS |= {"cameras": reprojection_in_numpy, "lstm": lstm_in_numpy}


def by_complex_steps(f, args, argnums):
    """The gradient of a formula."""
    found = []
    for n in argnums:
        gradient = np.empty(args[n].shape)
        for index in np.ndindex(gradient.shape):
            moved = args[n].astype(complex)
            moved[index] += 1e-30j
            gradient[index] = f(*args[:n], moved, *args[n + 1 :]).imag / 1e-30
        found.append(gradient)
    return tuple(found)


def close(found, expected, rtol):
    """Assert equal gradients up to rounding, which sums of large terms bring into small entries."""
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_formula(name, seed):
    f, args, argnums = CASES[name](np.random.default_rng(seed))
    value, gradient = ft.value_and_grad(f, argnums)(*args)
    np.testing.assert_allclose(value, FORMULAS[name](*args), rtol=1e-13)
    close(gradient, by_complex_steps(FORMULAS[name], args, argnums), 1e-12)


class Objects:
    """NumPy whose new arrays hold any objects, which traced values are to the Python recorder."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape):
        return np.full(shape, 0.0, object)

    zeros = empty


def in_python(f):
    """The Python of a compiled function and of those that it calls."""
    code, names = f.py_func.__code__, f.py_func.__globals__
    callees = {name: in_python(names[name]) for name in code.co_names if hasattr(names.get(name), "py_func")}
    return types.FunctionType(code, names | callees | {"np": Objects()})


@compiled_only
@pytest.mark.parametrize("name", CASES)
def test_both_recorders_agree(name):
    from fasttape.compiler.compiled_gradient import MADE

    f, args, argnums = CASES[name](np.random.default_rng(5))
    value, gradient = ft.value_and_grad(f, argnums)(*args)
    assert not MADE[f]["python", argnums, False].refused, "recorded as Python"
    other, expected = ft.value_and_grad(in_python(f), argnums)(*args)
    np.testing.assert_allclose(value, other, rtol=1e-15)
    close(gradient, expected, 1e-14)


@pytest.mark.parametrize("name", CASES)
def test_tapes_replay_elsewhere_and_have_second_derivatives(name):
    f, args, argnums = CASES[name](np.random.default_rng(6))
    tape = ft.record(f, *args, argnums=argnums)
    moved = tuple(x + 1e-3 * np.cos(x) if n in argnums else x for n, x in enumerate(args))
    np.testing.assert_allclose(tape(*moved), f(*moved), rtol=1e-14)
    close(tape.grad(*moved), by_complex_steps(FORMULAS[name], moved, argnums), 1e-12)
    x, others = args[argnums[0]], args[1:]
    direction, h = np.cos(3.0 * x), 1e-5
    ahead, behind = (ft.grad(f)(x + step * direction, *others) for step in (h, -h))
    close([ft.hvp(f)(x, direction, *others)], [(ahead - behind) / (2.0 * h)], 1e-7)


@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-9, 1e-3])
def test_short_rotations(length):
    """A point turned by next to nothing moves by the cross product; the formula's matrix has no square root."""

    @numba.njit
    def third(r, p):
        out = np.empty(3)
        rotated(r, p, out)
        return out[2]

    r, p = length * np.array([0.6, 0.0, 0.8]), np.array([0.3, -0.2, 0.9])
    value, gradient = ft.value_and_grad(third, (0, 1))(r, p)
    formula = lambda r, p: (turn(r) @ p)[2]  # noqa: E731
    np.testing.assert_allclose(value, formula(r, p), rtol=1e-15)
    close(gradient, by_complex_steps(formula, (r, p), (0, 1)), 1e-12)


@numba.njit
def churn(x, ops, places, rounds):
    """A loop over operations that write to a state in place, with branches on values and an exit."""
    state, count = x.copy(), 0
    while count < rounds:
        for k in range(ops.size):
            op, (a, b, to) = ops[k], places[k]
            p, q = state[a], state[b]
            if op == 0:
                made = p * q - 0.5 * p
            elif op == 1:
                made = math.sin(p) + q
            elif op == 2:
                made = p / (1.0 + q * q)
            elif op == 3:
                made = max(p, 0.3 * q)
            elif op == 4:
                made = math.exp(-p * p) * q
            elif p > q:
                made = p - q
            else:
                made = 0.25 * p * p
            state[to] = math.tanh(made)
        state[0] += 0.5 * state[1]
        count += 1
        if abs(state[0]) > 1.5:
            break
    return state[0] * state[1] + state[2] * count


@st.composite
def loops(draw):
    size = draw(st.integers(1, 6))
    ops = draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    places = draw(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=size, max_size=size))
    return np.array(ops), np.array(places), draw(st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(loops(), st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_loops_that_were_drawn(program, point):
    """The linear tape of compiled code, the tape of the program in either mode, and the Python recorder."""
    x = np.array(point)
    value, gradient = ft.value_and_grad(churn)(x, *program)
    np.testing.assert_allclose(value, churn(x, *program), rtol=1e-14)
    python = getattr(churn, "py_func", churn)
    other, expected = ft.value_and_grad(python)(x, *program)
    np.testing.assert_allclose(value, other, rtol=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)
    tape = ft.record(churn, x, *program)
    np.testing.assert_allclose(tape.grad(x, *program), expected, rtol=1e-12, atol=1e-13)
    for direction in np.eye(3):
        _, slope = ft.jvp(lambda x: churn(x, *program), (x,), (direction,))
        np.testing.assert_allclose(slope, expected @ direction, rtol=1e-12, atol=1e-13)
