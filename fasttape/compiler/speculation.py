"""Products without their tests for zero, in programs that show afterwards where the tests were needed.

`times` differs from a product only where that is nan. If every row lets a nan through, such a nan arrives at an output,
so the points with an output that is nan are computed again, with the tests. Tests cost up to a quarter of a gradient.
Rows that choose between numbers hide a nan; they also have slopes of zero at ordinary points, which would often be
computed twice.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from fasttape.compiler.block import Block, Value
from fasttape.layout import GUARD
from fasttape.ops import CODE, OPS

TIMES, MUL = CODE["times"], CODE["mul"]
BESIDE = (0.0, 1.0, -2.5, math.inf)  # operands beside which a nan might vanish


def plainly(code: int) -> int:
    """The row that computes a row if no factor is zero."""
    return MUL if code == TIMES else code


def pays(operations: Iterable, constants: dict[int, float]) -> bool:
    """Whether there are tests to be left out, and a nan always arrives; `constants` by slot."""
    rows = [(x.code, tuple([constants.get(slot) for slot in x.operands]), tuple(x.parameter)) for x in operations]
    codes = {code for code, _, _ in rows}
    return TIMES in codes and GUARD not in codes and all(itertools.starmap(lets_nan_through, set(rows)))


@functools.lru_cache(maxsize=1 << 12)
def lets_nan_through(code: int, known: Sequence[float | None], parameter: Sequence[int]) -> bool:
    """Whether a row is nan if any operand is; those that are `known` are constants."""
    rule = OPS[plainly(code)].value
    places = [(value,) if value is not None else (math.nan, *BESIDE) for value in known]
    with np.errstate(all="ignore"):
        for operands in itertools.product(*places):
            if any(x != x for x in operands):
                try:
                    result = rule(*map(np.float64, operands), *parameter)
                except (ArithmeticError, ValueError):  # as `math` has it; here only of numbers that are not nan
                    return False
                if result == result:
                    return False
    return True


def wrong_points(block: Block, results: Iterable[Value]) -> tuple[str, str]:
    """The truth, at each point, that a result is nan, and that it is at some point."""
    lanes, kind = block.style.lanes, block.kind
    names = list(dict.fromkeys(x.name for x in results))
    pairs = itertools.zip_longest(names[::2], names[1::2], fillvalue=names[-1])
    tests = [block.fresh(f"fcmp uno {kind} {x}, {y}") for x, y in pairs]
    wrong = functools.reduce(lambda x, y: block.fresh(f"or <{lanes} x i1> {x}, {y}"), tests)
    bits = block.fresh(f"bitcast <{lanes} x i1> {wrong} to i{lanes}")
    return wrong, block.fresh(f"icmp ne i{lanes} {bits}, 0")
