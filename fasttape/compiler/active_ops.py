"""The operations of the table on active numbers and arrays of them, in every spelling that the rows name.

The value is computed by the function that the user wrote, as Numba compiles it for plain numbers; the partials come
from the row. An operation whose partials are 0 everywhere gives a plain number.
"""

import builtins
import functools
import itertools
import math
import operator

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, overload

from fasttape import ops
from fasttape.compiler import active_program as program
from fasttape.compiler.active_merge import Term, merge
from fasttape.compiler.active_type import (
    SCALAR,
    Active,
    is_active,
    is_active_array,
    kind_of,
    traced,
)
from fasttape.compiler.jit import making_kernel
from fasttape.compiler.switch import Emitter, kernel_of

POWI = ops.OPS[ops.CODE["powi"]]
# What makes a plain number of one, besides the rows whose partials are 0
LIBRARIES = {"numpy": np, "math": math}  # the modules that Numba knows
IN_PLACE = {}  # by operator: what active code calls in its place
PLAIN = (int, bool, round, math.floor, math.ceil, math.trunc, operator.not_, operator.truth)
ROUNDINGS = {int: "trunc", math.trunc: "trunc", round: "rint", math.floor: "floor", math.ceil: "ceil"}


def spellings(op):
    """Pairs (function, whether it works in place) of those that a row names and of their operators."""
    for name in op.names:
        module, _, attribute = name.rpartition(".")
        if module == "operator":
            yield getattr(operator, attribute), False
            inplace = getattr(operator, f"i{attribute.rstrip('_')}", None)
            if inplace is not None:
                yield inplace, True
            if hasattr(builtins, attribute):
                yield getattr(builtins, attribute), False
        elif hasattr(LIBRARIES.get(module), attribute):
            yield getattr(LIBRARIES[module], attribute), False


def plain_type(t):
    return types.float64 if is_active(t) else types.unliteral(t)


def plain_value(builder, t, x):
    return builder.extract_value(x, 0) if is_active(t) else x


def plain_signature(typing_context, function, argument_types):
    """The signature of a function for plain numbers in place of active ones, or None."""
    try:
        return typing_context.resolve_function_type(function, tuple(map(plain_type, argument_types)), {})
    except NumbaError:
        return None


def compute(context, builder, function, argument_types, args):
    """The result of a function for plain numbers in place of active ones, and its type."""
    found = plain_signature(context.typing_context, function, argument_types)
    values = [
        context.cast(builder, plain_value(builder, t, x), plain_type(t), target)
        for t, x, target in zip(argument_types, args, found.args, strict=True)
    ]
    implementation = context.get_function(context.typing_context.resolve_value_type(function), found)
    result = implementation(builder, values)
    context.add_linking_libs(getattr(implementation, "libs", ()))
    return result, found.return_type


def accept(function, arity, typer, lower):
    """Let a function take active scalars: `typer(typing context, argument types)` gives the type of the result."""

    @infer_global(function)
    class Accepting(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            if kws or len(args) != arity or kind_of(*args) is None or not all(isinstance(t, SCALAR) for t in args):
                return None
            returned = typer(self.context, args)
            return returned and signature(returned, *map(types.unliteral, args))

    for classes in itertools.product(SCALAR, repeat=arity):
        if Active in classes:
            lower_builtin(function, *classes)(lower)


def accept_plain(function, arity, plain):
    """Let a function take active scalars for their values, of which `plain` computes the result."""

    def typer(typing_context, args):
        found = plain_signature(typing_context, plain, args)
        return found and found.return_type

    def lower(context, builder, sig, args):
        result, returned = compute(context, builder, plain, sig.args, args)
        if kind_of(*sig.args) is traced:
            guard(context, builder, plain, *args)
        return context.cast(builder, result, returned, sig.return_type)

    accept(function, arity, typer, lower)


def guard(context, builder, plain, x):
    """Let a program hold only where `plain` has the same result for a traced number."""
    if plain in ROUNDINGS:
        program.pin(context, builder, x, ROUNDINGS[plain])
    else:
        program.decide(context, builder, x)


def result_type(op, kind):
    """The type of a row of active numbers of a kind: what has no derivative is plain unless it is replayed."""
    if ops.PREDICATE in op.traits:
        return types.boolean
    return types.float64 if ops.ZERO_DERIVATIVE in op.traits and kind is not traced else kind


def accept_differentiated(function, op, plain):
    """Let a function take active scalars by the rule of a row; `plain` computes the value."""

    def typer(typing_context, args):
        found, returned = plain_signature(typing_context, plain, args), result_type(op, kind_of(*args))
        return found and (returned if is_active(returned) or kind_of(*args) is traced else found.return_type)

    def lower(context, builder, sig, args):
        value, returned = compute(context, builder, plain, sig.args, args)
        if kind_of(*sig.args) is traced:
            return record(context, builder, op, sig, args)
        if ops.ZERO_DERIVATIVE in op.traits:
            return context.cast(builder, value, returned, sig.return_type)
        return linearize(context, builder, op, sig, args, context.cast(builder, value, returned, types.float64))

    accept(function, op.arity, typer, lower)


def takes_integer(op, sig):
    """Whether a power has an integer exponent."""
    return op.name == "pow" and isinstance(sig.args[1], types.Integer)


def linearize(context, builder, op, sig, args, value):
    """The active number `value` of a row, by its partials."""
    row = POWI if takes_integer(op, sig) else op
    wanted = [types.float64, types.int64 if row is POWI else types.float64][: op.arity]
    operands = [
        context.cast(builder, plain_value(builder, t, x), plain_type(t), target)
        for t, x, target in zip(sig.args, args, wanted, strict=True)
    ]
    rule = kernel_of(row.partials)
    made, returned = Emitter(context, builder, types.float64).run(rule, [*wanted, types.float64], [*operands, value])
    partials = numbers(context, builder, made, returned)
    linear = ops.LINEAR in row.traits
    terms = [Term(builder, d, x) for t, x, d in zip(sig.args, args, partials, strict=False) if is_active(t)]
    return merge(context, builder, value, terms, linear=linear)


def record(context, builder, op, sig, args):
    """A row of traced numbers; of a predicate the outcome, with a guard."""
    if takes_integer(op, sig):
        exponent = context.cast(builder, args[1], sig.args[1], types.int64)
        return program.record_power(context, builder, args[0], exponent)
    operands = [context.cast(builder, x, t, traced) for x, t in zip(args, sig.args, strict=True)]
    holds = ops.PREDICATE in op.traits
    made = program.record(context, builder, ops.CODE[op.name], operands, program.outcome if holds else None)
    if not holds:
        return made
    return builder.fcmp_unordered("!=", builder.extract_value(made, 0), program.ZERO)


def numbers(context, builder, made, returned):
    """The items of a tuple as float64."""
    items = cgutils.unpack_tuple(builder, made, len(returned))
    return [context.cast(builder, x, t, types.float64) for x, t in zip(items, returned, strict=True)]


@functools.cache
def loops(function, result):
    """A function of scalars over arrays, element by element: of one, two or three, and one with a scalar beside it."""

    def one(x):
        out = np.empty(x.shape, result)
        for i in np.ndindex(x.shape):
            out[i] = function(x[i])
        return out

    def two(x, y):
        shape = np.broadcast_shapes(np.shape(x), np.shape(y))
        u, v, out = np.broadcast_to(x, shape), np.broadcast_to(y, shape), np.empty(shape, result)
        for i in np.ndindex(shape):
            out[i] = function(u[i], v[i])
        return out

    def vectors(x, y):  # broadcasting of shapes takes Numba longest to compile, by far
        size = y.size if x.size == 1 else x.size
        if y.size != size and y.size != 1:
            raise ValueError("operands could not be broadcast together")
        out = np.empty(size, result)
        for i in range(size):
            out[i] = function(x[i if x.size == size else 0], y[i if y.size == size else 0])
        return out

    def three(x, y, z):
        shape = np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z))
        u, v, w = np.broadcast_to(x, shape), np.broadcast_to(y, shape), np.broadcast_to(z, shape)
        out = np.empty(shape, result)
        for i in np.ndindex(shape):
            out[i] = function(u[i], v[i], w[i])
        return out

    def left(x, y):
        out = np.empty(x.shape, result)
        for i in np.ndindex(x.shape):
            out[i] = function(x[i], y)
        return out

    def right(x, y):
        out = np.empty(y.shape, result)
        for i in np.ndindex(y.shape):
            out[i] = function(x, y[i])
        return out

    return {True: one, "three": three, "vectors": vectors, (True, True): two, (True, False): left, (False, True): right}


def accept_arrays(function, arity, result):
    """Let a function take arrays of active numbers; `result` gives the dtype of what it returns by their type."""

    def choose_one(x):
        return loops(function, result(x.dtype))[True] if is_active_array(x) else None

    def choose(x, y):
        if not takes_arrays(x, y):
            return None
        arrays = isinstance(x, types.Array), isinstance(y, types.Array)
        vectors = all(arrays) and x.ndim == y.ndim == 1
        return loops(function, result(kind_of(x, y)))["vectors" if vectors else arrays]

    def choose_out(x, out):
        form = choose_one(x)
        if form is None or not isinstance(out, types.Array):
            return None
        compiled = making_kernel(form)

        def fill(x, out):
            out[...] = compiled(x)
            return out

        return fill

    def choose_two_out(x, y, out):
        form = choose(x, y)
        if form is None or not isinstance(out, types.Array):
            return None
        compiled = making_kernel(form)

        def fill(x, y, out):
            out[...] = compiled(x, y)
            return out

        return fill

    def choose_three(x, y, z):
        return loops(function, result(kind_of(x, y, z)))["three"] if takes_arrays(x, y, z) else None

    forms = {1: (choose_one, choose_out), 2: (choose, choose_two_out), 3: (choose_three,)}[arity]
    for form in forms if isinstance(function, np.ufunc) else forms[:1]:
        overload(function)(form)


def takes_arrays(*operands):
    """Whether the types of operands are those of arrays and scalars, and one of them is active."""
    elements = [t.dtype if isinstance(t, types.Array) else t for t in operands]
    arrays = any(isinstance(t, types.Array) for t in operands)
    return arrays and kind_of(*operands) is not None and all(isinstance(t, SCALAR) for t in elements)


def in_place(function, op, plain):
    """What active code calls for an operator in place, since Numba's own typing of those refuses unknown arrays."""

    def operator_in_place(x, y):
        raise NotImplementedError

    def update(x, y):
        v = np.broadcast_to(y.copy(), x.shape)
        for i in np.ndindex(x.shape):
            x[i] = plain(x[i], v[i])
        return x

    def update_by_scalar(x, y):
        for i in np.ndindex(x.shape):
            x[i] = plain(x[i], y)
        return x

    def choose(x, y):
        if is_active_array(x):
            return update if isinstance(y, types.Array) else update_by_scalar
        return None if is_active(x) or is_active(y) else lambda x, y: function(x, y)

    operator_in_place.__name__ = f"{op.name}_in_place"
    globals()[operator_in_place.__name__] = operator_in_place  # Numba wants a function to be found by its name
    accept_differentiated(operator_in_place, op, plain)
    overload(operator_in_place)(choose)
    return operator_in_place


def register(op):
    """All spellings of a row."""
    result, plain = functools.partial(result_type, op), None
    for function, inplace in spellings(op):
        if inplace:
            IN_PLACE[function] = in_place(function, op, plain)
            continue
        plain = function
        accept_arrays(function, op.arity, result)
        accept_differentiated(function, op, plain)


def choose_by(function, comparison, row):
    """Let Python's max or min take active scalars: the operand that it returns, the first of equal ones."""

    @infer_global(function)
    class Choosing(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            kind = kind_of(*args)
            if kws or len(args) < 2 or kind is None or not all(isinstance(t, SCALAR) for t in args):
                return None
            return signature(kind, *[kind] * len(args))

    @lower_builtin(function, types.VarArg(Active))
    def lower(context, builder, sig, args):
        kept = args[0]
        for other in args[1:]:
            values = [builder.extract_value(x, 0) for x in (kept, other)]
            if sig.return_type is traced:
                program.record(context, builder, ops.CODE[row], [kept, other], program.outcome)
            kept = builder.select(builder.fcmp_ordered(comparison, *values), kept, other)
        return kept


def float_of(context, builder, sig, args):
    return args[0]


for _op in ops.OPS:
    register(_op)
for _function in PLAIN:
    accept_plain(_function, 1, _function)
accept(float, 1, lambda typing_context, args: kind_of(*args), float_of)
choose_by(max, ">=", "greater_equal")
choose_by(min, "<=", "less_equal")
