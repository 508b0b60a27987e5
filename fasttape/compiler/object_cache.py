"""Object code on disk: files that will be executed, so nobody else can have written what is loaded from here.

The folder belongs to this user and is closed to all others. Each file begins with a checksum of its key and contents;
what does not match, or names a function that code of ours never calls, is not loaded. Files appear whole, under
their final name, so any number of processes may read and write at once. Whatever goes wrong, code is compiled in
memory instead.
"""

import contextlib
import hashlib
import os
import pathlib
import stat
import tempfile

import numpy as np
from llvmlite import binding

LIMIT = 64 << 20  # bytes of all files, and of what comes until the next look at them
LOOKS = 16  # one new file in so many leads to a look at all: there may be thousands
CHECKSUM = 32
UNUSABLE = (OSError, RuntimeError, AttributeError)  # no file, no rights; a user without a home; a system without users
MATHEMATICS = (
    *("floor", "ceil", "trunc", "rint", "fmod", "sqrt", "cbrt", "hypot", "pow", "exp", "exp2", "expm1"),
    *("log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sincos"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "tgamma", "lgamma", "ldexp"),
)
MEMORY = ("memcpy", "memmove", "memset", "memcmp")
INTERPRETER = (  # of the C API, for code that takes Python objects apart
    *("PyTuple_Size", "PyTuple_GetItem", "PyTuple_New", "PyTuple_SetItem"),
    *("PyList_Size", "PyList_GetItem", "PyList_New", "PyList_SetItem"),
    *("PyDict_Size", "PyDict_GetItemWithError", "PyDict_SetItem", "PyDict_Copy", "PyDict_Next"),
    *("PyObject_GetAttr", "PyObject_GenericGetDict", "PyObject_RichCompareBool", "PyObject_Call"),
    *("PyFloat_AsDouble", "PyFloat_FromDouble", "PyLong_AsLongLong", "PyLong_FromLongLong"),
    *("Py_IncRef", "Py_DecRef", "PyErr_Occurred", "PyErr_Clear", "PyEval_SaveThread", "PyEval_RestoreThread"),
)
SYMBOLS = frozenset([*(name + suffix for name in MATHEMATICS for suffix in ("", "f")), *MEMORY, *INTERPRETER])
VECTOR_FUNCTION = "_ZGV"
ELF_SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8", 2)])


def default_folder() -> pathlib.Path:
    """FASTTAPE_CACHE_DIR, or where the user's caches are."""
    own = os.environ.get("FASTTAPE_CACHE_DIR")
    if own:
        return pathlib.Path(own)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "fasttape"


def opened(folder: pathlib.Path) -> bool:
    """Whether a folder is there, or can be made, that only this user can read and write."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def load(key: str, folder: pathlib.Path | None = None) -> bytes | None:
    """The object code that was kept under a key, if it is what was written."""
    try:
        folder = default_folder() if folder is None else folder
        path = folder / f"{key}.o"
        if not opened(folder):
            return None
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            content = file.read()
        data = content[CHECKSUM:]
        if content[:CHECKSUM] != checksum(key, data) or not familiar(data):
            path.unlink()
            return None
        os.utime(path)  # it was of use: others go first
    except UNUSABLE:
        return None
    return data


def keep(key: str, data: bytes, folder: pathlib.Path | None = None) -> None:
    """Keep object code under a key, if that is possible."""
    try:
        folder = default_folder() if folder is None else folder
        if not (opened(folder) and familiar(data)):
            return
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        check = checksum(key, data)
        try:
            with open(handle, "wb") as file:
                file.write(check + data)
            os.replace(name, folder / f"{key}.o")
        except OSError:
            os.unlink(name)
            raise
        if check[0] % LOOKS == 0:
            shrink(folder)
    except UNUSABLE:
        return


def checksum(key: str, data: bytes) -> bytes:
    return hashlib.sha256(key.encode() + data).digest()


def shrink(folder: pathlib.Path) -> None:
    """Remove the files that were not used for the longest time, until what is left fits."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    if total > LIMIT:
        found.sort()
    for _, size, path in found:
        if total <= LIMIT:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size


def familiar(data: bytes) -> bool:
    """Whether object code is of a kind that can be read, and calls nothing that code of ours does not call."""
    names = undefined(data)
    return names is not None and all(name in SYMBOLS or name.startswith(VECTOR_FUNCTION) for name in names)


def undefined(data: bytes) -> list[str] | None:
    """The symbols that an ELF object expects to find elsewhere."""
    if data[:4] != b"\x7fELF":
        return None
    sections = {x.name(): x.data() for x in binding.ObjectFileRef.from_data(data).sections()}
    table, strings = np.frombuffer(sections[b".symtab"], ELF_SYMBOL), sections[b".strtab"]
    starts = table["name"][1:][table["section"][1:] == 0].tolist()
    return [strings[start : strings.index(b"\0", start)].decode() for start in starts]
