"""Programs of in-place assignment, each run on a traced array by `test_inplace` and compared with plain NumPy."""

import copy

import numpy as np

V = np.array([0.3, 1.2, 0.7, 2.1, 1.6, 0.9])
M = V.reshape(2, 3)
MASK = np.array([True, False, False, True, True, False])


def element(x):
    y = x * 1.0
    y[2] = x[0] * x[1]
    return y


def negative_index(x):
    y = x.copy()
    y[-1] = y[0] * 3.0
    return y * y


def view_before_write(x):
    y = x * 2.0
    view = y[1:4]
    y[2] = x[0]
    return view * y[:3]


def view_after_write(x):
    y = x * 2.0
    y[2] = x[0]
    view = y[1:4]
    y[3] = x[1] * x[1]
    return view * 2.0


def write_through_view(x):
    y = x * 2.0
    view = y[::2]
    view[1] = x[5]
    return y


def write_through_view_of_view(x):
    y = x * 2.0
    y[1:][::2][1] = x[0] ** 2
    return y


def slices_of_slices(x):
    y = np.exp(x)
    part = y[1:5]
    inner = part[1:3]
    inner[:] = x[0]
    part[0] = 4.0
    return y, part * inner[0]


def whole(x):
    y = x * 2.0
    view = y[2:4]
    y[:] = x * x
    return view, y


def ellipsis(x):
    y = x * 2.0
    y[...] = 3.0
    y[..., 0] = x[1]
    return y


def fancy(x):
    y = x * 2.0
    y[[0, 3]] = x[[1, 2]] ** 2
    return y


def fancy_repeated(x):
    y = x * 2.0
    y[[0, 0, 1]] = x[[1, 2, 3]]
    return y


def fancy_reads_copy(x):
    y = x * 2.0
    part = y[[0, 1]]
    part[0] = 7.0
    return y, part


def mask(x):
    y = x * 2.0
    y[MASK] = x[MASK] ** 2
    y[~MASK] = 1.5
    return y


def mask_reads_copy(x):
    y = x * 2.0
    part = y[MASK]
    part += 1.0
    return y, part


def fancy_2d(x):
    y = x.reshape(2, 3) * 1.0
    y[[0, 1], [2, 0]] = x[:2] * 3.0
    y[np.ix_([0], [0, 1])] = x[4]
    return y


def broadcasting(x):
    y = np.exp(x.reshape(2, 3))
    y[:] = x[:3]
    y[1] = x[0]
    y[:, 2] = 5.0
    return y


def broadcasting_column(x):
    y = np.exp(x.reshape(2, 3))
    y[...] = x[:2, None]
    return y


def leading_ones(x):
    y = x[:3] * 1.0
    y[:] = x[None, 3:]
    return y


def list_of_values(x):
    y = x * 1.0
    y[1:4] = [x[0], 2.0, x[1] * x[2]]
    y[4:] = [1, 2]
    return y


def augmented_whole(x):
    y = x * 2.0
    view = y[1:3]
    y += x
    y *= y
    y -= 1.0
    y /= 3
    y **= 2
    return y, view


def augmented_view(x):
    y = x * 2.0
    y[2:] += x[:4]
    y[:3] *= y[3:]
    return y


def augmented_element(x):
    y = x * 2.0
    y[0] += x[1] * x[1]
    y[0] *= y[1]
    return y


def augmented_fancy(x):
    y = x * 2.0
    y[[0, 0, 4]] += x[:3]
    y[MASK] -= 1.0
    return y


def augmented_remainder(x):
    y = x * 2.0
    y %= 0.7
    y //= 0.2
    return y + x


def augmented_product(x):
    y = x[:4].reshape(2, 2) * 1.0
    view = y[0]
    y @= x[2:].reshape(2, 2)
    return y, view


def augmented_name_of_a_scalar(x):
    total = x[0]
    kept = total
    total += x[1]
    return total * kept


def swap(x):
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    y[[2, 3]] = y[[3, 2]]
    return y * np.arange(6)


def swap_of_views(x):
    y = x * 1.0
    y[:2], y[2:4] = y[2:4].copy(), y[:2].copy()
    return y


