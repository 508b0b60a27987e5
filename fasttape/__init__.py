"""fasttape: flat-tape automatic differentiation, compiled once by Numba."""

from fasttape.api import grad, jvp, value_and_grad
from fasttape.tape import Tape, record

__all__ = ["Tape", "grad", "jvp", "record", "value_and_grad"]
__version__ = "0.1.0"
