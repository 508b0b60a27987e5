"""What NumPy's protocols find here: ufuncs by the names in the table, functions by family, errors for the rest."""

import functools
import importlib
import inspect
import sys

import numpy as np

from fasttape import ops
from fasttape.compiler.objects import COMPARISONS
from fasttape.errors import UnsupportedError
from fasttape.recorders import scipy_names
from fasttape.recorders.array import TracedArray, as_traced, builder_of
from fasttape.recorders.fresh import FreshArray
from fasttape.recorders.instructions import elementwise, scalar
from fasttape.recorders.numpy_accumulate import ACCUMULATIONS, accumulate
from fasttape.recorders.numpy_einsum import EINSUM
from fasttape.recorders.numpy_formulas import FORMULAS, UFUNCS, folded, reduceat
from fasttape.recorders.numpy_linalg import LINALG
from fasttape.recorders.numpy_orders import ORDERS
from fasttape.recorders.numpy_products import PRODUCTS
from fasttape.recorders.numpy_reductions import REDUCTIONS
from fasttape.recorders.numpy_shapes import SHAPES
from fasttape.recorders.numpy_various import VARIOUS
from fasttape.recorders.numpy_writes import WRITES, ufunc_at
from fasttape.recorders.scalar import MAX_EXPONENT, POWI, SQUARE, TracedScalar, here, is_number, slot_of

FUNCTIONS = SHAPES | REDUCTIONS | PRODUCTS | ORDERS | VARIOUS | LINALG | WRITES | ACCUMULATIONS | EINSUM | FORMULAS
REDUCED = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}
POW = ops.CODE["pow"]
SINGLE = (TracedScalar, float, int)
NEAREST = {"argpartition": "argsort", "partition": "sort", "fromiter": "stack"}


@functools.cache
def _ufuncs(special: bool):
    """Opcode by ufunc, for every name in the table that is a ufunc of NumPy or, once it is loaded, scipy.special."""
    found = {}
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            if module == "numpy" or (special and module == "scipy.special"):
                function = getattr(importlib.import_module(module), attribute)
                if isinstance(function, np.ufunc):
                    found[function] = opcode
    return found


def opcode_of(ufunc):
    """The row that a ufunc answers to, or None."""
    return _ufuncs("scipy.special" in sys.modules).get(ufunc)


def formula_of(ufunc):
    """The formula of rows that a ufunc is recorded as, or None."""
    known = UFUNCS.get(ufunc) or FUNCTIONS.get(ufunc)
    module = sys.modules.get("scipy.special")
    if known is None and getattr(module, ufunc.__name__, None) is ufunc:
        return scipy_names.UFUNCS.get(ufunc.__name__)
    return known


def array_ufunc(self, ufunc, method, *inputs, **kwargs):
    """NumPy's protocol for ufuncs; a call with traced scalars and numbers only takes a short way."""
    if method == "__call__" and not kwargs:
        opcode = opcode_of(ufunc)
        if opcode is not None and opcode != POW and all(isinstance(x, SINGLE) for x in inputs):
            builder = here(self.builder)
            return scalar(builder, opcode, [slot_of(builder, x) for x in inputs])
    if any(isinstance(x, FreshArray) for x in kwargs.get("out", ())):
        return NotImplemented
    return call_ufunc(ufunc, method, inputs, kwargs)


def array_function(self, function, types, args, kwargs):
    """NumPy's protocol for functions."""
    return NotImplemented if FreshArray in types else call_function(function, args, kwargs)


def call_ufunc(ufunc, method, inputs, kwargs):
    """Record a call of a ufunc, or of a method of it such as `reduce`."""
    if method == "at":
        if not isinstance(inputs[0], TracedArray):
            raise UnsupportedError(f"numpy.{ufunc.__name__}.at of a plain array and traced values cannot be recorded")
        return ufunc_at(ufunc, *inputs)
    out = kwargs.pop("out", None)
    where = kwargs.pop("where", True) if out is not None and method == "__call__" else True
    builder = builder_of(inputs)
    if builder is not None and kwargs.get("dtype", 0) in (None, type(builder.dtype), builder.dtype):
        del kwargs["dtype"]
    if builder is None and ufunc.nout == 1:  # only `out` is traced
        result = getattr(ufunc, method)(*inputs, **kwargs)
    elif method == "__call__":
        result = called(ufunc, *inputs, **kwargs)
    elif opcode_of(ufunc) is None:
        raise unsupported(f"numpy.{ufunc.__name__}.{method}")
    else:
        result = METHODS[method](ufunc, *inputs, **kwargs)
    return result if out is None else written(ufunc, result, out, where)


def called(ufunc, *inputs, **kwargs):
    refuse(ufunc, kwargs)
    formula, opcode = formula_of(ufunc), opcode_of(ufunc)
    if formula is not None:
        return formula(*inputs)
    if opcode is None:
        raise unsupported(ufunc)
    if not takes_floats(ufunc) and not all(map(is_truth, inputs)):
        raise UnsupportedError(f"numpy.{ufunc.__name__} of numbers that are not truth values cannot be recorded")
    return call_row(opcode, inputs)


def accumulated(ufunc, *inputs, **kwargs):
    return accumulate(opcode_of(ufunc), *inputs, **kwargs)


