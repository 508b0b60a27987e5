"""The report of a run: a table to read, and JSON with the machine and the versions beside the numbers."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

PACKAGES = ("fasttape", "numpy", "numba", "llvmlite", "scipy", "micrograd", "autograd", "jax", "torch", "ddx-ad")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def environment() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def version(package: str) -> str:
    """The installed version."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def text(environment: dict[str, Any], command: str) -> str:
    """The head of the report."""
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    place = f"{environment['processor']}, {environment['cores']} cores, {environment['system']}"
    python = f"Python {environment['python']}, one thread; minima and medians of samples that take turns"
    return "\n".join((command, place, python, packages))


def table(summary: dict[str, Any]) -> str:
    """One problem."""
    width = max(map(len, summary["rows"]))
    per = f" per {summary['per']}" if summary["per"] else ""
    lines = [f"\n{summary['name']}: {summary['work']}", f"  {'':{width}}  {'min' + per:>22}  {'median':>12}  samples"]
    for name, row in summary["rows"].items():
        least, middle = (quantity(row[key], summary["unit"]) for key in ("min", "median"))
        lines.append(f"  {name:{width}}  {least:>22}  {middle:>12}  {row['samples']:7d}")
    return "\n".join([*lines, *map(figure, summary["figures"])])


def figure(figure: dict[str, Any]) -> str:
    """One figure, with its goal if it has one."""
    line = f"  → {figure['text']} {figure['value']:.4g}"
    if figure["limit"] is None:
        return line
    sign = "≤" if figure["at_most"] else "≥"
    return f"{line}   (goal {sign} {figure['limit']:g}: {'reached' if figure['reached'] else 'NOT reached'})"


def quantity(value: float, unit: str) -> str:
    """A number with a unit that leaves it between 1 and 1000."""
    if unit != "seconds":
        return f"{value:,.1f} {unit}"
    scale, name = next((pair for pair in UNITS if value >= pair[0]), UNITS[-1])
    return f"{value / scale:.3g} {name}" if value / scale < 100 else f"{value / scale:.0f} {name}"
