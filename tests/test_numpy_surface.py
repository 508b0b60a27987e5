"""Every NumPy function and method that is recorded: values, shapes and kinds as NumPy's, derivatives by differences.

One case per line. The tables here are written by hand; `test_every_name_has_a_case` compares them with what the recorder
answers to, so that a function cannot be added without one.
"""

import math

import numpy as np
import pytest
from agree import agree
from numpy_cases import FORMULAS

from fasttape.recorders.numpy_names import FUNCTIONS

RNG = np.random.default_rng(5)
V = RNG.uniform(0.3, 2.0, 5)
W = RNG.uniform(0.3, 2.0, 5)
M = RNG.uniform(0.3, 2.0, (3, 4))
N = RNG.uniform(0.3, 2.0, (4, 3))
S = RNG.uniform(0.3, 2.0, (4, 4))
T = RNG.uniform(0.3, 2.0, (2, 3, 4))
U = RNG.uniform(0.3, 2.0, (2, 4, 3))
POINT = np.array(0.7)
EMPTY = np.zeros((0, 3))
ROW = RNG.uniform(0.3, 2.0, (1, 4))
COLUMN = RNG.uniform(0.3, 2.0, (3, 1))
ONE = np.array([0.4])
MASK = np.array([True, False, True, True, False])
INTEGERS = np.array([3, 1, 2, 0, 4])
ALL = {"v": V, "m": M, "t": T, "point": POINT, "empty": EMPTY, "row": ROW, "one": ONE}

