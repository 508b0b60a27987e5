"""User functions recompiled for active numbers: their callees are too, and their float arrays hold active numbers."""

import functools
import types as python
import weakref

import numpy as np
from numba import njit, types
from numba.core import compiler
from numba.core import ir as numba_ir
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher, ObjModeLiftedWith
from numba.core.errors import UnsupportedBytecodeError
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering, NopythonTypeInference
from numba.core.untyped_passes import InlineInlinables
from numba.extending import overload
from numba.np.ufunc.dufunc import DUFunc

from fasttape.compiler import active_forms, active_linalg  # noqa: F401  they add to FUNCTIONS
from fasttape.compiler.active_arrays import FUNCTIONS, METHODS
from fasttape.compiler.active_ops import IN_PLACE, accept_arrays
from fasttape.compiler.active_type import SCALAR, active, holds_active, is_active, traced
from fasttape.compiler.jit import INTERNAL
from fasttape.compiler.product_sums import FuseProducts
from fasttape.compiler.sites import LoweringWithSites

DROPPED = ("parallel", "nopython", "forceobj", "looplift", "no_cpython_wrapper", "no_cfunc_wrapper", "nogil")
NUMBAS_OWN = INTERNAL | {"error_model": "python"}  # what holds unless the user's options say otherwise
FLOATS = (float, np.float64)


OWN: weakref.WeakSet = weakref.WeakSet()  # what was made of a user's function and records by itself


def is_float_dtype(t):
    """Whether the type of a dtype argument stands for float64, which active numbers take the place of."""
    if isinstance(t, types.Omitted):
        return t.value in (None, *FLOATS)
    if isinstance(t, types.Function):
        return t.typing_key in FLOATS
    return t in FLOATS or t is types.none or getattr(t, "dtype", None) == types.float64


def constructor(make, number):
    """np.zeros and its kin with active numbers in place of float64."""

    def made(shape, dtype=float):
        raise NotImplementedError

    def choose(shape, dtype=float):
        if is_float_dtype(dtype):
            return lambda shape, dtype=float: make(shape, number)
        return lambda shape, dtype=float: make(shape, dtype)

    overload(made)(choose)
    return made


def constructor_like(make, number):
    """np.zeros_like and its kin with active numbers in place of float64."""

    def made(x, dtype=None):
        raise NotImplementedError

    def choose(x, dtype=None):
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        kind = dtype if given else getattr(x, "dtype", x)
        if is_active(kind) or is_active(getattr(kind, "dtype", None)) or is_float_dtype(kind) or kind == types.float64:
            return lambda x, dtype=None: make(np.shape(x), number)
        if given:
            return lambda x, dtype=None: make(np.shape(x), dtype)
        return lambda x, dtype=None: make(np.shape(x), x.dtype)

    overload(made)(choose)
    return made


def fillers(number):
    """What stands for np.full and np.full_like."""

    def filled(shape, value, dtype=None):
        """Stands for np.full."""
        raise NotImplementedError

    @overload(filled)
    def choose_filled(shape, value, dtype=None):
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        if is_float_dtype(dtype) if given else isinstance(value, types.Float) or is_active(value):

            def full(shape, value, dtype=None):
                made = np.empty(shape, number)
                made[...] = value
                return made

            return full
        if given:
            return lambda shape, value, dtype=None: np.full(shape, value, dtype)
        return lambda shape, value, dtype=None: np.full(shape, value)

    def filled_like(x, value, dtype=None):
        """Stands for np.full_like."""
        raise NotImplementedError

    @overload(filled_like)
    def choose_filled_like(x, value, dtype=None):
        if isinstance(dtype, types.Omitted | types.NoneType) or dtype is None:
            if is_active(x.dtype) or x.dtype == types.float64:
                return lambda x, value, dtype=None: filled(np.shape(x), value, float)
            return lambda x, value, dtype=None: np.full_like(x, value)
        return lambda x, value, dtype=None: filled(np.shape(x), value, dtype)

    return {np.full: filled, np.full_like: filled_like}


def lists(number):
    """What stands for np.array."""

    def array_of(object, dtype=None):
        """Stands for np.array of lists and tuples of numbers, and of lists of those."""
        raise NotImplementedError

    @overload(array_of)
    def choose_array_of(object, dtype=None):
        items = getattr(object, "dtype", None)
        given = not isinstance(dtype, types.Omitted | types.NoneType) and dtype is not None
        if given and not is_float_dtype(dtype):
            return lambda object, dtype=None: np.array(object, dtype)
        inner = getattr(items, "dtype", items)
        if not (given or is_active(inner) or inner == types.float64):
            return lambda object, dtype=None: np.array(object)
        if isinstance(object, types.Array):
            return lambda object, dtype=None: object.copy()

        def vector(object, dtype=None):
            made = np.empty(len(object), number)
            for k, x in enumerate(object):
                made[k] = x
            return made

        def matrix(object, dtype=None):
            made = np.empty((len(object), len(object[0])), number)
            for i, row in enumerate(object):
                for j, x in enumerate(row):
                    made[i, j] = x
            return made

        return vector if inner is items else matrix

    return {np.array: array_of}


