"""Streams: a function of a batch over more points than memory holds, one chunk after another."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from fasttape import trees
from fasttape.errors import ArgumentError, OutputError, UnsupportedError


def stream(
    f: Callable[..., Any], chunks: Any, out: Any = None, *, points: int = 1 << 16, progress: bool = False
) -> Any:
    """Call a function of a batch, such as `ft.vmap(ft.grad(g))`, for every chunk of a stream, in order.

    `chunks` is an array (or an `np.memmap`), or a tuple of arrays for as many arguments, which are cut along their
    first axes into chunks of `points` each; or it is any other iterable of chunks, each an array or a tuple of the
    arguments. Only one chunk is looked at, and only one result held, at a time.

    Where the results go: `out` is an array (or an `np.memmap`), or a nest of them like the result of `f`, and is
    filled from the front; the part that was filled is returned. Or `out` is a function that is called with each result,
    whatever that is; then the number of chunks is returned. Without `out` all results are returned as one, for which
    memory must suffice. With `progress` a bar shows how far it is (this loads rich).

    Raises `ArgumentError` for arrays of different lengths or an `out` that is too short, `OutputError` for results that
    are not one for each point, or unlike `out`.

    >>> import numpy as np
    >>> import fasttape as ft
    >>> ft.stream(np.sin, np.zeros(100_000)).shape
    (100000,)
    >>> ft.stream(np.sum, (np.full(4, i) for i in range(3)), print)
    0
    4
    8
    3
    """
    count, pieces = cut(chunks, points)
    put = out if callable(out) else Results(out)
    with bar(count) if progress else contextlib.nullcontext(lambda n: None) as advance:
        done = 0
        for piece in pieces:
            arguments = piece if isinstance(piece, tuple) else (piece,)
            put(f(*arguments))
            done += 1
            advance(len(np.atleast_1d(trees.flatten(arguments)[0][0])))
    return put.whole() if isinstance(put, Results) else done


def cut(chunks: Any, points: int) -> tuple[int | None, Iterable[Any]]:
    """The number of points in a stream, if that is known, and its chunks."""
    arrays = chunks if isinstance(chunks, tuple) else (chunks,)
    if not arrays or not all(isinstance(x, np.ndarray) and x.ndim for x in arrays):
        return None, chunks
    sizes = sorted({len(x) for x in arrays})
    if len(sizes) > 1:
        raise ArgumentError(f"the arrays of a stream have {sizes[0]} and {sizes[-1]} points; they need the same number")
    starts = range(0, max(sizes[0], 1), points)  # f sees an empty stream, too: what it returns has a shape
    return sizes[0], (tuple(x[at : at + points] for x in arrays) for at in starts)


class Results:
    """What a stream returns: arrays that were given, or new ones."""

    def __init__(self, out: Any):
        self.given = None if out is None else trees.flatten(out)
        self.parts: list[list[Any]] = []
        self.structure: Any = None
        self.count = 0

    def __call__(self, result: Any) -> None:
        """Take the result of one chunk."""
        leaves, structure = trees.flatten(result)
        sizes = {np.shape(x)[:1] for x in leaves}
        if len(sizes) != 1 or () in sizes:
            raise OutputError(
                "the function of a stream must return arrays with an entry for each point; "
                "pass a function as out to take anything else"
            )
        ((size,),) = sizes
        if self.given is None:  # copies, for the next chunk may come in the memory of this one
            self.parts.append([np.array(x) for x in leaves])
            self.structure = structure
        else:
            self.fill(leaves, structure, size)
        self.count += size

    def fill(self, leaves: list[Any], structure: Any, size: int) -> None:
        arrays, expected = self.given or ([], None)
        if structure != expected:
            raise OutputError("the function of a stream returned another nest of arrays than out is")
        for array, leaf in zip(arrays, leaves, strict=True):
            if len(array) < self.count + size:
                raise ArgumentError(f"out has room for {len(array)} points, and the stream has more")
            array[self.count : self.count + size] = leaf

    def whole(self) -> Any:
        """All results."""
        if self.given is not None:
            arrays, structure = self.given
            return trees.unflatten(structure, [x[: self.count] for x in arrays])
        if not self.parts:
            raise ArgumentError("the stream has no chunks, so nothing says what the results would be")
        return trees.unflatten(self.structure, [np.concatenate(x) for x in zip(*self.parts, strict=True)])


@contextlib.contextmanager
def bar(count: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar; the number of points may be unknown."""
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        raise UnsupportedError("the progress bar of a stream needs rich: pip install rich") from None
    with Progress(console=Console(stderr=True)) as shown:
        task = shown.add_task("points", total=count)
        yield lambda n: shown.advance(task, n)
