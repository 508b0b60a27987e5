"""What one instruction does in each sweep, as code: an LLVM `switch` built from the table, or one of its cases alone.

The functions are intrinsics with the names, arguments and meaning of those in `compiler.twins`. With an opcode known
only at run time they emit a switch whose cases are the INLINE rows and whose default calls the entry of the opcode;
with a literal opcode they emit that row alone, which is how entries are made. Nothing is generated as source text.
"""

import functools
from types import FunctionType
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from fasttape import ops
from fasttape.compiler import vector
from fasttape.compiler.calls import call
from fasttape.compiler.jit import INTERNAL, kernel
from fasttape.compiler.structural import STRUCTURAL
from fasttape.layout import (
    FIRST_PAIR,
    FORWARD,
    LANES_FORWARD,
    LANES_PARTIALS,
    LANES_STRICT,
    PAIRS,
    PARTIALS,
    REVERSE,
    TANGENT,
)

WORD = ir.IntType(64)


@functools.cache
def kernel_of(rule):
    """The compiled form of a rule, one for all sweeps."""
    expose_helpers(rule)
    return kernel(rule)


@functools.cache
def expose_helpers(function):
    """Let the compiled form of `function` call the plain functions that it names, and these theirs."""
    for name in function.__code__.co_names:
        helper = function.__globals__.get(name)
        if isinstance(helper, FunctionType) and helper is not function:
            register_jitable(**INTERNAL)(helper)
            expose_helpers(helper)


class Case(NamedTuple):
    """A case of the switch: the row, or the rows between which the opcode chooses."""

    codes: tuple[int, ...]
    opcode: Any  # the value in LLVM, where there are several


def cases():
    """The opcodes of each case of the switch; CHEAP rows share one, since a wrong guess of a branch costs far more."""
    inline = [code for code, row in enumerate(ops.OPS) if ops.INLINE in row.traits]
    cheap = tuple(code for code in inline if ops.CHEAP in ops.OPS[code].traits)
    return [cheap] * bool(cheap) + [(code,) for code in inline if code not in cheap]


