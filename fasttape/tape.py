"""Tape: a recorded function. Called at new points it replays compiled sweeps; the Python function is not run again."""

import linecache
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fasttape import binding, show
from fasttape.errors import ArgumentError, ReplayError
from fasttape.execute.interpreter import Workspace
from fasttape.program import Program
from fasttape.recorders.dependencies import check
from fasttape.recording import Recording, outputs_of, record_call, scalar_output


class Tape:
    """A frozen recording of one call of a function, with every float argument as an input.

    Calling it, and its methods, take arguments of the recorded structure and shapes and raise `ReplayError` where the
    recording does not hold. A tape never changes, so threads may share it; each evaluation has a workspace of its own.
    """

    def __init__(self, recording: Recording):
        self._recording = recording
        self._idle: deque[Workspace] = deque()

    @property
    def program(self) -> Program:
        """The instructions as flat arrays."""
        return self._recording.program

    def __len__(self) -> int:
        """The number of instructions."""
        return int(self.program.ops.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the program; an evaluation adds a value and an adjoint per slot."""
        return int(self.program.nbytes)

    def __str__(self) -> str:
        return str(show.listing(self.program, self._recording.signature))

    def __repr__(self) -> str:
        return f"<Tape of {self._recording.signature.name}: {len(self)} instructions>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tape, (self._recording._replace(dependencies=()),)  # they live in this process

    # ---- evaluation

    def __call__(self, *args: Any) -> Any:
        """The recorded function at new arguments.

        >>> import fasttape as ft
        >>> ft.record(lambda x, y: x * y, 1.0, 1.0)(3.0, 4.0)
        12.0
        """
        return self._with_workspace(args, self._outputs)

    def value_and_grad(self, *args: Any) -> tuple[Any, Any]:
        """The value of a scalar function and its gradient by the arguments that the tape differentiates.

        >>> import fasttape as ft
        >>> ft.record(lambda x, y: x * y, 1.0, 1.0, argnums=(0, 1)).value_and_grad(3.0, 4.0)
        (12.0, (4.0, 3.0))
        """
        scalar_output(self._recording, "value_and_grad")
        value, gradient = self._with_workspace(args, lambda w: (self._outputs(w), self._gradient(w)))
        return value, gradient

    def grad(self, *args: Any) -> Any:
        """The gradient of a scalar function by the arguments that the tape differentiates.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x, 1.0).grad(3.0)
        6.0
        """
        scalar_output(self._recording, "grad")
        return self._with_workspace(args, self._gradient)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """The value at `primals` and its derivative along `tangents`, tuples of one entry per argument.

        >>> import fasttape as ft
        >>> ft.record(lambda x: x * x, 1.0).jvp((3.0,), (1.0,))
        (9.0, 6.0)
        """

        def run(workspace: Workspace) -> tuple[Any, Any]:
            seed = self._seed(primals, tangents)
            along = outputs_of(self._recording, workspace.tangent(seed), tangent=True)
            return self._outputs(workspace), along

        value, tangent = self._with_workspace(primals, run)
        return value, tangent

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
            adjoints[:] = 0.0
            workspace.clear()
            return made

        traced: show.Trace = self._with_workspace(args, run)
        return traced

    # ---- parts of an evaluation

    def _with_workspace(self, args: Sequence[Any], use: Callable[[Workspace], Any]) -> Any:
        """Run the tape forward at some arguments and `use` the workspace."""
        check(self._recording.dependencies)
        values = binding.match(self._recording.signature, args)
        try:
            workspace = self._idle.pop()
        except IndexError:
            workspace = Workspace(self.program)
        binding.fill(self._recording.signature, values, workspace.inputs)
        stopped = workspace.forward()
        if stopped < len(self):
            self._idle.append(workspace)
            raise self._guard_error(stopped)
        made = use(workspace)
        self._idle.append(workspace)
        return made

    def _outputs(self, workspace: Workspace) -> Any:
        return outputs_of(self._recording, workspace.values[self.program.outputs])

    def _gradient(self, workspace: Workspace) -> Any:
        gradient = binding.gradient(self._recording.signature, workspace.reverse(1.0))
        workspace.clear()
        return gradient

    def _seed(self, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        signature = self._recording.signature
        if len(primals) != len(tangents):
            raise ArgumentError(f"jvp needs one tangent per primal, got {len(primals)} and {len(tangents)}")
        values = binding.match_tangents(signature, tangents)
        seed = np.zeros(signature.size, signature.dtype)
        binding.fill(signature, values, seed)
        return seed

    def _guard_error(self, stopped: int) -> ReplayError:
        outcome = bool(self.program.b[stopped])
        site = self.program.site(stopped)
        line = linecache.getline(site.file, site.line).strip()
        return ReplayError(
            f"this tape was recorded with a condition {str(outcome).lower()} at {site.file}:{site.line}"
            f"{f' ({line})' if line else ''}; at this point it is {str(not outcome).lower()}, so the tape does not "
            "hold. Record again there, or choose with np.where(condition, x, y) instead of if"
        )


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
    recording = record_call(f, args, {}, argnums, passive=True)
    return Tape(recording)
