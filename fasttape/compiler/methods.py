"""The compiled methods of traced scalars and of functions that record, in the calling convention of the C API."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fasttape.compiler.objects import COMPARISONS, FIRST_FIELD, FLOAT_VALUE, TYPE_FIELD, offset_of
from fasttape.compiler.operators import (
    API,
    CLASSES,
    FUNCTION,
    MEMORY,
    NOT_HELD,
    SCALAR,
    TWINS,
    arithmetic,
    comparisons,
    flagged,
)

BYTE, HALF, WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
OBJECT = BYTE.as_pointer()
NULL = ir.Constant(OBJECT, None)


def word(x):
    return ir.Constant(WORD, x)


class Writer:
    """Builds one function of the C API's calling convention; `table` holds the addresses of what it calls."""

    def __init__(self, table, name, parameters):
        self.function = ir.Function(table.parent, ir.FunctionType(OBJECT, parameters), name)
        self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.table = table

    def known(self, place):
        """An address of the table."""
        base = self.builder.load(self.table)
        return self.builder.load(self.builder.gep(base, [word(place)]))

    def call(self, name, returned, *arguments):
        """Call a function of the C API."""
        kind = ir.FunctionType(returned, [x.type for x in arguments]).as_pointer()
        return self.builder.call(self.builder.inttoptr(self.known(API.index(name)), kind), arguments)

    def place(self, x, offset, kind):
        return self.builder.bitcast(self.builder.gep(x, [word(offset)]), kind.as_pointer())

    def load(self, x, offset, kind=WORD):
        return self.builder.load(self.place(x, offset, kind))

    def store(self, value, x, offset):
        self.builder.store(value, self.place(x, offset, value.type))

    def is_scalar(self, x):
        return self.builder.icmp_unsigned("==", self.load(x, TYPE_FIELD), self.known(CLASSES))

    def unless(self, condition, otherwise):
        """Leave for another block where a condition does not hold."""
        on = self.builder.append_basic_block()
        self.builder.cbranch(condition, on, otherwise)
        self.builder.position_at_end(on)

    def short_way(self, recorded):
        """Return the result of the short way where there is one."""
        with self.builder.if_then(self.builder.icmp_unsigned("!=", recorded, NULL)):
            self.builder.ret(recorded)

    def twin(self, place, *arguments):
        """Call a Python function whose address the table holds, and return what it returns."""
        function = self.builder.inttoptr(self.known(TWINS + place), OBJECT)
        self.builder.ret(self.call("PyObject_CallFunctionObjArgs", OBJECT, function, *arguments, NULL))


def append(w, memory, opcode, a, b, failed):
    """Append an instruction where there is room for it, and return the scalar that stands for its result."""
    builder = w.builder
    n, slot = (w.load(memory, offset_of(MEMORY, field)) for field in ("n", "next"))
    w.unless(builder.icmp_signed("<", n, w.load(memory, offset_of(MEMORY, "capacity"))), failed)
    for column, kind, value in (("ops", BYTE, opcode), ("a", HALF, a), ("b", HALF, b)):
        base = builder.inttoptr(w.load(memory, offset_of(MEMORY, column)), kind.as_pointer())
        builder.store(builder.trunc(value, kind), builder.gep(base, [n]))
    result = w.call("_PyObject_GC_New", OBJECT, w.known(CLASSES))
    w.unless(builder.icmp_unsigned("!=", result, NULL), failed)
    w.store(builder.add(n, word(1)), memory, offset_of(MEMORY, "n"))
    w.store(builder.add(slot, word(1)), memory, offset_of(MEMORY, "next"))
    with builder.if_then(builder.icmp_unsigned(">=", opcode, word(NOT_HELD))):
        w.store(word(1), memory, offset_of(MEMORY, "unlinked"))
    w.call("Py_IncRef", ir.VoidType(), memory)
    w.store(memory, result, FIRST_FIELD)
    w.store(slot, result, offset_of(SCALAR, "slot"))
    builder.ret(result)


def emit_record_one(table):
    """record(x, opcode): the short way for one operand, null where it cannot be gone."""
    w = Writer(table, "fasttape_record_one", [OBJECT, WORD])
    x, opcode = w.function.args
    failed = w.builder.append_basic_block("failed")
    w.unless(w.is_scalar(x), failed)
    append(w, w.load(x, FIRST_FIELD, OBJECT), opcode, w.load(x, offset_of(SCALAR, "slot")), word(0), failed)
    w.builder.position_at_end(failed)
    w.builder.ret(NULL)
    return w.function


def emit_record_two(table):
    """record(x, y, opcode): the short way for two operands of which at least one is a scalar."""
    w = Writer(table, "fasttape_record_two", [OBJECT, OBJECT, WORD])
    builder, (x, y, opcode) = w.builder, w.function.args
    failed, both, one, found = map(builder.append_basic_block, ("failed", "both", "one", "found"))
    x_is, y_is = w.is_scalar(x), w.is_scalar(y)
    w.unless(builder.or_(x_is, y_is), failed)
    own, other = builder.select(x_is, x, y), builder.select(x_is, y, x)
    memory, own_slot = w.load(own, FIRST_FIELD, OBJECT), w.load(own, offset_of(SCALAR, "slot"))
    builder.cbranch(builder.and_(x_is, y_is), both, one)

    builder.position_at_end(both)
    slots = [(w.load(other, offset_of(SCALAR, "slot")), both)]
    builder.cbranch(builder.icmp_unsigned("==", w.load(other, FIRST_FIELD, OBJECT), memory), found, failed)

    builder.position_at_end(one)
    slots += constant(w, memory, other, found, failed)

    builder.position_at_end(found)
    other_slot = builder.phi(WORD)
    for value, block in slots:
        other_slot.add_incoming(value, block)
    a, b = builder.select(x_is, own_slot, other_slot), builder.select(x_is, other_slot, own_slot)
    append(w, memory, opcode, a, b, failed)
    builder.position_at_end(failed)
    builder.ret(NULL)
    return w.function


