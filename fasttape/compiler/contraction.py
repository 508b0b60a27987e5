"""Products and sums that are rounded once, and quotients that share a reciprocal, where bits need not be the tape's.

They are chosen here. LLVM's choice would depend on how hard it works and on how many registers a number takes, and so
would the bits of results.
"""

import collections
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from fasttape.ops import CODE

ADD, SUB, MUL, DIV, RECIPROCAL = (CODE[name] for name in ("add", "sub", "mul", "div", "reciprocal"))


class Contraction(NamedTuple):
    """What is not computed operation by operation."""

    products: dict[int, tuple[int, ...]]  # the factors of products, by slot, that are part of a sum and nothing else
    divisors: frozenset[int]  # slots by which more than one number is divided


NOTHING = Contraction({}, frozenset())


def contraction(chunk: Sequence[Any], kept: Collection[int], multiplies: Collection[int]) -> Contraction:
    """What can be contracted in a chunk whose results in the slots `kept` are wanted elsewhere.

    The rows `multiplies` are computed as products. Of two products in a sum the second becomes part of it.
    """
    uses: collections.Counter[int] = collections.Counter()
    divided: collections.Counter[int] = collections.Counter()
    factors: dict[int, tuple[int, ...]] = {}
    for x in chunk:
        uses.update(x.operands)
        if x.code in multiplies:
            factors[x.slot] = x.operands
        elif x.code in (DIV, RECIPROCAL):
            divided[x.operands[-1]] += 1
    products = {}
    for x in chunk:
        if x.code in (ADD, SUB):
            single = [slot for slot in x.operands if slot in factors and uses[slot] == 1 and slot not in kept]
            products.update((slot, factors[slot]) for slot in single[-1:])
    return Contraction(products, frozenset(slot for slot, count in divided.items() if count > 1))
