"""Recorders: ordinary Python and NumPy code becomes instructions on a tape."""
