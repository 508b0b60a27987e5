"""User functions recompiled for active numbers: their callees are too, and their float arrays hold active numbers."""

import functools
import types as python
import weakref

import numpy as np
from numba import njit
from numba.core import compiler
from numba.core import ir as numba_ir
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher, ObjModeLiftedWith
from numba.core.errors import UnsupportedBytecodeError
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering, NopythonRewrites, NopythonTypeInference
from numba.core.untyped_passes import InlineInlinables
from numba.extending import overload
from numba.np.ufunc.dufunc import DUFunc

from fasttape.compiler import active_forms, active_linalg  # noqa: F401  they add to FUNCTIONS
from fasttape.compiler.active_arrays import FUNCTIONS, METHODS
from fasttape.compiler.active_formulas import FORMULAS
from fasttape.compiler.active_making import alike, constructor, constructor_like, fillers, lists
from fasttape.compiler.active_ops import IN_PLACE, accept_arrays
from fasttape.compiler.active_type import SCALAR, active, holds_active, is_active, traced
from fasttape.compiler.borrowed import NUMBAS_OWN, borrowed, compiled_as, is_borrowable
from fasttape.compiler.choosing import either
from fasttape.compiler.product_sums import FuseProducts
from fasttape.compiler.sites import LoweringWithSites

DROPPED = ("parallel", "nopython", "forceobj", "looplift", "no_cpython_wrapper", "no_cfunc_wrapper", "nogil")
CONVERSIONS = {np.float64: float, np.int64: int}  # where they are called, which dtypes are not
OWN: weakref.WeakSet = weakref.WeakSet()  # what was made of a user's function and records by itself


def substitute(value, number):
    """What active code sees in place of a value that the user's code names."""
    if isinstance(value, DUFunc):
        return vectorized(value, number)
    if isinstance(value, Dispatcher):
        kept = value in OWN or value.py_func.__module__.startswith("fasttape.")
        return value if kept else activate(value, number)
    try:
        found = SUBSTITUTES[number].get(value, value)
    except TypeError:
        return value
    return borrowed(value, COMPILERS[number]) if found is value and is_borrowable(value) else found


@register_pass(mutates_CFG=False, analysis_only=False)
class Retarget(FunctionPass):
    """Puts substitutes in the place of globals, closure values and attributes of modules."""

    _name = "fasttape_retarget"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        named, methods = {}, {}
        called = {call.func.name for block in state.func_ir.blocks.values() for call in block.find_exprs("call")}
        for block in state.func_ir.blocks.values():
            block.body = [statement for x in block.body for statement in widened(state, x)]
            for expression in block.find_exprs("inplace_binop"):
                expression.fn = IN_PLACE.get(expression.fn, expression.fn)
            for statement in block.find_insts(numba_ir.Assign):
                value = statement.value
                if isinstance(value, numba_ir.Const) and isinstance(value.value, ObjModeLiftedWith):
                    raise UnsupportedBytecodeError(f"objmode at {value.loc}")
                found = named_value(value, named)
                if found is None and isinstance(value, numba_ir.Expr):
                    if value.op == "getattr" and value.attr in METHODS and statement.target.name in called:
                        methods[statement.target.name] = value.value
                        found = (METHODS[value.attr],)
                        statement.value = numba_ir.Global(statement.target.name, found[0], value.loc)
                        state.func_ir._definitions[statement.target.name] = [statement.value]
                    elif value.op == "call" and value.func.name in methods:
                        value.args = [methods[value.func.name], *value.args]
                if found is None:
                    continue
                named[statement.target.name] = found[0]
                other = CONVERSIONS.get(found[0]) if statement.target.name in called else None
                other = substitute(found[0], state.pipeline.active) if other is None else other
                if other is not found[0]:
                    statement.value = numba_ir.Global(statement.target.name, other, statement.value.loc)
                    state.func_ir._definitions[statement.target.name] = [statement.value]
        return True


def widened(state, statement):
    """A statement; before one that makes a list of one item, which may be repeated and filled, that is made active."""
    value = getattr(statement, "value", None)
    if not isinstance(value, numba_ir.Expr) or value.op != "build_list" or len(value.items) != 1:
        return [statement]
    scope, loc = statement.target.scope, statement.loc
    function, item = (scope.redefine(f"$fasttape_{name}", loc) for name in ("widened", "item"))
    named = numba_ir.Global(function.name, WIDENED[state.pipeline.active], loc)
    call = numba_ir.Expr.call(function, value.items, (), loc)
    value.items = [item]
    made = [numba_ir.Assign(named, function, loc), numba_ir.Assign(call, item, loc)]
    for x in made:
        state.func_ir._definitions[x.target.name] = [x.value]
    return [*made, statement]


