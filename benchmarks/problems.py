"""The table: every problem that is measured, in the order of the report."""

from benchmarks import arrays, batches, calls, curvature, network, njit, processes, ratios, recurrence, scalars

PROBLEMS = (
    *calls.PROBLEMS,
    *scalars.PROBLEMS,
    *network.PROBLEMS,
    *arrays.PROBLEMS,
    *curvature.PROBLEMS,
    *ratios.PROBLEMS,
    *njit.PROBLEMS,
    *processes.PROBLEMS,
    *recurrence.PROBLEMS,
    *batches.PROBLEMS,
)
