"""Compiling a function into object code that needs nothing of Numba: C functions, and functions that read words.

Numba compiles the function as it does for a compiled caller, and the caller is built here: it takes the arguments
apart and reports whether the function ended well. So the code knows neither Python objects nor Numba's runtime.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.np import numpy_support

from fasttape.compiler import capi, fortran, lanes, methods, switch  # noqa: F401  Numba knows what is there in time
from fasttape.compiler.jit import PLAIN, Entry
from fasttape.compiler.libraries import compiled_in_parts

WORD = ir.IntType(64)


@global_compiler_lock
def c_function(function: Callable[..., Any], symbol: str) -> tuple[Entry, bytes | None]:
    """A C function of words, which returns one. It must not raise: nobody would know."""
    wrapper = Wrapper(function, (types.int64,) * function.__code__.co_argcount, symbol)
    builder, arguments = wrapper.begin([WORD] * len(wrapper.kinds))
    _, value = wrapper.call(builder, arguments)
    builder.ret(value)
    return wrapper.finish()


@global_compiler_lock
def words_function(function: Callable[..., Any], examples: tuple[Any, ...], symbol: str) -> tuple[Entry, bytes | None]:
    """A C function of the address of words, as `sweeps.words` lays arguments down that are like some examples.

    It writes the result in place of the first word and returns 0 if the function did not raise.
    """
    wrapper = Wrapper(function, tuple(map(kind_of, examples)), symbol)
    builder, (address,) = wrapper.begin([WORD.as_pointer()])
    reader = Reader(wrapper.context, builder, address)
    status, value = wrapper.call(builder, [reader.read(kind) for kind in wrapper.kinds])
    builder.store(value, address)
    builder.ret(builder.zext(status.is_error, WORD))
    return wrapper.finish()


def kind_of(x: Any) -> Any:
    """Numba's type of an argument; integers are words, and arrays may be written to."""
    if isinstance(x, np.ndarray):
        layout = "C" if x.flags.c_contiguous else "A"
        return types.Array(numpy_support.from_dtype(x.dtype), x.ndim, layout, aligned=bool(x.flags.aligned))
    if isinstance(x, tuple):
        return types.BaseTuple.from_types([kind_of(item) for item in x], type(x))
    return types.boolean if isinstance(x, bool | np.bool_) else types.int64


class Reader:
    """Makes arguments of words, one after another."""

    def __init__(self, context, builder, address):
        self.context, self.builder, self.address, self.count = context, builder, address, 0

    def word(self):
        place = self.builder.gep(self.address, [ir.Constant(WORD, self.count)])
        self.count += 1
        return self.builder.load(place)

    def read(self, kind):
        if isinstance(kind, types.BaseTuple):
            return self.context.make_tuple(self.builder, kind, [self.read(item) for item in kind])
        if isinstance(kind, types.Array):
            return self.array(kind)
        word = self.word()
        return self.builder.trunc(word, ir.IntType(1)) if kind == types.boolean else word

    def array(self, kind):
        """The words are the address, the shape and, of arrays that are not contiguous, the strides."""
        address, shape = self.word(), [self.word() for _ in range(kind.ndim)]
        strides = [self.word() for _ in shape] if kind.layout == "A" else ()
        return capi.array_at(self.context, self.builder, kind, address, shape, strides)


class Wrapper:
    """Compiles a function, and builds the C function that calls it."""

    def __init__(self, function, kinds, symbol):
        dispatcher = numba.njit(**PLAIN)(function)
        with compiled_in_parts(symbol) as self.library:
            dispatcher.compile(kinds)
        self.made, self.kinds, self.symbol = dispatcher.overloads[kinds], kinds, symbol
        self.context = self.made.target_context
        self.module = self.library.create_ir_module(symbol)

    def begin(self, parameters):
        """(builder, arguments) of the C function, which returns a word."""
        function = ir.Function(self.module, ir.FunctionType(WORD, parameters), self.symbol)
        return ir.IRBuilder(function.append_basic_block()), function.args

    def call(self, builder, arguments):
        """(status, result) of the compiled function; the result is a word, 0 for None."""
        names, convention, returned = self.made.fndesc, self.context.call_conv, self.made.signature.return_type
        kind = convention.get_function_type(names.restype, names.argtypes)
        callee = cgutils.get_or_insert_function(self.module, kind, names.llvm_func_name)
        status, value = convention.call_function(builder, callee, names.restype, names.argtypes, arguments)
        if returned == types.none:
            return status, ir.Constant(WORD, 0)
        return status, self.context.cast(builder, value, returned, types.int64)

    def finish(self) -> tuple[Entry, bytes | None]:
        """The compiled function, and its object code if another process could use it."""
        self.library.add_ir_module(self.module)
        self.library.add_linking_library(self.made.library)
        self.library.finalize()
        address = self.library.get_pointer_to_function(self.symbol)
        lasting = not self.library.has_dynamic_globals  # else there are addresses of this process in the code
        return Entry(address, self.library), self.library._get_compiled_object() if lasting else None
