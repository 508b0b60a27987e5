"""Active numbers for the arguments of a recorded function, plain ones for what it returned, and adjoints like these."""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

from fasttape.compiler.active_type import active, holds_active, is_active, is_active_array, make_active, val_of
from fasttape.compiler.calls import call
from fasttape.compiler.jit import INTERNAL
from fasttape.compiler.linear_memory import word
from fasttape.compiler.linear_tape import take_slots
from fasttape.compiler.retarget import substitute


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


def passive(t):
    """The type that an argument has which holds no inputs: a user's function is called with active numbers, too."""
    if isinstance(t, types.Dispatcher) and not hasattr(t.dispatcher, "original"):
        return types.Dispatcher(substitute(t.dispatcher, active))
    return t


@intrinsic(prefer_literal=True)
def arguments(typingctx, tape, argnums, args):
    """The tuple `args`, which begins with None, with inputs of the tape in the places `argnums` behind that."""
    chosen = [n.literal_value + 1 for n in argnums]
    kinds = [resolved(typingctx, activated, tape, t) if n in chosen else passive(t) for n, t in enumerate(args)]
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
    """The adjoints of the inputs, behind a zero, as numbers and arrays like the arguments `argnums`: one or a tuple.

    The tuple `args` begins with None.
    """
    single = isinstance(argnums, types.IntegerLiteral)
    chosen = [n.literal_value + 1 for n in ([argnums] if single else argnums)]
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
