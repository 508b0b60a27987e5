"""Compiled functions that record a user's compiled function on a linear tape and sweep it, one for each use of it."""

import functools
import inspect
import types as python
import weakref
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.extending import overload

from fasttape.compiler import active_ops  # noqa: F401  teaches Numba the operations on active numbers
from fasttape.compiler.active_arguments import arguments, gradients, primal
from fasttape.compiler.active_type import SCALAR, active, as_active, traced
from fasttape.compiler.calls import attempt, raise_again
from fasttape.compiler.jit import INTERNAL, OPTIONS
from fasttape.compiler.libraries import WholeCompiler
from fasttape.compiler.linear_export import count, leads, marks, nodes_of, plain_records, records_of, write
from fasttape.compiler.linear_memory import LENGTH, THREAD
from fasttape.compiler.linear_sweep import load_sweep, reverse
from fasttape.compiler.linear_tape import begin, give_back, header, thread_tape
from fasttape.compiler.program_export import take_program, traced_like
from fasttape.compiler.reached import digest_of
from fasttape.compiler.retarget import OWN, activate
from fasttape.errors import ConversionError, OutputError

MADE: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # by dispatcher: what was made of it, by use


class Run(NamedTuple):
    """A compiled driver, and the types of arguments that it cannot be compiled for."""

    compiled: Any
    refused: set


def output(y):
    """What is differentiated of what a function returned: an active number; passive where y is no scalar."""
    raise NotImplementedError


@overload(output, jit_options=INTERNAL)
def choose_output(y):
    if isinstance(y, types.Array) and y.ndim == 0 and isinstance(y.dtype, SCALAR):
        return lambda y: as_active(y[()])
    return (lambda y: as_active(y)) if isinstance(y, SCALAR) else (lambda y: as_active(0.0))


def only_output(y):
    """The same, where anything but a scalar is an error."""
    raise NotImplementedError


@overload(only_output, jit_options=INTERNAL)
def choose_only_output(y):
    if not isinstance(y, SCALAR):
        raise OutputError(
            f"njit_value_and_grad needs a function that returns one number, and this one returns {kind(y)}"
        )
    return lambda y: as_active(y)


def kind(t) -> str:
    """What a function returned, by its type."""
    if isinstance(t, types.Array):
        return f"an array with {t.ndim} dimension{'' if t.ndim == 1 else 's'}"
    return "nothing" if t is types.none else f"a tuple of {len(t)}" if isinstance(t, types.BaseTuple) else str(t)


def first_output(y):
    """The same of a function that returns an auxiliary output, too."""
    raise NotImplementedError


@overload(first_output, jit_options=INTERNAL)
def choose_first_output(y):
    if isinstance(y, types.BaseTuple) and len(y) == 2:
        return lambda y: output(y[0])
    return lambda y: as_active(0.0)


def driver(digest, argnums):
    """(tape, (None, *args)) -> (what f returns, with plain numbers; adjoints of the inputs behind a zero)."""

    def value_and_adjoints(tape, args):
        digest
        start = begin(tape)
        inputs = arguments(tape, argnums, args)
        count = header(tape)[LENGTH] - start
        y, status = attempt(f, inputs)  # noqa: F821  see `bound`
        if status[0]:
            give_back(tape, start)
            raise_again(status)
            raise SystemError
        return primal(y), reverse(tape, start, count, of_output(y))  # noqa: F821

    return value_and_adjoints


def first_of(y):
    """The output of a function that returns an auxiliary output, too."""
    raise NotImplementedError


@overload(first_of, jit_options=INTERNAL)
def choose_first_of(y):
    return (lambda y: y[0]) if isinstance(y, types.BaseTuple) and len(y) == 2 else (lambda y: 0.0)


def whole(y):
    """The output of a function that returns nothing else."""
    raise NotImplementedError


overload(whole, jit_options=INTERNAL)(lambda y: lambda y: y)


def linear_driver(digest, argnums):
    """(tape, (None, *args)) -> (what f returns, with plain numbers; which of them are active; the linear tape)."""

    def value_and_records(tape, args):
        digest
        start = begin(tape)
        inputs = arguments(tape, argnums, args)
        size = header(tape)[LENGTH] - start
        y, status = attempt(f, inputs)  # noqa: F821  see `bound`
        if status[0]:
            give_back(tape, start)
            raise_again(status)
            raise SystemError
        output = of_output(y)  # noqa: F821
        numbers = np.empty(count(output), active)
        write(output, numbers, 0)
        records = records_of(tape, start, size)
        nodes = nodes_of(records, start, size)
        return primal(y), marks(output), leads(numbers, start, nodes), plain_records(records, start, size, nodes)

    return value_and_records


