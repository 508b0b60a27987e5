"""From a builder to a program: constants move in front of the results, columns are cut to size.

While recording, constants stand among the results. Their runs are few or short, so the new number of a slot follows
from the last run that begins before it; a long scalar program looks it up in a table of all slots instead.
"""

import numpy as np

from fasttape.execute.activity import mark_active
from fasttape.layout import A_IS_SLOT, B_IS_SLOT, CONST
from fasttape.program import Program, Site

SPARSE = 4  # slots per instruction from which on a table of all slots costs more than it saves


def freeze(builder, outputs: np.ndarray, differentiated) -> Program:
    """The recorded program; the builder is closed."""
    slots = builder.n + builder.shift
    builder.flush()
    builder.memory = None
    for column in builder.columns:
        column.resize(builder.base + builder.n, refcheck=False)
    ops, a, b = builder.columns
    aux = builder.aux[: builder.used].copy()
    guards = np.array(builder.guards, np.int64).reshape(-1, 2)
    constants = np.empty(0, builder.dtype)
    if builder.runs:
        starts = np.array([at for at, _ in builder.runs])
        sizes = np.array([np.size(x) for _, x in builder.runs])
        constants = gather(builder, sizes)
        numbering = by_table if slots < SPARSE * ops.size else by_run
        renumber = numbering(starts, sizes, 1 + builder.size, slots)
        kept = ops != CONST
        guards[:, 0] = (np.cumsum(kept) - 1)[guards[:, 0]]
        ops, a, b = ops[kept], a[kept], b[kept]
        for column, is_slot in ((a, A_IS_SLOT[ops]), (b, B_IS_SLOT[ops])):
            column[is_slot] = renumber(column[is_slot])
        if builder.references:
            places = np.concatenate([np.arange(start, stop) for start, stop in builder.references])
            aux[places] = renumber(aux[places])
        outputs = renumber(outputs)
    builder.close()
    sites = tuple(site(code, place) for _, code, place in builder.sites.values())
    columns = (ops, a, b, aux)
    outputs = outputs.astype(np.uint32)
    program = Program(builder.dtype, *columns, constants, builder.size, slots, outputs, guards, sites, differentiated)
    return mark_active(program)


def gather(builder, sizes) -> np.ndarray:
    """The values of all constants in one array."""
    if sizes.size == 1:
        return np.atleast_1d(builder.dtype.type(builder.runs[0][1]))
    constants = np.empty(sizes.sum(), builder.dtype)
    for stop, size, (_, x) in zip(np.cumsum(sizes).tolist(), sizes.tolist(), builder.runs, strict=True):
        constants[stop - size : stop] = x
    return constants


def by_run(starts, sizes, first, slots):
    """The function from old to new slots that looks for the last run of constants before a slot."""
    stops = np.cumsum(sizes)

    def renumber(old):
        run = np.searchsorted(starts, old, side="right") - 1
        inside = old < (starts + sizes)[run]
        among_constants = first + (stops - sizes)[run] + old - starts[run]
        among_results = old + np.where(old < first, 0, stops[-1] - np.where(run < 0, 0, stops[run]))
        return np.where(inside & (run >= 0), among_constants, among_results)

    return renumber


def by_table(starts, sizes, first, slots):
    """The same function from a table of all slots."""
    constant = np.zeros(slots, np.int8)
    constant[starts[sizes == 1]] = 1
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        constant[start : start + size] = 1
    before = np.cumsum(constant, dtype=np.uint32)
    renumbered = np.arange(slots, dtype=np.uint32)
    renumbered[first:] += before[-1] - before[first:]
    renumbered[constant.view(bool)] = np.arange(first, first + before[-1])
    return renumbered.__getitem__


def site(code, place) -> Site:
    """The file and the line of an instruction of Python's bytecode."""
    line = next((line for start, stop, line in code.co_lines() if start <= place < stop), None)
    return Site(code.co_filename, line or code.co_firstlineno)
