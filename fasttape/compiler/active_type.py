"""Active numbers: what a float is while a function compiled by Numba is recorded from inside.

An active number is (val, dot, node): its value, and dot = d val / d node, the derivative by a slot of the linear tape
in `compiler.linear_memory`. The upper half of `node` locates the header of that tape, the lower half is the slot. An
operation on one slot only scales dot, in registers (chain rule); a record is written where two slots meet, and where
dot would leave the range in which products are exact. Zero absorbs, so whatever has dot = 0 is passive, and memory
filled with zeros holds the passive number 0.0.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from fasttape.compiler.linear_memory import materialize, push

REAL, WORD = ir.DoubleType(), ir.IntType(64)
EXPONENT_BITS = 0x7FF
LOWEST, RANGE = 64, 1918  # biased exponents of dot, from 2**-959 on, between which it is kept in registers
PASSIVE = (types.Float, types.Integer, types.Boolean)


class Active(types.Hashable):  # not Number: the unification of those asks for a NumPy dtype
    """The type of active numbers."""

    def __init__(self):
        super().__init__("active")

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, PASSIVE) else None

    def cast_python_value(self, value):
        return float(value)


active = Active()
SCALAR = (Active, *PASSIVE)


def is_active(t):
    return isinstance(t, Active)


def is_active_array(t):
    return isinstance(t, types.Array) and is_active(t.dtype)


def holds_active(t):
    """Whether values of a type hold active numbers."""
    if isinstance(t, types.BaseTuple):
        return any(holds_active(x) for x in t)
    return is_active(t) or is_active(getattr(t, "dtype", None))


@register_model(Active)
class ActiveModel(models.StructModel):
    def __init__(self, manager, active_type):
        members = [("val", types.float64), ("dot", types.float64), ("node", types.uint64)]
        super().__init__(manager, active_type, members)


def pack(context, builder, val, dot, node):
    """The active number of three fields."""
    made = cgutils.create_struct_proxy(active)(context, builder)
    made.val, made.dot, made.node = val, dot, node
    return made._getvalue()


def unpack(builder, x):
    """The fields of an active number."""
    return tuple(builder.extract_value(x, k) for k in range(3))


@lower_cast(types.Float, Active)
@lower_cast(types.Integer, Active)
@lower_cast(types.Boolean, Active)
def promote(context, builder, source, target, x):
    val = context.cast(builder, x, source, types.float64)
    return pack(context, builder, val, ir.Constant(REAL, 0.0), ir.Constant(WORD, 0))


def in_range(builder, dot):
    """Whether dot may stay in registers: neither 0, nor near underflow or overflow, nor inf, nor nan."""
    exponent = builder.and_(builder.lshr(builder.bitcast(dot, WORD), ir.Constant(WORD, 52)), ir.Constant(WORD, EXPONENT_BITS))
    return builder.icmp_unsigned("<", builder.sub(exponent, ir.Constant(WORD, LOWEST)), ir.Constant(WORD, RANGE))


class Term:
    """What one operand contributes to an active result: times(partial, dot) by its node, if it is live."""

    def __init__(self, builder, partial, operand):
        zero = ir.Constant(REAL, 0.0)
        self.partial = partial
        _, self.dot, self.node = unpack(builder, operand)
        moves = [builder.fcmp_unordered("!=", x, zero) for x in (partial, self.dot)]
        self.live = builder.and_(*moves)
        self.product = builder.select(self.live, builder.fmul(partial, self.dot), zero)


def merge(context, builder, val, terms, *, linear):
    """The active number `val` of one or two terms; `linear` says that the partials are constants near 1."""
    total, node = terms[0].product, terms[0].node
    live, write = terms[0].live, ir.Constant(ir.IntType(1), 0)
    if len(terms) == 2:
        first, second = terms
        total = builder.fadd(total, second.product)
        node = builder.select(first.live, node, second.node)
        live = builder.or_(live, second.live)
        write = builder.and_(builder.and_(first.live, second.live), builder.icmp_unsigned("!=", first.node, second.node))
    if len(terms) == 2 or not linear:
        write = builder.or_(write, builder.and_(live, builder.not_(in_range(builder, total))))
        dot, slot = (cgutils.alloca_once_value(builder, x) for x in (total, node))
        with builder.if_then(write):
            builder.store(record(context, builder, terms, linear), slot)
            builder.store(ir.Constant(REAL, 1.0), dot)
        total, node = builder.load(dot), builder.load(slot)
    return pack(context, builder, val, total, node)


def record(context, builder, terms, linear):
    """Write a record of the terms; the node of its slot."""
    zero, nowhere = ir.Constant(REAL, 0.0), ir.Constant(WORD, 0)
    weights, nodes = [], []
    for term in terms:
        node, weight = (cgutils.alloca_once_value(builder, x) for x in (term.node, term.product))
        if not linear:
            outside = builder.and_(term.live, builder.not_(in_range(builder, term.product)))
            with builder.if_then(outside, likely=False):
                builder.store(materialize(context, builder, term.node, term.dot), node)
                builder.store(term.partial, weight)
        nodes.append(builder.select(term.live, builder.load(node), nowhere))
        weights.append(builder.load(weight))
    if len(terms) == 1:
        return push(context, builder, nodes[0], weights[0], nowhere, zero)
    return push(context, builder, nodes[0], weights[0], nodes[1], weights[1])


@intrinsic
def make_active(typingctx, val, dot, node):
    """An active number of its fields."""
    return active(types.float64, types.float64, types.uint64), lambda c, b, sig, args: pack(c, b, *args)


@intrinsic
def as_active(typingctx, x):
    """A number as an active one."""
    return active(x), lambda c, b, sig, args: c.cast(b, args[0], sig.args[0], active)


def field(index, kind):
    """The intrinsic that reads a field of an active number."""

    @intrinsic
    def read(typingctx, x):
        if is_active(x):
            return kind(x), lambda c, b, sig, args: b.extract_value(args[0], index)
        return None

    return read


val_of, dot_of, node_of = field(0, types.float64), field(1, types.float64), field(2, types.uint64)