class Emitter:
    """Builds instructions for numbers of one dtype; knows how to call a rule and how to call an entry."""

    def __init__(self, context, builder, dtype):
        self.context, self.builder, self.dtype = context, builder, dtype
        self.real = context.get_value_type(dtype)
        self.zero = ir.Constant(self.real, 0.0)

    def dispatch(self, opcode_type, opcode, emit_case, emit_default):
        """The body of one row where the opcode is literal; else a switch over the INLINE rows with a default."""
        if isinstance(opcode_type, types.IntegerLiteral):
            emit_case(Case((opcode_type.literal_value,), None))
            return
        builder = self.builder
        default, done = (builder.append_basic_block(name) for name in ("default", "done"))
        switch = builder.switch(opcode, default)
        for codes in cases():
            block = builder.append_basic_block(ops.OPS[codes[0]].name)
            for code in codes:
                switch.add_case(ir.Constant(opcode.type, code), block)
            builder.position_at_end(block)
            emit_case(Case(codes, opcode))
            builder.branch(done)
        builder.position_at_end(default)
        emit_default()
        builder.branch(done)
        builder.position_at_end(done)

    def call(self, rule, operands):
        """Call a rule on operands of the tape's dtype (parameters: int64); results are of the tape's dtype."""
        argtypes = [types.int64 if v.type == WORD else self.dtype for v in operands]
        value, returned = self.run(kernel_of(rule), argtypes, operands)
        if not isinstance(returned, types.BaseTuple):
            return self.context.cast(self.builder, value, returned, self.dtype)
        items = cgutils.unpack_tuple(self.builder, value, len(returned))
        return [self.context.cast(self.builder, v, t, self.dtype) for v, t in zip(items, returned, strict=True)]

    def evaluate(self, case, rule, operands):
        """What a rule of the case's row returns, as a list; of several rows, what the opcode chooses branchless."""
        results = [self.call(getattr(ops.OPS[code], rule), operands) for code in case.codes]
        results = [result if isinstance(result, list) else [result] for result in results]
        chosen = results[-1]
        for code, result in zip(case.codes[:-1], results[:-1], strict=True):
            here = self.builder.icmp_unsigned("==", case.opcode, ir.Constant(case.opcode.type, code))
            chosen = [self.builder.select(here, x, y) for x, y in zip(result, chosen, strict=True)]
        return chosen

    def run(self, function, argtypes, arguments):
        """Call a compiled function; its value and the type of that."""
        return call(self.context, self.builder, function, argtypes, arguments)

    def call_entry(self, kind, opcode, entries, arguments):
        """Call the entry of an opcode through its address."""
        place = self.builder.add(self.wide(opcode), ir.Constant(WORD, kind * 256))
        function = ir.FunctionType(ir.VoidType(), [v.type for v in arguments]).as_pointer()
        self.builder.call(self.builder.inttoptr(self.load(entries, place), function), arguments)

    def data(self, array_type, array):
        return self.context.make_array(array_type)(self.context, self.builder, value=array).data

    def load(self, pointer, index):
        return self.builder.load(self.builder.gep(pointer, [index]))

    def store(self, value, pointer, index):
        self.builder.store(value, self.builder.gep(pointer, [index]))

    def wide(self, index):
        return index if index.type.width == 64 else self.builder.zext(index, WORD)

    def times(self, w, d):
        """The absorbing product: exactly zero where either factor is, even if the other is inf or nan."""
        builder = self.builder
        absorbed = builder.or_(builder.fcmp_ordered("==", w, self.zero), builder.fcmp_ordered("==", d, self.zero))
        return builder.select(absorbed, self.zero, builder.fmul(w, d))

    def operands(self, case, a, b, aux):
        """The slots of the differentiable operands, and the parameter of an INTEGER row as a list of zero or one."""
        row = ops.OPS[case.codes[0]]
        first, second = self.wide(a), self.wide(b)
        if row.arity == 3:
            return [first, self.load(aux, second), self.load(aux, self.builder.add(second, ir.Constant(WORD, 1)))], []
        if ops.INTEGER in row.traits:
            return [first], [self.builder.sext(self.builder.trunc(b, ir.IntType(32)), WORD)]
        return [first, second][: row.arity], []

    def partials(self, case, values, slot, a, b, aux):
        """Pairs (slot of an operand, partial by it)."""
        slots, parameter = self.operands(case, a, b, aux)
        arguments = [self.load(values, s) for s in slots] + parameter + [self.load(values, slot)]
        return zip(slots, self.evaluate(case, "partials", arguments), strict=False)


def scalar_step(kind, emit_row):
    """The intrinsic of one sweep over instructions; `emit_row` writes what the sweep does for a case."""

    @intrinsic(prefer_literal=True)
    def step(typingctx, opcode, values, others, slot, a, b, aux, scratch, entries):
        def emit(context, builder, signature, args):
            opcode, values, others, slot, a, b, aux, scratch, entries = args
            e = Emitter(context, builder, signature.args[1].dtype)
            pointers = [e.data(t, v) for t, v in zip(signature.args, args, strict=True) if isinstance(t, types.Array)]
            values, others, aux, scratch, entries = pointers
            arguments = [values, others, *(e.wide(v) for v in (slot, a, b)), aux, scratch, entries]
            structural = STRUCTURAL.get((kind, getattr(signature.args[0], "literal_value", None)))
            if structural is not None:
                e.run(structural, signature.args[1:], args[1:])
                return context.get_dummy_value()
            e.dispatch(
                signature.args[0],
                opcode,
                lambda case: emit_row(e, case, values, others, slot, a, b, aux),
                lambda: e.call_entry(kind, opcode, entries, arguments),
            )
            return context.get_dummy_value()

        return types.void(opcode, values, others, slot, a, b, aux, scratch, entries), emit

    return step


def emit_forward(e, case, values, others, slot, a, b, aux):
    slots, parameter = e.operands(case, a, b, aux)
    (value,) = e.evaluate(case, "value", [e.load(values, s) for s in slots] + parameter)
    e.store(value, values, slot)


def emit_reverse(e, case, values, adjoints, slot, a, b, aux):
    adjoint = e.load(adjoints, slot)
    for s, d in e.partials(case, values, slot, a, b, aux):
        e.store(e.builder.fadd(e.load(adjoints, s), e.times(adjoint, d)), adjoints, s)


def emit_partials(e, case, values, found, slot, a, b, aux):
    for k, (_, d) in enumerate(e.partials(case, values, slot, a, b, aux)):
        e.store(d, found, ir.Constant(WORD, k))


