"""What Numba refuses to compile, as one line that names the user's code."""

import linecache
import os
import pathlib
import re

import numba
from numba.core.errors import NumbaError

from fasttape.errors import ConversionError, FastTapeError, UnsupportedError

PACKAGES = tuple(str(pathlib.Path(file).parent) + os.sep for file in (numba.__file__, pathlib.Path(__file__).parent))
PLACE = re.compile(r" at ([^\n(]+) \((\d+)\)")
SIGNATURE = re.compile(r">>> (.+)")
TRUNCATED = "an integer array would cut off the number and its derivative; write int(x)"
REASONS = (  # by what stands in Numba's message, in the line of the first signature or at the beginning of another
    (r"^>>> setitem\(array\((u?int|bool)", TRUNCATED),
    (r"^>>> setitem\(DictType", "a typed dict holds plain numbers only; use an array, a tuple or local variables"),
    (r"^>>> complex\(", "complex numbers have no derivative here; compute with real and imaginary parts"),
    (r"jitclass\.", "a jitclass holds plain numbers only; pass a tuple or a named tuple instead"),
    (r"^objmode ", "an object-mode block runs Python code, which compiled code cannot record"),
)


def is_refusal(error) -> bool:
    """Whether Numba has raised an error over values that are being recorded."""
    return isinstance(error, NumbaError) or "Cannot determine Numba type of" in str(error)


def refused(dispatcher, error) -> FastTapeError:
    """The error for a function that Numba cannot compile for active numbers."""
    text, name = str(error), dispatcher.py_func.__name__
    where = [(path, int(line)) for path, line in PLACE.findall(text) if is_users(path)]
    code = dispatcher.py_func.__code__
    path, line = where[0] if where else (code.co_filename, code.co_firstlineno)
    reason = reason_in(text)
    kind = ConversionError if reason == TRUNCATED else UnsupportedError
    return kind(f"{name} cannot be recorded: {described(path, line)}: {reason}")


def reason_in(text) -> str:
    """What Numba's message says, in the words of a user of this package."""
    signature = SIGNATURE.search(text)
    first = signature.group(0) if signature else ""
    for pattern, reason in REASONS:
        if re.search(pattern, first) or (not pattern.startswith("^>>>") and re.search(pattern, text)):
            return reason
    unknown = f"no {signature.group(1)}" if signature else "none of this"
    return f"Numba knows {unknown}, where active is a number that is being recorded"


def is_users(path) -> bool:
    """Whether a file is neither Numba's nor this package's."""
    return not os.path.abspath(path).startswith(PACKAGES) and path != "<string>"


def described(path, line) -> str:
    """A place in the user's code and what stands there."""
    code = linecache.getline(os.path.abspath(path), line).strip()
    return f"{path}:{line}{f' ({code})' if code else ''}"


def refused_under_recording(error) -> UnsupportedError:
    """The error for Python code that hands values that are being recorded to compiled code of its own."""
    trace, place = error.__traceback__, ("<unknown>", 0)
    while trace is not None:
        if is_users(trace.tb_frame.f_code.co_filename):
            place = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return UnsupportedError(
        f"{described(*place)} needs plain numbers: Numba's jitclasses, typed lists and typed dicts, and functions with "
        "a signature of their own, take no values of a recording; keep these in arrays, lists or tuples"
    )
