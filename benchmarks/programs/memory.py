"""What memory the process has, now and at the most."""

import pathlib
import resource
import sys

PAGE = resource.getpagesize()


def resident() -> int:
    """Bytes in memory now; where the system does not tell, the peak so far."""
    status = pathlib.Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * PAGE if status.exists() else peak()


def peak() -> int:
    """Bytes in memory at the most so far."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # what getrusage tells counts the process that started this one as well
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
