"""The driver of native code: it lets a kernel see each input and output as numbers side by side.

Where they are not that in the caller's memory they go through a panel, a row of numbers for each input or output. So do
the last few points, padded with the last one: a kernel never sees part of a register. The driver does not depend on the
program; there is one for each number of lanes and dtype.
"""

import contextlib

from llvmlite import ir

from fasttape.compiler import vector
from fasttape.compiler.late import Late
from fasttape.layout import HELD

cgutils = Late("numba.core.cgutils")

WORD, HALF = ir.IntType(64), ir.IntType(32)
POINTER = ir.IntType(8).as_pointer()
MEMORY = "workspace", "panels", "fails", "ins", "outs", "ahead", "sources", "source_steps", "targets", "target_steps"
ARGUMENTS = "kernel", "prologue", "inputs", "outputs", "failed", "first", "last", "points", "entries", *MEMORY
LINE = 64  # bytes that come from memory together; rows start at multiples of so many, or of their blocks' size
STREAMS = 20  # inputs and outputs in columns that are read and written where they are
GROUP = 16  # points for which memory is asked for at a time


def word(number):
    return ir.Constant(WORD, number)


class Driver:
    """Builds the function `run`, which is given the address of its arguments, all of them words."""

    def __init__(self, dtype: str, lanes: int):
        self.lanes, self.size = lanes, vector.BITS[dtype] // 8
        self.real = ir.DoubleType() if dtype == "float64" else ir.FloatType()
        self.line = min(lanes, LINE // self.size)  # numbers that are read, written or fetched together
        self.vector, self.cell = ir.VectorType(self.real, self.line), self.line * self.size
        self.module = ir.Module("driver")
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [WORD]), "run")
        self.builder = ir.IRBuilder(function.append_basic_block())
        places = (self.builder.add(function.args[0], word(8 * k)) for k in range(len(ARGUMENTS)))
        self.arguments = {name: self.load(at, WORD, 8) for name, at in zip(ARGUMENTS, places, strict=True)}
        self.wanted = cgutils.alloca_once(self.builder, WORD)
        self.build()
        self.builder.ret_void()

    def build(self):
        """The loop over panels."""
        b, at = self.builder, self.arguments
        with cgutils.for_range_slice(b, at["first"], at["last"], at["points"]) as (first, _):
            left = b.sub(at["last"], first)
            count = b.select(b.icmp_unsigned("<", left, at["points"]), left, at["points"])
            blocks = b.udiv(b.add(count, word(self.lanes - 1)), word(self.lanes))
            whole = b.mul(b.udiv(count, word(self.lanes)), word(self.lanes))
            b.store(word(0), self.wanted)
            with cgutils.for_range(b, at["inputs"]) as loop:
                self.read(loop.index, first, count, whole, b.mul(blocks, word(self.lanes)))
            with cgutils.for_range(b, at["outputs"]) as loop:
                self.write(loop.index, first, count, whole, before=True)
            memory = [self.pointer(at[name]) for name in ("ins", "outs", "workspace", "fails")]
            memory += [word(0), self.pointer(at["entries"])]
            with b.if_then(b.icmp_unsigned("==", first, at["first"])):
                self.call("prologue", memory)
            self.hold(b.mul(blocks, word(self.lanes)))
            self.compute(memory, blocks)
            with cgutils.for_range(b, at["outputs"]) as loop:
                self.write(loop.index, first, count, whole, before=False)
            self.note(first, count, whole)

    def call(self, name, arguments):
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in arguments])
        self.builder.call(self.builder.inttoptr(self.arguments[name], kind.as_pointer()), arguments)

    def pointer(self, address, kind=None):
        return self.builder.inttoptr(address, POINTER if kind is None else kind.as_pointer())

    def load(self, address, kind, align):
        loaded = self.builder.load(self.pointer(address, kind))
        loaded.align = align
        return loaded

    def store(self, value, address, align):
        self.builder.store(value, self.pointer(address, value.type)).align = align

    def item(self, name, index):
        """An element of an array of words."""
        return self.item_at(self.arguments[name], index)

    def item_at(self, table, index):
        return self.load(self.place(table, index, word(8)), WORD, 8)

    def place(self, base, index, step):
        return self.builder.add(base, self.builder.mul(index, step))

    def row(self, k):
        """The address of a row of the panels; those of the outputs are behind those of the inputs."""
        return self.place(self.arguments["panels"], k, self.builder.mul(self.arguments["points"], word(self.size)))

    def described(self, which, k, first):
        """The address of the first point of the panel and the step of an input or output."""
        step = self.item(f"{which}_steps", k)
        return self.place(self.item(f"{which}s", k), first, step), step

    def seen(self, name, k, address):
        """Let the kernel find an input or output somewhere."""
        self.store(address, self.place(self.arguments[name], k, word(8)), 8)

    def beside(self, step, count, whole):
        """Whether a kernel may work in the memory of the caller; not in more places than a CPU can look ahead."""
        b, at = self.builder, self.arguments
        few = b.icmp_unsigned("<=", b.add(at["inputs"], at["outputs"]), word(STREAMS))
        fits = b.and_(b.icmp_signed("==", step, word(self.size)), b.icmp_unsigned("==", count, whole))
        return b.and_(fits, few)

    def steps(self, start, stop, step=1):
        return cgutils.for_range_slice(self.builder, start, stop, word(step))

    def read(self, k, first, count, whole, padded):
        """Let the kernel find an input, where it is or in a row."""
        b = self.builder
        source, step = self.described("source", k, first)
        with b.if_else(self.beside(step, count, whole)) as (together, apart):
            with together:
                self.seen("ins", k, source)
            with apart:
                self.seen("ins", k, self.row(k))
                varies = b.icmp_signed("!=", step, word(0))  # else the row of the first panel is right for all
                with b.if_then(varies):
                    self.want(k, source, step, self.arguments["inputs"])
                with b.if_then(b.or_(varies, b.icmp_unsigned("==", first, self.arguments["first"]))):
                    self.pack(k, source, step, count, whole, padded)

    def pack(self, k, source, step, count, whole, padded):
        """Fill a row, and the next one with it where both inputs stand side by side."""
        b, size, row = self.builder, word(self.size), self.row(k)
        with b.if_then(b.icmp_signed("==", step, size)), self.steps(word(0), whole, self.line) as (j, _):
            together = self.load(self.place(source, j, size), self.vector, self.size)
            self.store(together, self.place(row, j, size), self.cell)
        with b.if_then(b.icmp_signed("!=", step, size)), self.by_twos("source", k) as (two, single):
            for width, chosen in enumerate((single, two), 1):
                with chosen, self.steps(word(0), whole, self.line) as (j, _):
                    self.gather(width, self.place(source, j, step), step, self.place(row, j, size))
        last = b.sub(count, word(1))
        with self.steps(whole, padded) as (j, _):
            at = b.select(b.icmp_unsigned("<", j, last), j, last)
            x = self.load(self.place(source, at, step), self.real, self.size)
            self.store(x, self.place(row, j, size), self.size)

    def write(self, k, first, count, whole, *, before):
        """Let the kernel put an output where it goes, or in a row, from which it is taken behind the kernel."""
        b = self.builder
        target, step = self.described("target", k, first)
        row = self.row(b.add(self.arguments["inputs"], k))
        beside = b.or_(self.beside(step, count, whole), b.icmp_signed("==", step, word(0)))  # or partial sums
        if before:
            self.seen("outs", k, b.select(beside, target, row))
        with b.if_then(b.not_(beside)):
            if before:
                self.want(k, target, step, self.arguments["outputs"])
            else:
                self.unpack(k, row, target, step, count, whole)

    def want(self, k, address, step, rows):
        """Note what will go through a row in the next panel; see `tables`.

        Where rows share cache lines each asks for another one of those in which the numbers of some points lie.
        """
        b, (places, strides) = self.builder, self.tables()
        count = b.load(self.wanted)
        dense = b.icmp_signed("<=", step, b.mul(rows, word(self.size)))
        shared = b.and_(dense, b.icmp_signed(">", step, word(self.size)))
        apart = b.mul(b.urem(k, word(self.line)), step)
        apart = b.select(shared, b.mul(k, word(LINE - self.size)), apart)
        ahead = b.add(self.place(address, self.arguments["points"], step), apart)
        self.store(ahead, self.place(places, count, word(8)), 8)
        self.store(b.mul(step, word(self.line)), self.place(strides, count, word(8)), 8)
        b.store(b.add(count, word(1)), self.wanted)

    def tables(self):
        """Where addresses are noted, and their steps from line to line of numbers side by side."""
        rows = self.builder.add(self.arguments["inputs"], self.arguments["outputs"])
        return self.arguments["ahead"], self.place(self.arguments["ahead"], rows, word(8))

    def compute(self, memory, blocks):
        """Call the kernel, on a few blocks at a time where memory has to come in between."""
        b, (places, strides) = self.builder, self.tables()
        wanted = b.load(self.wanted)
        together = max(GROUP // self.lanes, 1)
        group = b.select(b.icmp_unsigned("==", wanted, word(0)), blocks, word(together))
        with cgutils.for_range_slice(b, word(0), blocks, group) as (block, _):
            end = b.add(block, group)
            end = b.select(b.icmp_unsigned("<", end, blocks), end, blocks)
            with cgutils.for_range(b, wanted) as loop:
                place = self.place(places, loop.index, word(8))
                address, stride = self.load(place, WORD, 8), self.item_at(strides, loop.index)
                for _ in range(together * self.lanes // self.line):
                    vector.emit_prefetch(b, self.pointer(address), writes=True, level=3)
                    address = b.add(address, stride)
                self.store(address, place, 8)
            self.call("kernel", [*memory[:4], block, memory[5], end])

    def unpack(self, k, row, target, step, count, whole):
        """Take an output out of its row, and the next one with it where both go side by side."""
        size = word(self.size)
        with self.by_twos("target", k) as (two, single):
            for width, chosen in enumerate((single, two), 1):
                with chosen, self.steps(word(0), whole, self.line) as (j, _):
                    self.scatter(width, self.place(row, j, size), self.place(target, j, step), step)
        with self.steps(whole, count) as (j, _):
            x = self.load(self.place(row, j, size), self.real, self.size)
            self.store(x, self.place(target, j, step), self.size)

    @contextlib.contextmanager
    def by_twos(self, which, k):
        """Contexts for the first of two inputs or outputs that stand side by side, and for one that has no such other.

        They are numbers 2 i and 2 i + 1; nothing is left to do for the second.
        """
        b = self.builder
        total = self.arguments["inputs" if which == "source" else "outputs"]
        first, second = b.and_(k, word(-2)), b.or_(k, word(1))
        second = b.select(b.icmp_unsigned("<", second, total), second, first)
        apart = b.sub(self.item(f"{which}s", second), self.item(f"{which}s", first))
        same = b.icmp_signed("==", *(self.item(f"{which}_steps", n) for n in (first, second)))
        paired, is_first = b.and_(b.icmp_signed("==", apart, word(self.size)), same), b.icmp_signed("==", k, first)

        @contextlib.contextmanager
        def first_of(together):
            with together, b.if_then(is_first):
                yield

        with b.if_else(paired) as (together, alone):
            yield first_of(together), alone

    def gather(self, width, place, step, row):
        """A register for each of one or two rows, of numbers that stand side by side at each point."""
        parts = []
        for _ in range(self.line):
            parts.append(self.load(place, ir.VectorType(self.real, width), self.size))
            place = self.builder.add(place, step)
        while len(parts) > 1:
            parts = [self.shuffled(x, y, range(2 * x.type.count)) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        for n in range(width):
            numbers = self.shuffled(*parts, *parts, range(n, width * self.line, width))
            self.store(numbers, self.place(row, self.arguments["points"], word(n * self.size)), self.cell)

    def scatter(self, width, row, place, step):
        """The inverse of `gather`."""
        rows = [self.place(row, self.arguments["points"], word(n * self.size)) for n in range(width)]
        numbers = [self.load(x, self.vector, self.cell) for x in rows]
        order = [lane + n * self.line for lane in range(self.line) for n in range(width)]
        together = self.shuffled(numbers[0], numbers[-1], order)
        for lane in range(self.line):
            part = self.shuffled(together, together, range(lane * width, (lane + 1) * width))
            self.store(part, place, self.size)
            place = self.builder.add(place, step)

    def shuffled(self, x, y, order):
        """Chosen numbers of two registers."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(HALF, len(order)), list(order)))

    def hold(self, padded):
        """Let no guard have failed at the points of a panel, where somebody asks for that."""
        b, kind = self.builder, ir.VectorType(HALF, self.line)
        held = ir.Constant(kind, [HELD] * self.line)
        asked = b.icmp_unsigned("!=", self.arguments["failed"], word(0))
        with b.if_then(asked), self.steps(word(0), padded, self.line) as (j, _):
            self.store(held, self.place(self.arguments["fails"], j, word(4)), 4)

    def note(self, first, count, whole):
        """Widen the numbers of the guards that failed, where somebody asks for them."""
        b, failed = self.builder, self.arguments["failed"]
        with b.if_then(b.icmp_unsigned("!=", failed, word(0))):
            for start, stop, step in ((word(0), whole, self.line), (whole, count, 1)):
                with self.steps(start, stop, step) as (j, _):
                    x = self.load(self.place(self.arguments["fails"], j, word(4)), ir.VectorType(HALF, step), 4)
                    wide = b.sext(x, ir.VectorType(WORD, step))
                    self.store(wide, self.place(failed, b.add(first, j), word(8)), 8)


def text(dtype: str, lanes: int) -> str:
    """The IR of the driver."""
    return str(Driver(dtype, lanes).module)
