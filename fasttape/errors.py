"""Every exception that users meet; each docstring holds a program that fails and what to write instead.

All derive from `FastTapeError` and from the builtin class that a reader would expect to catch.
"""


class FastTapeError(Exception):
    """The base of all errors that fasttape raises on purpose."""


class ArgumentError(FastTapeError, TypeError):
    """An argument that cannot be differentiated or recorded.

    >>> import numpy as np, fasttape as ft
    >>> ft.grad(lambda x: (x * x).sum())(np.array([1, 2]))
    Traceback (most recent call last):
    fasttape.errors.ArgumentError: argument 0 of <lambda> is an array of int64, which has no derivative; \
write x.astype(np.float64)
    >>> ft.grad(lambda x: (x * x).sum())(np.array([1, 2]).astype(np.float64))
    array([2., 4.])
    """


class ArgnumsError(FastTapeError, ValueError):
    """`argnums` does not name positional arguments of the call.

    >>> import fasttape as ft
    >>> ft.grad(lambda x: x * x, argnums=1)(3.0)
    Traceback (most recent call last):
    fasttape.errors.ArgnumsError: argnums=1 names argument 1, but <lambda> was called with 1 positional argument
    >>> ft.grad(lambda x: x * x, argnums=0)(3.0)
    6.0
    """


class OutputError(FastTapeError, TypeError):
    """The function returned what the transform cannot differentiate.

    >>> import numpy as np, fasttape as ft
    >>> ft.grad(lambda x: x * x)(np.array([1.0, 2.0]))
    Traceback (most recent call last):
    fasttape.errors.OutputError: grad needs a scalar output, but <lambda> returned an array of shape (2,); \
sum it, or use jvp for a directional derivative
    >>> ft.grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    array([2., 4.])
    """


class UnsupportedError(FastTapeError, NotImplementedError):
    """A function or an argument of one that has no recording.

    >>> import numpy as np, fasttape as ft
    >>> ft.grad(lambda x: x[np.argpartition(x, 1)[0]])(np.array([3.0, 1.0, 2.0]))
    Traceback (most recent call last):
    fasttape.errors.UnsupportedError: numpy.argpartition cannot be recorded; the nearest that can: numpy.argsort
    >>> ft.grad(lambda x: x[np.argsort(x)[0]])(np.array([3.0, 1.0, 2.0]))
    array([0., 1., 0.])
    """


class ConversionError(FastTapeError, TypeError):
    """A traced value was asked for its plain number, which would cut the derivative.

    >>> import fasttape as ft
    >>> ft.grad(lambda x: float(x) * 2.0)(3.0)
    Traceback (most recent call last):
    fasttape.errors.ConversionError: float() of a traced value would lose its derivative; use the value as it is
    >>> ft.grad(lambda x: x * 2.0)(3.0)
    2.0
    """


class MutationError(FastTapeError, ValueError):
    """An assignment into an array that belongs to the caller.

    >>> import numpy as np, fasttape as ft
    >>> def f(x):
    ...     x[0] = 0.0
    ...     return x.sum()
    >>> ft.grad(f)(np.ones(2))
    Traceback (most recent call last):
    fasttape.errors.MutationError: assignment into an argument of the recorded function; assign into x.copy()
    >>> def g(x):
    ...     x = x.copy()
    ...     x[0] = 0.0
    ...     return x.sum()
    >>> ft.grad(g)(np.ones(2))
    array([0., 1.])
    """


class LeakError(FastTapeError, RuntimeError):
    """A traced value was used after its recording ended, or together with a value of another recording.

    >>> import fasttape as ft
    >>> kept = []
    >>> def f(x):
    ...     kept.append(x)
    ...     return x * x
    >>> ft.grad(f)(3.0)
    6.0
    >>> kept[0] + 1.0
    Traceback (most recent call last):
    fasttape.errors.LeakError: a traced value was used after its recording ended; return it from the function instead
    """

    recordings: tuple[object, ...] = ()  # those whose values met


class ReplayError(FastTapeError, RuntimeError):
    """A tape was asked for a point where what it recorded does not hold.

    >>> import fasttape as ft
    >>> tape = ft.record(lambda x: x * x if x > 0.0 else -x, 3.0)
    >>> tape(2.0)
    4.0
    >>> tape(-2.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fasttape.errors.ReplayError: this tape was recorded with a condition true at ...
    >>> ft.grad(lambda x: x * x if x > 0.0 else -x)(-2.0)
    -1.0
    """

    def __init__(self, message: str, cause: str = ""):
        super().__init__(message)
        self.cause = cause or message  # in short, and without the values of the call


class RandomnessError(FastTapeError, RuntimeError):
    """A function that is to be replayed draws random numbers; a replay would repeat those of the recording.

    >>> import numpy as np, fasttape as ft
    >>> rng = np.random.default_rng(0)
    >>> ft.record(lambda x: x * rng.normal(), 1.0)
    Traceback (most recent call last):
    fasttape.errors.RandomnessError: the function draws random numbers from the global variable rng, and a replay \
would repeat them; draw them outside and pass them as an argument
    >>> ft.record(lambda x, noise: x * noise, 1.0, rng.normal())
    <Tape of <lambda>: 1 instructions>
    """


class InvalidTapeError(FastTapeError, ValueError):
    """A tape whose arrays do not describe a program: an index out of range, an unknown opcode, a damaged record.

    >>> import numpy as np, fasttape as ft
    >>> from fasttape.verify import verify
    >>> program = ft.record(lambda x: x * x, 1.0).program
    >>> verify(program._replace(a=np.array([9], np.uint32)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fasttape.errors.InvalidTapeError: ...
    >>> verify(program) is program
    True
    """
