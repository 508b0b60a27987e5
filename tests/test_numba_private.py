"""What we ask of functions that Numba may change between two releases, one test for each, named by what we rely on.

These fail before anything of ours does when Numba is upgraded, and say what has changed. The last test finds a name
from Numba's inside that is used in `fasttape` and has no test here.
"""

import ast
import ctypes
import math
import operator
import os
import pathlib
import subprocess
import sys
from types import FunctionType
from typing import NamedTuple

import numba
import numpy as np
import pytest
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, compiler
from numba.core import ir as numba_ir
from numba.core.callconv import Status, excinfo_ptr_t
from numba.core.codegen import JITCodeLibrary, RuntimeLinker
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher, ObjModeLiftedWith
from numba.core.environment import lookup_environment
from numba.core.errors import NumbaError, TypingError, UnsupportedBytecodeError
from numba.core.imputils import fix_returning_optional, impl_ret_borrowed
from numba.core.lowering import Lower
from numba.core.registry import cpu_target
from numba.core.typeconv import Conversion
from numba.core.typed_passes import NativeLowering, NopythonRewrites, NopythonTypeInference
from numba.core.typing import fold_arguments, signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.core.untyped_passes import InlineInlinables
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import (
    box,
    get_cython_function_address,
    intrinsic,
    lower_builtin,
    lower_cast,
    models,
    overload,
    overload_attribute,
    overload_method,
    register_jitable,
    register_model,
)
from numba.np import numpy_support
from numba.np.ufunc.dufunc import DUFunc
from recursive import even_and_odd

import fasttape
from benchmarks.programs.memory import resident
from fasttape.compiler import blas, object_cache
from fasttape.compiler.jit import INTERNAL, PLAIN, kernel

PACKAGE = pathlib.Path(fasttape.__file__).parent
INSIDE = ("numba.core", "numba.cpython", "numba.np", "numba.extending")
MODULES = ("cgutils", "compiler", "ir", "models")  # whose functions are used by attribute
CONTEXTS = {"context": "context", "c": "context", "typingctx": "typing", "typing_context": "typing"}
WORD, REAL = ir.IntType(64), ir.DoubleType()
TESTED = set()
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="Numba does not compile")


def relies_on(*names):
    """Say which names a test is for."""
    TESTED.update(names)
    return compiled_only


@numba.njit
def plus(x, y=2.0, *rest):
    return x + y + len(rest)


# Dispatchers


@relies_on("Dispatcher")
def test_a_dispatcher_tells_its_function_options_and_overloads():
    f = numba.njit(error_model="numpy", nogil=True)(lambda x: x + 1.0)
    f(1.0)
    assert isinstance(f, Dispatcher)
    assert type(f).__module__.startswith("numba.")
    assert f.py_func(1.0) == 2.0
    assert f.targetoptions == {"error_model": "numpy", "nogil": True, "nopython": True, "boundscheck": None}
    assert list(f.overloads) == [(types.float64,)]
    compiled = f.overloads[types.float64,]
    assert compiled.fndesc.argtypes == (types.float64,)
    assert not compiled.library.has_dynamic_globals
    assert sum(f.stats.cache_hits.values()) == 0


@compiled_only
def test_the_cache_of_a_dispatcher_is_named_by_whether_there_is_one():
    assert type(numba.njit(lambda x: x)._cache).__name__ == "NullCache"
    assert type(numba.njit(cache=True)(lambda x: x)._cache).__name__ == "FunctionCache"


@compiled_only
def test_the_key_of_the_cache_holds_closure_values():
    def make(digest):
        def f(x):
            digest
            return x

        return numba.njit(cache=True)(f)

    codegen = cpu_target.target_context.codegen()
    first, second, again = (make(digest)._cache._index_key((types.float64,), codegen) for digest in "aba")
    assert first != second
    assert first == again


@compiled_only
def test_a_dispatcher_compiles_when_a_call_of_it_is_typed():
    context = cpu_target.typing_context
    found = context.resolve_value_type(plus).get_call_type(context, (types.float64,), {})
    assert found.return_type == types.float64
    assert found.args == (types.float64, types.Omitted(2.0), types.StarArgTuple(()))
    assert list(found.pysig.parameters) == ["x", "y", "rest"]
    assert found.args in plus.overloads


@compiled_only
@pytest.mark.parametrize("options", [INTERNAL, INTERNAL | {"forceinline": True, "_nrt": False}])
def test_options_of_kernels_are_known(options):
    inner = numba.njit(**options)(lambda x, y: x / y)
    outer = numba.njit(lambda x, y: inner(x, y))
    assert outer(1.0, 0.0) == math.inf
    (compiled,) = inner.overloads.values()
    assert "cpython" not in compiled.library.get_llvm_str()


