"""Recorders: ordinary Python and NumPy code becomes instructions on a tape."""

from fasttape.recorders import numpy_names  # gives traced values NumPy's protocols

__all__ = ["numpy_names"]
