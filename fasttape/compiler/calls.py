"""Calls of compiled functions that intrinsics write, and of a user's function that may raise."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import Status, excinfo_ptr_t
from numba.core.imputils import fix_returning_optional
from numba.core.typing import fold_arguments
from numba.extending import intrinsic

from fasttape.compiler.refusals import refused
from fasttape.errors import FastTapeError

STATUS = types.Tuple((types.boolean, types.int32, types.int64))  # of a call: whether it raised, its code, the exception


def call(context, builder, function, argument_types, args):
    """The result of a function and its type. Numba compiles again what it meets inside of `compile_internal`."""
    callee = context.typing_context.resolve_value_type(function)
    found = callee.get_call_type(context.typing_context, argument_types, {})
    implementation = context.get_function(callee, found)
    result = implementation(builder, args)
    context.add_linking_libs(getattr(implementation, "libs", ()))
    return result, found.return_type


@intrinsic
def attempt(typingctx, function, args):
    """(function(*args), status); the first is zero where the function raised, the status is what `raise_again` takes.

    The tuple `args` begins with None. Numba's way to let an exception pass would not release what the caller holds.
    """
    try:
        found = function.get_call_type(typingctx, tuple(args)[1:], {})
    except FastTapeError:
        raise
    except Exception as error:
        raise refused(function.dispatcher.original, error) from None

    def emit(context, builder, sig, values):
        compiled = function.dispatcher.overloads[found.args]
        given = passed(context, builder, found, cgutils.unpack_tuple(builder, values[1], len(args))[1:])
        status, result = context.call_internal_no_propagate(builder, compiled.fndesc, found, given)
        context.add_linking_libs([compiled.library])
        result = fix_returning_optional(context, builder, found, status, result)
        exception = builder.ptrtoint(status.excinfoptr, ir.IntType(64))
        state = context.make_tuple(builder, STATUS, [status.is_error, status.code, exception])
        return context.make_tuple(builder, sig.return_type, [result, state])

    return types.Tuple((found.return_type, STATUS))(function, args), emit


@intrinsic
def raise_again(typingctx, status):
    """Let the exception of an attempt pass. Nothing behind this runs; to tell Numba so takes a `raise`."""

    def emit(context, builder, sig, args):
        _, code, exception = cgutils.unpack_tuple(builder, args[0], len(STATUS))
        state = Status(*[None] * len(Status._fields))
        state = state._replace(code=code, excinfoptr=builder.inttoptr(exception, excinfo_ptr_t))
        context.call_conv.return_status_propagate(builder, state)
        return context.get_dummy_value()

    return types.void(STATUS), emit


def passed(context, builder, sig, given):
    """What is passed to a function of a signature for some arguments: defaults, too, and a tuple of those left over."""

    def default(index, parameter, value):
        return context.get_constant_generic(builder, sig.args[index], value)

    def rest(index, parameter, items):
        return context.make_tuple(builder, sig.args[index], items)

    return fold_arguments(sig.pysig, given, {}, lambda index, parameter, x: x, default, rest)