@compiled_only
def test_a_compiled_c_function_has_an_address():
    f = numba.cfunc(types.float64(types.float64))(lambda x: x + 1.0)
    assert isinstance(f.address, int)
    assert f.ctypes(1.0) == 2.0


@relies_on("DUFunc")
def test_a_vectorized_function_keeps_its_scalar_function():
    f = numba.vectorize(lambda x: x + 1.0)
    assert isinstance(f, DUFunc)
    assert f._dispatcher.py_func(1.0) == 2.0


@relies_on("NumbaError")
def test_what_cannot_be_typed_is_a_numba_error():
    with pytest.raises(NumbaError):
        numba.njit(lambda x: x.nothing)(1.0)
    assert issubclass(TypingError, NumbaError)


@relies_on("ObjModeLiftedWith", "UnsupportedBytecodeError")
def test_a_block_of_object_mode_is_a_constant_in_the_code_of_a_function():
    @register_pass(mutates_CFG=False, analysis_only=True)
    class Find(FunctionPass):
        _name = "fasttape_upgrade_check_object_mode"

        def __init__(self):
            super().__init__()

        def run_pass(self, state):
            assigned = [x.value for b in state.func_ir.blocks.values() for x in b.find_insts(numba_ir.Assign)]
            if any(isinstance(x, numba_ir.Const) and isinstance(x.value, ObjModeLiftedWith) for x in assigned):
                raise UnsupportedBytecodeError("found")
            return False

    class Finding(compiler.CompilerBase):
        def define_pipelines(self):
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.add_pass_after(Find, InlineInlinables)
            passes.finalize()
            return [passes]

    @numba.njit(pipeline_class=Finding)
    def f(x):
        with numba.objmode(y="float64"):
            y = x + 1.0
        return 2.0 * y

    with pytest.raises(UnsupportedBytecodeError, match="found"):
        f(1.0)


@relies_on("register_jitable")
def test_a_jitable_function_stays_what_it_is_and_keeps_its_options():
    @register_jitable(error_model="numpy")
    def half(x):
        return x / 0.0

    assert numba.njit(lambda x: half(x))(1.0) == math.inf
    with pytest.raises(ZeroDivisionError):
        half(1.0)


# Types


@compiled_only
def test_types_that_we_look_into():
    class Pair(NamedTuple):
        x: float
        y: float

    vector = numba.typeof(np.ones(2))
    assert (vector.ndim, vector.dtype, vector.layout) == (1, types.float64, "C")
    assert vector.copy(readonly=True).mutable is False
    assert types.BaseTuple.from_types((types.float64, types.int64)) == types.Tuple((types.float64, types.int64))
    assert numba.typeof(Pair(1.0, 2.0)).instance_class is Pair
    assert types.NamedTuple((types.float64, types.int64), Pair).types == (types.float64, types.int64)
    assert types.Omitted(None).value is None
    assert types.unliteral(types.literal(3)) == types.int64
    assert cpu_target.typing_context.resolve_value_type(float).typing_key is float
    assert all(issubclass(t, types.Hashable) for t in (types.Float, types.Integer, types.Boolean))


@relies_on("intrinsic")
def test_an_intrinsic_may_ask_for_literals_one_by_one_and_in_tuples():
    @intrinsic(prefer_literal=True)
    def third(typingctx, number, numbers):
        assert isinstance(number, types.IntegerLiteral)
        found = number.literal_value + sum(n.literal_value for n in numbers)
        return types.int64(number, numbers), lambda context, builder, sig, args: ir.Constant(WORD, found)

    @intrinsic
    def plain(typingctx, number):
        assert not isinstance(number, types.Literal)
        return number(number), lambda context, builder, sig, args: args[0]

    numbers = (1, 2)
    assert numba.njit(lambda: third(3, numbers) + plain(4))() == 10


@relies_on("overload")
def test_an_overload_has_options_and_is_chosen_by_types():
    def ratio(x):
        raise NotImplementedError

    @overload(ratio, jit_options={"error_model": "numpy"})
    def choose(x):
        if isinstance(x, types.Float):
            return lambda x: x / 0.0
        return (lambda x: 7) if isinstance(x, types.BaseTuple) else None

    assert numba.njit(lambda x: ratio(x))(1.0) == math.inf
    assert numba.njit(lambda x: ratio(x))((1, 2)) == 7
    with pytest.raises(TypingError):
        numba.njit(lambda x: ratio(x))(1)
    assert numba.njit(lambda x: np.broadcast_to(x, (2, 3)).strides)(np.ones(3)) == (0, 8)


class Pair(types.Hashable):
    """A type of pairs of numbers, made the way that active numbers are."""

    def __init__(self):
        super().__init__("pair of the upgrade check")

    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.Float | types.Integer) else None


pair = Pair()