# fmt: off
# ruff: noqa: E501
SHAPES = {
    np.reshape: [(lambda x: np.reshape(x, (4, 3)), M), (lambda x: np.reshape(x, -1), T), (lambda x: x.reshape(2, -1), M),
                 (lambda x: x.reshape((2, 6), order="F"), M), (lambda x: np.reshape(x, (12,), order="F"), M),
                 (lambda x: np.reshape(x, ()), ONE), (lambda x: x.reshape(3, 0, 2), EMPTY), (lambda x: x.T.reshape(-1), M)],
    np.ravel: [(np.ravel, M), (np.ravel, POINT), (lambda x: x.ravel(order="F"), M), (lambda x: x.T.ravel(), M), (np.ravel, EMPTY)],
    np.transpose: [(np.transpose, T), (lambda x: x.T, M), (lambda x: x.transpose(2, 0, 1), T), (lambda x: np.transpose(x, (1, 0, 2)), T),
                   (lambda x: x.transpose((-1, 0, 1)), T), (lambda x: x.transpose(), T), (lambda x: x.transpose(None), T), (lambda x: x.T, POINT)],
    np.matrix_transpose: [(np.matrix_transpose, T), (lambda x: x.mT, T)],
    np.permute_dims: [(lambda x: np.permute_dims(x, (2, 1, 0)), T)],
    np.swapaxes: [(lambda x: np.swapaxes(x, 0, -1), T), (lambda x: x.swapaxes(1, 2), T)],
    np.moveaxis: [(lambda x: np.moveaxis(x, 0, -1), T), (lambda x: np.moveaxis(x, (0, 1), (1, 2)), T)],
    np.rollaxis: [(lambda x: np.rollaxis(x, 2), T), (lambda x: np.rollaxis(x, 2, 1), T)],
    np.squeeze: [(np.squeeze, ROW), (lambda x: x.squeeze(0), ROW), (lambda x: np.squeeze(x, axis=(1,)), COLUMN), (np.squeeze, ONE)],
    np.expand_dims: [(lambda x: np.expand_dims(x, 1), V), (lambda x: np.expand_dims(x, (0, -1)), M), (lambda x: np.expand_dims(x, 0), POINT)],
    np.broadcast_to: [(lambda x: np.broadcast_to(x, (3, 5)), V), (lambda x: np.broadcast_to(x, (2, 3, 4)) * 2.0, COLUMN),
                      (lambda x: np.broadcast_to(x, (2, 2)), POINT), (lambda x: np.broadcast_to(x, (2, 0, 3)), EMPTY)],
    np.broadcast_arrays: [(lambda x, y: np.broadcast_arrays(x, y), COLUMN, ROW), (lambda x: np.broadcast_arrays(x, [1.0, 2.0, 3.0, 4.0]), M)],
    np.flip: [(np.flip, M), (lambda x: np.flip(x, 0), M), (lambda x: np.flip(x, (0, -1)), T)],
    np.fliplr: [(np.fliplr, M)],
    np.flipud: [(np.flipud, V)],
    np.rot90: [(np.rot90, M), (lambda x: np.rot90(x, 3), M), (lambda x: np.rot90(x, 2, (1, 2)), T)],
    np.roll: [(lambda x: np.roll(x, 2), V), (lambda x: np.roll(x, -1, axis=1), M), (lambda x: np.roll(x, (1, 2), (0, 1)), M), (lambda x: np.roll(x, 1), EMPTY)],
    np.diag: [(np.diag, V), (np.diag, S), (lambda x: np.diag(x, 1), M), (lambda x: np.diag(x, -2), V), (lambda x: x.diagonal(), M)],
    np.diagonal: [(np.diagonal, M), (lambda x: np.diagonal(x, 1, 1, 2), T), (lambda x: x.diagonal(axis1=-1, axis2=0), T)],
    np.diagflat: [(np.diagflat, M), (lambda x: np.diagflat(x, 1), V)],
    np.tril: [(np.tril, S), (lambda x: np.tril(x, -1), T)],
    np.triu: [(np.triu, S), (lambda x: np.triu(x, 1), M)],
    np.repeat: [(lambda x: np.repeat(x, 3), M), (lambda x: np.repeat(x, [1, 0, 2], axis=0), M), (lambda x: x.repeat(2, axis=-1), M), (lambda x: np.repeat(x, 2), POINT)],
    np.tile: [(lambda x: np.tile(x, 2), V), (lambda x: np.tile(x, (2, 1, 3)), M)],
    np.take: [(lambda x: np.take(x, [0, 0, 3]), V), (lambda x: np.take(x, [[0, 2], [1, 1]], axis=1), M), (lambda x: x.take(-1), V),
              (lambda x: np.take(x, 2, axis=-1), M), (lambda x: np.take(x, [7, -9], mode="wrap"), V), (lambda x: np.take(x, np.array(1), 0), M)],
    np.take_along_axis: [(lambda x: np.take_along_axis(x, np.argsort(M, axis=1), axis=1), M)],
    np.delete: [(lambda x: np.delete(x, 1), V), (lambda x: np.delete(x, [0, 2], axis=1), M), (lambda x: np.delete(x, slice(0, 2)), V)],
    np.compress: [(lambda x: np.compress(x[0] > 1.0, x, axis=1), M), (lambda x: np.compress([True, False, True], x, axis=0), M), (lambda x: x.compress(MASK), V)],
    np.extract: [(lambda x: np.extract(x > 1.0, x), M), (lambda x: np.extract(MASK, x), V)],
    np.resize: [(lambda x: np.resize(x, (3, 4)), V)],
    np.atleast_1d: [(np.atleast_1d, POINT), (lambda x, y: np.atleast_1d(x, y), POINT, V), (lambda x: np.atleast_1d(x), 0.5)],
    np.atleast_2d: [(np.atleast_2d, V), (np.atleast_2d, POINT)],
    np.atleast_3d: [(np.atleast_3d, M), (np.atleast_3d, V)],
    np.split: [(lambda x: np.split(x, 2, axis=1), M), (lambda x: np.split(x, [1, 3]), V)],
    np.array_split: [(lambda x: np.array_split(x, 3), V)],
    np.hsplit: [(lambda x: np.hsplit(x, 2), M)],
    np.vsplit: [(lambda x: np.vsplit(x, 2), S)],
    np.dsplit: [(lambda x: np.dsplit(x, 2), T)],
    np.unstack: [(lambda x: np.unstack(x, axis=1), M)],
    np.concatenate: [(lambda x, y: np.concatenate([x, y]), V, W), (lambda x: np.concatenate((x, np.ones((3, 1)), x), axis=1), M), (lambda x: np.concatenate([x, [1, 2]]), V),
                     (lambda x: np.concatenate([x, x], axis=None), M), (lambda x: np.concatenate([x, x]), EMPTY), (lambda x, y: np.concatenate([x[::-1], y[1:2]]), V, W)],
    np.concat: [(lambda x, y: np.concat([x, y], axis=-1), M, COLUMN)],
    np.stack: [(lambda x, y: np.stack([x, y]), V, W), (lambda x: np.stack([x, np.arange(5), x], axis=1), V), (lambda x, s: np.stack([s, x[1], 1.0]), V, 0.5), (lambda x: np.stack([x, x], -1), POINT)],
    np.hstack: [(lambda x, y: np.hstack([x, y]), V, W), (lambda x: np.hstack([x, x]), M), (lambda s: np.hstack([s, 2.0, s]), 0.5)],
    np.vstack: [(lambda x, y: np.vstack((x, y)), V, W), (lambda x: np.vstack([x, [[1, 2, 3, 4]]]), M)],
    np.dstack: [(lambda x: np.dstack([x, x]), M)],
    np.column_stack: [(lambda x, y: np.column_stack([x, y, np.zeros(5)]), V, W)],
    np.block: [(lambda x, y: np.block([[x, np.zeros((3, 3))], [np.ones((4, 4)), y]]), M, N), (lambda x: np.block([x, 1.0]), V)],
    np.append: [(lambda x: np.append(x, 1.0), V), (lambda x, y: np.append(x, y), M, V), (lambda x: np.append(x, x, axis=0), M), (lambda s: np.append([1.0, 2.0], s), 0.5)],
    np.insert: [(lambda x: np.insert(x, 1, 7.0), V), (lambda x, s: np.insert(x, [0, 2], s), V, 0.5), (lambda x, y: np.insert(x, 1, y, axis=0), S, ROW)],
    np.pad: [(lambda x: np.pad(x, 2), V), (lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=3.0), M), (lambda x: np.pad(x, 1, mode="edge"), M),
             (lambda x: np.pad(x, 2, "reflect"), V), (lambda x: np.pad(x, 2, "wrap"), V), (lambda x: np.pad(x, (0, 1), mode="symmetric"), V), (lambda x, s: np.pad(x, 1, constant_values=s), V, 0.5)],
    np.copy: [(np.copy, M), (lambda x: x.copy(), M), (lambda x: x[::2].copy("F"), M), (np.copy, POINT), (np.copy, EMPTY), (lambda x: np.copy(x.sum()) * 2.0, V)],
    np.zeros_like: [(lambda x: np.zeros_like(x) + x, M), (lambda x: x * np.zeros_like(x, dtype=float), V)],
    np.ones_like: [(lambda x: np.ones_like(x) + x, M), (lambda x: np.ones_like(x.sum()) * x, V)],
    np.empty_like: [(lambda x: np.empty_like(x).shape[0] * x, M)],
    np.full_like: [(lambda x: np.full_like(x, 2.0) * x, M), (lambda x, s: np.full_like(x, s) * x, M, 0.5)],
    np.shape: [(lambda x: x * np.shape(x)[0], M), (lambda s: s * len(np.shape(s)), 0.5)],
    np.ndim: [(lambda x: x * np.ndim(x), M), (lambda x: x * x.ndim, T)],
    np.size: [(lambda x: x / np.size(x), M), (lambda x: x * np.size(x, 1), M), (lambda x: x / x.size, T)],
    np.iscomplexobj: [(lambda x: x if not np.iscomplexobj(x) else None, V)],
    np.isrealobj: [(lambda x: x if np.isrealobj(x) else None, V)],
    np.real: [(np.real, V), (lambda x: x.real, V), (lambda s: np.real(s), 0.5)],
    np.imag: [(lambda x: x + np.imag(x), V), (lambda x: x + x.imag, V)],
}
REDUCTIONS = {
    np.sum: [(np.sum, x) for x in ALL.values()] + [(lambda x: x.sum(0), T), (lambda x: x.sum(-1), T), (lambda x: np.sum(x, axis=1), T), (lambda x: x.sum((0, 2)), T), (lambda x: x.sum(axis=(2, 0)), T),
              (lambda x: x.sum((0, 1), keepdims=True), T), (lambda x: x.sum(()), M), (lambda x: x.sum(1), EMPTY), (lambda x: x.sum(0), EMPTY), (lambda x: x[:, ::-2].sum(0), M), (lambda x: x.T.sum(0), M), (lambda x: x.T.sum(1), M),
              (lambda x: x[[0, 0, 2]].sum(0), M), (lambda x: np.broadcast_to(x, (3, 5)).sum(0), V), (lambda x: np.broadcast_to(x, (3, 5)).sum(1), V), (lambda x: x.sum(0, keepdims=True), POINT.reshape(1, 1)), (lambda x: np.sum(x, initial=2.0), V),
              (lambda x: np.add.reduce(x), M), (lambda x: np.add.reduce(x, axis=None), M), (lambda x: np.add.reduce(x, 1, keepdims=True), M), (lambda x: x[1:, 2:].sum(axis=0), M), (lambda s: np.sum(s), 0.5),
              (lambda x: np.sum(x, where=True), V), (lambda x: sum(x), V), (lambda x: x.transpose(1, 2, 0).sum((0, 1)), T), (lambda x: x[::-1].sum(-1), T)],
    np.prod: [(np.prod, x) for x in ALL.values()] + [(lambda x: x.prod(-1), T), (lambda x: x.prod((0, 2), keepdims=True), T), (lambda x: np.multiply.reduce(x), M), (lambda x: x.T.prod(0), M), (lambda x: x[:, 1::2].prod(1), M), (lambda x: x.prod(0), EMPTY), (lambda x: np.prod(x, initial=3.0), V)],
    np.max: [(np.max, M), (np.max, POINT), (lambda x: x.max(-1), T), (lambda x: x.max((0, 2), keepdims=True), T), (lambda x: np.maximum.reduce(x), M), (lambda x: np.max(x, initial=1.0), V), (lambda x: x.max(0), EMPTY.T), (lambda x: x.T.max(1), M)],
    np.min: [(np.min, M), (np.min, ONE), (lambda x: x.min(0), T), (lambda x: x.min(1, keepdims=True), M), (lambda x: np.minimum.reduce(x, axis=-1), M), (lambda x: x[::-1].min(0), M), (lambda x: np.min(x, initial=1.0), EMPTY)],
    np.amax: [(np.amax, V)],
    np.amin: [(lambda x: np.amin(x, axis=1), M)],
    np.mean: [(np.mean, M), (np.mean, POINT), (lambda x: x.mean(-1), T), (lambda x: x.mean((0, 1), keepdims=True), T), (lambda x: x.mean(axis=0), M), (lambda x: x.mean(0), EMPTY.T)],
    np.var: [(np.var, M), (lambda x: x.var(0), M), (lambda x: x.var(1, ddof=1), M), (lambda x: x.var((0, 2), keepdims=True), T), (lambda x: np.var(x, correction=1), V)],
    np.std: [(np.std, M), (lambda x: x.std(0, keepdims=True), M), (lambda x: np.std(x, -1, ddof=1), T)],
    np.average: [(np.average, M), (lambda x: np.average(x, 0), M), (lambda x: np.average(x, weights=W), V), (lambda x, w: np.average(x, weights=w), V, W), (lambda w: np.average(V, weights=w), W), (lambda x, w: np.average(x, axis=1, weights=w), M, ROW[0]), (lambda x: np.average(x, axis=1, keepdims=True), M)],
    np.linalg.norm: [(np.linalg.norm, V), (np.linalg.norm, M), (lambda x: np.linalg.norm(x, axis=0), M), (lambda x: np.linalg.norm(x, 2, axis=-1, keepdims=True), T), (lambda x: np.linalg.norm(x, "fro"), M), (lambda x: np.linalg.norm(x, ord=2), V),
                     (lambda x: np.linalg.norm(x, 1), V), (lambda x: np.linalg.norm(x, np.inf, axis=1), M), (lambda x: np.linalg.norm(x - 1.1), V), (lambda x: np.linalg.norm(x), T)],
    np.trace: [(np.trace, S), (lambda x: x.trace(1), M), (lambda x: np.trace(x, 0, 1, 2), T)],
    np.ptp: [(np.ptp, V), (lambda x: np.ptp(x, axis=0), M), (lambda x: np.ptp(x, -1, keepdims=True), M)],
    np.all: [(lambda x: np.all(x > 0.0, axis=0), M), (lambda x: (x > 1.0).all(1, keepdims=True), M), (lambda x: x * np.all(x > 0.0), V), (lambda x: np.all(x > 1.0), EMPTY), (lambda x: np.all(x > 1.0, axis=0), EMPTY)],
    np.any: [(lambda x: np.any(x > 1.0, axis=0), M), (lambda x: (x > 1.0).any(1), M), (lambda x: x * np.any(x > 1.0), V), (lambda x: np.any(x > 1.0), EMPTY)],
}
PRODUCTS = {
    np.matmul: [(lambda x, y: x @ y, M, N), (lambda x, y: x @ y, T, U), (lambda x, y: x @ y, V, W), (lambda x, y: x @ y, M, ROW[0]), (lambda x, y: x @ y, COLUMN[:, 0], M), (lambda x, y: x @ y, T, N), (lambda x, y: x @ y, M, U),
                (lambda x, y: x.T @ y.T, M, N), (lambda x: x @ x.T, M), (lambda x: x.T @ x, M), (lambda x: x @ np.arange(12).reshape(4, 3), M), (lambda x: np.ones((2, 3)) @ x, M), (lambda x, y: x[:, ::2] @ y[1:3, ::-1], M, N), (lambda x, y: x[::-1] @ y, M, N),
                (lambda x, y: x @ y, EMPTY, M), (lambda x, y: x @ y, M, EMPTY.reshape(4, 0)), (lambda x, y: x.T @ y, EMPTY, EMPTY), (lambda x, y: x @ y, ROW, N), (lambda x, y: x @ y, COLUMN, ROW), (lambda x, y: x @ y, ONE, ONE), (lambda x, y: x[[0, 2, 0]] @ y, M, N),
                (lambda x, y: np.matmul(x[:, None], y), T, U[:, None]), (lambda x, y: x.swapaxes(1, 2) @ y.swapaxes(1, 2), T, U), (lambda x: x[0] @ x[1].T, T), (lambda x, y: np.broadcast_to(x, (3, 4)) @ y, ROW, N), (lambda x, y: x[::2, 1] @ y, M, V[:2]),
                (lambda x, y: x @ y, RNG.uniform(size=(2, 1, 3, 4)), RNG.uniform(size=(5, 4, 2))), (lambda x: x @ [1, 2, 3, 4], M), (lambda x: [1.0, 2.0, 3.0] @ x, M), (lambda x, y: x @ y, EMPTY.T[:2], EMPTY), (lambda x, y: x @ y, V[:0], W[:0])],
    np.dot: [(np.dot, V, W), (np.dot, M, N), (lambda x, y: x.dot(y), M, ROW[0]), (lambda x: np.dot(x, 2.0), M), (lambda x, s: np.dot(s, x), M, 0.5), (np.dot, T, N), (np.dot, T, U), (np.dot, POINT, V), (lambda x: np.dot([1, 2, 3, 4, 5], x), V), (np.dot, V[:4], U.transpose(0, 1, 2))],
    np.inner: [(np.inner, V, W), (np.inner, M, M), (np.inner, T, M), (lambda x: np.inner(x, 2.0), V), (np.inner, ROW[0], M)],
    np.vdot: [(np.vdot, V, W), (np.vdot, M, M[::-1]), (lambda x: np.vdot(x, np.ones((4, 3))), M)],
    np.outer: [(np.outer, V, W), (np.outer, M, V), (lambda x: np.outer(x, [1, 2]), V), (lambda x, s: np.outer(s, x), V, 0.5)],
    np.tensordot: [(lambda x, y: np.tensordot(x, y, 1), M, N), (lambda x, y: np.tensordot(x, y, ((1, 2), (2, 1))), T, U), (lambda x, y: np.tensordot(x, y, 0), V, M), (lambda x, y: np.tensordot(x, y, (1, 0)), M, N), (lambda x, y: np.tensordot(x, y), M, M), (lambda x, y: np.tensordot(x, y, ([-1], [1])), T, U)],
}
VARIOUS = {
    np.where: [(lambda x, y: np.where(x > 1.0, x * y, y), V, W), (lambda x: np.where(MASK, x, 0.0), V), (lambda x: np.where(MASK, 1, x), V), (lambda x, y: np.where(x > y, x, y), COLUMN, ROW), (lambda x: np.where(x, x, 2.0), M),
               (lambda x, s: np.where(s > 0.0, x, -x), V, 0.5), (lambda x: np.where(x > 1.0, x, [1, 2, 3, 4]), M), (lambda x: np.where(x > 1.0, x > 1.5, x < 0.5), M), (lambda x: np.where(x > 0.0, x, 1.0), EMPTY), (lambda x: np.where(x > 0.0, x, 1.0), POINT)],
    np.clip: [(lambda x: np.clip(x, 0.5, 1.5), M), (lambda x: x.clip(0.9), V), (lambda x: x.clip(max=0.9), V), (lambda x, y: np.clip(x, 0.1, y), V, W), (lambda x: np.clip(x, None, 1.0), M), (lambda y: np.clip(V, y, 3.0), W), (lambda x: np.clip(x, min=0.7, max=1), V)],
    np.round: [(lambda x: x * np.round(x), V), (lambda x: x - x.round(), M)],
    np.around: [(np.around, V)],
    np.interp: [(lambda x: np.interp(x, [0.5, 1.0, 1.8], [1.0, 3.0, 2.0]), M), (lambda f: np.interp([0.1, 0.7, 1.1], [0.0, 0.5, 1.0, 2.0, 3.0], f), V),
                (lambda x: np.interp(x, [0.5, 1.0], [1.0, 3.0], left=-1.0, right=0.0), V), (lambda x, f: np.interp(x, [0.0, 1.0, 1.5, 2.0, 3.0], f), 0.7, V),
                (lambda p: np.interp(0.9, np.sort(p), [1.0, 3.0, 2.0, 0.0, 4.0]), V)],
    np.linspace: [(lambda x: np.linspace(x, 2.0, 5), 0.3), (lambda x, y: np.linspace(x, y, 4, endpoint=False), 0.3, 1.7), (lambda x: np.linspace(x[0], x[1]), V), (lambda x: np.linspace(x, 1.0, 1), 0.3)],
    np.nan_to_num: [(np.nan_to_num, M), (lambda x: np.nan_to_num(x, nan=1.0, posinf=2.0) * x, V)],
    np.diff: [(np.diff, V), (lambda x: np.diff(x, 2), V), (lambda x: np.diff(x, axis=0), M), (lambda x: np.diff(x, n=0), V), (lambda x: np.diff(x, prepend=1.0), V), (lambda x: np.diff(x, append=x[:, :1]), M)],
}
ORDERS = {
    np.argmax: [(lambda x: x * np.argmax(x), V), (lambda x: x * x.argmax(0), M), (lambda x: np.argmax(x, axis=1, keepdims=True) + x, M), (lambda x: np.argmax(x) + x, POINT)],
    np.argmin: [(lambda x: x * np.argmin(x), V), (lambda x: x * np.argmin(x, 1)[:, :, None].swapaxes(1, 2), T)],
    np.sort: [(np.sort, V), (lambda x: np.sort(x, 0), M), (lambda x: np.sort(x, axis=None), V.reshape(1, -1)), (np.sort, EMPTY), (lambda x: np.sort(x[:, ::-1], kind="heapsort"), M)],
    np.argsort: [(lambda x: x[np.argsort(x)], V), (lambda x: x * np.argsort(x, 0), M), (lambda x: x * np.argsort(x), POINT)],
    np.partition: [(lambda x: np.partition(x, 2)[2], V), (lambda x: np.partition(x, (0, 1), axis=0)[1], M)],
    np.median: [(np.median, V), (np.median, M), (lambda x: np.median(x, 0), M), (lambda x: np.median(x, -1, keepdims=True), T), (lambda x: np.median(x, keepdims=True), M)],
    np.searchsorted: [(lambda x: x * np.searchsorted([0.5, 1.0, 1.5], x), M), (lambda x: np.sort(x).searchsorted(1.0) * x, V), (lambda s: s * np.searchsorted([0.0, 1.0], s), 0.5)],
    np.nonzero: [(lambda x: x[np.nonzero(x > 1.0)], M), (lambda x: x[(x > 1.0).nonzero()], V)],
    np.flatnonzero: [(lambda x: x.ravel()[np.flatnonzero(x > 1.0)], M)],
    np.argwhere: [(lambda x: np.argwhere(x > 1.0)[:, 0] * 1.0 + x[0, 0], M)],
    np.count_nonzero: [(lambda x: np.count_nonzero(x > 1.0) * x, M), (lambda x: np.count_nonzero(x > 1.0, axis=0, keepdims=True) * x, M)],
}
A = np.array([[2.0, 0.5, -0.3], [0.1, 1.5, 0.2], [-0.4, 0.3, 1.8]])
AS, B = np.stack([A, A.T + np.eye(3)]), np.array([[0.3, -1.2], [0.7, 0.1], [1.1, 0.4]])
LINALG = {
    np.linalg.inv: [(np.linalg.inv, A), (np.linalg.inv, AS), (lambda x: np.linalg.inv(x[1:, 1:]), A)],
    np.linalg.solve: [(np.linalg.solve, A, B), (np.linalg.solve, A, B[:, 0]), (np.linalg.solve, AS, B), (np.linalg.solve, AS, B[:, 0]), (np.linalg.solve, AS, AS), (lambda x: np.linalg.solve(A, x), B),
                      (lambda x: np.linalg.solve(x, B), A), (lambda x: np.linalg.solve(A, x), AS)],
    np.linalg.det: [(np.linalg.det, A), (np.linalg.det, AS)],
    np.linalg.slogdet: [(lambda x: np.linalg.slogdet(x)[1], A), (lambda x: np.linalg.slogdet(x).logabsdet, -AS), (lambda x: math.prod(np.linalg.slogdet(-x)), A)],
    np.linalg.cholesky: [(lambda x: np.linalg.cholesky(x @ x.T), A), (lambda x: np.linalg.cholesky(x @ x.swapaxes(1, 2)), AS)],
}
# fmt: on
TABLES = SHAPES | REDUCTIONS | PRODUCTS | ORDERS | VARIOUS | LINALG
CASES = [(f"{f.__name__}-{i}", case) for f, cases in TABLES.items() for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_function(case):
    f, *args = case
    agree(f, *args)


def test_every_name_has_a_case():
    assert set(FUNCTIONS) == set(TABLES) | set(FORMULAS)
