"""The shape of the package: who imports whom, what is loaded when, how long files and functions are."""

import ast
import pathlib
import subprocess
import sys

import pytest

import fasttape

PACKAGE = pathlib.Path(fasttape.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# A module imports from modules to its left, or from its own folder
LAYERS = ("errors", "special", "ops", "layout", "program", "verify", "decode", "compiler", "execute", "recorders")
LAYERS += (
    "trees",
    "binding",
    "recording",
    "transform",
    "evaluation",
    "inside",
    "direct",
    "derivatives",
    "show",
    "native",
    "tape",
    "api",
    "forms",
    "custom",
    "rules",
    "linalg",
    "decompositions",
    "implicit",
    "checkpoint",
    "stacked",
    "batches",
    "mapped",
    "inner_batch",
    "batching",
    "compiled",
    "streaming",
    "testing",
)
LAYERS += ("", "demo", "__main__")  # the package itself, and what is its first user
# Functions of NumPy whose derivatives are rules like those of users, which are made of everything else
EXCEPTIONS = {("fasttape.recorders.numpy_linalg", f"fasttape.{name}") for name in ("linalg", "decompositions")}
INSIDE_NUMBA = ("numba.core", "numba.extending", "numba.np", "numba.typed", "llvmlite")
HEAVY = ("numba", "scipy", "optree", "matplotlib", "sklearn", "rich", "hypothesis")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def layer(module):
    """The number of the layer that a module of the package belongs to."""
    return LAYERS.index([*module.split("."), ""][1])


def name_of(path):
    parts = ("fasttape", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Every module that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (x.name for x in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for x in node.names:
                whole = f"{node.module}.{x.name}"
                file = PACKAGE.parent.joinpath(*whole.split("."))
                yield whole if file.is_dir() or file.with_suffix(".py").is_file() else node.module


@each_file
def test_import_order(path):
    """Imports inside of functions count, too: data flows one way."""
    own = name_of(path)
    wrong = [x for x in imported(path) if x.partition(".")[0] == "fasttape" and layer(x) > layer(own)]
    assert [x for x in wrong if (own, x) not in EXCEPTIONS] == []


@each_file
def test_only_the_compiler_knows_numbas_inside(path):
    inside = [x for x in imported(path) if x.startswith(INSIDE_NUMBA)]
    assert not inside or path.parent.name == "compiler"
    knows_numba = any(x.partition(".")[0] == "numba" for x in imported(path))
    assert not knows_numba or path.parent.name == "compiler"


@each_file
def test_no_source_text_is_run(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("exec", "eval", "compile"), f"line {node.lineno}"


@each_file
def test_sizes(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


@each_file
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())) or not path.read_text().strip()


@pytest.mark.slow
def test_import_loads_nothing_that_is_not_used():
    program = (
        "import sys, math; import fasttape as ft; print(*sys.modules, flush=True); "
        "import numba; ft.grad(math.exp)(0.0); print(*sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    imported, used = (line.split() for line in done.stdout.splitlines())
    assert "fasttape" in imported
    assert heavy(imported) == set()
    assert heavy(used) <= {"numba", "scipy"}, "Numba looks for the BLAS of SciPy when it compiles anything"


def heavy(modules):
    return {x.partition(".")[0] for x in modules} & set(HEAVY)


def test_public_names():
    assert sorted(fasttape.__all__) == list(fasttape.__all__)
    for name in fasttape.__all__:
        assert getattr(fasttape, name).__doc__
