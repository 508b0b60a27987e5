"""What compiled code does with a linear tape besides records: slots for inputs, room, the beginning and the end."""

import numpy as np
from numba import types
from numba.extending import intrinsic

from fasttape.compiler.capi import array_at
from fasttape.compiler.jit import making_kernel
from fasttape.compiler.linear_memory import (
    FAILED,
    HEADER,
    LENGTH,
    WORD,
    current_tape,
    full,
    reserve,
    resize_adjoints,
    word,
)

LOW_HALF = 0xFFFFFFFF


@intrinsic
def header(typingctx, tape):
    """The words of the header of the tape at an address."""

    def emit(context, builder, sig, args):
        return array_at(context, builder, sig.return_type, args[0], [word(len(HEADER))])

    return types.Array(types.int64, 1, "C")(types.int64), emit


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
