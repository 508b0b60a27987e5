"""What compiled code does with a linear tape: active numbers for inputs, plain ones for outputs, the reverse sweep."""

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

from fasttape.compiler.active_type import (
    active,
    dot_of,
    holds_active,
    is_active,
    is_active_array,
    make_active,
    node_of,
    val_of,
)
from fasttape.compiler.calls import call
from fasttape.compiler.jit import INTERNAL, inlined, making_kernel
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


@intrinsic
def read_only(typingctx, x):
    """An array that no typed code writes to, as the arguments of a recorded function are."""
    return x.copy(readonly=True)(x), lambda c, b, sig, args: impl_ret_borrowed(c, b, sig.return_type, args[0])


def activated(tape, x):
    """x with inputs of the tape in place of its numbers."""
    raise NotImplementedError


@overload(activated, jit_options=INTERNAL)
def choose_activated(tape, x):
    if isinstance(x, types.Float):
        return lambda tape, x: make_active(x, 1.0, take_slots(tape, 1))
    if isinstance(x, types.BaseTuple):
        return lambda tape, x: each_activated(tape, x)

    def array(tape, x):
        made = np.empty(x.shape, active)
        node = take_slots(tape, x.size)
        for index, v in np.ndenumerate(x):
            made[index] = make_active(v, 1.0, node)
            node += np.uint64(1)
        return read_only(made)

    return array


def primal(y):
    """y with plain numbers in place of active ones."""
    raise NotImplementedError


@overload(primal, jit_options=INTERNAL)
def choose_primal(y):
    if is_active(y):
        return lambda y: val_of(y)
    if isinstance(y, types.BaseTuple) and holds_active(y):
        return lambda y: each_primal(y)
    if not is_active_array(y):
        return lambda y: y

    def array(y):
        made = np.empty(y.shape, np.float64)
        for index in np.ndindex(y.shape):
            made[index] = val_of(y[index])
        return made

    return array


def resolved(typingctx, stub, *argument_types):
    """The type that a call of an overloaded function has."""
    return typingctx.resolve_function_type(typingctx.resolve_value_type(stub), argument_types, {}).return_type


@intrinsic
def each_activated(typingctx, tape, x):
    kinds = [resolved(typingctx, activated, tape, t) for t in x]
    returned = types.BaseTuple.from_types(kinds)
    return returned(tape, x), lambda c, b, sig, args: activate_items(c, b, sig, args, range(len(x)))


@intrinsic(prefer_literal=True)
def arguments(typingctx, tape, argnums, args):
    """The tuple `args` with inputs of the tape in the places `argnums`."""
    chosen = [n.literal_value for n in argnums]
    kinds = [resolved(typingctx, activated, tape, t) if n in chosen else t for n, t in enumerate(args)]
    returned = types.BaseTuple.from_types(kinds)

    def emit(context, builder, sig, args):
        return activate_items(context, builder, sig, (args[0], args[2]), chosen)

    return returned(tape, argnums, args), emit


def activate_items(context, builder, sig, args, chosen):
    """The items of a tuple, those that are chosen activated."""
    tape, items, item_types, made = args[0], args[1], sig.args[-1], []
    for n, (item, t) in enumerate(zip(cgutils.unpack_tuple(builder, items, len(item_types)), item_types, strict=True)):
        if n in chosen:
            item, _ = call(context, builder, activated, (types.int64, t), (tape, item))
        elif context.enable_nrt:
            context.nrt.incref(builder, t, item)
        made.append(item)
    return context.make_tuple(builder, sig.return_type, made)


def numbers_like(x, numbers, at):
    """The part of a vector from a place on that belongs to x, in the shape of x."""
    raise NotImplementedError


@overload(numbers_like, jit_options=INTERNAL)
def choose_numbers_like(x, numbers, at):
    if isinstance(x, types.Array):
        return lambda x, numbers, at: numbers[at : at + x.size].reshape(x.shape)
    return lambda x, numbers, at: numbers[at]


def size_of(x):
    """How many inputs x stands for."""
    raise NotImplementedError


@overload(size_of, jit_options=INTERNAL)
def choose_size_of(x):
    return (lambda x: x.size) if isinstance(x, types.Array) else (lambda x: 1)


@intrinsic(prefer_literal=True)
def gradients(typingctx, argnums, args, adjoints):
    """The adjoints of the inputs, behind a zero, as numbers and arrays like the arguments `argnums`: one or a tuple."""
    single = isinstance(argnums, types.IntegerLiteral)
    chosen = [n.literal_value for n in ([argnums] if single else argnums)]
    kinds = [resolved(typingctx, numbers_like, args[n], adjoints, types.int64) for n in chosen]

    def emit(context, builder, sig, values):
        items, at, places = cgutils.unpack_tuple(builder, values[1], len(args)), word(1), {}
        for n in sorted(chosen):
            places[n] = at
            size, _ = call(context, builder, size_of, (args[n],), (items[n],))
            at = builder.add(at, size)
        made = []
        for n in chosen:
            argument_types, operands = (args[n], adjoints, types.int64), (items[n], values[2], places[n])
            made.append(call(context, builder, numbers_like, argument_types, operands)[0])
        return made[0] if single else context.make_tuple(builder, sig.return_type, made)

    returned = kinds[0] if single else types.BaseTuple.from_types(kinds)
    return returned(argnums, args, adjoints), emit


@intrinsic
def each_primal(typingctx, y):
    kinds = [resolved(typingctx, primal, t) for t in y]
    named = isinstance(y, types.BaseNamedTuple)
    returned = types.NamedTuple(kinds, y.instance_class) if named else types.BaseTuple.from_types(kinds)

    def emit(context, builder, sig, args):
        items = cgutils.unpack_tuple(builder, args[0], len(y))
        made = [call(context, builder, primal, (t,), (item,))[0] for item, t in zip(items, y, strict=True)]
        return context.make_tuple(builder, sig.return_type, made)

    return returned(y), emit


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
