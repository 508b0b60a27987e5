"""The functions that sweeps call for one instruction: compiled, or their Python twins where the JIT is disabled."""

from numba import config

if config.DISABLE_JIT:
    from fasttape.compiler.twins import (
        lanes_forward,
        lanes_partials,
        lanes_strict,
        step_forward,
        step_partials,
        step_reverse,
        step_tangent,
    )
else:
    from fasttape.compiler.switch import (
        lanes_forward,
        lanes_partials,
        lanes_strict,
        step_forward,
        step_partials,
        step_reverse,
        step_tangent,
    )

__all__ = [
    "lanes_forward",
    "lanes_partials",
    "lanes_strict",
    "step_forward",
    "step_partials",
    "step_reverse",
    "step_tangent",
]
