"""Pruning a linear tape: entries that lead to no output go, and the nodes are numbered anew."""

from fasttape.compiler.jit import kernel
from fasttape.execute.terms import ENTRIES, LISTED, NODE, NODES, PRODUCT, RECORD, RESULTS, SEGMENTS, START, STOP
from fasttape.layout import SIZE


@kernel
def mark(terms, segments, listed, used, outputs, needed):
    """Note which nodes lead to an output; operands of products are taken to do so."""
    for k in range(outputs.size):
        needed[outputs[k]["node"]] = 1
    for k in range(used[LISTED]):
        needed[listed[k]["node"]] = 1
    for s in range(used[SEGMENTS] - 1, -1, -1):
        segment = segments[s]
        for e in range(segment[STOP] - 1, segment[START] - 1, -1):
            if needed[segment[NODE] + e - segment[START]]:
                needed[terms[e]["a"]] = 1
                needed[terms[e]["b"]] = 1


@kernel
def renumber(leads, size, number):
    for k in range(size):
        leads[k]["node"] = number[leads[k]["node"]]


@kernel
def prune(terms, segments, products, listed, used, aux, inputs, outputs, number):
    """Drop entries that nobody needs, in place; the inputs stay nodes 1 .. inputs.

    `number`, zero at first, says whether a node is needed, then its new number.
    """
    mark(terms, segments, listed, used, outputs, number)
    for node in range(inputs + 1):
        number[node] = node
    kept, following = 0, inputs + 1
    for s in range(used[SEGMENTS]):
        segment = segments[s]
        start, stop, node = segment[START], segment[STOP], segment[NODE]
        segment[START], segment[NODE] = kept, following
        for e in range(start, stop):
            if number[node + e - start]:
                term = terms[e]
                terms[kept]["a"], terms[kept]["da"] = number[term["a"]], term["da"]
                terms[kept]["b"], terms[kept]["db"] = number[term["b"]], term["db"]
                number[node + e - start] = following
                kept, following = kept + 1, following + 1
        segment[STOP] = kept
        if segment[PRODUCT] >= 0:
            product = products[segment[PRODUCT]]
            size, first = aux[product[RECORD] + SIZE], product[RESULTS]
            product[RESULTS] = following
            for i in range(size):
                number[first + i] = following + i
            following += size
    renumber(outputs, outputs.size, number)
    renumber(listed, used[LISTED], number)
    used[ENTRIES], used[NODES] = kept, following
