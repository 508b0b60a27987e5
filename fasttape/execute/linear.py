"""The linear tape: the derivative of a program at one point as a list of sums of two products; see `linearize`.

Running it forwards pushes tangents from inputs to outputs, backwards it pulls adjoints from outputs to inputs. There
are no opcodes, so there is nothing to dispatch, and several directions go along in the lanes of each cell: reading an
entry costs more than the arithmetic on a lane. Directions beyond the lanes go in further rounds.
"""

from collections import deque

import numpy as np

from fasttape.compiler.dispatch import cell_steps
from fasttape.compiler.jit import kernel, quiet
from fasttape.compiler.sweeps import sweep
from fasttape.execute.blocks import LINE
from fasttape.execute.coloring import coloring, find_patterns, seed_colors, spread_colors
from fasttape.execute.entries import table
from fasttape.execute.interpreter import POOL, Workspace
from fasttape.execute.linear_products import pull_product, push_product, times
from fasttape.execute.linearize import linearize
from fasttape.execute.renumber import BITS
from fasttape.execute.terms import (
    ENTRIES,
    NODE,
    NODES,
    PRODUCT,
    PRODUCTS,
    RECORD,
    SEGMENTS,
    START,
    STOP,
    lead_type,
    term_type,
)
from fasttape.layout import NDIM, PARTIALS, SHAPE


def records(memory, start, size, kind):
    """Some bytes of memory as records."""
    return memory.view(np.uint8)[start : start + size * kind.itemsize].view(kind)


FLOAT64, WORD = np.dtype(np.float64), 8  # of memory in the pool


PUSH, PULL = 3, 4  # the time that a round of each takes; a pull writes to two cells for each entry
MOST_WORDS = 1 << 22  # of patterns


@kernel
def seed_adjoints(cells, outputs, seeds, first, lanes, width):
    """Add the seeds of the outputs to the nodes that they lead to; no `seeds` are the rows of the unit matrix."""
    for lane in range(lanes):
        if seeds.size == 0:
            lead = outputs[first + lane]
            cells[lead["node"] * len(width) + lane] += lead["coefficient"]
        else:
            for row in range(outputs.size):
                node, c = outputs[row]["node"], outputs[row]["coefficient"]
                cells[node * len(width) + lane] += times(seeds[first + lane, row], c)


@kernel
def seed_tangents(cells, inputs, seeds, first, lanes, width):
    """Set the cells of the inputs; no `seeds` are the rows of the unit matrix."""
    for column in range(inputs + 1):
        cell_steps.clear(cells, column, width)
    for lane in range(lanes):
        if seeds.size == 0:
            cells[(1 + first + lane) * len(width) + lane] = 1.0
        else:
            for column in range(inputs):
                cells[(1 + column) * len(width) + lane] = seeds[first + lane, column]


@sweep
def pulled(width, terms, tables, used, outputs, values, aux, seeds, buffers, entries, adjoints):
    """Fill the rows of `adjoints` with those of the inputs for each row of seeds."""
    (segments, products, listed), (cells, spare, result) = tables, buffers
    rows, inputs = adjoints.shape
    for first in range(0, rows, len(width)):
        lanes = min(len(width), rows - first)
        seed_adjoints(cells, outputs, seeds, first, lanes, width)
        for number in range(used[SEGMENTS] - 1, -1, -1):
            segment = segments[number]
            if segment[PRODUCT] >= 0:
                product = products[segment[PRODUCT]]
                pull_product(product, listed, values, aux, cells, lanes, width, spare, result, entries)
            before = np.uint64(segment[NODE] - segment[START])
            for k in range(segment[STOP] - segment[START]):
                e = np.uint64(segment[STOP] - 1 - k)
                cell_steps.pull(cells, before + e, terms[e]["a"], terms[e]["da"], terms[e]["b"], terms[e]["db"], width)
        for lane in range(lanes):
            for column in range(inputs):
                adjoints[first + lane, column] = cells[(1 + column) * len(width) + lane]
        for column in range(inputs + 1):
            cell_steps.clear(cells, column, width)


@kernel
def push_all(terms, tables, used, values, aux, cells, spare, result, entries, lanes, width):
    """The tangents of all nodes from those of the inputs."""
    segments, products, listed = tables
    for number in range(used[SEGMENTS]):
        segment = segments[number]
        before = np.uint64(segment[NODE] - segment[START])
        for k in range(segment[START], segment[STOP]):
            e = np.uint64(k)
            cell_steps.push(cells, before + e, terms[e]["a"], terms[e]["da"], terms[e]["b"], terms[e]["db"], width)
        if segment[PRODUCT] >= 0:
            product = products[segment[PRODUCT]]
            push_product(product, listed, values, aux, cells, lanes, width, spare, result, entries)