@register_model(Pair)
class PairModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("x", types.float64), ("y", types.float64)])


@lower_cast(types.Float, Pair)
@lower_cast(types.Integer, Pair)
def widen(context, builder, source, target, value):
    made = cgutils.create_struct_proxy(target)(context, builder)
    made.x = context.cast(builder, value, source, types.float64)
    return made._getvalue()


@intrinsic
def make_pair(typingctx, x, y):
    def emit(context, builder, sig, args):
        made = cgutils.create_struct_proxy(pair)(context, builder)
        made.x, made.y = args
        return made._getvalue()

    return pair(types.float64, types.float64), emit


@intrinsic
def items(typingctx, p):
    def emit(context, builder, sig, args):
        fields = [builder.extract_value(args[0], k) for k in range(2)]
        return context.make_tuple(builder, sig.return_type, fields)

    return types.UniTuple(types.float64, 2)(p), emit


@relies_on("models.StructModel", "register_model", "cgutils.create_struct_proxy", "context.make_tuple")
def test_a_structure_has_its_fields_in_order_and_zeros_unless_set():
    @numba.njit
    def f(x, y):
        many = np.zeros(3, pair)
        many[1] = make_pair(x, y)
        return items(many[0]), items(many[1])

    assert f(1.0, 2.0) == ((0.0, 0.0), (1.0, 2.0))


@box(Pair)
def first_of_pair(kind, value, c):
    return c.pyapi.float_from_double(c.builder.extract_value(value, 0))


@relies_on("box", "context.pyapi.float_from_double")
def test_a_type_that_goes_to_python_is_made_an_object():
    assert numba.njit(lambda x: make_pair(x, x))(1.5) == 1.5


@relies_on("lower_cast", "Conversion", "context.cast")
def test_numbers_are_unified_with_a_type_that_they_convert_to():
    @numba.njit
    def f(x, n, way):
        if way == 0:
            p = make_pair(x, 5.0)
        elif way == 1:
            p = x
        else:
            p = n
        found = items(p)
        return found[0] + 0.0, found[1] + 0.0  # something longer than a return, which Python would copy into each way

    assert [f(1.5, 3, way) for way in range(3)] == [(1.5, 5.0), (1.5, 0.0), (3.0, 0.0)]


@relies_on("overload_attribute", "overload_method")
def test_a_type_gets_attributes_and_methods():
    overload_attribute(Pair, "sum")(lambda p: lambda p: items(p)[0] + items(p)[1])
    overload_method(Pair, "same", strict=False)(lambda x: lambda x: x)
    assert numba.njit(lambda x: make_pair(x, 2.0).same().sum)(1.5) == 3.5


@relies_on("tuple_setitem")
def test_an_item_of_a_tuple_is_replaced():
    assert numba.njit(lambda t: tuple_setitem(t, 1, 7))((1, 2, 3)) == (1, 7, 3)


# Typing and lowering of functions


@compiled_only
def test_what_numba_implements_by_python_code_is_found_by_types():
    context = cpu_target.typing_context
    for function, given in ((np.median, (types.float64[:],)), (np.linspace, (types.float64, types.float64))):
        (code,) = [t._overload_func for t in context.resolve_value_type(function).templates]
        assert isinstance(code(*given), FunctionType)
    choices = [t._overload_func for t in context.resolve_value_type(isinstance).templates]
    assert all(code(types.unicode_type, types.int64) is None for code in choices[1:])


@compiled_only
def test_an_overload_may_be_compiled_by_another_compiler():
    class Other(compiler.CompilerBase):
        def define_pipelines(self):
            met.append(self.state.func_id.func_name)
            return [compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)]

    def chosen(*args):
        raise NotImplementedError

    def code(x, y=2.0):
        return x + y

    met = []
    overload(chosen, strict=False, jit_options={"pipeline_class": Other})(lambda *args, **keywords: code)
    assert numba.njit(lambda x: chosen(x) + chosen(x, y=1.0))(1.0) == 5.0
    assert set(met) == {"code"}


@relies_on("ir.Expr.call")
def test_a_call_is_put_into_code():
    @register_pass(mutates_CFG=False, analysis_only=False)
    class Widen(FunctionPass):
        _name = "fasttape_upgrade_check_call"

        def __init__(self):
            super().__init__()

        def run_pass(self, state):
            (block,) = state.func_ir.blocks.values()
            (made,) = (x for x in block.find_insts(numba_ir.Assign) if getattr(x.value, "op", "") == "build_list")
            function, item = (made.target.scope.redefine(f"$upgrade_{name}", made.loc) for name in ("function", "item"))
            named = numba_ir.Global(function.name, math.fabs, made.loc)
            call = numba_ir.Expr.call(function, made.value.items, (), made.loc)
            made.value.items = [item]
            at = block.body.index(made)
            block.body[at:at] = [numba_ir.Assign(named, function, made.loc), numba_ir.Assign(call, item, made.loc)]
            for name, value in ((function.name, named), (item.name, call)):
                state.func_ir._definitions[name] = [value]
            return True

    class Widening(compiler.CompilerBase):
        def define_pipelines(self):
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.add_pass_after(Widen, InlineInlinables)
            passes.finalize()
            return [passes]

    assert numba.njit(pipeline_class=Widening)(lambda x: [x])(-2.0) == [2.0]


