"""The table: every problem that is measured, in the order of the report."""

from benchmarks import arrays, calls, curvature, network, processes, ratios, recurrence, scalars

PROBLEMS = (
    *calls.PROBLEMS,
    *scalars.PROBLEMS,
    *network.PROBLEMS,
    *arrays.PROBLEMS,
    *curvature.PROBLEMS,
    *ratios.PROBLEMS,
    *processes.PROBLEMS,
    *recurrence.PROBLEMS,
)