@sweep
def pushed(width, terms, tables, used, outputs, values, aux, seeds, inputs, buffers, entries, tangents):
    """Fill the columns of `tangents` with those of the outputs for each row of seeds."""
    cells, spare, result = buffers
    rows, columns = tangents.shape
    for first in range(0, columns, len(width)):
        lanes = min(len(width), columns - first)
        seed_tangents(cells, inputs, seeds, first, lanes, width)
        push_all(terms, tables, used, values, aux, cells, spare, result, entries, lanes, width)
        for row in range(rows):
            cell, c = np.int64(outputs[row]["node"]) * len(width), outputs[row]["coefficient"]
            for lane in range(lanes):
                tangents[row, first + lane] = times(cells[cell + lane], c)


@sweep
def pushed_colors(width, terms, tables, used, outputs, values, aux, count, coloring, buffers, entries, tangents):
    """Fill `tangents` with the Jacobian, whose columns have `count` colors; it is zero before."""
    cells, spare, result = buffers
    patterns, colors = coloring
    for first in range(0, count, len(width)):
        lanes = min(len(width), count - first)
        for node in range(colors.size + 1):
            cell_steps.clear(cells, node, width)
        seed_colors(colors, first, lanes, cells, width)
        push_all(terms, tables, used, values, aux, cells, spare, result, entries, lanes, width)
        spread_colors(patterns, colors, first, lanes, cells, outputs, width, tangents)


