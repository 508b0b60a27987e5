"""Cells of several lanes: what the linear tape does to the adjoints or tangents of many directions at once.

Cell n of a flat array is the numbers `n * lanes` and on, held in vector registers while they are worked on. How many
lanes there are is part of the type of the argument `width`, a tuple of as many integers, so that each number of lanes
has code of its own. LLVM cuts a cell into the registers that the CPU has. The twins define what each function does.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD = ir.IntType(64)


class Cells:
    """Builds instructions on the cells of one array."""

    def __init__(self, context, builder, array_type, array, lanes):
        self.builder, self.lanes = builder, lanes
        self.data = context.make_array(array_type)(context, builder, value=array).data
        self.vector = ir.VectorType(self.data.type.pointee, lanes)
        self.zero = ir.Constant(self.vector, None)

    def pointer(self, cell):
        cell = cell if cell.type.width == 64 else self.builder.zext(cell, WORD)
        first = self.builder.gep(self.data, [self.builder.mul(cell, ir.Constant(WORD, self.lanes))])
        return self.builder.bitcast(first, self.vector.as_pointer())

    def load(self, cell):
        loaded = self.builder.load(self.pointer(cell))
        loaded.align = 8 if self.vector.element == ir.DoubleType() else 4
        return loaded

    def store(self, value, cell):
        stored = self.builder.store(value, self.pointer(cell))
        stored.align = 8 if self.vector.element == ir.DoubleType() else 4

    def nonzero(self, x):
        """For each lane, whether its number is not zero; nan is not."""
        return self.builder.fcmp_unordered("!=", x, self.zero)

    def any(self, truths):
        """Whether some lane is true."""
        bits = self.builder.bitcast(truths, ir.IntType(self.lanes))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def every(self, factor):
        """One number in all lanes."""
        one = self.builder.insert_element(
            ir.Constant(self.vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0)
        )
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), order)

    def times(self, x, factor):
        """The product by one number that is not zero, exactly zero in each lane where x is."""
        return self.builder.select(self.nonzero(x), self.builder.fmul(x, self.every(factor)), self.zero)

    def add(self, value, cell):
        self.store(self.builder.fadd(self.load(cell), value), cell)


def cell_function(emit_cells):
    """The code generator of a function on cells; the first argument is their array and the last one the width."""

    def emit(context, builder, signature, args):
        cells = Cells(context, builder, signature.args[0], args[0], len(signature.args[-1]))
        emit_cells(cells, *args[1:-1])
        return context.get_dummy_value()

    return emit


def emit_pull(cells, node, a, da, b, db):
    w, builder = cells.load(node), cells.builder
    with builder.if_then(cells.any(cells.nonzero(w))):
        for operand, d in ((a, da), (b, db)):  # the only lane of a cell that is not zero needs no test
            cells.add(cells.times(w, d) if cells.lanes > 1 else builder.fmul(w, cells.every(d)), operand)
        cells.store(cells.zero, node)


def emit_push(cells, node, a, da, b, db):
    x, y = cells.times(cells.load(a), da), cells.times(cells.load(b), db)
    cells.store(cells.builder.fadd(x, y), node)


def emit_clear(cells, node):
    cells.store(cells.zero, node)


@intrinsic
def pull(typingctx, cells, node, a, da, b, db, width):
    return types.void(cells, node, a, da, b, db, width), cell_function(emit_pull)


@intrinsic
def push(typingctx, cells, node, a, da, b, db, width):
    return types.void(cells, node, a, da, b, db, width), cell_function(emit_push)


@intrinsic
def clear(typingctx, cells, node, width):
    return types.void(cells, node, width), cell_function(emit_clear)