def overlap_up(x):
    y = x * 2.0
    y[1:] = y[:-1]
    return y


def overlap_down(x):
    y = x * 2.0
    y[:-1] = y[1:]
    return y


def overlap_reversed(x):
    y = x * 2.0
    y[:] = y[::-1]
    return y


def overlap_augmented(x):
    y = x * 2.0
    y[1:] += y[:-1]
    return y


def overlap_transposed(x):
    y = x[:4].reshape(2, 2) * 2.0
    y[:] = y.T
    return y


def transposed(x):
    y = x.reshape(2, 3) * 2.0
    y.T[2, 0] = x[0]
    y.T[:2] += 1.0
    return y, y.T


def reshape_view(x):
    y = x * 2.0
    y.reshape(2, 3)[1, 1] = x[0]
    return y


def reshape_copy(x):
    y = x.reshape(2, 3) * 2.0
    y.T.reshape(-1)[0] = 9.0
    return y


def ravel_view(x):
    y = x.reshape(2, 3) * 2.0
    y.ravel()[4] = x[0]
    return y


def ravel_copy(x):
    y = x.reshape(2, 3) * 2.0
    y.T.ravel()[4] = 9.0
    return y


def flatten(x):
    y = x.reshape(2, 3) * 2.0
    y.flatten()[0] = 9.0
    return y


def flat(x):
    y = x.reshape(2, 3) * 2.0
    y.flat[4] = x[0]
    y.T.flat[1] = x[1]
    return y


def copies(x):
    y = x * 2.0
    other = y.copy()
    other[0] = 9.0
    y[1] = x[5]
    third = np.copy(y[1:3])
    third[0] = 1.0
    return y, other, third


def copies_of_containers(x):
    state = {"y": x * 2.0}
    saved = copy.deepcopy(state)
    state["y"][0] = 9.0
    return saved["y"] * state["y"]


def squeeze_and_expand(x):
    y = x * 2.0
    y[None, :, None][0, 1, 0] = x[0]
    np.squeeze(y[None])[2] = x[1]
    np.expand_dims(y, 1)[3, 0] = x[2]
    return y


def shape_functions_that_see(x):
    y = x.reshape(2, 3) * 2.0
    np.swapaxes(y, 0, 1)[0, 1] = x[0]
    np.flip(y)[0, 0] = x[1]
    np.moveaxis(y, 0, 1)[1, 0] = 4.0
    np.split(y, 3, axis=1)[2][:] = x[4]
    np.atleast_2d(y)[1, 1] = 3.0
    return y


def shape_functions_that_copy(x):
    y = x * 2.0
    for made in (
        np.concatenate([y, y]),
        np.stack([y, y])[0],
        np.roll(y, 1),
        np.repeat(y, 2),
        np.tile(y, 2),
        np.take(y, [0, 1]),
    ):
        made[0] = 9.0
    return y


def diagonal_of_copy(x):
    y = x[:4].reshape(2, 2) * 2.0
    y.flat[:: y.shape[1] + 1] = x[4:]
    return y


def fill(x):
    y = x * 2.0
    y[:3].fill(4.0)
    y[4:].fill(x[0])
    return y


def empty_assignment(x):
    y = x * 2.0
    y[3:3] = 5.0
    y[[]] = x[:0]
    y[2:1] += 1.0
    return y


def in_a_loop(x):
    y = x * 0.0
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = y[i - 1] * x[i] + np.sin(y[i - 1])
    return y


def zeros_like_is_plain(x):
    y = np.zeros_like(x) * x
    y[0] = x[1]
    return y


def out_argument(x):
    y = x * 2.0
    np.multiply(y[:3], x[3:], out=y[1:4])
    return y


def zero_dimensions(x):
    y = (x * 1.0)[2, ...]
    y[...] = x[0] * x[1]
    y += 1.0
    return y * 2.0


def element_of_a_row(x):
    rows = x.reshape(2, 3) * 1.0
    for row in rows:
        row[0] = row[1] * row[2]
    return rows


PROGRAMS = [f for f in list(globals().values()) if callable(f) and getattr(f, "__module__", "") == __name__]