def program_driver(digest, argnums):
    """(tape, (None, *args), slots, next slot) -> (what f returns, plain; which are traced; see `take_program`)."""

    def value_and_program(tape, args, slots, next_slot):
        digest
        start = begin(tape)
        inputs = traced_like(arguments(tape, argnums, args))
        y, status = attempt(f, inputs)  # noqa: F821  see `bound`
        if status[0]:
            give_back(tape, start)
            raise_again(status)
            raise SystemError
        numbers = np.empty(count(y), traced)
        write(y, numbers, 0)
        return primal(y), marks(y), take_program(tape, start, slots, next_slot, numbers)

    return value_and_program


def njit_driver(digest, argnums, positions):
    """(*args) -> (what f returns, its gradient), for callers that are compiled themselves."""

    def value_and_grad(first, *rest):
        digest
        args = (None, first, *rest)
        tape = thread_tape()
        start = begin(tape)
        inputs = arguments(tape, positions, args)
        count = header(tape)[LENGTH] - start
        y, status = attempt(f, inputs)  # noqa: F821  see `bound`
        if status[0]:
            give_back(tape, start)
            raise_again(status)
            raise SystemError
        return primal(y), gradients(argnums, args, reverse(tape, start, count, of_output(y)))  # noqa: F821

    return value_and_grad


def bound(function, like, **namespace):
    """A copy of a function with more globals, under the name and in the file of another: the key of Numba's cache."""
    code = function.__code__.replace(co_filename=like.__code__.co_filename, co_firstlineno=like.__code__.co_firstlineno)
    copy = python.FunctionType(code, function.__globals__ | namespace, like.__name__, None, function.__closure__)
    copy.__qualname__, copy.__module__ = f"{like.__qualname__}.{function.__name__}", like.__module__
    return copy


def compiled_of(dispatcher, use, make, kind=active, **namespace):
    """What is compiled for one use of a user's function; `make(digest)` gives its code, once."""
    made = MADE.setdefault(dispatcher, {})
    if use not in made:
        kept = is_cached(dispatcher)
        digest = digest_of(dispatcher) if kept else None
        function = dispatcher.py_func
        driver = bound(make(digest), function, f=activate(dispatcher, kind), **namespace)
        options = OPTIONS | {"cache": kept and digest is not None, "pipeline_class": WholeCompiler}
        made[use] = Run(numba.njit(**options)(driver), set())
        OWN.add(made[use].compiled)
    return made[use]


def value_and_adjoints_of(dispatcher, argnums, has_aux):
    """The compiled `driver` of a user's compiled function."""
    load_sweep()
    use, kind = ("python", argnums, has_aux), first_output if has_aux else output
    return compiled_of(dispatcher, use, functools.partial(driver, argnums=argnums), of_output=kind)


def value_and_records_of(dispatcher, argnums, has_aux):
    """The compiled `linear_driver` of a user's compiled function."""
    use, kind = ("linear", argnums, has_aux), first_of if has_aux else whole
    return compiled_of(dispatcher, use, functools.partial(linear_driver, argnums=argnums), of_output=kind)


def value_and_program_of(dispatcher, argnums):
    """The compiled `program_driver` of a user's compiled function."""
    make = functools.partial(program_driver, argnums=argnums)
    return compiled_of(dispatcher, ("program", argnums), make, kind=traced)


def njit_value_and_grad_of(dispatcher, argnums):
    """The compiled `njit_driver` of a user's compiled function."""
    load_sweep()
    positions = argnums if isinstance(argnums, tuple) else (argnums,)
    make = functools.partial(njit_driver, argnums=argnums, positions=positions)
    return compiled_of(dispatcher, ("njit", argnums), make, of_output=only_output).compiled


def is_cached(dispatcher) -> bool:
    """Whether the user asked Numba to keep a function on disk."""
    return type(dispatcher._cache).__name__ != "NullCache"


def record_inside(run, args, *more):
    """What a driver returns for some arguments of a function and `more`; None where Numba cannot compile that."""
    given = tuple(map(numba.typeof, args)) if run.refused else None
    if given in run.refused:
        return None
    start = THREAD.header[LENGTH]
    try:
        return run.compiled(THREAD.address, (None, *args), *more)  # a tuple that begins with a function is odd to Numba
    except BaseException as error:
        THREAD.header[LENGTH] = start
        if not isinstance(error, Exception) or isinstance(error, ConversionError):
            raise
        kinds = tuple(map(numba.typeof, args))
        if any(given[1] == types.BaseTuple.from_types((types.none, *kinds)) for given in run.compiled.overloads):
            raise  # it compiled, and this is what it does
        run.refused.add(kinds)
        return None


def functions_traced(args):
    """The arguments of a call with compiled functions among them as code for traced numbers calls them."""
    return tuple(activate(x, traced) if isinstance(x, Dispatcher) else x for x in args)


def positional(dispatcher, args, keywords):
    """The arguments of a call by position; None where they do not fit, which is for Python to complain about."""
    if not keywords:
        return tuple(args)
    try:
        call = inspect.signature(dispatcher.py_func).bind(*args, **keywords)
    except TypeError:
        return None
    call.apply_defaults()
    return None if call.kwargs else call.args
