"""Functions compiled with all that they call: machine code once, and whatever is asked for elsewhere is there, too."""

import contextlib
import gc
import pathlib
import subprocess
import sys

import numba
import pytest
from recursive import even_and_odd

if numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled", allow_module_level=True)

from fasttape.compiler.libraries import Part, Whole, WholeCompiler, compiled_in_parts


def whole(f, **options):
    return numba.njit(pipeline_class=WholeCompiler, **options)(f)


def library_of(dispatcher):
    (made,) = dispatcher.overloads.values()
    return made.library


def test_a_callee_has_machine_code_only_when_python_asks_for_it():
    helper = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(lambda x: x * x + 1.0)
    caller = whole(lambda x: helper(x) - 1.0)
    assert caller(3.0) == 9.0
    assert type(library_of(caller)) is Whole
    part = library_of(helper)
    assert type(part) is Part
    assert not part.is_whole
    assert "fmul" in part.get_llvm_str()
    part.complete()
    assert part.get_pointer_to_function(next(iter(helper.overloads.values())).fndesc.llvm_func_name)


def test_a_callee_that_was_compiled_with_its_caller_is_called_from_python_and_from_others():
    helper = numba.njit(lambda x: x * x + 1.0)
    assert whole(lambda x: helper(x) - 1.0)(3.0) == 9.0
    assert helper(2.0) == 5.0
    assert numba.njit(lambda x: helper(x) + 1.0)(2.0) == 6.0
    assert whole(lambda x: helper(x) + 2.0)(2.0) == 7.0
    assert len(helper.overloads) == 1


def test_exceptions_keep_their_arguments_at_every_depth():
    @numba.njit
    def deepest(x):
        if x < 0.0:
            raise ValueError("negative", x)
        return x

    middle = numba.njit(lambda x: deepest(x) + 1.0)
    caller = whole(lambda x: middle(x) + 1.0)
    assert caller(1.0) == 3.0
    for f in (caller, middle, deepest):
        with pytest.raises(ValueError, match="negative") as raised:
            f(-2.5)
        assert raised.value.args == ("negative", -2.5)


def test_functions_that_call_each_other():
    even, odd = even_and_odd()
    caller = whole(lambda n: even(n))
    assert caller(10)
    assert not caller(7)
    assert odd(7)


def test_a_function_that_calls_itself_more_than_once():
    @numba.njit
    def paths(n):
        return 1.0 if n < 2 else paths(n - 1) + paths(n - 2)

    middle = numba.njit(lambda n: 2.0 * paths(n))
    assert whole(lambda n: middle(n))(9) == 110.0
    assert paths(5) == 8.0


def test_wholes_inside_of_wholes():
    inner = whole(lambda x: 2.0 * x)
    outer = whole(lambda x: inner(x) + 1.0)
    assert outer(1.0) == 3.0
    assert inner(2.0) == 4.0
    assert type(library_of(inner)) is type(library_of(outer)) is Whole


def test_what_is_compiled_afterwards_is_as_numba_makes_it():
    with pytest.raises(numba.TypingError):
        whole(lambda x: undefined(x))(1.0)  # noqa: F821
    after = numba.njit(lambda x: x + 1.0)
    assert after(1.0) == 2.0
    assert not isinstance(library_of(after), Whole)


FIRST_OF_ALL = """
import numba
from recursive import even_and_odd
from fasttape.compiler.jit import PLAIN
from fasttape.compiler.libraries import compiled_in_parts

with compiled_in_parts("first"):
    numba.njit(**PLAIN)(lambda x: x + 1.0).compile((numba.float64,))

even, _ = even_and_odd()
print(even(4))
"""


def test_parts_are_what_a_process_compiles_first():
    command = [sys.executable, "-c", FIRST_OF_ALL]
    done = subprocess.run(command, cwd=pathlib.Path(__file__).parent, check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


PROGRAM = """
import numba
from fasttape.compiler.libraries import WholeCompiler

@numba.njit
def helper(x):
    if x < 0.0:
        raise ValueError("negative", x)
    return x * x

@numba.njit(cache=True, pipeline_class=WholeCompiler)
def caller(x):
    return helper(x) + 1.0

print(caller(3.0), sum(caller.stats.cache_hits.values()))
try:
    caller(-3.0)
except ValueError as error:
    print(error.args)
"""


def test_another_process_loads_it_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "program.py").write_text(PROGRAM)
    for hits in (0, 1):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py")], check=True, capture_output=True, text=True
        )
        assert done.stdout.splitlines() == [f"10.0 {hits}", "('negative', -3.0)"]


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_of_garbage_rests_and_then_does_what_it_did(collecting):
    states = []
    try:
        (gc.enable if collecting else gc.disable)()
        with contextlib.suppress(ValueError), compiled_in_parts("nothing"):
            states.append(gc.isenabled())
            raise ValueError
        states.append(gc.isenabled())
    finally:
        gc.enable()
    assert states == [False, collecting]