@relies_on("NopythonRewrites")
def test_array_expressions_are_fused_in_a_pass_of_their_own():
    class Apart(compiler.CompilerBase):
        def define_pipelines(self):
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            assert sum(step is NopythonRewrites for step, _ in passes.passes) == 1
            passes.passes = [(step, why) for step, why in passes.passes if step is not NopythonRewrites]
            passes.finalize()
            return [passes]

    f = numba.njit(pipeline_class=Apart)(lambda x: np.exp(x) * 2.0 + x)
    np.testing.assert_allclose(f(np.zeros(2)), [2.0, 2.0])


@relies_on("AbstractTemplate", "infer_global", "lower_builtin", "signature")
def test_functions_take_more_types_and_keep_those_they_had():
    @infer_global(operator.mod)
    class Remainder(AbstractTemplate):
        key = operator.mod

        def generic(self, args, kws):
            return signature(pair, *args) if args == (pair, pair) else None

    @lower_builtin(operator.mod, Pair, Pair)
    def lower(context, builder, sig, args):
        return args[1]

    f = numba.njit(lambda x, y: (items(make_pair(x, x) % make_pair(y, y)), x % y, 7 % 4))
    assert f(7.0, 4.0) == ((4.0, 4.0), 3.0, 3)


@relies_on("typing.resolve_function_type", "typing.resolve_value_type", "context.typing_context.resolve_value_type")
def test_the_typing_context_finds_the_signature_of_a_function():
    context = cpu_target.typing_context
    found = context.resolve_function_type(math.exp, (types.int64,), {})
    assert found.return_type == types.float64
    with pytest.raises(NumbaError):
        context.resolve_function_type(math.exp, (types.unicode_type,), {})
    assert context.resolve_value_type(plus).dispatcher is plus


@relies_on("context.get_function", "context.add_linking_libs", "context.resolve_function_type")
def test_an_intrinsic_calls_what_a_user_could_call():
    @intrinsic
    def call(typingctx, x):
        callee = typingctx.resolve_value_type(plus)
        found = callee.get_call_type(typingctx, (x, x), {})

        def emit(context, builder, sig, args):
            implementation = context.get_function(callee, found)
            rest = context.make_tuple(builder, found.args[2], [])
            result = implementation(builder, [args[0], args[0], rest])
            context.add_linking_libs(getattr(implementation, "libs", ()))
            return result

        return found.return_type(x), emit

    assert numba.njit(lambda x: call(x))(1.5) == 3.0


@relies_on("context.get_value_type", "context.get_dummy_value")
def test_values_of_types_and_of_nothing():
    @intrinsic
    def twice(typingctx, x):
        def emit(context, builder, sig, args):
            assert context.get_value_type(types.float64) == REAL
            return builder.fadd(args[0], args[0])

        return types.float64(x), emit

    @intrinsic
    def nothing(typingctx):
        return types.void(), lambda context, builder, sig, args: context.get_dummy_value()

    @numba.njit
    def f(x):
        nothing()
        return twice(x)

    assert f(1.5) == 3.0


@numba.njit
def positive(x):
    if x < 0.0:
        raise ValueError("negative")
    return x if x != 1.0 else None


@intrinsic
def tried(typingctx, function, x):
    """What a call returns or zero, whether it raised, the code of that, and the address of the exception."""
    found = function.get_call_type(typingctx, (x,), {})

    def emit(context, builder, sig, values):
        compiled = function.dispatcher.overloads[found.args]
        status, result = context.call_internal_no_propagate(builder, compiled.fndesc, found, [values[1]])
        context.add_linking_libs([compiled.library])
        result = fix_returning_optional(context, builder, found, status, result)
        exception = builder.ptrtoint(status.excinfoptr, WORD)
        return context.make_tuple(builder, sig.return_type, [result, status.is_error, status.code, exception])

    return types.Tuple((found.return_type, types.boolean, types.int32, types.int64))(function, x), emit


@intrinsic
def thrown(typingctx, code, exception):
    def emit(context, builder, sig, args):
        status = Status(*[None] * len(Status._fields))
        status = status._replace(code=args[0], excinfoptr=builder.inttoptr(args[1], excinfo_ptr_t))
        context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int32, types.int64), emit


