"""Straight lines of operations as LLVM IR: functions on W points at a time, and what they need of memory.

`module` writes two functions. `prologue` computes what depends only on inputs that all points share, `kernel` the rest
for `blocks` times W points; `ins` and `outs` are tables of addresses, where the numbers of each input and output stand
side by side, or the partial sums of an output. Of a long program the kernel calls one chunk after another. Chunks that
are alike share a function, which finds in a table what is theirs: cells, inputs, outputs and numbers of guards.
"""

from collections.abc import Callable, Hashable, Sequence

from llvmlite import binding

from fasttape.compiler import object_cache, repetition, speculation, vector
from fasttape.compiler.block import Block, Needs, Value
from fasttape.compiler.contraction import ADD, DIV, MUL, NOTHING, RECIPROCAL, SUB, contraction
from fasttape.compiler.emitter import Style
from fasttape.compiler.line import Layout, Line, Operation, layout
from fasttape.compiler.loading import Target
from fasttape.layout import GUARD

PARTIAL = 512  # partial sums, as the interpreter has them: point k belongs to the k-th, round and round


class Chunk:
    """Writes one chunk."""

    def __init__(self, line: Line, plan: Layout, style: Style, needs: Needs, *, plain: bool = False):
        """Products are `plain` if their tests for zero are left out."""
        self.line, self.plan, self.plain = line, plan, plain
        self.table: list[tuple[str, int, int]] | None = None  # of a chunk that others may be like: see `own`
        self.block = Block(style, needs)
        self.first_constant = 1 + line.inputs
        self.first_result = self.first_constant + len(line.constants)
        self.targets: dict[int, list[int]] = {}
        for k, slot in enumerate(line.outputs):
            self.targets.setdefault(slot, []).append(k)
        self.kept = plan.homes.keys() | self.targets.keys()
        self.values: dict[int, Value] = {}
        self.contraction = NOTHING
        self.failed = ""

    def write(self, number: int) -> list[str]:
        """The instructions of chunk `number`."""
        block = self.block
        self.table = [] if self.plan.repeated[number] else None
        if not block.style.strict:
            multiplies = (MUL, speculation.TIMES) if self.plain else (MUL,)
            self.contraction = contraction(self.plan.chunks[number], self.kept, multiplies)
        for x in self.plan.chunks[number]:
            if x.code == GUARD:
                self.guard(self.value(x.operands[0]), bool(x.parameter[0]), x.slot)
                continue
            if x.slot in self.contraction.products:
                continue
            result = self.values[x.slot] = self.result(x)
            if x.slot in self.plan.homes:
                block.store(result, "%ws", self.own("cell", x.slot))
            if number:
                self.output(x.slot)
        if number == len(self.plan.chunks) - 1:
            prologue = {x.slot for x in self.plan.chunks[0]}
            for slot in self.targets:
                if slot < self.first_result or slot in prologue:
                    self.output(slot)
        if self.failed:
            block.lines.append(f"store <{block.style.lanes} x i32> {self.failed}, ptr %failed, align 4")
        return block.lines

    def result(self, x: Operation) -> Value:
        """What an operation computes."""
        block, products = self.block, self.contraction.products
        fused = [k for k, slot in enumerate(x.operands) if slot in products] if x.code in (ADD, SUB) else ()
        for place in fused:
            factors, other = map(self.value, products[x.operands[place]]), self.value(x.operands[1 - place])
            minus = [x.code == SUB and place == k for k in (1, 0)]
            return block.multiply_add(*factors, other, *minus)
        operands = [self.value(slot) for slot in x.operands]
        if x.code == DIV and x.operands[1] in self.contraction.divisors:
            return block.row(MUL, [operands[0], block.row(RECIPROCAL, operands[1:])])
        code = speculation.plainly(x.code) if self.plain else x.code
        return block.row(code, operands, x.parameter, elementwise=x.elementwise)

    def value(self, slot):
        """The number in a slot, in a register."""
        if slot not in self.values:
            if slot == 0:
                found = self.block.constant(0.0)
            elif slot < self.first_constant:
                found = self.block.load(self.side("%ins", "input", slot), 0, aligned=False)
            elif slot < self.first_result:
                found = self.block.constant(self.line.constants[slot - self.first_constant])
            else:
                found = self.block.load("%ws", self.own("cell", slot))
            self.values[slot] = found
        return self.values[slot]

    def own(self, kind: str, slot: int, which: int = 0) -> int | str:
        """A number of a slot, or of a guard, which is not the same in chunks that are otherwise alike."""
        if self.table is None:
            return self.number(kind, slot, which)
        self.table.append((kind, slot, which))
        return self.block.fresh(f"load i64, ptr {self.block.address('%table', 8 * (len(self.table) - 1))}")

    def number(self, kind: str, slot: int, which: int) -> int:
        """Where a cell is, where the address of an input or output stands, or the instruction of a guard."""
        if kind == "cell":
            return self.plan.homes[slot] * self.block.style.size
        if kind == "output":
            return 8 * self.targets[slot][which]
        return 8 * (slot - 1) if kind == "input" else -1 - slot

    def shape(self, number: int) -> tuple[Hashable, list[int]]:
        """What a chunk does, the same for all that are alike; its slots and guards in an order that goes with it."""
        operations, slots = repetition.renamed(self.plan.chunks[number])
        return (operations, tuple(map(self.role, slots))), slots

    def role(self, slot: int) -> Hashable:
        """What code knows of a slot."""
        if slot >= self.first_result:
            last = len(self.line.outputs) - self.line.sums
            return slot in self.plan.homes, *(k < last for k in self.targets.get(slot, ()))
        return self.value(slot).name if slot == 0 or slot >= self.first_constant else slot > 0

    def side(self, table, kind, slot, which=0) -> str:
        """The address of the numbers of this block of an input or output."""
        base = self.block.fresh(f"load ptr, ptr {self.block.address(table, self.own(kind, slot, which))}")
        return self.block.address(base, "%offset")

    def output(self, slot):
        for which, k in enumerate(self.targets.get(slot, ())):
            if k >= len(self.line.outputs) - self.line.sums:
                self.add_up(self.value(slot), slot, which)
            else:
                self.block.store(self.value(slot), self.side("%outs", "output", slot, which), 0, aligned=False)

    def add_up(self, value, slot, which):
        """Add the numbers of this block to the partial sums that it belongs to."""
        block = self.block
        lane = block.fresh(f"and i64 %offset, {PARTIAL * vector.BITS[block.style.dtype] // 8 - 1}")
        base = block.fresh(f"load ptr, ptr {block.address('%outs', self.own('output', slot, which))}")
        place = block.address(base, lane)
        before = block.load(place, 0, aligned=False)
        block.store(Value(block.fresh(f"fadd {block.kind} {before.name}, {value.name}")), place, 0, aligned=False)

    def guard(self, value, outcome, instruction):
        """Note the instruction at the points where no guard has failed before and this one does."""
        lanes = self.block.style.lanes
        if not self.failed:
            self.failed = self.block.fresh(f"load <{lanes} x i32>, ptr %failed, align 4")
        self.failed = self.block.fails(value, outcome, self.own("guard", -1 - instruction), self.failed)

    def repair(self):
        """Take from `@careful`, which stores them, all results of the points where one of plain products is wrong."""
        block, kind = self.block, self.block.kind
        results = {x.slot: self.values[x.slot] for x in self.plan.chunks[1] if x.slot in self.targets}
        wrong, some = speculation.wrong_points(block, results.values())
        block.lines += [f"br i1 {some}, label %again, label %turn", "again:", f"call void @careful({ARGUMENTS})"]
        for slot, x in results.items():
            for which, _ in enumerate(self.targets[slot]):
                place = self.side("%outs", "output", slot, which)
                careful = block.load(place, 0, aligned=False)
                choice = f"select <{block.style.lanes} x i1> {wrong}, {kind} {careful.name}, {kind} {x.name}"
                block.store(Value(block.fresh(choice)), place, 0, aligned=False)


