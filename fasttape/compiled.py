"""ft.compile: record at the first call, replay while what was recorded holds, record again where it does not."""

import inspect
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, NamedTuple

import numpy as np

from fasttape.api import Differentiated
from fasttape.binding import NOTHING
from fasttape.compiler.calling import NEXT, Caller, caller_class
from fasttape.derivatives import replayed
from fasttape.direct import GRADIENT, VALUE, Direct
from fasttape.errors import ArgumentError, ReplayError
from fasttape.evaluation import Evaluator
from fasttape.execute.caller import BUSY, CODE, HITS
from fasttape.execute.interpreter import address
from fasttape.recorders.dependencies import Dependencies
from fasttape.recording import OPEN, Recording, record_call, scalar_output
from fasttape.transform.nested import enclosing

MOST_CAUSES = 50  # that are told apart
PATIENCE = 50  # recordings after which a function that hardly repeats itself is reported


class NeverRepeatsWarning(UserWarning):
    """A compiled function is recorded again at most of its calls; `info()` of it says why.

    >>> import warnings
    >>> import fasttape as ft
    >>> f = ft.compile(lambda x, n: x * n)
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     results = [f(1.0, n) for n in range(60)]
    >>> caught[0].category.__name__
    'NeverRepeatsWarning'
    >>> g = ft.compile(lambda x, n: x * n)
    >>> sum(g(1.0, float(n)) for n in range(60)), g.info().recordings
    (1770.0, 1)
    """


class Info(NamedTuple):
    """What a compiled function did so far."""

    hits: int  # calls that were answered by a replay
    recordings: int
    paths: int  # recordings that are kept
    native: int  # of these, how many run as machine code
    causes: Mapping[str, int]  # what made a recording necessary, and how often
    unknown: tuple[str, ...]  # what cannot be compared: a call that reads it is recorded anew

    def __str__(self) -> str:
        native = f", {self.native} of them as machine code" if self.native else ""
        lines = [f"{self.hits} replays, {self.recordings} recordings, {self.paths} paths kept{native}"]
        lines += [f"  recorded {count} x: {cause}" for cause, count in self.causes.items()]
        lines += [f"  cannot be compared: {what}" for what in self.unknown]
        return "\n".join(lines)


class Paths:
    """The recordings of one function, the one recorded last first."""

    def __init__(self, function: Callable[..., Any], most: int):
        self.function, self.most = function, most
        plain = Differentiated(VALUE, function, NOTHING)
        self.what, self.recorded, self.argnums = getattr(function, "differentiated", None) or plain
        self.paths: list[tuple[Direct, Any]] = []  # and what the keywords were
        self.retired: list[Direct] = []  # states that a thread still works on
        self.slow_hits = self.lost_hits = self.recordings = 0
        self.causes: Counter[str] = Counter()
        self.unknown: set[str] = set()
        self.lock = threading.RLock()
        self.warned = False
        self.caller: Any = None

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """A call that compiled code did not answer."""
        if OPEN.recordings or enclosing((args, keywords)) is not None:
            return self.function(*args, **keywords)
        if keywords:
            args, keywords = self.positional(args, keywords)
        cause = None
        for direct, kept in list(self.paths):
            try:
                if not kept.holds(keywords):
                    raise ReplayError("the keywords differ", "another value of a keyword")
                found = direct.run(args, exact=True)
            except (ReplayError, ArgumentError) as error:
                cause = cause or getattr(error, "cause", str(error))
            else:
                self.slow_hits += 1
                return found
        return self.record(args, keywords, cause or "the first call")

    def positional(self, args: Any, keywords: Any) -> tuple[Any, Any]:
        """Arguments by position as far as the function allows."""
        try:
            bound = inspect.signature(self.recorded).bind(*args, **keywords)
        except (TypeError, ValueError):
            return args, keywords
        return bound.args, bound.kwargs

    def record(self, args: Any, keywords: Any, cause: str) -> Any:
        """Record a call, keep the recording if it can be compared, and return what the call returns."""
        kept = Dependencies().snapshot(keywords)
        recording, values = record_call(self.recorded, args, keywords, self.argnums, passive=True)
        if self.what != VALUE:
            scalar_output(recording, "grad" if self.what == GRADIENT else "value_and_grad")
        evaluator, what = replayed(Evaluator(recording, again=True), self.what)
        result = evaluator.run(values, getattr(evaluator, what), keep=what != VALUE)
        unknown = opaque(recording)
        with self.lock:
            self.recordings += 1
            self.causes[cause if cause in self.causes or len(self.causes) < MOST_CAUSES else "others"] += 1
            self.unknown |= unknown
            if not unknown:
                self.keep(Direct(evaluator, what), kept)
        self.report()
        return result

    def keep(self, direct: Direct, kept: Any) -> None:
        """Add a path, in place of the one that was of the least use where there are too many."""
        if len(self.paths) >= self.most:
            least = min(range(len(self.paths)), key=lambda k: self.paths[k][0].state[HITS])
            gone = self.paths.pop(least)[0]
            self.lost_hits += int(gone.state[HITS])
            self.retired = [x for x in (*self.retired, gone) if x.state[BUSY]]
        self.paths.insert(0, (direct, kept))
        states = [x.state for x, keywords in self.paths if x.answers and not keywords.children]
        places = [*map(address, states), 0]
        for state, following in zip(states, places[1:], strict=True):
            state[NEXT] = following
        self.caller.state = places[0]

    def report(self) -> None:
        """Warn, once, about a function for which compilation does not pay."""
        info = self.info()
        if info.recordings >= PATIENCE and info.hits < info.recordings and not self.warned:
            self.warned = True
            name = getattr(self.recorded, "__name__", type(self.recorded).__name__)
            warnings.warn(f"{name} hardly ever repeats itself\n{info}", NeverRepeatsWarning, stacklevel=4)

    def info(self) -> Info:
        hits = self.slow_hits + self.lost_hits + sum(int(direct.state[HITS]) for direct, _ in self.paths)
        native = sum(bool(direct.state[CODE]) for direct, _ in self.paths)
        return Info(hits, self.recordings, len(self.paths), native, dict(self.causes), tuple(sorted(self.unknown)))


