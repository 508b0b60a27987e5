"""Object code on disk: what is loaded was written here, by this user, and whatever is wrong costs time only."""

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
from fasttape.compiler import machine, object_cache
from fasttape.compiler.loading import Target, host
from fasttape.execute.native import Native
from fasttape.ops import CODE, OPS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="object code is kept on disk on Linux")
SQUARE = row_program(OPS[CODE["square"]])
X = np.arange(5.0)[:, None]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTTAPE_CACHE_DIR", str(tmp_path / "objects"))
    evaluate(Native, SQUARE, X)  # with the driver
    return tmp_path / "objects"


def files(folder):
    return sorted(folder.glob("*.o"))


def works():
    return np.array_equal(evaluate(Native, SQUARE, X)[0], X * X)


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
    for name in ("exp", "floor", "pow"):
        executor = Native(row_program(OPS[CODE[name]]), target=Target("x86-64", "", ""))
        code = machine.module(executor.line(()), executor.style)
        assert object_cache.familiar(executor.target.machine(0).emit_object(binding.parse_assembly(code)))


def test_each_difference_has_a_key_of_its_own(folder):
    """The program, its constants, the dtype, the registers, strictness and shared inputs."""

    def program(c):
        return ft.record(lambda x: x * x + c, 1.0).program

    count = len(files(folder))
    variants = [
        *(Native(program(c)) for c in (2.0, 3.0, -0.0)),
        Strict(program(2.0)),
        Strict(row_program(OPS[CODE["square"]], np.float32)),
        Native(program(2.0), target=Target("x86-64-v2", "", "b")),
        Native(program(2.0), target=Target("x86-64", "", "b")),
    ]
    for executor in variants:
        executor.kernel(())
    variants[0].kernel((0,))
    assert len(files(folder)) - count == len(variants) + 1
    for executor in variants:
        executor.kernel(())
    assert len(files(folder)) - count == len(variants) + 1


PROGRAM = """
import hashlib, math, pathlib, os
import fasttape as ft
from fasttape.execute.native import Native
Native(ft.record(lambda x: math.exp(x) * 2.5 + x, 1.0).program).kernel(())
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
    assert first.count("\n") == 1


@pytest.mark.slow
def test_eight_processes_at_once(tmp_path):
    runs = [start(tmp_path / "objects") for _ in range(8)]
    outputs = {run.communicate()[0] for run in runs}
    assert len(outputs) == 1
    assert all(run.returncode == 0 for run in runs)
    assert [path.suffix for path in (tmp_path / "objects").iterdir()] == [".o"]


def test_size_is_bounded_and_what_is_used_stays(folder, monkeypatch):
    data = object_cache.load(files(folder)[0].stem)
    for path in files(folder):
        path.unlink()
    monkeypatch.setattr(object_cache, "LIMIT", 4 * (len(data) + object_cache.CHECKSUM))
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
