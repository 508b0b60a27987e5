"""Compiled functions that call each other."""

import numba


def even_and_odd():
    """Two that nothing has called yet."""

    @numba.njit
    def even(n):
        return True if n == 0 else odd(n - 1)

    @numba.njit
    def odd(n):
        return False if n == 0 else even(n - 1)

    return even, odd
