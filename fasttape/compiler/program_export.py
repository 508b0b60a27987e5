"""A recording of traced numbers as instructions of a program: what the records in the memory of the thread mean."""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fasttape.compiler.active_arguments import read_only, resolved
from fasttape.compiler.active_program import make_traced
from fasttape.compiler.active_type import active, holds_active, is_active, node_of, traced, val_of
from fasttape.compiler.calls import call
from fasttape.compiler.jit import INTERNAL, making_kernel
from fasttape.compiler.linear_export import records_of
from fasttape.compiler.linear_tape import LOW_HALF
from fasttape.layout import B_IS_SLOT, CONST, GUARD

POOL_BITS = 10
POOL = 1 << POOL_BITS  # constants that are told apart
MIX = 0x9E3779B97F4A7C15  # Knuth's multiplicative hash


def traced_like(x):
    """x with traced numbers in place of active ones that are inputs."""
    raise NotImplementedError


@overload(traced_like, jit_options=INTERNAL)
def choose_traced_like(x):
    if is_active(x):
        return lambda x: make_traced(val_of(x), node_of(x))
    if isinstance(x, types.BaseTuple) and holds_active(x):
        return lambda x: each_traced(x)
    if not (isinstance(x, types.Array) and x.dtype is active):
        return lambda x: x

    def array(x):
        made = np.empty(x.shape, traced)
        for index in np.ndindex(x.shape):
            made[index] = make_traced(val_of(x[index]), node_of(x[index]))
        return read_only(made)

    return array


@intrinsic
def each_traced(typingctx, x):
    """The items of a tuple as `traced_like`."""
    returned = types.BaseTuple.from_types([resolved(typingctx, traced_like, t) for t in x])

    def emit(context, builder, sig, args):
        items = cgutils.unpack_tuple(builder, args[0], len(x))
        made = [call(context, builder, traced_like, (t,), (item,))[0] for item, t in zip(items, x, strict=True)]
        return context.make_tuple(builder, sig.return_type, made)

    return returned(x), emit


@making_kernel
def placed(places, local, first):
    """The slot of an operand of a record."""
    return places[np.int64(local) - first + 1] if local else np.uint32(0)


@intrinsic
def bits(typingctx, x):
    """The bits of a number."""
    return types.int64(types.float64), lambda c, b, sig, args: b.bitcast(args[0], c.get_value_type(types.int64))


@making_kernel
def pooled(records, slots, next_slot, places):
    """The constants among some records, of which `places` gets the slots; they are from `next_slot` on."""
    constants, count = np.empty(records.size), 0
    known, at = np.zeros(POOL, np.int64), np.zeros(POOL, np.int64)
    for k in range(records.size):
        if records[k].db != CONST:
            continue
        x = bits(records[k].da)
        entry = np.int64((np.uint64(x) * np.uint64(MIX)) >> np.uint64(64 - POOL_BITS))
        if known[entry] != x:  # never zero, which is no constant of a record
            constants[count] = records[k].da
            known[entry], at[entry] = x, next_slot + count
            count += 1
        places[slots + k] = at[entry]
    return constants[:count].copy()


@making_kernel
def take_program(tape, first, slots, next_slot, numbers):
    """The program behind some inputs, which begin at the slot `first` and live in `slots`; the tape loses it.

    Returns constants, for the slots from `next_slot` on, instructions, guards as pairs (instruction, address
    of a line), and the slots of some numbers, 0 where they are constant.
    """
    inputs = slots.size
    records = records_of(tape, first, inputs)
    places = np.zeros(1 + inputs + records.size, np.uint32)
    places[1 : 1 + inputs] = slots
    constants = pooled(records, 1 + inputs, next_slot, places)
    ops = np.empty(records.size, np.uint8)
    a, b = np.empty(records.size, np.uint32), np.empty(records.size, np.uint32)
    guards = np.empty((records.size, 2), np.int64)
    slot, n, guarded = next_slot + constants.size, 0, 0
    for k in range(records.size):
        record = records[k]
        code = np.uint8(record.db)
        if code == CONST:
            continue
        ops[n], a[n], b[n] = code, placed(places, record.a, first), record.b
        if B_IS_SLOT[code]:
            b[n] = placed(places, record.b, first)
        if code == GUARD:
            guards[guarded, 0], guards[guarded, 1] = n, bits(record.da)
            guarded += 1
        else:
            places[1 + inputs + k] = slot
            slot += 1
        n += 1
    found = np.empty(numbers.size, np.uint32)
    for k, x in enumerate(numbers):
        found[k] = placed(places, np.uint32(node_of(x) & np.uint64(LOW_HALF)), first)
    return constants, ops[:n], a[:n], b[:n], guards[:guarded], found