PARAMETERS = "ptr noalias %ins, ptr noalias %outs, ptr noalias %ws, ptr noalias %failed, i64 %offset, ptr %entries"
ARGUMENTS = PARAMETERS.replace("noalias ", "")
TABLE = ", ptr noalias %table"
LOOP = """
define void @kernel({parameters}, i64 %to) #1 {{
start:
br label %loop
loop:
%block = phi i64 [%from, %start], [%next, %turn]
%offset = mul i64 %block, {bytes}
%skipped = mul i64 %block, {skipped}
%failed = getelementptr i8, ptr %fails, i64 %skipped
{body}
br label %turn
turn:
%next = add i64 %block, 1
%more = icmp ult i64 %next, %to
br i1 %more, label %loop, label %done
done:
ret void
}}
"""


def module(line: Line, style: Style) -> str:
    """The IR of a line."""
    plan, needs = layout(line), Needs()
    functions = function("define void @prologue", Chunk(line, plan, style, needs).write(0))
    if len(plan.chunks) > 2:
        chunks, body = called(line, plan, style, needs)
        functions += chunks
    else:
        body = Chunk(line, plan, style, needs).write(1)
        if is_speculative(line, plan, style):
            functions += function("define internal void @careful", body, "noinline cold")
            plain = Chunk(line, plan, style, needs, plain=True)
            body = plain.write(1)
            plain.repair()
    size = style.size
    parameters = PARAMETERS.replace("%failed", "%fails").replace("%offset", "%from")
    text = "\n".join(body)
    functions.append(LOOP.format(parameters=parameters, bytes=size, skipped=4 * style.lanes, body=text))
    width = 8 * style.alignment
    bits = f'"min-legal-vector-width"="{width}" "prefer-vector-width"="{width}"'
    return "\n".join(
        [
            f'target triple = "{binding.get_process_triple()}"',
            words("@needs =", (plan.cells * size, len(needs.called), *sorted(needs.called))),
            *needs.declared,
            *functions,
            "attributes #0 = { nounwind willreturn memory(none) }",
            f'attributes #1 = {{ nounwind "stackrealign" {bits} }}',  # or a spilled register lies in two cache lines
        ]
    )


