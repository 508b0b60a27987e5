"""Object code on disk: what is loaded was written here, by this user, and whatever is wrong costs time only."""

import ctypes
import os
import pathlib
import resource
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding
from test_native import Strict, row_program
from test_points import evaluate

import fasttape as ft
from fasttape.compiler import jit, loading, machine, object_cache
from fasttape.compiler.late import DISABLED
from fasttape.compiler.loading import Target, host
from fasttape.compiler.sweeps import sweep
from fasttape.execute.kernels import line
from fasttape.execute.native import Native
from fasttape.ops import CODE, OPS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="object code is kept on disk on Linux")
SQUARE = row_program(OPS[CODE["square"]])
X = np.arange(5.0)[:, None]
WORDS = np.arange(5)
compiled_only = pytest.mark.skipif(DISABLED, reason="sweeps are Python functions with the JIT disabled")


def total(words, parts, twice):
    found = 0
    for k in range(parts[0], parts[1]):
        found += words[k] * 2 if twice else words[k]
    return found


def added():
    """What a sweep returns that this process has not compiled."""
    return sweep(total).now(WORDS, (1, 4), True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTTAPE_CACHE_DIR", str(tmp_path / "objects"))
    assert works()  # with the driver
    return tmp_path / "objects"


def files(folder):
    return sorted(folder.glob("*.o"))


def works():
    return np.array_equal(evaluate(Native, SQUARE, X)[0], X * X) and added() == 12


def test_code_is_found_again(folder):
    """A file that is read says when; one that is compiled again is another file."""
    for path in files(folder):
        os.utime(path, (0, 0))
    before = {path: path.stat().st_ino for path in files(folder)}
    assert works()
    assert {path: path.stat().st_ino for path in files(folder)} == before
    assert any(path.stat().st_mtime > 0 for path in files(folder))


def test_the_folder_is_closed_to_others(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files(folder))
    for path in files(folder):
        path.unlink()
    for mode in (0o770, 0o705, 0o750):
        folder.chmod(mode)
        assert works()
        assert files(folder) == []


def test_a_link_is_no_folder_and_no_file(folder, tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("FASTTAPE_CACHE_DIR", str(link))
    key = files(folder)[0].stem
    assert object_cache.load(key) is None
    elsewhere = tmp_path / "file"
    shutil.move(folder / f"{key}.o", elsewhere)
    (folder / f"{key}.o").symlink_to(elsewhere)
    assert object_cache.load(key, folder) is None


@pytest.mark.parametrize(
    "damage", [lambda x: x[:-1], lambda x: b"", lambda x: x[:90] + b"!" + x[91:], lambda x: x + b"!"]
)
def test_damaged_files_are_dropped(folder, damage):
    for path in files(folder):
        path.write_bytes(damage(path.read_bytes()))
        assert object_cache.load(path.stem) is None
        assert not path.exists()
    assert works()


def test_a_file_under_another_name_is_not_loaded(folder):
    path = files(folder)[0]
    assert object_cache.load(path.stem) is not None
    shutil.copy(path, folder / "other.o")
    assert object_cache.load("other") is None


def test_only_known_functions_are_called(folder):
    """An object that asks for another symbol is neither kept nor loaded, even with the right checksum."""
    text = "declare i32 @system(ptr)\ndefine void @kernel() {\ncall i32 @system(ptr null)\nret void\n}"
    data = host().machine(0).emit_object(binding.parse_assembly(text))
    assert object_cache.undefined(data) == ["system"]
    object_cache.keep("evil", data)
    assert not (folder / "evil.o").exists()
    (folder / "evil.o").write_bytes(object_cache.checksum("evil", data) + data)
    assert object_cache.load("evil") is None
    assert object_cache.undefined(b"\xcf\xfa\xed\xfe" + data[4:]) is None  # another system's kind of object
    for name in ("exp", "floor", "pow"):
        executor = Native(row_program(OPS[CODE[name]]), target=Target("x86-64", "", ""))
        code = machine.module(line(executor.program), executor.style)
        assert object_cache.familiar(executor.target.machine(0).emit_object(binding.parse_assembly(code)))


def test_each_difference_has_a_key_of_its_own(folder):
    """The program, its constants, the dtype, the registers, strictness and shared inputs."""

    def program(c):
        return ft.record(lambda x: x * x + c, 1.0).program

    variants = [
        *(Native(program(c)) for c in (2.0, 3.0, -0.0)),
        Strict(program(2.0)),
        Strict(row_program(OPS[CODE["square"]], np.float32)),
        Native(program(2.0), target=Target("x86-64-v2", "", "b")),
        Native(program(2.0), target=Target("x86-64", "", "b")),
    ]
    count = len(files(folder))
    for executor in variants:
        executor.code(())
    variants[0].code((0,))
    assert len(files(folder)) - count == len(variants) + 1
    for executor in variants:
        executor.code(())
    assert len(files(folder)) - count == len(variants) + 1


def found_in(memory, x):
    memory[0] = x
    return memory[0]


@compiled_only
def test_each_kind_of_arguments_has_a_key_of_its_own(folder):
    kinds = [
        (np.zeros(3), 1),
        (np.zeros(3), True),
        (np.zeros(3, np.float32), 1),
        (np.zeros(3, np.int64), 1),
        (np.zeros(6)[::2], 1),
        (np.zeros(12, np.uint8)[2:10].view(np.float64), 1),
    ]
    count = len(files(folder))
    for _ in range(2):
        made = sweep(found_in)
        for memory, x in kinds:
            assert made.now(memory, x) == 1
            assert memory[0] == 1
        assert len(files(folder)) - count == len(kinds)


@compiled_only
def test_the_key_names_the_processor_and_what_numba_was_told(monkeypatch):
    def name():
        jit.machine_key.cache_clear()
        return jit.name_for("key")

    names = [name()]
    monkeypatch.setenv("NUMBA_OPT", "1")
    names += [name()]
    monkeypatch.setattr(loading, "host", lambda: Target("x86-64", "", "b"))
    names += [name()]
    monkeypatch.undo()
    assert name() == names[0]
    assert len(set(names)) == 3


absolute = ctypes.CDLL(None).labs
absolute.restype, absolute.argtypes = ctypes.c_long, (ctypes.c_long,)


def with_address(x):
    return absolute(x)


@compiled_only
def test_code_with_an_address_of_this_process_is_not_kept(folder):
    before = files(folder)
    assert sweep(with_address).now(-3) == 3
    assert files(folder) == before


@compiled_only
def test_code_that_calls_what_is_not_known_is_not_kept(folder):
    from numba import types

    getppid = types.ExternalFunction("getppid", types.int32())

    def parent():
        return getppid()

    before = files(folder)
    assert sweep(parent).now() == os.getppid()
    assert files(folder) == before


@compiled_only
def test_a_function_that_is_missing_here_is_noticed_before_loading(folder):
    """LLVM would end the process."""
    text = "declare void @_ZGVbN2v_missing()\ndefine void @kernel() {\ncall void @_ZGVbN2v_missing()\nret void\n}"
    data = host().machine(0).emit_object(binding.parse_assembly(text))
    own = [path for path in files(folder) if b"total" in path.read_bytes()]
    assert len(own) == 1
    object_cache.keep(own[0].stem, data)
    assert object_cache.load(own[0].stem) == data
    assert added() == 12
    assert object_cache.load(own[0].stem) != data


PROGRAM = """
import hashlib, math, pathlib, os
import fasttape as ft
from fasttape.execute.entries import needs
from fasttape.execute.kernels import line
from fasttape.execute.native import Native
program = ft.record(lambda x: math.exp(x) * 2.5 + x, 1.0).program
Native(program).code(())
needs(program.columns)
for path in sorted(pathlib.Path(os.environ["FASTTAPE_CACHE_DIR"]).glob("*.o")):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def start(folder):
    environment = os.environ | {
        "FASTTAPE_CACHE_DIR": str(folder),
        "PYTHONPATH": str(pathlib.Path(ft.__file__).parents[1]),
    }
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_no_address_is_inside(tmp_path):
    """Two processes, whose memory lies elsewhere, write the same bytes."""
    runs = [start(tmp_path / name) for name in ("a", "b")]
    first, second = (run.communicate()[0] for run in runs)
    assert first == second
    assert first.count("\n") >= (1 if DISABLED else 4)  # the program, a sweep, and how Python calls both


@pytest.mark.slow
def test_eight_processes_at_once(tmp_path):
    runs = [start(tmp_path / "objects") for _ in range(8)]
    outputs = {run.communicate()[0] for run in runs}
    assert len(outputs) == 1
    assert all(run.returncode == 0 for run in runs)
    assert {path.suffix for path in (tmp_path / "objects").iterdir()} == {".o"}


def test_size_is_bounded_and_what_is_used_stays(folder, monkeypatch):
    data = object_cache.load(files(folder)[0].stem)
    for path in files(folder):
        path.unlink()
    monkeypatch.setattr(object_cache, "LIMIT", 4 * (len(data) + object_cache.CHECKSUM))
    monkeypatch.setattr(object_cache, "LOOKS", 1)
    for k in range(4):
        object_cache.keep(f"k{k}", data)
        os.utime(folder / f"k{k}.o", (k, k))
    assert object_cache.load("k0") == data
    object_cache.keep("k4", data)
    assert [path.stem for path in files(folder)] == ["k0", "k2", "k3", "k4"]


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("FASTTAPE_CACHE_DIR", str(folder))
        assert works()


@pytest.mark.skipif(os.getuid() != 0, reason="takes the right to be another user")
def test_a_user_without_a_home():
    program = "import os; from fasttape.compiler import object_cache as c; os.setuid(54321); "
    program += "c.keep('key', b''); print(c.load('key'))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(pathlib.Path(ft.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout == "None\n"


def test_a_full_disk(folder):
    """Files of this process may not grow: nothing half-written is left."""
    for path in files(folder):
        path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert works()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == []
