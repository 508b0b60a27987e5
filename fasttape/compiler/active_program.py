"""Traced numbers: active numbers that record a program, opcode by opcode, in place of a linear tape.

A traced number is (val, node). Its instructions go to the memory of the linear tape of the thread, whose records then
hold the operands and the opcode; constants and guards are records, too. The values are those of the rows, as a replay
computes them, so that the guards hold where they were recorded. `compiler.program_export` makes a program
of the records.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttape import ops
from fasttape.compiler.active_type import REAL, WORD, traced
from fasttape.compiler.linear_memory import HALF, append, full, function, give_up, header_of, word
from fasttape.compiler.switch import Emitter, kernel_of
from fasttape.layout import CONST, GUARD

SITE = 64  # the word of a header that holds the address of the name of the user's line
POWI, SQUARE, POW = (ops.CODE[name] for name in ("powi", "square", "pow"))
NOT_EQUAL, EQUAL = ops.CODE["not_equal"], ops.CODE["equal"]
ZERO, NOWHERE = ir.Constant(REAL, 0.0), ir.Constant(WORD, 0)


def fields(builder, x):
    """The value and the node of a traced number."""
    return builder.extract_value(x, 0), builder.extract_value(x, 1)


def pack(context, builder, val, node):
    """The traced number of two fields."""
    made = cgutils.create_struct_proxy(traced)(context, builder)
    made.val, made.node = val, node
    return made._getvalue()


@intrinsic
def make_traced(typingctx, val, node):
    """A traced number of its fields."""
    return traced(types.float64, types.uint64), lambda c, b, sig, args: pack(c, b, *args)


def writer(module):
    """node fasttape_write(opcode, x, node of x, y, node of y, line): append an instruction, and its constants before.

    A node in the lower half only is a number that the instruction holds. There is no node where the tape is full.
    """
    found, builder = function(module, "fasttape_write", [REAL, REAL, WORD, REAL, WORD, REAL], WORD)
    if builder is None:
        return found
    opcode, x, x_node, y, y_node, line = found.args
    live = builder.select(builder.icmp_unsigned("==", x_node, NOWHERE), y_node, x_node)
    operands = []
    for number, node in ((x, x_node), (y, y_node)):
        place = cgutils.alloca_once_value(builder, node)
        some = builder.icmp_unsigned("!=", builder.bitcast(number, WORD), NOWHERE)
        with builder.if_then(builder.and_(some, builder.icmp_unsigned("==", node, NOWHERE))):
            builder.store(append(builder, live, live, number, NOWHERE, ir.Constant(REAL, float(CONST)), give_up), place)
        operands.append(builder.load(place))
    builder.ret(append(builder, live, operands[0], line, operands[1], opcode, give_up))
    return found


def write(context, builder, opcode, x, y, line=ZERO):
    """The node of an instruction on two pairs (number, node), of which one node is that of a slot."""
    node = builder.call(writer(builder.module), [ir.Constant(REAL, float(opcode)), *x, *y, line])
    with builder.if_then(builder.icmp_unsigned("==", node, NOWHERE), likely=False):
        full(context)(builder)
    return node


def evaluate(context, builder, row, operands):
    """The value of a row, in a function of its own unless the sweeps have it inline: constants must not change bits."""
    rule = kernel_of(row.value)
    kinds = [types.int64 if x.type == WORD else types.float64 for x in operands]
    if ops.INLINE in row.traits:
        value, returned = Emitter(context, builder, types.float64).run(rule, kinds, operands)
        return context.cast(builder, value, returned, types.float64)
    name = f"fasttape_value_{row.name}"
    found, inner = function(builder.module, name, [x.type for x in operands], REAL)
    callee = context.typing_context.resolve_value_type(rule)
    signature = callee.get_call_type(context.typing_context, kinds, {})
    compiled = callee.dispatcher.overloads[signature.args]
    context.add_linking_libs([compiled.library])
    if inner is not None:
        _, value = context.call_internal_no_propagate(inner, compiled.fndesc, signature, found.args)
        inner.ret(context.cast(inner, value, signature.return_type, types.float64))
    return builder.call(found, operands)


def outcome(builder, value):
    """What a guard on a truth value holds it to: what it is."""
    return builder.zext(builder.fcmp_unordered("!=", value, ZERO), WORD)


def truth(builder, value):
    """What a guard on a truth value that has to be true holds it to, even if it is not, as with nan."""
    return word(1)


def is_live(builder, *nodes):
    """Whether some node is that of a slot."""
    found = nodes[0]
    for node in nodes[1:]:
        found = builder.or_(found, node)
    return builder.icmp_unsigned("!=", found, NOWHERE)


def record(context, builder, opcode, operands, guard=None):
    """The traced number of a row applied to traced numbers; `guard` gives the outcome that the program holds for."""
    row = ops.OPS[opcode]
    pairs = [fields(builder, x) for x in operands]
    value = evaluate(context, builder, row, [x for x, _ in pairs])
    x, y = (*pairs, (ZERO, NOWHERE))[:2]
    node = cgutils.alloca_once_value(builder, NOWHERE)
    with builder.if_then(is_live(builder, x[1], y[1])):
        made = write(context, builder, opcode, x, y)
        builder.store(made, node)
        if guard is not None:
            site = builder.load(builder.gep(header_of(builder, made), [word(SITE)]))
            write(context, builder, GUARD, (ZERO, made), (ZERO, guard(builder, value)), builder.bitcast(site, REAL))
    return pack(context, builder, value, builder.load(node))


def record_power(context, builder, x, n):
    """x to an integer power, which stays that where it fits in an instruction."""
    x, node = fields(builder, x)
    square = builder.icmp_signed("==", n, word(2))
    fits = builder.icmp_signed("==", builder.sext(builder.trunc(n, HALF), WORD), n)
    value = cgutils.alloca_once(builder, REAL)
    made = cgutils.alloca_once_value(builder, NOWHERE)
    exponent = builder.sitofp(n, REAL)
    live = is_live(builder, node)

    def branch(opcode, operands, parameter):
        result = evaluate(context, builder, ops.OPS[opcode], operands)
        builder.store(result, value)
        with builder.if_then(live):
            y = (exponent, NOWHERE) if opcode == POW else (ZERO, parameter)
            builder.store(write(context, builder, opcode, (x, node), y), made)

    with builder.if_else(square) as (two, other):
        with two:
            branch(SQUARE, [x], NOWHERE)
        with other, builder.if_else(fits) as (short, long):
            with short:
                branch(POWI, [x, n], builder.and_(n, word(0xFFFFFFFF)))
            with long:
                branch(POW, [x, exponent], NOWHERE)
    return pack(context, builder, builder.load(value), builder.load(made))


def constant(context, builder, x):
    """The traced number of a plain one."""
    return pack(context, builder, x, NOWHERE)


def decide(context, builder, x):
    """Whether a traced number is not zero, with a guard."""
    made = record(context, builder, NOT_EQUAL, [x, constant(context, builder, ZERO)], outcome)
    return builder.fcmp_unordered("!=", fields(builder, made)[0], ZERO)


def pin(context, builder, x, rounding):
    """A traced number rounded by a row, which a guard holds to what it is."""
    rounded = record(context, builder, ops.CODE[rounding], [x])
    value, _ = fields(builder, rounded)
    record(context, builder, EQUAL, [rounded, constant(context, builder, value)], truth)
    return value
