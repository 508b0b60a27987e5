"""numpy.linalg: where the functions are that have rules of their own, which are loaded when one is called."""

import importlib

import numpy as np


def by_rule(name, module):
    """A function of a module of fasttape."""

    def call(*args, **kwargs):
        return getattr(importlib.import_module(f"fasttape.{module}"), name)(*args, **kwargs)

    return call


LINALG = {getattr(np.linalg, name): by_rule(name, "linalg") for name in ("inv", "solve", "det", "slogdet", "cholesky")}
LINALG |= {
    getattr(np.linalg, name): by_rule(name, "decompositions")
    for name in ("eigh", "eigvalsh", "svd", "svdvals", "qr", "pinv", "lstsq", "cond")
}
