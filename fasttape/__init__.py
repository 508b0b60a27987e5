"""fasttape: flat-tape automatic differentiation, compiled once by Numba."""

from fasttape.api import (
    elementwise_grad,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    njit_value_and_grad,
    value_and_grad,
    vjp,
)
from fasttape.checkpoint import checkpoint
from fasttape.compiled import NeverRepeatsWarning, compile
from fasttape.implicit import implicit
from fasttape.rules import custom_jvp, custom_vjp
from fasttape.streaming import stream
from fasttape.tape import Tape, record

__all__ = [
    "NeverRepeatsWarning",
    "Tape",
    "checkpoint",
    "compile",
    "custom_jvp",
    "custom_vjp",
    "elementwise_grad",
    "grad",
    "hessian",
    "hvp",
    "implicit",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "njit_value_and_grad",
    "record",
    "stream",
    "value_and_grad",
    "vjp",
]
__version__ = "0.1.0"