def emit_tangent(e, case, values, tangents, slot, a, b, aux):
    total = e.zero
    for s, d in e.partials(case, values, slot, a, b, aux):
        total = e.builder.fadd(total, e.times(e.load(tangents, s), d))
    e.store(total, tangents, slot)


step_forward = scalar_step(FORWARD, emit_forward)
step_reverse = scalar_step(REVERSE, emit_reverse)
step_tangent = scalar_step(TANGENT, emit_tangent)
step_partials = scalar_step(PARTIALS, emit_partials)


def lane_operands(e, row, pointers, parameter, i):
    loaded = [e.load(p, i) for p in pointers]
    return [loaded[0], parameter] if ops.INTEGER in row.traits else loaded[: row.arity]


def emit_lanes_forward(e, opcode, parameter, i, x, y, z, out):
    if opcode < FIRST_PAIR:
        row = ops.OPS[opcode]
        value = e.call(row.value, lane_operands(e, row, (x, y, z), parameter, i))
    else:
        *rows, place = PAIRS[opcode - FIRST_PAIR]
        first, second = (ops.OPS[row] for row in rows)
        operands = [e.call(first.value, lane_operands(e, first, (x, y), parameter, i)), e.load(z, i)]
        value = e.call(second.value, operands[::-1] if place else operands[: second.arity])
    e.store(value, out, i)


def emit_lanes_partials(e, opcode, parameter, i, x, y, z, r, w, cx, cy, cz):
    row = ops.OPS[opcode]
    at = lane_operands(e, row, (x, y, z), parameter, i)
    partials = e.call(row.partials, [*at, e.load(r, i)])
    adjoint = e.load(w, i)
    targets = (cx, cy, cz)[: row.arity - (ops.INTEGER in row.traits)]
    for c, d in zip(targets, partials, strict=False):
        e.store(e.times(adjoint, d), c, i)


def lanes(kind, emit_lane):
    """The code generator of a loop over `size` lanes; operands come as pairs of an array and an offset in it."""

    def emit(context, builder, signature, args):
        opcode, parameter, size, *pairs, entries = args
        e = Emitter(context, builder, signature.args[3].dtype)
        kinds = signature.args[3:-1:2]
        pointers = [builder.gep(e.data(t, v), [at]) for t, v, at in zip(kinds, pairs[::2], pairs[1::2], strict=True)]
        if not isinstance(signature.args[0], types.IntegerLiteral):
            e.call_entry(kind, opcode, e.data(signature.args[-1], entries), [parameter, size, *pointers])
            return context.get_dummy_value()
        literal, form = signature.args[0].literal_value, None
        if kind == LANES_FORWARD and literal < FIRST_PAIR:
            row = ops.OPS[literal]
            form = vector.symbol(row.vector, row.arity, e.dtype.name)
        if form is not None:
            vector.emit_loop(builder, form, pointers[: row.arity], pointers[-1], size)
            return context.get_dummy_value()
        with cgutils.for_range(builder, size) as loop:
            emit_lane(e, literal, parameter, loop.index, *pointers)
        return context.get_dummy_value()

    return emit


def lanes_of_values(kind):
    """The intrinsic that computes a row over lanes, by libmvec if that is the `kind`."""

    @intrinsic(prefer_literal=True)
    def lanes_forward(typingctx, opcode, parameter, size, x, x0, y, y0, z, z0, out, out0, entries):
        signature = types.void(opcode, types.int64, types.int64, x, x0, y, y0, z, z0, out, out0, entries)
        return signature, lanes(kind, emit_lanes_forward)

    return lanes_forward


lanes_forward, lanes_strict = lanes_of_values(LANES_FORWARD), lanes_of_values(LANES_STRICT)


@intrinsic(prefer_literal=True)
def lanes_partials(typingctx, opcode, parameter, size, x, x0, y, y0, z, z0, r, r0, w, w0, cx, i, cy, j, cz, k, entries):
    operands = (x, x0, y, y0, z, z0, r, r0, w, w0, cx, i, cy, j, cz, k)
    signature = types.void(opcode, types.int64, types.int64, *operands, entries)
    return signature, lanes(LANES_PARTIALS, emit_lanes_partials)