def named_value(expression, named):
    """What an expression that only names something stands for, in a tuple of one; None for other expressions."""
    if isinstance(expression, numba_ir.Global | numba_ir.FreeVar):
        return (expression.value,)
    if isinstance(expression, numba_ir.Expr) and expression.op == "getattr":
        module = named.get(expression.value.name)
        if isinstance(module, python.ModuleType) and hasattr(module, expression.attr):
            return (getattr(module, expression.attr),)
    return None


@register_pass(mutates_CFG=True, analysis_only=False)
class FuseArrays(NopythonRewrites):
    """Numba's fusion of array expressions, which does not know active numbers among the operands of ufuncs."""

    _name = "fasttape_fuse_arrays"

    def run_pass(self, state):
        for block in state.func_ir.blocks.values():
            for call in block.find_exprs("call"):
                function = getattr(state.typemap[call.func.name], "typing_key", None)
                if isinstance(function, np.ufunc) and any(is_active(state.typemap[x.name]) for x in call.args):
                    return False
        return super().run_pass(state)


class ActiveCompiler(compiler.CompilerBase):
    """Numba's compiler with the pass that puts in substitutes, for numbers that record a linear tape."""

    active, lowering, fusing = active, NativeLowering, (FuseProducts,)

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        instead = {NativeLowering: self.lowering, NopythonRewrites: FuseArrays}
        passes.passes = [(instead.get(step, step), why) for step, why in passes.passes]
        passes.add_pass_after(Retarget, InlineInlinables)
        for step in self.fusing:
            passes.add_pass_after(step, NopythonTypeInference)
        passes.finalize()
        return [passes]


class TracedCompiler(ActiveCompiler):
    """The same for numbers that record a program, with the lines of the user's code."""

    active, lowering, fusing = traced, LoweringWithSites, ()


FORMS = {  # by the number of arguments
    1: lambda f: lambda x: f(x),
    2: lambda f: lambda x, y: f(x, y),
    3: lambda f: lambda x, y, z: f(x, y, z),
}
COMPILERS = {active: ActiveCompiler, traced: TracedCompiler}


def substitutes(number):
    """By function what code for a type of active numbers calls in its place."""
    made = {f: constructor(f, number) for f in (np.zeros, np.empty, np.ones)}
    like = ((np.zeros_like, np.zeros), (np.empty_like, np.empty), (np.ones_like, np.ones))
    made |= {f: constructor_like(g, number) for f, g in like}
    codes = {f: compiled_as(COMPILERS[number], choose, f.__name__) for f, choose in FORMULAS.items()}
    made |= {f: either(f, code, reluctant=f is round) for f, code in codes.items()}
    return made | fillers(number) | lists(number) | FUNCTIONS


SUBSTITUTES = {kind: substitutes(kind) for kind in COMPILERS}
WIDENED = {kind: alike(kind) for kind in COMPILERS}


@functools.cache
def vectorized(ufunc, number):
    """What active code calls for a function of numba.vectorize: its scalar function, over arrays element by element."""
    python_function = ufunc._dispatcher.py_func
    scalar, arity = activate(njit(python_function), number), python_function.__code__.co_argcount
    if arity not in FORMS:
        return ufunc

    def applied(*args):
        raise NotImplementedError

    forms = FORMS[arity](scalar), FORMS[arity](ufunc)

    def choose(*operands):
        if all(isinstance(t, SCALAR) for t in operands):
            return forms[0]
        return None if any(map(holds_active, operands)) else forms[1]

    overload(applied, strict=False)(choose)
    accept_arrays(applied, arity, lambda kind: kind)
    cpu_target.typing_context.refresh()  # this runs while a caller is being compiled
    cpu_target.target_context.refresh()
    return applied


@functools.cache
def activate(dispatcher, number):
    """The dispatcher that compiles a user's function for a type of active numbers, for compiled callers."""
    options = {k: v for k, v in dispatcher.targetoptions.items() if k not in DROPPED}
    made = njit(pipeline_class=COMPILERS[number], **NUMBAS_OWN | options)(renamed(dispatcher.py_func, number.name))
    made.original = dispatcher
    return made


def renamed(function, mode):
    """A copy of a function under a name of its own, which Numba's cache on disk goes by."""
    code, namespace = function.__code__, function.__globals__
    copy = python.FunctionType(code, namespace, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__, copy.__module__ = function.__kwdefaults__, function.__module__
    copy.__qualname__ = f"{function.__qualname__}.{mode}"
    return copy