class LinearTape:
    """The derivative of a program at the point of a workspace that has run forward; threads may share it."""

    borrowed = ()  # memory that goes back to the pool in the end

    @quiet
    def __init__(self, workspace: Workspace):
        program, plan, columns = workspace.program, workspace.plan, workspace.columns
        self.idle: dict = {}  # buffers that no run uses, by sweep and lanes
        self.dtype, self.lanes, self.aux = program.dtype, LINE // program.dtype.itemsize, columns[3]
        entries, products, listed, reduced = plan.room
        lead, term = lead_type(self.dtype), term_type(self.dtype)
        most = program.slots + entries  # each slot may take an entry besides those where operands meet
        memory = POOL.take((program.slots * lead.itemsize + most * term.itemsize) // WORD + 1, FLOAT64)
        self.borrowed = [memory]
        terms = records(memory, 0, most, term)
        leads = records(memory, most * term.itemsize, program.slots, lead)
        tables = np.empty((products + 1, 4), np.int64), np.empty((products, 4), np.int64), np.empty(listed, lead)
        self.tables, self.used = tables, np.zeros(5, np.int64)
        self.outputs = np.empty(program.outputs.size, lead)
        self.entries = plan.linked(PARTIALS)
        at = columns, workspace.values, program.first_result, workspace.machine.scratch, self.entries
        inputs = np.array(program.differentiated, np.int64).reshape(-1, 2)
        to = leads, program.outputs, self.outputs, terms, self.tables, self.used
        partials, leaves = np.empty(3, self.dtype), np.empty(reduced, lead)
        linearize.now(*at, inputs, *to, (partials, leaves, np.zeros(1 + most, np.uint32)))
        self.terms = terms[: self.used[ENTRIES]]
        self.inputs = sum(stop - start for start, stop in program.differentiated)
        self.workspace = workspace if products else None  # products read the values of their operands
        self.values = workspace.values if products else np.empty(0, self.dtype)

    def compact(self):
        """Give back memory that was not needed; worth its time for a linear tape that lives."""
        self.terms = self.terms.view(np.uint8).copy().view(self.terms.dtype)
        POOL.give(self.borrowed.pop(0))

    def __del__(self):
        for memory in self.borrowed:
            POOL.give(memory)

    def coloring(self):
        """The number of colors of the columns of the Jacobian, the patterns of all nodes and the colors; or None.

        There are none where tangents take few rounds without, or where products mix everything.
        """
        words = -(-self.inputs // BITS)
        if self.inputs <= self.lanes or self.used[PRODUCTS] or self.used[NODES] * words > MOST_WORDS:
            return None
        found = np.empty((self.used[NODES], words), np.uint64), np.empty(self.inputs, np.int64)
        find_patterns.now(self.terms, self.tables[0], self.used, self.inputs, found[0])
        count = coloring(found[0], self.outputs["node"].copy(), found[1])
        return (count, found) if 0 < count < self.inputs else None

    @quiet
    def jacobian(self, mode=None) -> np.ndarray:
        """The Jacobian, by tangents ("fwd"), adjoints ("rev"), or what takes less time."""
        rounds = -(-np.count_nonzero(self.outputs["node"]) // self.lanes)
        if mode == "rev" or (mode is None and rounds * PULL <= PUSH):
            return self.pull()
        colored = self.coloring()
        count = self.inputs if colored is None else colored[0]
        if mode is None and rounds * PULL < -(-count // self.lanes) * PUSH:
            return self.pull()
        if colored is None:
            return self.push()
        made, width = np.zeros((self.outputs.size, self.inputs), self.dtype), (0,) * self.lanes
        buffers, idle = self.take("push", width)
        at = self.terms, self.tables, self.used, self.outputs, self.values, self.aux
        pushed_colors.now(width, *at, *colored, buffers, self.entries, made)
        idle.append(buffers)
        return made

    @quiet
    def pull(self, seeds=None) -> np.ndarray:
        """The adjoints of the inputs, a row for each row of adjoints of the outputs; the Jacobian without `seeds`."""
        made = np.zeros((self.outputs.size if seeds is None else len(seeds), self.inputs), self.dtype)
        if made.size and self.outputs.size:
            width, seeds = self.prepare(made.shape[0], seeds)
            buffers, idle = self.take("pull", width)
            at = self.terms, self.tables, self.used, self.outputs, self.values, self.aux
            pulled.now(width, *at, seeds, buffers, self.entries, made)
            idle.append(buffers)
        return made

    @quiet
    def push(self, seeds=None) -> np.ndarray:
        """The tangents of the outputs, a column for each row of those of the inputs; the Jacobian without `seeds`."""
        made = np.zeros((self.outputs.size, self.inputs if seeds is None else len(seeds)), self.dtype)
        if made.size and self.inputs:
            width, seeds = self.prepare(made.shape[1], seeds)
            buffers, idle = self.take("push", width)
            at = self.terms, self.tables, self.used, self.outputs, self.values, self.aux
            pushed.now(width, *at, seeds, self.inputs, buffers, self.entries, made)
            idle.append(buffers)
        return made

    def prepare(self, count, seeds):
        """The width for some directions, and their seeds as the sweeps take them."""
        return (0,) * (self.lanes if count > 1 else 1), np.empty((0, 0), self.dtype) if seeds is None else seeds

    def take(self, way, width):
        """Buffers for one run, and where to put them back: cells, zero between pulls, and matrices for products."""
        idle = self.idle.setdefault((way, len(width)), deque())
        try:
            return idle.pop(), idle
        except IndexError:
            pass
        size = int(self.used[NODES]) * len(width)
        memory = POOL.take(1 + size, self.dtype)
        self.borrowed.append(memory)
        cells = memory[1:]  # the element with which a cache line begins, and so every cell of one line
        if way == "pull":
            cells[:size] = 0.0
        largest = 0
        for record in self.tables[1][: self.used[PRODUCTS], RECORD].tolist():
            last = record + SHAPE + self.aux[record + NDIM]
            m, n, k = self.aux[last - 3 : last].tolist()
            largest = max(largest, m * n, m * k, k * n)
        return (cells, *np.empty((2, largest * len(width)), self.dtype)), idle


class PlainTape(LinearTape):
    """The derivative of a function that was recorded as entries from the beginning, without products."""

    def __init__(self, terms, outputs, inputs: int):
        """`terms` are the entries behind nodes for the inputs, and `outputs` say where the results lead."""
        self.dtype = terms.dtype["da"]
        self.idle, self.lanes, self.aux = {}, LINE // self.dtype.itemsize, np.empty(0, np.int64)
        self.terms, self.outputs = terms.view(term_type(self.dtype)), outputs.view(lead_type(self.dtype))
        segments, self.used = np.zeros((1, 4), np.int64), np.zeros(5, np.int64)
        segments[0, [STOP, NODE, PRODUCT]] = terms.size, 1 + inputs, -1
        self.used[[ENTRIES, NODES, SEGMENTS]] = terms.size, 1 + inputs + terms.size, 1
        self.tables = segments, np.empty((0, 4), np.int64), np.empty(0, self.outputs.dtype)
        self.entries, self.values = table(self.dtype), np.empty(0, self.dtype)
        self.inputs, self.borrowed = inputs, []

    def compact(self):
        """The entries are as many as there are."""
