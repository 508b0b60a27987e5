"""Compression of sparse Jacobians: columns that share no row go along in one lane and are told apart afterwards.

Which inputs a node depends on is a row of bits, found by one pass over the linear tape that takes a fraction of the
time of a round of tangents. Columns get colors greedily, in order. Curtis, Powell and Reid (1974), "On the estimation
of sparse Jacobian matrices".
"""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.renumber import BITS, population
from fasttape.execute.terms import NODE, SEGMENTS, START, STOP

COLORS = 64  # at most, a bit of one word for each
ONE = np.uint64(1)


@kernel
def lowest(word):
    """The place of the lowest bit that is set."""
    return np.int64(population((word & (~word + ONE)) - ONE))


@sweep
def find_patterns(terms, segments, used, inputs, patterns):
    """Fill the row of each node with the bits of the inputs that it depends on, for a tape without products."""
    words = patterns.shape[1]
    for node in range(inputs + 1):
        for word in range(words):
            patterns[node, word] = np.uint64(0)
        if node:
            patterns[node, (node - 1) // BITS] = ONE << np.uint64((node - 1) % BITS)
    for s in range(used[SEGMENTS]):
        start, node = segments[s, START], segments[s, NODE]
        for e in range(start, segments[s, STOP]):
            a, b = terms[e]["a"], terms[e]["b"]
            for word in range(words):
                patterns[node + e - start, word] = patterns[a, word] | patterns[b, word]


@sweep
def count_rows(patterns, rows, counts):
    """Count the rows of each column in `counts[column + 1]`; return whether no row has more than COLORS columns."""
    for k in range(rows.size):
        row, total = rows[k], 0
        for word in range(patterns.shape[1]):
            bits = patterns[row, word]
            total += np.int64(population(bits))
            if total > COLORS:
                return False
            while bits:
                counts[word * BITS + lowest(bits) + 1] += 1
                bits &= bits - ONE
    return True


@kernel
def list_rows(patterns, rows, at, listed):
    """List the rows of each column, from its place in `at` on, which moves behind them."""
    for k in range(rows.size):
        row = rows[k]
        for word in range(patterns.shape[1]):
            bits = patterns[row, word]
            while bits:
                column = word * BITS + lowest(bits)
                listed[at[column]] = k
                at[column] += 1
                bits &= bits - ONE


@sweep
def color_greedily(patterns, rows, starts, at, listed, taken, colors):
    """Fill in the color of each column; return their number, 0 if they are too many.

    `starts` say where the rows of each column will be in `listed`, and so does `at`, which is changed, as is `taken`.
    """
    list_rows(patterns, rows, at, listed)
    count = 0
    for column in range(colors.size):
        forbidden = np.uint64(0)
        for k in range(starts[column], starts[column + 1]):
            forbidden |= taken[listed[k]]
        if forbidden == ~np.uint64(0):
            return 0
        color = lowest(~forbidden)
        for k in range(starts[column], starts[column + 1]):
            taken[listed[k]] |= ONE << np.uint64(color)
        colors[column], count = color, max(count, color + 1)
    return count


def coloring(patterns, rows, colors) -> int:
    """Fill in the color of each column for some rows of `patterns`; return their number, 0 if they are too many."""
    counts = np.zeros(colors.size + 1, np.int64)
    if not count_rows.now(patterns, rows, counts):
        return 0
    starts, taken = np.cumsum(counts), np.zeros(rows.size, np.uint64)
    listed = np.empty(starts[-1], np.int64)
    return int(color_greedily.now(patterns, rows, starts, starts.copy(), listed, taken, colors))


@kernel
def seed_colors(colors, first, lanes, cells, width):
    """Set the lane of each input whose color is among those from `first` on."""
    for column in range(colors.size):
        lane = colors[column] - first
        if 0 <= lane < lanes:
            cells[(1 + column) * len(width) + lane] = 1.0


@kernel
def spread_colors(patterns, colors, first, lanes, cells, outputs, width, tangents):
    """Put what each lane holds into the columns of its color; the mirror of `seed_colors`."""
    for row in range(outputs.size):
        node, c = outputs[row]["node"], outputs[row]["coefficient"]
        for word in range(patterns.shape[1]):
            bits = patterns[node, word]
            while bits:
                column = word * BITS + lowest(bits)
                lane = colors[column] - first
                if 0 <= lane < lanes and cells[np.int64(node) * len(width) + lane] != 0.0:
                    tangents[row, column] = cells[np.int64(node) * len(width) + lane] * c
                bits &= bits - ONE