def outer(ufunc, x, y, **kwargs):
    refuse(ufunc, kwargs)
    return ufunc(np.reshape(x, np.shape(x) + (1,) * np.ndim(y)), y)


def reduced(ufunc, x, axis=0, **kwargs):
    reducing = REDUCED.get(ufunc)
    return FUNCTIONS[reducing](x, axis, **kwargs) if reducing else folded(opcode_of(ufunc), x, axis, **kwargs)


METHODS = {"accumulate": accumulated, "outer": outer, "reduceat": reduceat, "reduce": reduced}


def written(ufunc, result, out, where):
    """The traced arrays given as `out`, with the result in the elements that `where` names."""
    for target, part in zip(out, result if ufunc.nout > 1 else (result,), strict=True):
        if not isinstance(target, TracedArray):
            raise UnsupportedError(
                f"numpy.{ufunc.__name__} into a plain array (out=, or an operator such as +=) cannot be recorded; "
                "write y = y + x"
            )
        target[...] = part if where is True else np.where(where, part, target)
    return out if ufunc.nout > 1 else out[0]


@functools.cache
def takes_floats(ufunc) -> bool:
    return any("d" in loop.partition("->")[0] for loop in ufunc.types)


def is_truth(x) -> bool:
    """Whether x may be a truth value, as 0 and 1 may; a traced scalar does not know."""
    if isinstance(x, TracedArray | TracedScalar):
        return isinstance(x, TracedScalar) or x.boolean
    x = np.asarray(x)
    return x.dtype.kind == "b" or (x.dtype.kind in "iu" and bool(np.isin(x, (0, 1)).all()))


def refuse(ufunc, kwargs):
    """Raise for any option that would change the result."""
    harmless = ("casting", "subok", "where" if kwargs.get("where", True) is True else None)
    refused = [name for name in kwargs if name not in harmless]
    if refused:
        raise UnsupportedError(f"numpy.{ufunc.__name__} with {', '.join(refused)}= cannot be recorded")


def call_row(opcode, inputs):
    """Record a row on operands of any kind; integer powers by constants keep their exponent."""
    builder = builder_of(inputs)
    if opcode == POW and is_number(inputs[1]) and abs(inputs[1]) < MAX_EXPONENT and inputs[1] == int(inputs[1]):
        x = as_traced(builder, inputs[0])
        if inputs[1] == 2:
            return elementwise(builder, SQUARE, [x])
        return elementwise(builder, POWI, [x], int(inputs[1]))
    return elementwise(builder, opcode, [as_traced(builder, x) for x in inputs])


def call_function(function, args, kwargs):
    """Record a call of a NumPy function."""
    handler = FUNCTIONS.get(function)
    if handler is None:
        raise unsupported(function)
    place = out_places().get(function, len(args))
    target = args[place] if place < len(args) else kwargs.pop("out", None)
    if target is not None and not isinstance(target, TracedArray):
        raise UnsupportedError(f"{full_name(function)} with out= a plain array cannot be recorded")
    try:
        rest = args[place + 1 :]
        result = handler(*args[:place], *((None, *rest) if rest else ()), **kwargs)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            name = str(error).rpartition(" ")[2].strip("'")
            raise UnsupportedError(f"{full_name(function)} with {name}= cannot be recorded") from None
        raise
    if target is None:
        return result
    if np.shape(result) != target.shape:
        raise ValueError(f"{full_name(function)}: out has the shape {target.shape}, the result {np.shape(result)}")
    target[...] = result
    return target


@functools.cache
def out_places():
    """Where each function takes `out`, for those that do."""
    places = {}
    for function in FUNCTIONS:
        parameters = inspect.signature(function).parameters
        if "out" in parameters and parameters["out"].kind is not inspect.Parameter.KEYWORD_ONLY:
            places[function] = list(parameters).index("out")
    return places


def full_name(function) -> str:
    if isinstance(function, str):
        return function
    if not isinstance(function, np.ufunc):
        return f"{function.__module__}.{function.__name__}"
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), function.__name__, None) is function:
            return f"{module}.{function.__name__}"
    return function.__name__


def unsupported(function) -> UnsupportedError:
    """The error for what has no recording, with the nearest name that has one."""
    name = full_name(function)
    nearest = NEAREST.get(name.rpartition(".")[2])
    return UnsupportedError(
        f"{name} cannot be recorded" + (f"; the nearest that can: numpy.{nearest}" if nearest else "")
    )


def operator_of(opcode, *, reflected=False):
    """The method of an array for an operator; NumPy's own mixin would take the way through its protocols."""

    def method(x, *others):
        if others and getattr(others[0], "__array_ufunc__", x) is None:
            return NotImplemented
        return call_row(opcode, (*others, x) if reflected else (x, *others))

    return method


def define_operators():
    """Give TracedArray the operators of the rows whose operands are numbers."""
    for opcode, op in enumerate(ops.OPS):
        for name in op.names:
            module, _, attribute = name.rpartition(".")
            if module == "operator" and not attribute.endswith("_") and attribute != "invert":
                setattr(TracedArray, f"__{attribute}__", operator_of(opcode))
                if op.arity == 2 and attribute not in COMPARISONS:
                    setattr(TracedArray, f"__r{attribute}__", operator_of(opcode, reflected=True))


define_operators()
for _kind in (TracedScalar, TracedArray):
    _kind.__array_ufunc__ = array_ufunc
    _kind.__array_function__ = array_function
