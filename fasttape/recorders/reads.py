"""Which variables some code reads, as opposed to those that it only adds to.

A function may count its calls or append to a log without depending on either.
"""

import collections
import dis
import functools
import types

LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"}
METHODS = {"LOAD_METHOD", "LOAD_ATTR"}
ADDING = {"append", "extend", "insert", "add", "update", "appendleft"}  # methods that return None
ADDED_TO = {int, float, list, set, dict, collections.deque, collections.Counter, collections.defaultdict}


@functools.lru_cache(maxsize=1024)
def names_read(code: types.CodeType) -> frozenset[str]:
    """The variables that a code object, or one inside of it, does more with than `x += constant` or `x.append(...)`."""
    inner = [names_read(x) for x in code.co_consts if type(x) is types.CodeType]
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    own = set()
    for k, load in enumerate(steps):
        if load.opname in LOADS:
            after = (*steps[k + 1 : k + 4], steps[-1], steps[-1])
            adds = after[0].opname in METHODS and after[0].argval in ADDING
            counts = after[0].opname.startswith("LOAD_CONST") and after[1].argrepr in ("+=", "-=")
            if not (adds or (counts and after[2].opname.startswith("STORE") and after[2].argval == load.argval)):
                own.add(load.argval)
    return frozenset(own).union(*inner)


def is_read(name: str, value: object, names: frozenset[str]) -> bool:
    """Whether code that reads some names depends on the value of a variable."""
    return name in names or type(value) not in ADDED_TO
