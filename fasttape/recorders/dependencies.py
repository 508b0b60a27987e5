"""What a recording read besides its arguments: variables whose values a replay must find unchanged."""

from typing import Any, NamedTuple

import numpy as np

from fasttape.errors import ReplayError

PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic)
MOST_ELEMENTS = 1_000_000  # of an array that is compared by content; larger ones by identity


class Dependency(NamedTuple):
    """One variable, where it lives, and what it held."""

    name: str
    place: Any  # a namespace, or a closure cell
    value: Any
    content: bytes | None  # of an array

    def changed(self) -> bool:
        try:
            now = self.place[self.name] if isinstance(self.place, dict) else self.place.cell_contents
        except (KeyError, ValueError):
            return True
        if self.content is not None:
            return now.__class__ is not np.ndarray or same_array(now, self) is False
        return now is not self.value and not (type(now) is type(self.value) and bool(now == self.value))


def same_array(now, then) -> bool:
    old = then.value
    return now.dtype == old.dtype and now.shape == old.shape and now.tobytes() == then.content


class Dependencies:
    """Collects each variable once, as it was when it was first read."""

    def __init__(self):
        self.found = {}

    def add(self, name, place, value):
        key = name, id(place)
        if key in self.found:
            return
        if type(value) is np.ndarray and value.dtype != object:
            content = value.tobytes() if value.size <= MOST_ELEMENTS else None
            self.found[key] = Dependency(name, place, value, content)
        elif isinstance(value, PLAIN):
            self.found[key] = Dependency(name, place, value, None)


def check(dependencies):
    """Raise where a variable holds something else than when it was recorded."""
    for x in dependencies:
        if x.changed():
            kind = "global" if isinstance(x.place, dict) else "closure"
            raise ReplayError(
                f"the {kind} variable {x.name} is part of this recording and has changed since; "
                "record again, or make it an argument"
            )