def substitutes(number):
    """By function what code for a type of active numbers calls in its place."""
    made = {f: constructor(f, number) for f in (np.zeros, np.empty, np.ones)}
    like = ((np.zeros_like, np.zeros), (np.empty_like, np.empty), (np.ones_like, np.ones))
    made |= {f: constructor_like(g, number) for f, g in like}
    return made | fillers(number) | lists(number) | {np.float64: float} | FUNCTIONS


SUBSTITUTES = {kind: substitutes(kind) for kind in (active, traced)}


def substitute(value, number):
    """What active code sees in place of a value that the user's code names."""
    if isinstance(value, DUFunc):
        return vectorized(value, number)
    if isinstance(value, Dispatcher):
        kept = value in OWN or value.py_func.__module__.startswith("fasttape.")
        return value if kept else activate(value, number)
    try:
        return SUBSTITUTES[number].get(value, value)
    except TypeError:
        return value


@register_pass(mutates_CFG=False, analysis_only=False)
class Retarget(FunctionPass):
    """Puts substitutes in the place of globals, closure values and attributes of modules."""

    _name = "fasttape_retarget"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        named, methods = {}, {}
        for block in state.func_ir.blocks.values():
            for expression in block.find_exprs("inplace_binop"):
                expression.fn = IN_PLACE.get(expression.fn, expression.fn)
            for statement in block.find_insts(numba_ir.Assign):
                value = statement.value
                if isinstance(value, numba_ir.Const) and isinstance(value.value, ObjModeLiftedWith):
                    raise UnsupportedBytecodeError(f"objmode at {value.loc}")
                found = named_value(value, named)
                if found is None and isinstance(value, numba_ir.Expr):
                    if value.op == "getattr" and value.attr in METHODS:
                        methods[statement.target.name] = value.value
                        found = (METHODS[value.attr],)
                        statement.value = numba_ir.Global(statement.target.name, found[0], value.loc)
                        state.func_ir._definitions[statement.target.name] = [statement.value]
                    elif value.op == "call" and value.func.name in methods:
                        value.args = [methods[value.func.name], *value.args]
                if found is None:
                    continue
                named[statement.target.name] = found[0]
                other = substitute(found[0], state.pipeline.active)
                if other is not found[0]:
                    statement.value = numba_ir.Global(statement.target.name, other, statement.value.loc)
                    state.func_ir._definitions[statement.target.name] = [statement.value]
        return True


def named_value(expression, named):
    """What an expression that only names something stands for, in a tuple of one; None for other expressions."""
    if isinstance(expression, numba_ir.Global | numba_ir.FreeVar):
        return (expression.value,)
    if isinstance(expression, numba_ir.Expr) and expression.op == "getattr":
        module = named.get(expression.value.name)
        if isinstance(module, python.ModuleType) and hasattr(module, expression.attr):
            return (getattr(module, expression.attr),)
    return None


class ActiveCompiler(compiler.CompilerBase):
    """Numba's compiler with the pass that puts in substitutes, for numbers that record a linear tape."""

    active, lowering, fusing = active, NativeLowering, (FuseProducts,)

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(self.lowering if step is NativeLowering else step, why) for step, why in passes.passes]
        passes.add_pass_after(Retarget, InlineInlinables)
        for step in self.fusing:
            passes.add_pass_after(step, NopythonTypeInference)
        passes.finalize()
        return [passes]


class TracedCompiler(ActiveCompiler):
    """The same for numbers that record a program, with the lines of the user's code."""

    active, lowering, fusing = traced, LoweringWithSites, ()


COMPILERS = {active: ActiveCompiler, traced: TracedCompiler}


@functools.cache
def vectorized(ufunc, number):
    """What active code calls for a function of numba.vectorize: its scalar function, over arrays element by element."""
    python_function = ufunc._dispatcher.py_func
    scalar, arity = activate(njit(python_function), number), python_function.__code__.co_argcount

    def applied(*args):
        raise NotImplementedError

    if arity == 1:
        form, plain = (lambda x: scalar(x)), (lambda x: ufunc(x))
        overload(applied)(lambda x: form if isinstance(x, SCALAR) else None if holds_active(x) else plain)
    elif arity == 2:
        form, plain = (lambda x, y: scalar(x, y)), (lambda x, y: ufunc(x, y))
        overload(applied)(
            lambda x, y: (
                form
                if isinstance(x, SCALAR) and isinstance(y, SCALAR)
                else None
                if holds_active(x) or holds_active(y)
                else plain
            )
        )
    else:
        return ufunc
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
