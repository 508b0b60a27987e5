"""The one loop: a problem and its contenders in, equal results checked, times out.

A contender is a function from a case to a `run` without arguments; only `run` is timed. Contenders take turns, so that
a slow moment of the machine meets them all; ratios are of minima of one process.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Times = Mapping[str, float]
SAMPLE = 20e-3  # seconds: shorter runs are repeated inside a sample until it lasts this long, as a loop would
LONG = 60e-3  # seconds: a shorter sample leaves little garbage, and a collection would only empty the caches
BUDGET = 3.0  # seconds for each contender, as long as that gives some samples


class Figure(NamedTuple):
    """A number that follows from the minima of one problem, and where it should lie."""

    text: str
    value: Callable[[Times], float]
    limit: float | None = None
    at_most: bool = True

    def reached(self, value: float) -> bool:
        """Whether `value` lies on the right side of the limit."""
        return self.limit is None or (value <= self.limit if self.at_most else value >= self.limit)


class Problem(NamedTuple):
    """One row of the table: what is computed, by whom, and which figures follow."""

    name: str
    work: str
    case: Callable[[np.random.Generator | None], Any]  # None asks for the published sizes, a generator for a variant
    contenders: Mapping[str, Callable[[Any], Callable[[], Any]]]
    figures: tuple[Figure, ...] = ()
    oracle: Callable[[Any], Any] | None = None  # the right result, where no contender's word should be taken
    count: Callable[[Any], float] = lambda case: 1  # units of work in a run
    per: str = ""  # the unit of work
    samples: int = 40  # at most
    least: int = 5  # samples, whatever the budget
    tolerance: float = 1e-9
    together: bool = True  # False: one contender at a time is built, timed and dropped
    counts: str = ""  # the unit of what a run returns, where that is not its time


def speedup(name: str, over: str, at_least: float | None = None) -> Figure:
    """How many times faster `name` is than `over`."""
    return Figure(f"{name}: faster than {over} by", lambda t: t[over] / t[name], at_least, at_most=False)


def relative(name: str, to: str, at_most: float | None = None) -> Figure:
    """The time of `name` in units of the time of `to`."""
    return Figure(f"{name}: time relative to {to}", lambda t: t[name] / t[to], at_most)


def measure(problem: Problem, rng: np.random.Generator | None) -> dict[str, list[float]]:
    """The samples of each contender, in seconds (or bytes) per unit of work."""
    case = problem.case(rng)
    expected = None if problem.oracle is None else flat(problem.oracle(case))
    groups = [list(problem.contenders)] if problem.together else [[name] for name in problem.contenders]
    samples: dict[str, list[float]] = {}
    for group in groups:
        runs = {name: problem.contenders[name](case) for name in group}
        if problem.counts:
            samples |= {name: [float(run())] for name, run in runs.items()}
        else:
            for name, run in runs.items():
                expected = agree(problem, name, flat(run()), expected)
            samples |= timed(runs, min(problem.least, problem.samples), problem.samples)
        del runs
    count = problem.count(case)
    return {name: [value / count for value in samples[name]] for name in problem.contenders}


def timed(runs: Mapping[str, Callable[[], Any]], least: int, most: int) -> dict[str, list[float]]:
    """Samples of all runs, taken in turns; each gets as many as its budget allows, and `least` at least."""
    plans = {}
    for name, run in runs.items():
        once = seconds(run, 1)
        loops = max(1, round(SAMPLE / max(once, 1e-7)))
        plans[name] = (loops, max(least, min(most, round(BUDGET / (loops * once)))))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(max(number for _, number in plans.values())):
        for name, (loops, number) in plans.items():
            if turn < number:
                samples[name].append(seconds(runs[name], loops))
    return samples


def seconds(run: Callable[[], Any], loops: int) -> float:
    """Seconds per call; what a long run leaves behind is collected before the next one's clock starts."""
    start = time.perf_counter()
    for _ in range(loops):
        run()
    passed = time.perf_counter() - start
    if passed > LONG:
        gc.collect()
    return passed / loops


def agree(problem: Problem, name: str, result: np.ndarray, expected: np.ndarray | None) -> np.ndarray | None:
    """Refuse to time wrong results; an empty result belongs to a reference loop that has none."""
    if not result.size or expected is None:
        return expected if not result.size else result
    if result.shape != expected.shape:
        raise SystemExit(f"{problem.name}: {name} returned {result.size} numbers where {expected.size} were expected")
    error = np.abs(result - expected).max() / np.abs(expected).max()
    if not error <= problem.tolerance:
        raise SystemExit(f"{problem.name}: {name} is wrong by {error:.1e} (relative), so nothing was timed")
    return expected


def flat(result: Any) -> np.ndarray:
    """All numbers of a nest of dicts, tuples, lists and arrays in one vector, by the order of keys; none for None."""
    if result is None:
        return np.empty(0)
    if isinstance(result, dict):
        result = [result[key] for key in sorted(result)]
    if isinstance(result, (list, tuple)):
        return np.concatenate([flat(part) for part in result]) if result else np.empty(0)
    return np.ravel(np.asarray(result, dtype=float))


def summary(problem: Problem, samples: Mapping[str, list[float]]) -> dict[str, Any]:
    """Everything about one problem that goes into the report."""
    best = {name: min(values) for name, values in samples.items()}
    rows = {
        name: {"min": best[name], "median": statistics.median(values), "samples": len(values)}
        for name, values in samples.items()
    }
    figures = []
    for figure in problem.figures:
        value = figure.value(best)
        figures.append(
            {
                "text": figure.text,
                "value": value,
                "limit": figure.limit,
                "at_most": figure.at_most,
                "reached": figure.reached(value),
            }
        )
    unit = problem.counts or "seconds"
    return {
        "name": problem.name,
        "work": problem.work,
        "unit": unit,
        "per": problem.per,
        "rows": rows,
        "figures": figures,
    }