def constant(w, memory, number, found, failed):
    """Go to `found` with the slot of a number in the pool: pairs (slot, block that it comes from)."""
    builder = w.builder
    a_float, pooled, known = map(builder.append_basic_block, ("float", "pooled", "known"))
    kind, integer = w.load(number, TYPE_FIELD), builder.append_basic_block("integer")
    builder.cbranch(builder.icmp_unsigned("==", kind, w.known(CLASSES + 1)), a_float, integer)
    builder.position_at_end(integer)
    builder.cbranch(builder.icmp_unsigned("==", kind, w.known(CLASSES + 2)), pooled, failed)
    # 0.0 is slot 0, and the pool must not answer 0.0 when it is asked for -0.0
    builder.position_at_end(a_float)
    bits = w.load(number, FLOAT_VALUE)
    choice = builder.switch(bits, pooled)
    choice.add_case(word(0), found)
    choice.add_case(word(1 << 63), failed)
    builder.position_at_end(pooled)
    pool = w.load(memory, FIRST_FIELD, OBJECT)
    item = w.call("PyDict_GetItemWithError", OBJECT, pool, number)
    builder.cbranch(builder.icmp_unsigned("!=", item, NULL), known, failed)
    builder.position_at_end(known)
    slot = w.call("PyLong_AsLongLong", WORD, item)
    builder.branch(found)
    return [(word(0), a_float), (slot, known)]


def emit_operator(table, record, name, opcode, arity, place):
    """The method of one operator."""
    w = Writer(table, f"fasttape_{name}", [OBJECT] * arity)
    operands = w.function.args
    w.short_way(w.builder.call(record[arity], [*operands, word(flagged(opcode))]))
    if arity == 2:
        with w.builder.if_then(w.builder.not_(w.is_scalar(operands[0]))):
            w.twin(place + 1, *reversed(operands))
    w.twin(place, *operands)
    return w.function


def emit_compare(table, record, place):
    """The method of all comparisons; its third argument says which."""
    w = Writer(table, "fasttape_compare", [OBJECT, OBJECT, HALF])
    x, y, which = w.function.args
    done = w.builder.append_basic_block("done")
    choice = w.builder.switch(which, done)
    for k, opcode in enumerate(comparisons()):
        block = w.builder.append_basic_block(COMPARISONS[k])
        choice.add_case(ir.Constant(HALF, k), block)
        w.builder.position_at_end(block)
        w.short_way(w.builder.call(record[2], [x, y, word(flagged(opcode))]))
        w.twin(place + 2 * k, x, y)
    w.builder.position_at_end(done)
    w.builder.ret(NULL)
    return w.function


def emit_call(table, record):
    """The method that calls a function: the short way for as many operands as its row has, else its own object."""
    w = Writer(table, "fasttape_call", [OBJECT] * 3)
    builder, (function, arguments, keywords) = w.builder, w.function.args
    opcode, arity = (w.load(function, offset_of(FUNCTION, field)) for field in FUNCTION)
    matches = builder.icmp_signed("==", w.call("PyTuple_Size", WORD, arguments), arity)
    with builder.if_then(builder.and_(matches, builder.icmp_unsigned("==", keywords, NULL))):
        first = w.call("PyTuple_GetItem", OBJECT, arguments, word(0))
        with builder.if_else(builder.icmp_signed("==", arity, word(1))) as (one, two):
            with one:
                w.short_way(builder.call(record[1], [first, opcode]))
            with two:
                second = w.call("PyTuple_GetItem", OBJECT, arguments, word(1))
                w.short_way(builder.call(record[2], [first, second, opcode]))
    builder.ret(w.call("PyObject_Call", OBJECT, w.load(function, FIRST_FIELD, OBJECT), arguments, keywords))
    return w.function


@intrinsic
def install(typingctx, table, methods):
    """Remember where the table of addresses is, and fill `methods` with the addresses of the methods."""

    def emit(context, builder, signature, args):
        table, methods = (
            context.make_array(kind)(context, builder, value=array).data
            for kind, array in zip(signature.args, args, strict=True)
        )
        kept = ir.GlobalVariable(builder.module, table.type, "fasttape_table")
        kept.linkage, kept.initializer = "internal", ir.Constant(table.type, None)
        builder.store(table, kept)
        record = {1: emit_record_one(kept), 2: emit_record_two(kept)}
        rows = arithmetic()
        functions = [emit_operator(kept, record, *row, 2 * k) for k, row in enumerate(rows)]
        functions += [emit_compare(kept, record, 2 * len(rows)), emit_call(kept, record)]
        for k, function in enumerate(functions):
            builder.store(builder.ptrtoint(function, WORD), builder.gep(methods, [word(k)]))
        return context.get_dummy_value()

    return types.void(table, methods), emit
