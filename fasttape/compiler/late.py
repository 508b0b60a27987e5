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


numba, capi = Late("numba"), Late("fasttape.compiler.capi")
FILE = ".numba_config.yaml"  # where Numba reads settings, too


def setting(name: str, variable: str, default: int) -> int:
    """A setting of Numba and its variable in the environment. Numba is asked if it is there, or would know better."""
    told = os.environ.get(variable, "")
    if "numba" in sys.modules or os.path.exists(FILE) or not (told == "" or told.isdecimal()):
        return getattr(numba.config, name)
    return int(told or default)


DISABLED = bool(setting("DISABLE_JIT", "NUMBA_DISABLE_JIT", 0))  # kernels are Python functions; they call the twins


def threads() -> int:
    """How many threads Numba uses."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return setting("NUMBA_NUM_THREADS", "NUMBA_NUM_THREADS", processors)
