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
from fasttape.compiled import NeverRepeatsWarning, compile
from fasttape.tape import Tape, record

__all__ = [
    "NeverRepeatsWarning",
    "Tape",
    "compile",
    "elementwise_grad",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "njit_value_and_grad",
    "record",
    "value_and_grad",
    "vjp",
]
__version__ = "0.1.0"