@relies_on(
    "context.call_internal_no_propagate",
    "context.call_conv.return_status_propagate",
    "Status",
    "excinfo_ptr_t",
    "fix_returning_optional",
)
def test_a_call_gives_its_status_and_the_exception_goes_on():
    """What the caller holds is released before, if a `raise` tells Numba that nothing runs behind it."""

    @numba.njit
    def f(x, n):
        held = np.ones(n)
        result, failed, code, exception = tried(positive, x)
        if failed:
            thrown(code, exception)
            raise SystemError
        return result, held[-1]

    assert f(2.0, 1) == (2.0, 1.0)
    assert f(1.0, 1) == (None, 1.0)
    before = resident()
    for _ in range(1000):
        with pytest.raises(ValueError, match="negative"):
            f(-1.0, 100_000)
    assert resident() - before < 100 << 20, "800 MB were held"


@relies_on("context.make_array")
def test_an_array_is_read_at_its_address():
    @intrinsic
    def first(typingctx, x):
        def emit(context, builder, sig, args):
            array = context.make_array(sig.args[0])(context, builder, value=args[0])
            return builder.load(builder.gep(array.data, [ir.Constant(WORD, 0)]))

        return x.dtype(x), emit

    assert numba.njit(lambda x: first(x))(np.array([3.0, 4.0])) == 3.0


@relies_on("context.call_conv.return_user_exc")
def test_an_intrinsic_raises_an_exception_with_its_arguments():
    @intrinsic
    def fail(typingctx, x):
        def emit(context, builder, sig, args):
            with builder.if_then(builder.fcmp_ordered("<", args[0], ir.Constant(REAL, 0.0))):
                context.call_conv.return_user_exc(builder, MemoryError, ("full",))
            return args[0]

        return types.float64(x), emit

    f = numba.njit(lambda x: fail(x))
    assert f(1.0) == 1.0
    with pytest.raises(MemoryError, match="full"):
        f(-1.0)


@relies_on("fold_arguments", "context.get_constant_generic")
def test_arguments_are_folded_with_defaults_and_the_rest():
    pysig = numba.core.utils.pysignature(plus.py_func)
    handlers = (
        lambda index, parameter, x: x,
        lambda index, parameter, x: (index, x),
        lambda index, parameter, x: [index, *x],
    )
    assert fold_arguments(pysig, [1], {}, *handlers) == (1, (1, 2.0), [2])
    assert fold_arguments(pysig, [1, 2, 3, 4], {}, *handlers) == (1, 2, [2, 3, 4])
    module = ir.Module()
    builder = ir.IRBuilder(ir.Function(module, ir.FunctionType(WORD, []), "f").append_basic_block())
    cpu_target.target_context.get_constant_generic(builder, types.Omitted(2.0), 2.0)


@relies_on("impl_ret_borrowed", "context.nrt.incref", "context.enable_nrt")
def test_references_of_arrays_that_pass_through_intrinsics():
    @intrinsic
    def same(typingctx, x):
        return x(x), lambda context, builder, sig, args: impl_ret_borrowed(context, builder, x, args[0])

    @intrinsic
    def wrapped(typingctx, x):
        def emit(context, builder, sig, args):
            if context.enable_nrt:
                context.nrt.incref(builder, x, args[0])
            return context.make_tuple(builder, sig.return_type, [args[0]])

        return types.Tuple((x,))(x), emit

    @numba.njit
    def f(n):
        x = np.ones(n)
        return same(x), wrapped(x)[0]

    for _ in range(3):
        first, second = f(1000)
        del first
        assert second.sum() == 1000.0


@relies_on("context.insert_const_string")
def test_a_constant_string_lives_with_the_code():
    @intrinsic
    def first_letter(typingctx):
        def emit(context, builder, sig, args):
            return builder.zext(builder.load(context.insert_const_string(builder.module, "file:12")), WORD)

        return types.int64(), emit

    assert numba.njit(lambda: first_letter())() == ord("f")


@compiled_only
def test_scipy_gives_the_addresses_of_blas():
    assert blas.addresses("float64") == [
        get_cython_function_address("scipy.linalg.cython_blas", name) for name in ("dgemm", "dgemv")
    ]


# Object code without Numba


@relies_on("cgutils.pack_array", "context.get_abi_sizeof", "context.get_data_type")
def test_an_array_is_made_of_an_address():
    @intrinsic
    def numbers(typingctx, address):
        def emit(context, builder, sig, args):
            made = context.make_array(sig.return_type)(context, builder)
            size = context.get_abi_sizeof(context.get_data_type(types.float64))
            made.data, made.meminfo = builder.inttoptr(args[0], made.data.type), ir.Constant(made.meminfo.type, None)
            made.parent = ir.Constant(made.parent.type, None)
            made.itemsize, made.nitems = ir.Constant(WORD, size), ir.Constant(WORD, 2)
            made.shape = cgutils.pack_array(builder, [made.nitems])
            made.strides = cgutils.pack_array(builder, [made.itemsize])
            return made._getvalue()

        return types.Array(types.float64, 1, "C")(types.int64), emit

    memory = np.array([1.5, 2.5])
    assert numba.njit(lambda x: numbers(x).sum() + numbers(x)[1])(memory.ctypes.data) == 6.5


