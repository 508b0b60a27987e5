"""Calls of Fortran routines from compiled code."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def call(typingctx, address, flags, sizes, scalars, arrays, offsets, operands):
    """Call the Fortran routine at `address`; every argument goes by reference, in the order that `operands` spells.

    `operands` is a literal string: c a character of `flags`, i an integer of `sizes`, s a number of `scalars`, p the
    address of element `offsets[k]` of `arrays[k]`; each letter takes the next one of its kind.
    """

    def emit(context, builder, signature, args):
        word = ir.IntType(32)
        items = {
            "c": [builder.trunc(v, ir.IntType(8)) for v in cgutils.unpack_tuple(builder, args[1])],
            "i": [builder.trunc(v, word) for v in cgutils.unpack_tuple(builder, args[2])],
            "s": cgutils.unpack_tuple(builder, args[3]),
            "p": [],
        }
        starts = cgutils.unpack_tuple(builder, args[5])
        for kind, array, start in zip(signature.args[4], cgutils.unpack_tuple(builder, args[4]), starts, strict=True):
            data = context.make_array(kind)(context, builder, value=array).data
            items["p"].append(builder.gep(data, [start]))
        pointers = []
        for letter in operands.literal_value:
            item = items[letter].pop(0)
            pointers.append(item if letter == "p" else cgutils.alloca_once_value(builder, item))
        routine = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [p.type for p in pointers]).as_pointer())
        builder.call(routine, pointers)
        return context.get_dummy_value()

    if not isinstance(operands, types.StringLiteral):
        return None
    return types.void(address, flags, sizes, scalars, arrays, offsets, operands), emit
