"""Loops over glibc's libmvec: functions of several numbers at once, in the widest form that this CPU and libc have.

Names follow the x86-64 vector ABI: `_ZGVdN4v_tanh` takes four doubles in an AVX2 register, `_ZGVeN16v_tanhf` sixteen
floats with AVX-512. Where a function is missing the caller uses the row's scalar rule.
"""

import ctypes
import functools
from typing import NamedTuple

from llvmlite import binding, ir

from fasttape.compiler.late import Late

cgutils = Late("numba.core.cgutils")

LIBRARY = "libmvec.so.1"
REGISTERS = (("avx512f", "e", 512), ("avx2", "d", 256), ("sse4.1", "b", 128))  # feature, letter in the ABI, bits
BITS = {"float64": 64, "float32": 32}
WIDTHS = {letter: bits for _, letter, bits in REGISTERS}


@functools.cache
def library():
    """libmvec, loaded for this process and for the code that LLVM links; None where there is none."""
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    binding.load_library_permanently(LIBRARY)
    return found


class Form(NamedTuple):
    """A function of several numbers at once."""

    name: str
    lanes: int


@functools.cache
def form(function: str, arity: int, dtype: str, letter: str) -> Form | None:
    """The form of a function for the registers of one kind, if libmvec has it."""
    bits = WIDTHS.get(letter, 0)
    if not bits or library() is None:
        return None
    lanes = bits // BITS[dtype]
    name = f"_ZGV{letter}N{lanes}{'v' * arity}_{function}{'f' if dtype == 'float32' else ''}"
    return Form(name, lanes) if hasattr(library(), name) else None


@functools.cache
def symbol(function: str, arity: int, dtype: str) -> Form | None:
    """The widest form of a function that this CPU can run."""
    if not function:
        return None
    features = binding.get_host_cpu_features()
    forms = (form(function, arity, dtype, letter) for feature, letter, _ in REGISTERS if features.get(feature))
    return next((found for found in forms if found is not None), None)


def available() -> str:
    """What the forms of compiled code depend on: to be part of every cache key."""
    return str(symbol("exp", 1, "float64")) + str(symbol("tanh", 1, "float64"))


def emit_loop(builder, form, operands, out, size):
    """`out[i] = f(operands[i])` for i < size; every element goes through the vector form, also the last few."""
    name, lanes = form
    real = out.type.pointee
    vector = ir.VectorType(real, lanes)
    word = size.type
    kind = ir.FunctionType(vector, [vector] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    step = ir.Constant(word, lanes)
    whole = builder.mul(builder.udiv(size, step), step)
    with cgutils.for_range_slice(builder, ir.Constant(word, 0), whole, step) as (i, _):
        loaded = [load(builder, builder.gep(p, [i]), vector) for p in operands]
        store(builder, builder.call(function, loaded), builder.gep(out, [i]))
    rest = builder.sub(size, whole)
    with builder.if_then(builder.icmp_unsigned("!=", rest, ir.Constant(word, 0))):
        padded = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in operands]
        firsts = [builder.bitcast(p, real.as_pointer()) for p in padded]
        copy_tails(builder, operands, firsts, whole, rest)
        result = cgutils.alloca_once(builder, vector)
        builder.store(builder.call(function, [builder.load(p) for p in padded]), result)
        with cgutils.for_range(builder, rest) as loop:
            value = builder.load(builder.gep(builder.bitcast(result, real.as_pointer()), [loop.index]))
            builder.store(value, builder.gep(out, [builder.add(whole, loop.index)]))


def copy_tails(builder, operands, targets, start, count):
    """The last elements of each operand into registers that are otherwise zero."""
    with cgutils.for_range(builder, count) as loop:
        for source, target in zip(operands, targets, strict=True):
            value = builder.load(builder.gep(source, [builder.add(start, loop.index)]))
            builder.store(value, builder.gep(target, [loop.index]))


def load(builder, pointer, vector):
    """A vector from memory that is aligned for its elements only."""
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = 4 if vector.element == ir.FloatType() else 8
    return loaded


def store(builder, value, pointer):
    stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    stored.align = 4 if value.type.element == ir.FloatType() else 8


def emit_prefetch(builder, pointer, *, writes: bool, level: int):
    """Bring a line of memory into the cache of the first level, 3, or the second, 2, while other work goes on."""
    half = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, half, half, half])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, half(int(writes)), half(level), half(1)])