@kernel
def doubled(x):
    return 2 * x


@relies_on("global_compiler_lock", "numpy_support")
def test_a_function_without_the_runtime_becomes_object_code():
    """What calls it is a module of our own, linked with its library; the code names nothing of Numba's."""
    with global_compiler_lock:
        function = numba.njit(**PLAIN)(lambda a: doubled(a[0]))
        function.compile((types.Array(numpy_support.from_dtype(np.dtype(np.int64)), 1, "C"),))
        (made,) = function.overloads.values()
        library = made.target_context.codegen().create_library("fasttape_upgrade")
        module = library.create_ir_module("fasttape_upgrade")
        names, convention = made.fndesc, made.target_context.call_conv
        wrapper = ir.Function(module, ir.FunctionType(WORD, [WORD.as_pointer()]), "fasttape_upgrade")
        builder = ir.IRBuilder(wrapper.append_basic_block())
        kind = convention.get_function_type(names.restype, names.argtypes)
        callee = cgutils.get_or_insert_function(module, kind, names.llvm_func_name)
        array = made.target_context.make_array(names.argtypes[0])(made.target_context, builder)
        array.data = wrapper.args[0]
        given = [array._getvalue()]
        _, value = convention.call_function(builder, callee, names.restype, names.argtypes, given)
        builder.ret(value)
        library.add_ir_module(module)
        library.add_linking_library(made.library)
        library.enable_object_caching()
        library.finalize()
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(library.get_pointer_to_function("fasttape_upgrade"))
    assert call(np.array([21]).ctypes.data) == 42
    data = library._get_compiled_object()
    assert not sys.platform.startswith("linux") or object_cache.undefined(data) == []


@compiled_only
def test_the_version_is_in_a_file_of_the_package():
    text = (pathlib.Path(numba.__file__).parent / "_version.py").read_text()
    assert numba.__version__ in text


@pytest.mark.parametrize("variable", [None, "NUMBA_DISABLE_JIT=1", "NUMBA_NUM_THREADS=1", "NUMBA_NUM_THREADS="])
def test_settings_are_what_numba_reads(variable, tmp_path):
    program = (
        "import sys; from fasttape.compiler import late; mine = late.DISABLED, late.threads(); "
        "assert 'numba' not in sys.modules; from numba import config; "
        "assert mine == (bool(config.DISABLE_JIT), config.NUMBA_NUM_THREADS), mine"
    )
    environment = {name: x for name, x in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= dict([variable.split("=")] if variable else [], PYTHONPATH=str(PACKAGE.parent))
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=tmp_path)


@compiled_only
def test_a_symbol_that_llvm_is_told_of_is_found_by_compiled_code():
    memory = np.array([42], np.int64)
    binding.add_symbol("fasttape_upgrade_check", memory.ctypes.data)

    @intrinsic
    def read(typingctx):
        def emit(context, builder, sig, args):
            place = cgutils.add_global_variable(builder.module, WORD, "fasttape_upgrade_check")
            place.linkage = "external"
            return builder.load(place)

        return types.int64(), emit

    assert numba.njit(lambda: read())() == 42


@compiled_only
def test_a_function_of_c_is_called_by_name():
    length = types.ExternalFunction("PyThread_tss_is_created", types.int32(types.int64))
    key = np.zeros(4, np.int64)
    assert numba.njit(lambda address: length(address))(key.ctypes.data) == 0


# Building blocks of code


@relies_on(
    "cgutils.alloca_once",
    "cgutils.alloca_once_value",
    "cgutils.for_range",
    "cgutils.for_range_slice",
    "cgutils.unpack_tuple",
)
def test_loops_and_variables():
    @intrinsic
    def total(typingctx, bounds):
        def emit(context, builder, sig, args):
            start, stop = cgutils.unpack_tuple(builder, args[0], 2)
            s = cgutils.alloca_once_value(builder, ir.Constant(WORD, 0))
            unset = cgutils.alloca_once(builder, WORD)
            builder.store(ir.Constant(WORD, 1000), unset)
            with cgutils.for_range(builder, stop) as loop:
                builder.store(builder.add(builder.load(s), loop.index), s)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(WORD, 2)) as (index, _):
                builder.store(builder.add(builder.load(s), index), s)
            return builder.add(builder.load(s), builder.load(unset))

        return types.int64(bounds), emit

    assert numba.njit(lambda bounds: total(bounds))((3, 8)) == sum(range(8)) + 3 + 5 + 7 + 1000


