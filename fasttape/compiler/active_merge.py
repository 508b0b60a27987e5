"""The chain rule in registers: the derivative of an operation on active numbers, and the record that it may write.

An operation on one slot only scales dot. A record is written where two slots meet, and where dot would leave the range
in which products are exact. What is rare, a passive operand or a dot beyond that range, is left to one function
for all operations, so that the code of each is short.
"""

import functools

from llvmlite import ir
from numba.core import cgutils

from fasttape.compiler.active_type import REAL, WORD, pack, unpack
from fasttape.compiler.linear_memory import append, full, function

LOWEST, RANGE = 64, 1918  # biased exponents of dot, from 2**-959 on, between which it is kept in registers
ZERO, ONE, NOWHERE = ir.Constant(REAL, 0.0), ir.Constant(REAL, 1.0), ir.Constant(WORD, 0)
FLAG = ir.IntType(1)
SETTLED = ir.LiteralStructType([REAL, WORD, FLAG])  # dot, node, and whether the tape is full


class Term:
    """What one operand contributes to an active result: times(partial, dot), by its node."""

    def __init__(self, builder, partial, operand):
        self.partial = partial
        _, self.dot, self.node = unpack(builder, operand)
        self.product = builder.fmul(partial, self.dot)


def leaves_range(builder, product):
    """Whether a product is 0, too near overflow or underflow to stay in registers, inf or nan."""
    doubled = builder.shl(builder.bitcast(product, WORD), ir.Constant(WORD, 1))  # without the sign
    above = builder.sub(doubled, ir.Constant(WORD, LOWEST << 53))
    return builder.icmp_unsigned(">", above, ir.Constant(WORD, RANGE << 53))


def merge(context, builder, val, terms, *, linear):
    """The active number `val` of one or two terms; `linear` says that the partials are constants near 1."""
    if linear:
        return pack(context, builder, val, *combine(context, builder, terms, passive=True))
    dot, node = cgutils.alloca_once(builder, REAL), cgutils.alloca_once(builder, WORD)
    rare = functools.reduce(builder.or_, [leaves_range(builder, term.product) for term in terms])
    with builder.if_else(rare, likely=False) as (seldom, mostly):
        with seldom:
            settled = builder.call(settle(builder.module), operands_of(terms))
            with builder.if_then(builder.extract_value(settled, 2), likely=False):
                full(context)(builder)
            for k, place in enumerate((dot, node)):
                builder.store(builder.extract_value(settled, k), place)
        with mostly:
            for x, place in zip(combine(context, builder, terms, passive=False), (dot, node), strict=True):
                builder.store(x, place)
    return pack(context, builder, val, builder.load(dot), builder.load(node))


def combine(context, builder, terms, *, passive):
    """The dot and the node of one term, or of two, which may be passive: a record where they are on two slots."""
    if len(terms) == 1:
        return terms[0].product, terms[0].node
    (a, da), (b, db) = ((term.node, term.product) for term in terms)
    dot, node = cgutils.alloca_once_value(builder, ONE), cgutils.alloca_once(builder, WORD)
    apart = builder.icmp_unsigned("!=", a, b)
    if passive:
        for x in (a, b):
            apart = builder.and_(apart, builder.icmp_unsigned("!=", x, NOWHERE))
    with builder.if_else(apart) as (two, one):
        with two:
            builder.store(append(builder, a, a, da, b, db, full(context)), node)
        with one:
            total = builder.fadd(da, db)
            builder.store(total, dot)
            cancelled = builder.fcmp_ordered("==", total, ZERO)
            builder.store(builder.select(cancelled, NOWHERE, builder.or_(a, b)), node)
    return builder.load(dot), builder.load(node)


def operands_of(terms):
    """The arguments of `settle` for one term or two."""
    given = [x for term in terms for x in (term.node, term.dot, term.partial)]
    return given + [NOWHERE, ZERO, ZERO] * (2 - len(terms))


def settle(module):
    """{dot, node, full} fasttape_settle((node, dot, partial) twice): what a sum of terms is that are out of range.

    A term is dead where dot or partial is 0, which absorbs. The others go to a record with their partials as they are,
    unless they are in range; each dot gets a slot before.
    """
    found, builder = function(module, "fasttape_settle", [WORD, REAL, REAL] * 2, SETTLED)
    if builder is None:
        return found
    dot, nodes, beyond, operands = ZERO, NOWHERE, ir.Constant(FLAG, 0), []
    for node, factor, partial in (found.args[:3], found.args[3:]):
        live = builder.and_(*(builder.fcmp_unordered("!=", x, ZERO) for x in (factor, partial)))
        product = builder.select(live, builder.fmul(factor, partial), ZERO)
        beyond = builder.or_(beyond, builder.and_(live, leaves_range(builder, product)))
        dot, node = builder.fadd(dot, product), builder.select(live, node, NOWHERE)
        nodes = builder.or_(nodes, node)
        operands.append((node, factor, builder.select(live, partial, ZERO)))
    with builder.if_then(beyond):
        swapped = builder.icmp_unsigned("==", operands[0][0], NOWHERE)
        weights, pairs = [], list(zip(*operands, strict=True))
        for k in range(2):  # the first is live
            node, factor, partial = (builder.select(swapped, pair[1 - k], pair[k]) for pair in pairs)
            moved = cgutils.alloca_once_value(builder, node)
            with builder.if_then(builder.icmp_unsigned("!=", node, NOWHERE)):
                builder.store(append(builder, node, node, factor, NOWHERE, ZERO, overflow), moved)
            weights += [builder.load(moved), partial]
        settled(builder, ONE, append(builder, weights[0], *weights, overflow), ir.Constant(FLAG, 0))
    settled(builder, dot, nodes, ir.Constant(FLAG, 0))
    return found


def settled(builder, *fields):
    """Return from `settle`."""
    made = ir.Constant(SETTLED, ir.Undefined)
    for k, x in enumerate(fields):
        made = builder.insert_value(made, x, k)
    builder.ret(made)


def overflow(builder):
    settled(builder, ZERO, NOWHERE, ir.Constant(FLAG, 1))
