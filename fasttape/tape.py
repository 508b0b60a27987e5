"""Tape: a recorded function. Called at new points it replays compiled sweeps; the Python function is not run again."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fasttape import binding, decode, direct, show
from fasttape.derivatives import (
    Linearization,
    LinearMap,
    gradient_recording,
    jacobian,
    jacobian_recording,
    replayed,
    tangent_recording,
)
from fasttape.errors import ArgumentError, ReplayError
from fasttape.evaluation import Evaluator
from fasttape.execute.interpreter import Workspace
from fasttape.native import NativeTape
from fasttape.program import Program
from fasttape.recording import Recording, record_call, scalar_output
from fasttape.transform.optimize import Report, optimize, report_of, stages


class Tape:
    """A frozen recording of one call of a function, with every float argument as an input.

    Calling it, and its methods, take arguments of the recorded structure and shapes and raise `ReplayError` where the
    recording does not hold. A tape never changes, so threads may share it; each evaluation has a workspace of its own.
    """

    report: Report | None
    """What `optimize` did to make this tape, pass by pass; None for a tape as it was recorded."""

    def __init__(self, recording: Recording, report: Report | None = None):
        self.report = report
        self._recording = recording
        self._repeats = False  # whether a Jacobian was asked for before
        self._evaluator = Evaluator(recording, again=True)

    @property
    def program(self) -> Program:
        """The instructions as flat arrays."""
        return self._recording.program

    def __len__(self) -> int:
        """The number of instructions."""
        return int(self.program.ops.size)

    @property
    def operations(self) -> int:
        """The number of scalar operations in one evaluation.

        An instruction on arrays counts one for each point of its iteration space, a matrix product two (a product and a
        sum), a call of a function with its own rule one, a guard none.
        """
        return decode.count_operations(self.program)

    @property
    def nbytes(self) -> int:
        """Bytes of the program; an evaluation adds a value and an adjoint per slot."""
        return int(self.program.nbytes)

    def __str__(self) -> str:
        return str(show.listing(self.program, self._recording.signature))

    def __repr__(self) -> str:
        return f"<Tape of {self._recording.signature.name}: {len(self)} instructions>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tape, (self._recording._replace(dependencies=()), self.report)  # they live in this process

    # ---- evaluation

    def __call__(self, *args: Any) -> Any:
        """The recorded function at new arguments.

        >>> import fasttape as ft
        >>> ft.record(lambda x, y: x * y, 1.0, 1.0)(3.0, 4.0)
        12.0
        """
        return self._value(*args)

    def value_and_grad(self, *args: Any) -> tuple[Any, Any]:
        """The value of a scalar function and its gradient by the arguments that the tape differentiates.

        >>> import fasttape as ft
        >>> ft.record(lambda x, y: x * y, 1.0, 1.0, argnums=(0, 1)).value_and_grad(3.0, 4.0)
        (12.0, (4.0, 3.0))
        """
        value, gradient = self._value_and_gradient(*args)
        return value, gradient

    def grad(self, *args: Any) -> Any:
        """The gradient of a scalar function by the arguments that the tape differentiates.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x, 1.0).grad(3.0)
        6.0
        """
        return self._gradient(*args)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """The value at `primals` and its derivative along `tangents`, tuples of one entry per argument.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x, 1.0).jvp((3.0,), (1.0,))
        (9.0, 6.0)
        """

        values = self._evaluator.leaves(primals)
        along = self._evaluator.along(binding.match_tangents(self._recording.signature, tangents))
        value, tangent = self._evaluator.run(values, along)
        return value, tangent

    def vjp(self, *args: Any) -> tuple[Any, LinearMap]:
        """The value, and the function that pulls a cotangent of the output back to the differentiated arguments.

        >>> import fasttape as ft
        >>> value, pullback = ft.record(lambda x: x * x, 1.0).vjp(3.0)
        >>> value, pullback(1.0)
        (9.0, 6.0)
        """
        linear = Linearization.at(self._whole, self._evaluator.leaves(args))
        return linear.value, linear.pullback

    def jacobian(self, *args: Any) -> Any:
        """The Jacobian by the differentiated arguments, as `fasttape.jacobian` returns it.

        The first call takes it from a linear tape. The second one may find that the Jacobian is sparse and record a
        program for it, which pays from a few calls on and may round the last bits differently.

        >>> import numpy as np, fasttape as ft
        >>> ft.record(lambda x: x**2, np.zeros(2)).jacobian(np.array([1.0, 2.0]))
        array([[2., 0.],
               [0., 4.]])
        """
        sparse = self._sparse if self._repeats else None
        self._repeats = True
        return jacobian(self._whole, self._evaluator.leaves(args)) if sparse is None else sparse._value(*args)

    def gradient_tape(self) -> "Tape":
        """The tape that returns (value, gradient), for a scalar function; it can be differentiated in turn.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x * x, 1.0).gradient_tape()(2.0)
        (8.0, 12.0)
        """
        scalar_output(self._recording, "gradient_tape")
        return Tape(gradient_recording(self._recording, with_value=True))

    def hvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """The derivative of the gradient along `tangents`: forward mode over the gradient tape.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x * x, 1.0).hvp((2.0,), (1.0,))
        12.0
        """
        signature = self._recording.signature
        if len(tangents) != len(signature.structures) or len(signature.argnums) < len(tangents):
            binding.match_tangents(signature, tangents)
        try:
            return self._product._value(*primals, *(tangents[n] for n in sorted(signature.argnums)))
        except (ReplayError, ArgumentError):
            binding.match_tangents(signature, tangents)  # says what is wrong if it is they
            raise

    def hessian(self, *args: Any) -> Any:
        """The matrix of second derivatives, as `fasttape.hessian` returns it; the Jacobian of the gradient's tape.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x * x, 1.0).hessian(2.0)
        12.0
        """
        return self._slope.jacobian(*args)

    def optimize(self, *, inexact: bool = False) -> "Tape":
        """The same computation with fewer instructions, to the same bits, guards included; `report` says what was done.

        Common subexpressions are computed once, what depends on constants only becomes a constant, identities that are
        exact in IEEE arithmetic are applied, instructions that nothing needs are dropped. Which nan comes out, its sign
        and its payload, may differ, and gradients may round differently. With `inexact` identities are applied that may
        round values differently as well, or that hold only for finite numbers or up to the sign of a zero: x * 0 is 0.

        >>> import math
        >>> import fasttape as ft
        >>> tape = ft.record(lambda x: math.exp(x * x) + math.exp(x * x), 1.0)
        >>> len(tape), len(tape.optimize())
        (5, 3)
        """
        done = stages(self.program, inexact=inexact)
        return Tape(self._recording._replace(program=done[-1].program), report_of(done))

    def native(self, *, strict: bool = False) -> NativeTape:
        """The tape as machine code: a function of arguments with a leading axis, along which the points stand.

        An argument of the recorded shape is shared by all points. The code is compiled when it is first called, 8
        points (AVX-512) or 4 (AVX2) at a time in float64, and kept on disk. Functions round like those of libmvec,
        products and sums are fused; with `strict` all bits are those of the tape itself. A gradient is that of
        `gradient_tape`.

        Raises `UnsupportedError` for a tape that calls functions with rules of their own, or is too long to compile;
        a call raises `ReplayError` if the recording does not hold at some point, as the tape itself does there.

        >>> import numpy as np, fasttape as ft
        >>> tape = ft.record(lambda x, y: x * x * y, 1.0, 1.0)
        >>> x = np.array([1.0, 2.0, 3.0])
        >>> tape.native()(x, 10.0)
        array([10., 40., 90.])
        >>> value, slope = tape.gradient_tape().native()(x, 10.0)
        >>> slope
        array([20., 40., 60.])
        """
        return NativeTape(self._recording, strict=strict)

    @functools.cached_property
    def _whole(self) -> Evaluator:
        return Evaluator(self._recording, whole=True)

    @functools.cached_property
    def _sparse(self) -> "Tape | None":
        """The tape that returns the Jacobian, where few tangents make all of it."""
        recording = jacobian_recording(self._recording)
        return None if recording is None else Tape(recording)

    @functools.cached_property
    def _slope(self) -> "Tape":
        """The tape that returns the gradient alone."""
        scalar_output(self._recording, "the second derivative")
        recording = gradient_recording(self._recording, with_value=False)
        return Tape(recording._replace(program=optimize(recording.program)))

    @functools.cached_property
    def _product(self) -> "Tape":
        """The tape that returns the derivative of the gradient, of the arguments and tangents."""
        recording = tangent_recording(self._slope._recording)
        return Tape(recording._replace(program=optimize(recording.program)))

    @functools.cached_property
    def _value(self) -> Callable[..., Any]:
        caller: Callable[..., Any] = direct.caller_of(*replayed(self._evaluator, direct.VALUE))
        return caller

    @functools.cached_property
    def _gradient(self) -> Callable[..., Any]:
        scalar_output(self._recording, "grad")
        caller: Callable[..., Any] = direct.caller_of(*replayed(self._evaluator, direct.GRADIENT))
        return caller

    @functools.cached_property
    def _value_and_gradient(self) -> Callable[..., Any]:
        scalar_output(self._recording, "value_and_grad")
        caller: Callable[..., Any] = direct.caller_of(*replayed(self._evaluator, direct.BOTH))
        return caller

    def trace(self, *args: Any) -> show.Trace:
        """The textbook's table at a point: for every variable its operation, primal, local partials and adjoint.

        >>> import fasttape as ft
        >>> print(ft.record(lambda x: x * x, 1.0).trace(3.0))
        variable  operation  primal  partials    adjoint
        x         input      3       -           6
        v1        mul x x    9       x: 3, x: 3  1
        <BLANKLINE>
        2 input-output paths, 1 instructions in the sweep
        """
        scalar_output(self._recording, "trace")

        def run(workspace: Workspace) -> show.Trace:
            adjoints = workspace.reverse(1.0, keep=True)
            made: show.Trace = show.trace(self._recording, workspace.values.copy(), adjoints.copy())
            return made

        traced: show.Trace = self._whole.run(self._evaluator.leaves(args), run, keep=True)
        return traced


def record(f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0) -> Tape:
    """Record a call of `f` as a tape that is replayed at other points.

    Every argument that holds floats is an input; `argnums` says which are differentiated. Everything else that the
    call read is part of the recording: a replay with another integer, string or integer array raises `ReplayError`.

    Raises `ArgumentError`, `ArgnumsError` and `UnsupportedError`; the exceptions' own docstrings show when.

    >>> import math
    >>> import fasttape as ft
    >>> tape = ft.record(lambda x: math.sqrt(x) * x, 1.0)
    >>> tape(4.0), tape.grad(4.0)
    (8.0, 3.0)
    """
    recording, _ = record_call(f, args, {}, argnums, passive=True)
    return Tape(recording)
