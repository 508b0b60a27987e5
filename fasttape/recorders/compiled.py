"""Calls of functions that Numba compiled with traced values: recorded from inside of the compiled code.

The instructions come back as arrays and are appended to the recording of the caller. Functions without loops that fill
no arrays stay with the lifted copy of their Python code, which makes array instructions of array expressions.
"""

import ctypes
import dis
import functools
import itertools
import types

import numpy as np

from fasttape.program import Site
from fasttape.recorders.array import TracedArray, any_traced
from fasttape.recorders.fresh import resolved
from fasttape.recorders.scalar import TracedScalar, here, mixed, traced

ROOM = {"zeros", "empty", "ones", "full", "zeros_like", "empty_like", "ones_like", "full_like"}  # for code to fill
REFUSED = None, np.empty(0, np.uint32)  # what is no argument of compiled code


class Either:
    """A wrapped function for plain arguments; for traced ones compiled code that records, or `inner`, lifted code."""

    def __init__(self, function, inner):
        functools.update_wrapper(self, inner)
        self.function = function
        self.inner = self.py_func = inner
        self.inside = hasattr(function, "targetoptions") and works(function.py_func.__code__)

    def __call__(self, *args, **kwargs):
        args, kwargs = resolved(args), {name: resolved(x) for name, x in kwargs.items()}
        plain, named = tuple(map(unwrapped, args)), {name: unwrapped(x) for name, x in kwargs.items()}
        if not any_traced((args, kwargs)):
            return self.function(*plain, **named)
        found = record(self.function, plain, named) if self.inside else None
        return self.inner(*args, **kwargs) if found is None else found[0]


def unwrapped(x):
    """An argument as compiled code takes it: a compiled function itself."""
    return x.function if isinstance(x, Either) else x


@functools.lru_cache(maxsize=1024)
def works(code) -> bool:
    """Whether some code has a loop or fills an array."""
    inner = (x for x in code.co_consts if isinstance(x, types.CodeType))
    return any(map(is_work, dis.get_instructions(code))) or any(map(works, inner))


def is_work(instruction) -> bool:
    """Whether an instruction goes back, assigns to an element, or names what makes an array for that."""
    jumps = instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs
    fills = instruction.opname == "STORE_SUBSCR" or instruction.argval in ROOM
    return fills or (jumps and instruction.argval <= instruction.offset)


def record(dispatcher, args, keywords):
    """(result,) of a call with traced values on their recording; None where it has to be recorded as Python."""
    from fasttape.compiler.compiled_gradient import functions_traced, positional, record_inside, value_and_program_of

    args = positional(dispatcher, args, keywords)
    if not args:
        return None
    positions = tuple(n for n, x in enumerate(args) if any_traced((x,)))
    met = first_builder(args)
    if met is None or met.dtype != np.float64:
        return None
    builder = here(met)
    numbers = builder.evaluate()
    found = [plain(builder, numbers, x) if n in positions else (x, None) for n, x in enumerate(args)]
    if any(found[n][0] is None for n in positions):
        return None
    slots = np.concatenate([found[n][1] for n in positions], dtype=np.uint32)
    run = value_and_program_of(dispatcher, positions)
    made = record_inside(run, functions_traced(x for x, _ in found), slots, builder.next)
    if made is None:
        return None
    value, marks, (constants, *columns, guards, places) = made
    append(builder, constants, columns, guards)
    return (result(builder, value, marks, iter(places.tolist())),)


def first_builder(args):
    """The recording of the first traced value of some arguments."""
    for x in args:
        if isinstance(x, TracedScalar | TracedArray):
            return x.builder
        if isinstance(x, tuple) and any_traced(x):
            return first_builder(x)
    return None


def plain(builder, numbers, x):
    """The numbers of an argument that holds traced values, and their slots; REFUSED where it is of another kind."""
    if isinstance(x, tuple):
        parts = [plain(builder, numbers, item) for item in x]
        if type(x) is not tuple or any(part is None for part, _ in parts):
            return REFUSED
        return tuple(part for part, _ in parts), np.concatenate([slots for _, slots in parts])
    if isinstance(x, float | np.float64):
        return float(x), np.array([builder.constant(float(x))], np.uint32)
    if not isinstance(x, TracedScalar | TracedArray):
        return REFUSED
    if here(x.builder) is not builder:
        raise mixed(builder, x.builder)
    if isinstance(x, TracedScalar):
        return numbers.item(x.slot), np.array([x.slot], np.uint32)
    if x.boolean or x.shape == ():
        return REFUSED
    slots = x.slots
    return numbers[slots], slots.reshape(-1)


def append(builder, constants, columns, guards):
    """Append what compiled code has recorded to a recording."""
    if constants.size:
        builder.constants(constants)
    first = builder.n
    builder.extend(*columns, builder.next + columns[0].size - len(guards))
    names = {address: ctypes.string_at(address).decode() for address in set(guards[:, 1].tolist())}
    for instruction, address in guards.tolist():
        file, _, line = names[address].rpartition(":")
        builder.guards.append((first + instruction, builder.site(Site(file, int(line)))))


def result(builder, value, marks, places):
    """What a call returned, with traced values in place of what depends on traced ones; `places` are their slots."""
    if isinstance(marks, tuple):
        items = [result(builder, x, mark, places) for x, mark in zip(value, marks, strict=True)]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if not marks:
        return value
    if not isinstance(value, np.ndarray):
        slot = next(places)
        return traced(builder, slot) if slot else value
    slots = np.fromiter(itertools.islice(places, value.size), np.uint32, value.size).reshape(value.shape)
    if not slots.any():
        return value
    for index in np.argwhere(slots == 0).tolist():
        slots[tuple(index)] = builder.constant(float(value[tuple(index)]))
    return TracedArray.listed(builder, slots)
