"""Evaluator: runs a recording at given leaves of its arguments; the part that tapes and one-time transforms share."""

import functools
import linecache
from collections import deque

import numpy as np

from fasttape import binding
from fasttape.errors import ReplayError
from fasttape.execute.interpreter import Workspace
from fasttape.execute.linear import LinearTape
from fasttape.execute.loops import looped
from fasttape.execute.plan import plan_for
from fasttape.execute.swept import Swept
from fasttape.recorders.dependencies import check
from fasttape.recording import outputs_of
from fasttape.transform.forward import chained
from fasttape.transform.optimize import prune

LONG = 256  # outputs in runs that are worth copying one by one, on average


class Evaluator:
    """A recording with its plan and the workspaces that are not in use; threads may share it."""

    def __init__(self, recording, *, whole=False, again=False, only_forward=False, source=None):
        """With `whole`, an evaluation has the value of every slot, as traces and linear tapes want them.

        `again` says that there will be many, `only_forward` that no reverse sweep follows one. `source` is the program
        of which that of the recording is a form for the interpreter alone.
        """
        self.recording, self.source = recording, source or recording.program
        self.program, self.signature = recording.program, recording.signature
        self.whole, self.again, self.only_forward = whole, again, only_forward
        self.idle: deque[Workspace] = deque()

    @functools.cached_property
    def plan(self):
        segments = None if self.whole else tuple((leaf.start, leaf.stop) for leaf in self.signature.leaves)
        return plan_for(self.program, segments, again=self.again)

    @functools.cached_property
    def looped(self):
        """The loops that evaluations run in, or None."""
        return looped(self.plan, self.program) if self.only_forward else None

    @functools.cached_property
    def last_call(self):
        """The call at the end whose results are the outputs in order, so that it may hand them over, or None."""
        if not self.only_forward or self.looped is not None or not self.plan.calls:
            return None
        site = self.plan.calls[-1]
        at_end = site.instruction == self.plan.columns[0].size - 1
        return site if at_end and self.runs == [(site.slot, self.program.slots)] else None

    def leaves(self, args, *, exact=False):
        """The leaves of arguments for which the recording holds, as `binding.match`; raises `ReplayError`."""
        check(self.recording.dependencies)
        return binding.match(self.signature, args, exact=exact)

    def run(self, values, use, *, keep=False):
        """Run forward at some leaves and `use` the workspace; `keep` what a reverse sweep wants of calls."""
        workspace = self.forward(values, keep=keep)
        made = use(workspace)
        self.idle.append(workspace)
        return made

    def linearize(self, values, *, keep=True):
        """The value at some leaves, and the linear tape there; of a `whole` evaluator. `keep` as in `run`."""
        workspace = self.forward(values, keep=keep)
        linear = (Swept if self.plan.calls else LinearTape)(workspace)
        value = self.outputs(workspace)
        if linear.workspace is None:
            self.idle.append(workspace)
        return value, linear

    def forward(self, values, *, keep):
        """A workspace that has run forward at some leaves."""
        try:
            workspace = self.idle.pop()
        except IndexError:
            workspace = Workspace(self.plan, self.program)
            workspace.calls.known = self.recording.known
        placed = workspace.place(values)
        binding.fill(self.signature, values, workspace.inputs, placed)
        if self.last_call is not None:
            workspace.delivered = np.empty(self.program.outputs.size, self.program.dtype)
            workspace.calls.handed[self.last_call.number] = workspace.delivered
        stopped = workspace.forward(keep=keep) if self.looped is None else self.looped.forward(workspace)
        if stopped < self.program.ops.size:
            self.idle.append(workspace)
            raise guard_error(self.program, stopped)
        return workspace

    @functools.cached_property
    def runs(self) -> list[tuple[int, int]]:
        """The (start, stop) of the output slots that follow one another, if they are worth copying so."""
        slots = self.program.outputs
        firsts = np.append(0, 1 + np.flatnonzero(slots[1:] != slots[:-1] + 1))
        if firsts.size > slots.size // LONG:
            return []
        lasts = np.append(firsts[1:], slots.size) - 1
        return list(zip(slots[firsts].tolist(), (slots[lasts] + 1).tolist(), strict=True))

    def outputs(self, workspace):
        """What the function returns."""
        slots, delivered = self.program.outputs, workspace.delivered
        if delivered is not None:
            workspace.delivered = None
            return outputs_of(self.recording, delivered)
        if self.runs:
            numbers = np.concatenate([workspace.values[start:stop] for start, stop in self.runs])
        else:
            numbers = workspace.values[slots]
        return outputs_of(self.recording, numbers)

    def gradient(self, workspace):
        """The gradient by the differentiated arguments."""
        gradient = binding.gradient(self.signature, *workspace.gradient(1.0))
        workspace.clear()
        return gradient

    def value_and_gradient(self, workspace):
        return self.outputs(workspace), self.gradient(workspace)

    def along(self, tangents):
        """What to do with a workspace for the value and its derivative along the leaves of tangents."""
        seed = np.zeros(self.signature.size, self.signature.dtype)
        binding.fill(self.signature, tangents, seed)

        def value_and_tangent(workspace):
            tangent = outputs_of(self.recording, workspace.tangent(seed), tangent=True)
            return self.outputs(workspace), tangent

        return value_and_tangent


def forward_only(evaluator: Evaluator) -> Evaluator:
    """The same for values alone, where that is faster."""
    recording, program = evaluator.recording, prune(evaluator.program)
    chains = chained(program)
    if chains is not program:
        return Evaluator(recording._replace(program=chains), source=program)
    if program is not evaluator.program:
        evaluator = Evaluator(recording._replace(program=program), again=evaluator.again)
    alone = Evaluator(evaluator.recording, again=evaluator.again, only_forward=True)
    return evaluator if alone.looped is None and alone.last_call is None else alone


def guard_error(program, stopped, where="this point") -> ReplayError:
    """The error for a guard that does not hold."""
    outcome = bool(program.b[stopped])
    site = program.site(stopped)
    line = linecache.getline(site.file, site.line).strip()
    return ReplayError(
        f"this tape was recorded with a condition {str(outcome).lower()} at {site.file}:{site.line}"
        f"{f' ({line})' if line else ''}; at {where} it is {str(not outcome).lower()}, so the tape does not "
        "hold. Record again there, or choose with np.where(condition, x, y) instead of if",
        cause=f"a condition is {str(not outcome).lower()} at {site.file}:{site.line}",
    )
