"""Products that are added to a sum as soon as they are there, as in s += a[k] * b[k]: one record instead of two.

The record of such a product stands right behind that of the sum so far, and passes its own adjoint on to it. Where the
sum is no longer the last slot of its tape, or a factor is passive or out of range, the operations are recorded one by
one; and behind 2**31 slots, from where on the complement of a slot may lie before it.
"""

import collections
import operator

from llvmlite import ir as llvm
from numba.core import cgutils, ir
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.extending import intrinsic

from fasttape.compiler.active_merge import ONE, Term, leaves_range, merge
from fasttape.compiler.active_ops import IN_PLACE
from fasttape.compiler.active_type import active, pack, unpack
from fasttape.compiler.linear_memory import LENGTH, append, full, header_of, word
from fasttape.compiler.linear_tape import LOW_HALF

MOST = 1 << 31


def with_product(sign):
    """The intrinsic for s + x y, or for s - x y."""

    @intrinsic
    def combine(typingctx, s, x, y):
        return active(s, x, y), lambda context, builder, sig, args: emit(context, builder, sign, *args)

    return combine


def emit(context, builder, sign, s, x, y):
    """The sum of s and a product, by one record where that is possible, else by those of the two operations."""
    (total, dot, node), (u, *_), (v, *_) = (unpack(builder, operand) for operand in (s, x, y))
    one = llvm.Constant(ONE.type, sign)
    terms = [Term(builder, builder.fmul(one, partial), operand) for partial, operand in ((v, x), (u, y))]
    product = builder.fmul(u, v)
    value = builder.fadd(total, builder.fmul(one, product))
    result = cgutils.alloca_once(builder, s.type)
    last, together, apart, done = (builder.append_basic_block() for _ in range(4))
    kept = [builder.not_(leaves_range(builder, term.product)) for term in terms]
    two = builder.icmp_unsigned("!=", terms[0].node, terms[1].node)
    leads = builder.fcmp_ordered("==", dot, ONE)
    builder.cbranch(builder.and_(builder.and_(leads, two), builder.and_(*kept)), last, apart)

    builder.position_at_end(last)
    behind = builder.add(builder.and_(node, word(LOW_HALF)), word(1))
    length = builder.load(builder.gep(header_of(builder, node), [word(LENGTH)]))
    is_last = builder.icmp_unsigned("==", behind, length)
    builder.cbranch(builder.and_(is_last, builder.icmp_unsigned("<", behind, word(MOST))), together, apart)

    builder.position_at_end(together)
    a, b = terms
    made = append(builder, node, a.node, a.product, builder.not_(b.node), b.product, full(context))
    builder.store(pack(context, builder, value, ONE, made), result)
    builder.branch(done)

    builder.position_at_end(apart)
    factors = [Term(builder, partial, operand) for partial, operand in ((v, x), (u, y))]
    product = merge(context, builder, product, factors, linear=False)
    summands = [Term(builder, ONE, s), Term(builder, one, product)]
    builder.store(merge(context, builder, value, summands, linear=True), result)
    builder.branch(done)

    builder.position_at_end(done)
    return builder.load(result)


plus_product, minus_product = with_product(1.0), with_product(-1.0)
FUSED = {operator.add: plus_product, IN_PLACE[operator.iadd]: plus_product}
FUSED |= {operator.sub: minus_product, IN_PLACE[operator.isub]: minus_product}


@register_pass(mutates_CFG=False, analysis_only=False)
class FuseProducts(FunctionPass):
    """Puts calls of these functions in the place of a product and of the sum behind it that alone uses it."""

    _name = "fasttape_fuse_products"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        blocks = state.func_ir.blocks.values()
        counts = collections.Counter(x.name for block in blocks for line in block.body for x in line.list_vars())
        found = False
        for block in blocks:
            body = []
            for line in block.body:
                factors = factors_of(body[-1], state.typemap) if body else None
                call = factors and fused(line, body[-1].target, factors, counts, state)
                if call:
                    body[-1:] = call
                    found = True
                else:
                    body.append(line)
            block.body = body
        return found


def binary(line, typemap):
    """The expression of a line that applies an operator to two active numbers, or None."""
    value = getattr(line, "value", None)
    if not isinstance(value, ir.Expr) or value.op not in ("binop", "inplace_binop"):
        return None
    return value if all(typemap[x.name] == active for x in (value.lhs, value.rhs)) else None


def factors_of(line, typemap):
    """The factors of a product, or None."""
    value = binary(line, typemap)
    return (value.lhs, value.rhs) if value is not None and value.fn is operator.mul else None


def fused(line, product, factors, counts, state):
    """The lines in place of a product and of a line that adds it to something, or None."""
    value = binary(line, state.typemap)
    function = FUSED.get(value.fn) if value is not None and counts[product.name] == 2 else None
    if function is None or value.lhs.name == value.rhs.name:
        return None
    if value.rhs.name == product.name:
        total = value.lhs
    elif value.lhs.name == product.name and function is plus_product:
        total = value.rhs
    else:
        return None
    name = ir.Var(product.scope, f"{product.name}.fused", value.loc)
    kind = state.typemap[name.name] = state.typingctx.resolve_value_type(function)
    call = ir.Expr.call(name, (total, *factors), (), value.loc)
    state.calltypes[call] = kind.get_call_type(state.typingctx, (active,) * 3, {})
    named = ir.Assign(ir.Global(name.name, function, value.loc), name, value.loc)
    return [named, ir.Assign(call, line.target, value.loc)]