@relies_on("cgutils.get_or_insert_function", "cgutils.memset", "cgutils.add_global_variable")
def test_functions_of_a_module_are_defined_once_and_merged():
    def seven(module):
        kind = ir.FunctionType(WORD, [])
        found = cgutils.get_or_insert_function(module, kind, "fasttape_seven_of_the_upgrade_check")
        if not found.blocks:
            found.linkage = "linkonce_odr"
            ir.IRBuilder(found.append_basic_block()).ret(ir.Constant(WORD, 7))
        return found

    @intrinsic
    def call(typingctx):
        def emit(context, builder, sig, args):
            place = cgutils.alloca_once_value(builder, ir.Constant(WORD, -1))
            cgutils.memset(builder, builder.bitcast(place, ir.IntType(8).as_pointer()), ir.Constant(WORD, 8), 0)
            calls = builder.add(builder.call(seven(builder.module), []), builder.call(seven(builder.module), []))
            return builder.add(calls, builder.load(place))

        return types.int64(), emit

    inner = numba.njit(lambda: call())
    assert numba.njit(lambda: inner() + call())() == 28


# The compiler


@register_pass(mutates_CFG=False, analysis_only=False)
class Swap(FunctionPass):
    """Puts sinus in the place of cosine."""

    _name = "fasttape_upgrade_check"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        assert state.pipeline.mark == "mine"
        for block in state.func_ir.blocks.values():
            for expression in block.find_exprs("inplace_binop"):
                expression.fn = operator.isub
            for statement in block.find_insts(numba_ir.Assign):
                value = statement.value
                if isinstance(value, numba_ir.Global | numba_ir.FreeVar) and value.value is math.cos:
                    statement.value = numba_ir.Global(statement.target.name, math.sin, value.loc)
                    state.func_ir._definitions[statement.target.name] = [statement.value]
        return True


class Counting(Lower):
    """Counts the expressions that it lowers, by line."""

    lines = ()

    def lower_inst(self, inst):
        if isinstance(inst, numba_ir.Assign) and isinstance(inst.value, numba_ir.Expr):
            assert self.fndesc.argtypes == (types.float64[::1],)
            assert self.builder.function is not None
            Counting.lines = (*Counting.lines, inst.loc.line)
        super().lower_inst(inst)


@register_pass(mutates_CFG=True, analysis_only=False)
class CountingPass(NativeLowering):
    _name = "fasttape_upgrade_check_lowering"

    @property
    def lowering_class(self):
        return Counting


class Mine(compiler.CompilerBase):
    mark = "mine"

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        assert NativeLowering in [step for step, _ in passes.passes]
        passes.passes = [(CountingPass if step is NativeLowering else step, why) for step, why in passes.passes]
        passes.add_pass_after(Swap, InlineInlinables)
        passes.finalize()
        return [passes]


cosine = math.cos


@relies_on(
    "FunctionPass",
    "register_pass",
    "InlineInlinables",
    "NativeLowering",
    "Lower",
    "compiler.CompilerBase",
    "compiler.DefaultPassBuilder.define_nopython_pipeline",
    "ir.Assign",
    "ir.Const",
    "ir.Expr",
    "ir.FreeVar",
    "ir.Global",
)
def test_a_pass_replaces_what_a_function_names_and_lowering_tells_lines():
    @numba.njit(pipeline_class=Mine)
    def f(x):
        y = x.copy()
        y += cosine(x[0])
        return y[0]

    Counting.lines = ()
    assert f(np.array([0.5])) == 0.5 - math.sin(0.5)
    first = f.py_func.__code__.co_firstlineno
    assert {first + 2, first + 3} <= set(Counting.lines)


@relies_on("cpu_target")
def test_functions_registered_while_others_are_compiled_are_seen():
    def early(x):
        raise NotImplementedError

    @overload(early)
    def choose(x):
        def late(x):
            raise NotImplementedError

        overload(late)(lambda x: lambda x: x + 1.0)
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
        return lambda x: late(x)

    assert numba.njit(lambda x: early(x))(1.0) == 2.0


def dotted(node):
    """The text of a chain of attributes; None of anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def used(path):
    """The names from Numba's inside that a file uses: imported, by attribute of a module, or of a context."""
    tree, modules = ast.parse(path.read_text()), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(INSIDE):
            modules |= {x.asname or x.name: x.name for x in node.names if x.name in MODULES}
            yield from (x.name for x in node.names if x.name not in MODULES)
        elif isinstance(node, ast.Call) and dotted(node.func) == "Late" and isinstance(node.args[0], ast.Constant):
            package, _, name = node.args[0].value.rpartition(".")
            modules |= {name: name} if package in INSIDE else {}
    for node in ast.walk(tree):
        head, _, rest = (dotted(node) or "").removeprefix("self.").partition(".")
        if rest and head in modules:
            yield f"{modules[head]}.{rest}"
        elif rest and head in CONTEXTS and path.parent.name == "compiler" and rest.partition(".")[0] != "builder":
            yield f"{CONTEXTS[head]}.{rest}"