def called(line: Line, plan: Layout, style: Style, needs: Needs) -> tuple[list[str], list[str]]:
    """The functions of the chunks of a long program, with their tables, and the instructions that call them."""
    functions, calls = [], []
    known: dict[Hashable, tuple[str, list[tuple[str, int, int]]]] = {}  # by shape: the name, and what is in the table
    for k in range(1, len(plan.chunks)):
        chunk = Chunk(line, plan, style, needs)
        shape, slots = chunk.shape(k) if plan.repeated[k] else (k, [])
        if shape not in known:
            functions += function(f"define internal void @chunk{k}", chunk.write(k), "noinline", TABLE)
            places = {slot: place for place, slot in enumerate(slots)}
            known[shape] = f"@chunk{k}", [(kind, places[slot], which) for kind, slot, which in chunk.table or ()]
        name, entries = known[shape]
        numbers = [chunk.number(kind, slots[place], which) for kind, place, which in entries]
        functions.append(words(f"@table{k} = private", numbers))
        calls.append(f"call void {name}({ARGUMENTS}, ptr @table{k})")
    return functions, calls


def function(name: str, lines: Sequence[str], traits: str = "", more: str = "") -> list[str]:
    """The definition of a function of one block of points."""
    return [f"{name}({PARAMETERS}{more}) #1 {traits} {{", *lines, "ret void", "}"]


def words(name: str, numbers: Sequence[int]) -> str:
    """The definition of a constant array."""
    return f"{name} constant [{len(numbers)} x i64] [{', '.join(f'i64 {n}' for n in numbers)}]"


def is_speculative(line: Line, plan: Layout, style: Style) -> bool:
    """Whether products are plain at first: if a wrong one can be seen in an output that is not added to others."""
    chunk, constants = plan.chunks[1], line.numbers()
    seen = not {x.slot for x in chunk}.isdisjoint(line.outputs)
    return seen and not style.strict and not line.sums and speculation.pays(chunk, constants)


def object_code(name: str, write: Callable[[], str], target: Target, level: int) -> bytes:
    """The object code for some IR, which is written if that is not on disk under its name."""
    data = object_cache.load(name)
    if data is None:
        data = target.machine(level).emit_object(binding.parse_assembly(write()))
        object_cache.keep(name, data)
    return data
