"""numpy.linalg: where the functions are that have rules of their own, which are loaded when one is called."""

import numpy as np


def by_rule(name):
    """A function of `fasttape.linalg`."""

    def call(*args, **kwargs):
        from fasttape import linalg

        return getattr(linalg, name)(*args, **kwargs)

    return call


LINALG = {getattr(np.linalg, name): by_rule(name) for name in ("inv", "solve", "det", "slogdet", "cholesky")}
