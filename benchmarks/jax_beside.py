"""JAX, where that is installed: in double precision, on one core as everything else."""

import functools
import importlib.util
import os
from typing import Any

HAS_JAX = importlib.util.find_spec("jax") is not None


@functools.cache
def jax() -> Any:
    """The library; its pool of threads is made while this process may use one core only."""
    import jax
    import jax.numpy
    import jax.scipy.special

    jax.config.update("jax_enable_x64", True)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        jax.block_until_ready(jax.jit(lambda x: x + 1)(jax.numpy.zeros(1)))
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
    return jax
