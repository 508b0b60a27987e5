"""The table: every problem that is measured, in the order of the report."""

from benchmarks import (
    arrays,
    batches,
    calls,
    curvature,
    elementwise,
    examples,
    network,
    njit,
    njit_costs,
    processes,
    ratios,
    recurrence,
    repeated,
    scalars,
)

PROBLEMS = (
    *calls.PROBLEMS,
    *repeated.PROBLEMS,
    *scalars.PROBLEMS,
    *network.PROBLEMS,
    *arrays.PROBLEMS,
    *elementwise.PROBLEMS,
    *curvature.PROBLEMS,
    *ratios.PROBLEMS,
    *njit.PROBLEMS,
    *njit_costs.PROBLEMS,
    *processes.PROBLEMS,
    *recurrence.PROBLEMS,
    *batches.PROBLEMS,
    *examples.PROBLEMS,
)
