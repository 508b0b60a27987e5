"""Repetition: parts of a straight line that do the same again and again, as the steps of a recorded loop do.

Two stretches may be alike if each operation of one does what the operation in its place does in the other, with
operands that are as near as there, or far away. Whether they are is seen when their code is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fasttape.layout import GUARD

GRAM = 8  # operations by which a repetition is noticed
NEAR = 50  # operations; what is farther away may be anywhere
LEAST = 3  # times that it has to happen
WORTH = 1_000  # operations together; less is compiled as fast without, and runs faster in larger chunks
UNIT = 120  # operations of a chunk of some repetitions


def pieces(operations: Sequence[Any], constants: Mapping[int, float], longest: int) -> list[tuple[int, int, bool]]:
    """(start, stop, whether it repeats) of parts that make up a line; `constants` are numbers by slot.

    Parts that repeat have at most as many operations as the `longest` may.
    """
    made: list[tuple[int, int, bool]] = []
    end = 0
    for start, period, count in units(operations, constants):
        if start > end:
            made.append((end, start, False))
        end = start + count * period
        parts = -(-period // longest)
        for first in range(start, end, period):
            made += [(first + k * period // parts, first + (k + 1) * period // parts, True) for k in range(parts)]
    return [*made, (end, len(operations), False)] if end < len(operations) else made


def count_different(operations: Sequence[Any], constants: Mapping[int, float]) -> int:
    """The number of operations if the parts that repeat are there once."""
    return len(operations) - sum((count - 1) * period for _, period, count in units(operations, constants))


def units(operations: Sequence[Any], constants: Mapping[int, float]) -> Iterator[tuple[int, int, int]]:
    """(start, period, count) of what repeats; short periods are taken together."""
    for start, period, count in stretches(signs(operations, constants)):
        most = min(max(UNIT // period, 1), count // 2)
        together = min(range(most // 2 + 1, most + 1), key=lambda n: (count % n, -n))
        yield start, period * together, count // together


def signs(operations: Sequence[Any], constants: Mapping[int, float]) -> list[int]:
    """A number for each operation, the same for those that may be alike."""
    places: dict[int, int] = {}
    made = []
    for k, x in enumerate(operations):
        operands = []
        for slot in x.operands:
            distance = k - places.get(slot, k)
            operands.append(distance if 0 < distance <= NEAR else constants.get(slot))
        made.append(hash((x.code, x.parameter, x.elementwise, *operands)))
        if x.code != GUARD:
            places[x.slot] = k
    return made


def renamed(operations: Sequence[Any]) -> tuple[tuple[Any, ...], list[int]]:
    """Operations whose slots go by their places in a list, and that list; of guards it has -1 - their instructions."""
    places: dict[int, int] = {}
    made = []
    for x in operations:
        operands = [places.setdefault(slot, len(places)) for slot in x.operands]
        own = places.setdefault(-1 - x.slot if x.code == GUARD else x.slot, len(places))
        made.append((x.code, x.parameter, x.elementwise, own, *operands))
    return tuple(made), list(places)


def stretches(signs: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(start, period, count) of the parts of a line that consist of one stretch, many times."""
    seen: dict[tuple[int, ...], int] = {}  # where a few signs were seen last
    k = 0
    while k < len(signs):
        gram = tuple(signs[k : k + GRAM])
        before = seen.get(gram, k)
        seen[gram] = k
        period, stop = k - before, k
        while period and stop < len(signs) and signs[stop] == signs[stop - period]:
            stop += 1
        count = (stop - before) // period if period else 0
        if count >= LEAST and count * period >= WORTH:
            yield before, period, count
            seen.clear()
            stop = before + count * period
        k = max(stop, k + 1)
