"""Active numbers: what a float is while a function compiled by Numba is recorded from inside.

An active number is (val, dot, node): its value, and dot = d val / d node, the derivative by a slot of the linear tape
in `compiler.linear_memory`. The upper half of `node` locates the header of that tape, the lower half is the slot. Zero
absorbs, so dot is 0 just where the number is passive, which has node 0; memory filled with zeros holds the passive 0.0.
`compiler.active_merge` says when an operation writes a record.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.extending import box, intrinsic, lower_cast, models, register_model

REAL, WORD = ir.DoubleType(), ir.IntType(64)
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


@box(Active)
def boxed(t, x, c):
    """The value as Python sees it where compiled code shows it: in what is printed, and in exceptions."""
    return c.pyapi.float_from_double(c.builder.extract_value(x, 0))
