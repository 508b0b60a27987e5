"""From a builder to a program: constants move in front of the results, columns are cut to size."""

import numpy as np

from fasttape.execute.renumber import renumber
from fasttape.program import Program, Site


def freeze(builder, outputs: np.ndarray, differentiated) -> Program:
    """The recorded program; the builder is closed."""
    n, slots, first = builder.n, builder.next, 1 + builder.size
    ops, a, b = (column[:n].copy() for column in builder.columns.arrays)
    aux = builder.aux[: builder.used].copy()
    guards = np.array(builder.guards, np.int64).reshape(-1, 2)
    outputs = outputs.astype(np.uint32)
    constants = builder.kept[: builder.held]
    if builder.runs:
        runs = np.array(builder.runs, np.int64)[:, :2].copy()
        references = np.array(builder.references, np.int64).reshape(-1, 2)
        kept = renumber(ops, a, b, aux, references, outputs, guards, runs, first, slots)
        for column in (ops, a, b):
            column.resize(kept, refcheck=False)
    builder.close()
    sites = builder.known_sites + tuple(site(code, place) for _, code, place in builder.sites.values())
    rules = tuple(builder.calls.rules)
    return Program(
        *(builder.dtype, ops, a, b, aux, constants, builder.size, slots, outputs, guards, sites, differentiated, rules)
    )


def site(code, place) -> Site:
    """The file and the line of an instruction of Python's bytecode, or of code that has no place but these."""
    if place is None:
        return code
    line = next((line for start, stop, line in code.co_lines() if start <= place < stop), None)
    return Site(code.co_filename, line or code.co_firstlineno)
