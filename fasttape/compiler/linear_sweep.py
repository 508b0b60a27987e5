"""What compiled code does with a linear tape: slots for inputs, room for records, the reverse sweep."""

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttape.compiler.active_type import (
    dot_of,
    node_of,
)
from fasttape.compiler.jit import inlined, making_kernel
from fasttape.compiler.linear_memory import (
    ADJOINTS,
    FAILED,
    FULL,
    HEADER,
    LENGTH,
    REAL,
    RECORD,
    RECORDS,
    ROOM,
    WORD,
    current_tape,
    full,
    reserve,
    resize_adjoints,
    word,
)

LOW_HALF = 0xFFFFFFFF
WORDS = len(HEADER)


@intrinsic
def pointer(typingctx, address):
    """The pointer of an address."""
    return types.voidptr(address), lambda c, b, sig, args: b.inttoptr(args[0], cgutils.voidptr_t)


@making_kernel
def header(tape):
    """The words of the header of the tape at an address."""
    return carray(pointer(tape), (WORDS,), np.int64)


@intrinsic
def thread_tape(typingctx):
    """The address of the tape of the thread."""

    def emit(context, builder, sig, args):
        tape = builder.call(current_tape(builder.module), [])
        with builder.if_then(builder.icmp_unsigned("==", tape, word(0)), likely=False):
            full(context)(builder)
        return tape

    return types.int64(), emit


@intrinsic
def make_room(typingctx, tape, needed):
    """Make room for some slots on the tape at an address."""

    def emit(context, builder, sig, args):
        reserve(builder, builder.inttoptr(args[0], WORD.as_pointer()), args[1], full(context))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def make_adjoints(typingctx, tape):
    """Make room for as many adjoints as the tape at an address has room for records."""

    def emit(context, builder, sig, args):
        resize_adjoints(context, builder, builder.inttoptr(args[0], WORD.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64), emit


@making_kernel
def begin(tape):
    """The length of a tape at the begin of a recording; the outermost one forgets that an earlier one was too long."""
    words = header(tape)
    if words[LENGTH] == 1:
        words[FAILED] = 0
    return words[LENGTH]


@making_kernel
def take_slots(tape, count):
    """The node of the first of some new slots that are inputs."""
    words = header(tape)
    first = words[LENGTH]
    make_room(tape, first + count)
    words[LENGTH] = first + count
    return (np.uint64(tape) << np.uint64(16)) | np.uint64(first)


@making_kernel
def give_back(tape, start):
    """Cut a tape to a length that it had."""
    header(tape)[LENGTH] = start


@intrinsic
def times_plus(typingctx, x, y, z):
    """x y + z, rounded once where the processor can: half the time of a sweep is spent waiting for these."""

    def emit(context, builder, sig, args):
        multiply_add = ir.FunctionType(REAL, [REAL] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [REAL], multiply_add), args)

    return types.float64(x, y, z), emit


@intrinsic
def is_zero(typingctx, x):
    """Whether a number is 0, without the second test that nan takes."""

    def emit(context, builder, sig, args):
        return builder.icmp_unsigned("==", builder.shl(builder.bitcast(args[0], WORD), word(1)), word(0))

    return types.boolean(x), emit


@making_kernel
def reverse(tape, first, count, y):
    """The adjoints of y by the `count` input slots from `first` on, behind a zero; the tape loses them all."""
    words = header(tape)
    length, failed = words[LENGTH], words[FAILED]
    words[LENGTH], words[FAILED] = first, 0
    if failed:
        raise MemoryError(FULL)
    found = np.zeros(count + 1)
    last = np.int64(node_of(y) & np.uint64(LOW_HALF))
    if dot_of(y) == 0.0 or last < first:
        return found
    if words[ROOM] < length:
        make_adjoints(tape)
    records = carray(pointer(words[RECORDS]), (length,), RECORD)
    adjoints = carray(pointer(words[ADJOINTS]), (length,), np.float64)
    sweep(records, adjoints, dot_of(y), np.uint32(last), np.uint32(first + count))
    for k in range(count):
        found[k + 1] = adjoints[first + k]
        adjoints[first + k] = 0.0
    return found


@inlined
def spread(adjoints, record, g):
    """Add to the adjoints of the operands of a record what the adjoint g of its result makes of them."""
    adjoints[record.a] = times_plus(record.da, g, adjoints[record.a])
    adjoints[record.b] = times_plus(record.db, g, adjoints[record.b])


@making_kernel
def sweep(records, adjoints, g, slot, inputs):
    """Propagate the adjoint g of a slot to the slots before `inputs`.

    The adjoint of the next slot stays in a register when an operation uses its forerunner, which most do.
    """
    one = np.uint32(1)
    while slot >= inputs:
        record, before = records[slot], slot - one
        if is_zero(g):
            g = adjoints[before]
        elif record.a == 0:
            before -= np.uint32(record.b)
            for k in range(before + one, slot):
                spread(adjoints, records[k], g)
            g = adjoints[before]
        elif record.b == before:
            adjoints[record.a] = times_plus(record.da, g, adjoints[record.a])
            g = times_plus(record.db, g, adjoints[before])
        elif record.b > slot:
            adjoints[record.a] = times_plus(record.da, g, adjoints[record.a])
            b = LOW_HALF ^ record.b
            adjoints[b] = times_plus(record.db, g, adjoints[b])
            g += adjoints[before]
        elif record.a == before:
            adjoints[record.b] = times_plus(record.db, g, adjoints[record.b])
            g = times_plus(record.da, g, adjoints[before])
        else:
            spread(adjoints, record, g)
            g = adjoints[before]
        adjoints[before] = 0.0
        slot = before
    adjoints[slot] = g
