"""Programs that only run forward: to a shorter one, which no reverse sweep and no other transform takes."""

import numpy as np

from fasttape.execute.chains import find_chains, take_chains, write_chains
from fasttape.execute.dots import PAIRS, WORTHWHILE, count_reads
from fasttape.layout import FIRST_STRUCTURAL, GUARD
from fasttape.program import Program
from fasttape.transform.optimize import rebuilt


def chained(program: Program) -> Program:
    """The program with a DOT for every chain of products; as it is if there are few, or arrays among its results."""
    ops, a, b, _ = program.columns
    if ((ops >= FIRST_STRUCTURAL) & (ops != GUARD)).any():
        return program
    reads = np.zeros(program.slots, np.uint8)
    count_reads.now(*program.columns, program.outputs, reads, np.zeros(program.slots + 1, np.int32))
    states = np.zeros(program.slots, np.uint8)
    before, terms, lengths, where = np.zeros((4, program.slots), np.uint32)
    find_chains.now(ops, a, b, reads, program.first_result, states, before, terms, lengths, where)
    live, ends = np.ones(program.slots, np.bool_), np.empty(ops.size, np.uint32)
    counts = np.zeros(2, np.int64)
    take_chains.now(states, before, terms, lengths, live, ends, counts)
    chains, products = counts.tolist()
    if 2 * products <= WORTHWHILE * ops.size:
        return program
    keep = np.ones(ops.size, bool)
    keep[where[program.first_result :]] = live[program.first_result :]
    moved, places = np.cumsum(live) - 1, np.cumsum(keep) - 1
    made = rebuilt(program, keep, moved, program.constants)
    at, aux = made.aux.size, np.concatenate([made.aux, np.empty(PAIRS * chains + products, np.int64)])
    new = made.ops, made.a, made.b
    write_chains.now(a, b, ends[:chains], states, before, terms, lengths, where, moved, places, *new, aux, at)
    return made._replace(aux=aux)