def opaque(recording: Recording) -> set[str]:
    """What a recording read that cannot be compared."""
    found = {f"the {x.kind} {x.name}" for x in recording.dependencies if x.snapshot.opaque}
    leaves = [leaf for leaf in recording.signature.leaves if leaf.value is not None]
    return found | {f"argument {leaf.argument}, {leaf.value.value!r:.60}" for leaf in leaves if leaf.value.opaque}


class Compiled(Caller):
    """A compiled function; `info()` tells what it did."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self.otherwise.function!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return compile, (self.otherwise.function, self.otherwise.most)

    def __getattr__(self, name: str) -> Any:
        if name == "otherwise":  # of an object that is being made
            raise AttributeError(name)
        return getattr(self.otherwise.function, name)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self.otherwise.function.__doc__

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        function: Callable[..., Any] = self.otherwise.function
        return function

    def info(self) -> Info:
        """Replays, recordings and paths, and what made each recording necessary."""
        info: Info = self.otherwise.info()
        return info


def compile(f: Callable[..., Any], paths: int = 16) -> Any:
    """A function that returns what `f` returns, from recordings of it wherever one holds.

    The first call records `f`; later calls replay the tape, as long as everything the recording depends on is what it
    was: number, structure, shapes and dtypes of the arguments, integers, booleans, strings and integer arrays among
    them, the variables that `f` read, by value down into lists, dicts and objects, and all conditions on traced values.
    Otherwise `f` is recorded again; of its recordings the `paths` most useful ones are kept. A call that reads what
    cannot be compared, the clock for one, is recorded anew each time. `info()` tells all of this.

    `f` may be a plain function, or what `grad`, `value_and_grad` or another transform returned. Python code in `f` runs
    while recording only, so it should have no effects that matter. Raises `RandomnessError` if `f` draws random
    numbers. Warns with `NeverRepeatsWarning` where replays are rarer than recordings.

    >>> import math
    >>> import fasttape as ft
    >>> slope = ft.compile(ft.grad(lambda x: x * x if x > 0.0 else math.exp(x)))
    >>> slope(3.0), slope(4.0), slope(0.0)
    (6.0, 8.0, 1.0)
    >>> slope.info().hits, slope.info().recordings
    (1, 2)
    """
    if not callable(f):
        raise ArgumentError(f"compile takes a function, not a {type(f).__name__}")
    if not isinstance(paths, int | np.integer) or paths < 1:
        raise ArgumentError(f"paths={paths!r} must be a positive integer")
    made = caller_class(Compiled)()
    made.otherwise, made.state = Paths(f, int(paths)), 0
    made.otherwise.caller = made
    return made