def test_every_name_from_the_inside_of_numba_has_a_test():
    names = {name for path in PACKAGE.rglob("*.py") for name in used(path)}
    whole = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    assert sorted(whole - TESTED) == []
    assert sorted(TESTED - names) == []


class Told(JITCodeLibrary):
    """Tells what is asked of it, in order."""

    def __init__(self, codegen, name):
        super().__init__(codegen, name)
        self.asked = []

    @property
    def codegen(self):
        self.asked.append("codegen")
        return super().codegen

    def _optimize_functions(self, module):
        self.asked.append("functions")
        super()._optimize_functions(module)

    def _optimize_final_module(self):
        self.asked.append("module")
        super()._optimize_final_module()

    def _finalize_final_module(self):
        assert not self._finalized
        self.asked.append("finish")
        super()._finalize_final_module()
        assert self._finalized

    def _finalize_specific(self):
        self.asked.append("machine code")
        super()._finalize_specific()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        self.asked.append("address")
        return super().get_pointer_to_function(name)


class ToldCompiler(compiler.Compiler):
    def compile_extra(self, func):
        codegen = cpu_target.target_context.codegen()
        usual, codegen._library_class = codegen._library_class, Told
        try:
            return super().compile_extra(func)
        finally:
            codegen._library_class = usual


@relies_on("RuntimeLinker")
def test_recursive_functions_name_what_they_call():
    even, _ = even_and_odd()
    assert even(4)
    names = [x.name for x in next(iter(even.overloads.values())).library._final_module.global_variables]
    (called,) = (x for x in names if x.startswith(RuntimeLinker.PREFIX))
    assert "even" in called


@relies_on("JITCodeLibrary", "Compiler", "lookup_environment")
def test_a_library_is_linked_and_optimized_and_becomes_machine_code_in_steps():
    @numba.njit(pipeline_class=ToldCompiler)
    def f(x):
        if x < 0.0:
            raise ValueError("negative", x)
        return x + 1.0

    assert f(1.0) == 2.0
    (made,) = f.overloads.values()
    assert made.library.asked == ["functions"] * 3 + ["module", "finish", "machine code", "address", "codegen"]
    names = [x.name for x in made.library._final_module.global_variables if x.name.startswith("_ZN08NumbaEnv")]
    assert made.environment in list(map(lookup_environment, names))
    assert lookup_environment("no such name") is None
    assert made.library._get_compiled_object()[:4] == b"\x7fELF" or sys.platform != "linux"


@register_pass(mutates_CFG=False, analysis_only=False)
class CallForProduct(FunctionPass):
    """Puts a typed call of an intrinsic in the place of a product."""

    _name = "fasttape_upgrade_check_typed"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        for block in state.func_ir.blocks.values():
            product = next(block.find_exprs("binop"))
            assert product.fn is operator.mul
            (at,) = (k for k, line in enumerate(block.body) if getattr(line, "value", None) is product)
            line = block.body[at]
            left, right = line.value.lhs, line.value.rhs
            assert [state.typemap[x.name] for x in (left, right)] == [types.float64] * 2
            assert {x.name for x in line.list_vars()} == {line.target.name, left.name, right.name}
            name = numba_ir.Var(line.target.scope, "negative_product", line.loc)
            kind = state.typemap[name.name] = state.typingctx.resolve_value_type(negative_product)
            call = numba_ir.Expr.call(name, (left, right), (), line.loc)
            state.calltypes[call] = kind.get_call_type(state.typingctx, (types.float64,) * 2, {})
            named = numba_ir.Assign(numba_ir.Global(name.name, negative_product, line.loc), name, line.loc)
            block.body[at : at + 1] = [named, numba_ir.Assign(call, line.target, line.loc)]
        return True


@intrinsic
def negative_product(typingctx, x, y):
    return types.float64(x, y), lambda c, b, sig, args: b.fneg(b.fmul(*args))


@relies_on("NopythonTypeInference", "ir.Expr.call", "ir.Var")
def test_a_pass_behind_type_inference_puts_in_a_typed_call():
    class Typed(compiler.CompilerBase):
        def define_pipelines(self):
            passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.add_pass_after(CallForProduct, NopythonTypeInference)
            passes.finalize()
            return [passes]

    assert numba.njit(pipeline_class=Typed)(lambda x, y: x * y)(3.0, 4.0) == -12.0
