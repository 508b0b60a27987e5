"""Active numbers: what a float is while a function compiled by Numba is recorded from inside.

An active number is (val, dot, node): its value, and dot = d val / d node, the derivative by a slot of the linear tape
in `compiler.linear_memory`. The upper half of `node` locates the header of that tape, the lower half is the slot. An
operation on one slot only scales dot, in registers (chain rule); a record is written where two slots meet, and where
dot would leave the range in which products are exact. Zero absorbs, so whatever has dot = 0 is passive, and memory
filled with zeros holds the passive number 0.0.
"""

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.extending import intrinsic, lower_cast, models, register_model

from fasttape.compiler.linear_memory import push, push_exactly

REAL, WORD = ir.DoubleType(), ir.IntType(64)
LOWEST, RANGE = 64, 1918  # biased exponents of dot, from 2**-959 on, between which it is kept in registers
PASSIVE = (types.Float, types.Integer, types.Boolean)


class Active(types.Hashable):  # not Number: the unification of those asks for a NumPy dtype
    """A type of active numbers, by what they record: a linear tape, or a program (`compiler.active_program`)."""

    def __init__(self, name, fields):
        self.fields = fields
        super().__init__(name)

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, PASSIVE) else None

    def cast_python_value(self, value):
        return float(value)


VAL, DOT, NODE = ("val", types.float64), ("dot", types.float64), ("node", types.uint64)
active, traced = Active("active", (VAL, DOT, NODE)), Active("traced", (VAL, NODE))
SCALAR = (Active, *PASSIVE)


def is_active(t):
    return isinstance(t, Active)


def is_active_array(t):
    return isinstance(t, types.Array) and is_active(t.dtype)


def kind_of(*given):
    """The type of active numbers among some types and their elements; None unless there is one."""
    kinds = {t.dtype if isinstance(t, types.Array) else t for t in given}
    kinds = {t for t in kinds if is_active(t)}
    return kinds.pop() if len(kinds) == 1 else None


def holds_active(t):
    """Whether values of a type hold active numbers."""
    if isinstance(t, types.BaseTuple):
        return any(holds_active(x) for x in t)
    return is_active(t) or (hasattr(t, "dtype") and holds_active(t.dtype))


@register_model(Active)
class ActiveModel(models.StructModel):
    def __init__(self, manager, active_type):
        super().__init__(manager, active_type, list(active_type.fields))


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
    made = cgutils.create_struct_proxy(target)(context, builder)  # all zero
    made.val = context.cast(builder, x, source, types.float64)
    return made._getvalue()


class Term:
    """What one operand contributes to an active result: times(partial, dot) by its node, if it is live."""

    def __init__(self, builder, partial, operand, linear):
        zero = ir.Constant(REAL, 0.0)
        self.partial = partial
        _, self.dot, self.node = unpack(builder, operand)
        self.live = builder.fcmp_unordered("!=", self.dot, zero)
        self.product = builder.fmul(partial, self.dot)
        if not linear:  # the partial may be 0, inf or nan
            self.live = builder.and_(self.live, builder.fcmp_unordered("!=", partial, zero))
            self.product = builder.select(self.live, self.product, zero)

    def leaves_range(self, builder):
        """Whether the product is too near overflow or underflow, or inf or nan, to stay in registers."""
        doubled = builder.shl(builder.bitcast(self.product, WORD), ir.Constant(WORD, 1))  # without the sign
        above = builder.sub(doubled, ir.Constant(WORD, LOWEST << 53))
        return builder.and_(self.live, builder.icmp_unsigned(">", above, ir.Constant(WORD, RANGE << 53)))


def merge(context, builder, val, terms, *, linear):
    """The active number `val` of one or two terms; `linear` says that the partials are constants near 1."""
    dot, node = (cgutils.alloca_once_value(builder, x) for x in (terms[0].product, terms[0].node))
    if len(terms) == 2:
        first, second = terms
        builder.store(builder.fadd(first.product, second.product), dot)
        builder.store(builder.select(first.live, first.node, second.node), node)
        both = builder.and_(first.live, second.live)
        with builder.if_then(builder.and_(both, builder.icmp_unsigned("!=", first.node, second.node))):
            builder.store(push(context, builder, first.node, first.product, second.node, second.product), node)
            builder.store(ir.Constant(REAL, 1.0), dot)
    if not linear:
        leaving = functools.reduce(builder.or_, [term.leaves_range(builder) for term in terms])
        with builder.if_then(leaving, likely=False):
            builder.store(push_all(context, builder, terms), node)
            builder.store(ir.Constant(REAL, 1.0), dot)
    return pack(context, builder, val, builder.load(dot), builder.load(node))


def push_all(context, builder, terms):
    """The node of a new slot for terms whose products have left the range: each dot gets a slot of its own before."""
    nowhere, zero = ir.Constant(WORD, 0), ir.Constant(REAL, 0.0)
    operands = []
    for term in terms:
        operands += [
            builder.select(term.live, term.node, nowhere),
            term.dot,
            builder.select(term.live, term.partial, zero),
        ]
    operands += [nowhere, zero, zero] * (2 - len(terms))
    return push_exactly(context, builder, operands)


@intrinsic
def make_active(typingctx, val, dot, node):
    """An active number of its fields."""
    return active(types.float64, types.float64, types.uint64), lambda c, b, sig, args: pack(c, b, *args)


@intrinsic
def as_active(typingctx, x):
    """A number as an active one."""
    return active(x), lambda c, b, sig, args: c.cast(b, args[0], sig.args[0], active)


def field(member):
    """The intrinsic that reads a field of an active number."""

    @intrinsic
    def read(typingctx, x):
        if is_active(x) and member in x.fields:
            return member[1](x), lambda c, b, sig, args: b.extract_value(args[0], x.fields.index(member))
        return None

    return read


val_of, dot_of, node_of = map(field, (VAL, DOT, NODE))
