"""What keeps Numba out of processes that compile nothing: modules that are imported when a name of theirs is used.

A kernel names what it calls of such a module as an attribute of it, which Numba looks up when it compiles the kernel.
"""

import importlib
import os
import sys
import types
from typing import Any


class Late(types.ModuleType):
    """Stands for a module of that name."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


numba = Late("numba")
SETTINGS = ("NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS")
FILE = ".numba_config.yaml"


def numbas_own(setting: str) -> Any:
    """What Numba was told, in its environment, its file or by the program; None where nobody told it anything."""
    told = "numba" in sys.modules or any(os.environ.get(name) for name in SETTINGS) or os.path.exists(FILE)
    return getattr(numba.config, setting) if told else None


DISABLED = bool(numbas_own("DISABLE_JIT"))  # then kernels are Python functions, and what they call are `compiler.twins`


def threads() -> int:
    """How many threads Numba uses."""
    told = numbas_own("NUMBA_NUM_THREADS")
    if told is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(told)
