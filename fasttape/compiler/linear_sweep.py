"""The reverse sweep of a linear tape, compiled once for all recorded functions, which call it by its name."""

import functools

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from fasttape.compiler import capi
from fasttape.compiler.active_type import dot_of, node_of
from fasttape.compiler.jit import entry, inlined, kernel, making_kernel
from fasttape.compiler.linear_memory import ADJOINTS, FAILED, FULL, LENGTH, REAL, RECORD, RECORDS, ROOM, WORD, word
from fasttape.compiler.linear_tape import LOW_HALF, header, make_adjoints

NAME = "fasttape_linear_sweep"
propagate = types.ExternalFunction(NAME, types.int64(*[types.int64] * 5))


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


@inlined
def spread(adjoints, record, g):
    """Add to the adjoints of the operands of a record what the adjoint g of its result makes of them."""
    adjoints[record.a] = times_plus(record.da, g, adjoints[record.a])
    adjoints[record.b] = times_plus(record.db, g, adjoints[record.b])


@kernel
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


def sweep_entry():
    """What `propagate` calls: (tape, first input, number of inputs, last slot, address of the adjoints found)."""

    def run(tape, first, count, last, address):
        words, found = header(tape), capi.numbers(address, count + 1, np.float64)
        records = capi.numbers(words[RECORDS], last + 1, RECORD)
        adjoints = capi.numbers(words[ADJOINTS], last + 1, np.float64)
        sweep(records, adjoints, found[0], np.uint32(last), np.uint32(first + count))
        found[0] = 0.0
        for k in range(count):
            found[k + 1] = adjoints[first + k]
            adjoints[first + k] = 0.0
        return 0

    return run


@functools.cache
def load_sweep():
    """Let compiled code find the sweep, before any that calls it is compiled or loaded."""
    made = entry(sweep_entry, (), "the sweep of linear tapes")
    binding.add_symbol(NAME, made.address)
    return made


@intrinsic
def address_of(typingctx, array):
    """The address of the first number in an array."""

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, WORD)

    return types.int64(array), emit


@making_kernel
def reverse(tape, first, count, y):
    """The adjoints of y by the `count` input slots from `first` on, behind a zero; the tape loses them all."""
    words = header(tape)
    length, failed = words[LENGTH], words[FAILED]
    words[LENGTH], words[FAILED] = first, 0
    if failed:
        raise MemoryError(FULL)
    last = np.int64(node_of(y) & np.uint64(LOW_HALF))
    live = dot_of(y) != 0.0 and last >= first
    if live and words[ROOM] < length:
        make_adjoints(tape)
    found = np.empty(count + 1)  # behind all that may raise, which would not release it
    if live:
        found[0] = dot_of(y)
        propagate(tape, first, count, last, address_of(found))
    else:
        found[:] = 0.0
    return found
