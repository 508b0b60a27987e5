"""Straight lines of operations as LLVM IR: chunks of code on W points at a time, and what they need of memory.

`module` writes two functions. `prologue` computes what depends only on inputs that all points share, `kernel` the rest
for `blocks` times W points; `ins` and `outs` are tables of addresses, where the numbers of each input and output stand
side by side, or the partial sums of an output. A long program is cut into chunks, functions that the kernel calls one
after another; what they hand on lives in cells of the workspace that are used again.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import binding

from fasttape.compiler import object_cache, speculation, vector
from fasttape.compiler.block import SCRATCH, Block, Needs, Value
from fasttape.compiler.contraction import ADD, DIV, MUL, NOTHING, RECIPROCAL, SUB, contraction
from fasttape.compiler.emitter import Style
from fasttape.compiler.loading import Target
from fasttape.layout import GUARD
from fasttape.ops import OPS

CHUNK = 500  # operations of one function
PARTIAL = 512  # partial sums, as the interpreter has them: point k belongs to the k-th, round and round


class Operation(NamedTuple):
    """One scalar operation, or a guard: then `code` is GUARD, `parameter` the outcome and `slot` the instruction."""

    slot: int
    code: int
    operands: tuple[int, ...]
    parameter: tuple[int, ...] = ()
    elementwise: bool = False  # the interpreter may compute it by libmvec


class Line(NamedTuple):
    """A program as a straight line."""

    operations: Sequence[Operation]
    inputs: int
    constants: Sequence[float]  # behind the inputs; the results follow
    outputs: Sequence[int]
    shared: frozenset[int]  # slots of the inputs that are the same at all points
    sums: int = 0  # how many of the outputs, the last ones, are added up over the points


class Layout(NamedTuple):
    """Which cell of the workspace holds a slot between chunks, and how many cells there are."""

    chunks: list[list[Operation]]  # the first is the prologue
    homes: dict[int, int]
    cells: int


def layout(line: Line) -> Layout:
    """Cut a line into chunks and give cells to what crosses from one to another."""
    chunks = cut(line)
    defined = {x.slot: k for k, chunk in enumerate(chunks) for x in chunk if x.code != GUARD}
    last: dict[int, int] = {}
    for k, chunk in enumerate(chunks):
        for x in chunk:
            for slot in x.operands:
                if defined.get(slot, k) != k:
                    last[slot] = k
    last |= {slot: len(chunks) - 1 for slot in line.outputs if defined.get(slot) == 0}
    homes: dict[int, int] = {}
    free: list[int] = []
    cells = SCRATCH
    ends: list[list[int]] = [[] for _ in chunks]
    for k, chunk in enumerate(chunks):
        for x in chunk:
            if x.code != GUARD and x.slot in last:
                if not free:
                    free.append(cells)
                    cells += 1
                homes[x.slot] = free.pop()
                if k:  # what the prologue computed stays
                    ends[last[x.slot]].append(homes[x.slot])
        free += ends[k]
    return Layout(chunks, homes, cells)


def cut(line: Line) -> list[list[Operation]]:
    """The prologue, and the rest in chunks of equal lengths."""
    first = 1 + line.inputs + len(line.constants)
    same = set(range(first)) - set(range(1, 1 + line.inputs)) | line.shared
    prologue, rest = [], []
    for x in line.operations:
        if x.code != GUARD and same.issuperset(x.operands):
            same.add(x.slot)
            prologue.append(x)
        else:
            rest.append(x)
    count = max(1, -(-len(rest) // CHUNK))
    borders = [k * len(rest) // count for k in range(count + 1)]
    return [prologue, *(calls_first(rest[start:stop]) for start, stop in itertools.pairwise(borders))]


def calls_first(chunk: list[Operation]) -> list[Operation]:
    """A chunk in another order: what is called, with what it needs, before all other arithmetic.

    A call leaves nothing in the registers, so whatever is computed before it and used behind it goes through memory.
    """
    if not any(map(is_called, chunk)):
        return chunk
    last = math.inf, 0
    depths: dict[int, int] = {}  # how many calls stand one behind another on the way to a slot
    for x in chunk:
        if x.code != GUARD:
            depths[x.slot] = is_called(x) + max((depths.get(slot, 0) for slot in x.operands), default=0)
    ranks = [last] * len(chunk)
    wanted: dict[int, tuple[float, int]] = {}  # the first rank that a slot is an operand of
    for k, x in reversed([*enumerate(chunk)]):
        if x.code != GUARD:
            ranks[k] = min((depths[x.slot], k) if is_called(x) else last, wanted.get(x.slot, last))
        for slot in x.operands:
            wanted[slot] = min(ranks[k], wanted.get(slot, last))
    return [chunk[k] for k in sorted(range(len(chunk)), key=ranks.__getitem__)]


def is_called(x: Operation) -> bool:
    """Whether an operation is a function of a library."""
    return x.code != GUARD and bool(OPS[x.code].vector)


class Chunk:
    """Writes one chunk."""

    def __init__(self, line: Line, plan: Layout, style: Style, needs: Needs, *, plain: bool = False):
        """Products are `plain` if their tests for zero are left out."""
        self.line, self.plan, self.plain = line, plan, plain
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
                block.store(result, "%ws", self.plan.homes[x.slot] * block.style.size)
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
                found = self.block.load(self.side("%ins", slot - 1), 0, aligned=False)
            elif slot < self.first_result:
                found = self.block.constant(self.line.constants[slot - self.first_constant])
            else:
                found = self.block.load("%ws", self.plan.homes[slot] * self.block.style.size)
            self.values[slot] = found
        return self.values[slot]

    def side(self, table, k) -> str:
        """The address of the numbers of this block of an input or output."""
        base = self.block.fresh(f"load ptr, ptr {self.block.address(table, 8 * k)}")
        return self.block.address(base, "%offset")

    def output(self, slot):
        for k in self.targets.get(slot, ()):
            if k >= len(self.line.outputs) - self.line.sums:
                self.add_up(self.value(slot), k)
            else:
                self.block.store(self.value(slot), self.side("%outs", k), 0, aligned=False)

    def add_up(self, value, k):
        """Add the numbers of this block to the partial sums that it belongs to."""
        block = self.block
        lane = block.fresh(f"and i64 %offset, {PARTIAL * vector.BITS[block.style.dtype] // 8 - 1}")
        place = block.address(block.fresh(f"load ptr, ptr {block.address('%outs', 8 * k)}"), lane)
        before = block.load(place, 0, aligned=False)
        block.store(Value(block.fresh(f"fadd {block.kind} {before.name}, {value.name}")), place, 0, aligned=False)

    def guard(self, value, outcome, instruction):
        """Note the instruction at the points where no guard has failed before and this one does."""
        lanes = self.block.style.lanes
        if not self.failed:
            self.failed = self.block.fresh(f"load <{lanes} x i32>, ptr %failed, align 4")
        self.failed = self.block.fails(value, outcome, instruction, self.failed)

    def repair(self):
        """Take from `@careful`, which stores them, all results of the points where one of plain products is wrong."""
        block, kind = self.block, self.block.kind
        results = {x.slot: self.values[x.slot] for x in self.plan.chunks[1] if x.slot in self.targets}
        wrong, some = speculation.wrong_points(block, results.values())
        block.lines += [f"br i1 {some}, label %again, label %turn", "again:", f"call void @careful({ARGUMENTS})"]
        for slot, x in results.items():
            for k in self.targets[slot]:
                place = self.side("%outs", k)
                careful = block.load(place, 0, aligned=False)
                choice = f"select <{block.style.lanes} x i1> {wrong}, {kind} {careful.name}, {kind} {x.name}"
                block.store(Value(block.fresh(choice)), place, 0, aligned=False)


PARAMETERS = "ptr noalias %ins, ptr noalias %outs, ptr noalias %ws, ptr noalias %failed, i64 %offset, ptr %entries"
ARGUMENTS = PARAMETERS.replace("noalias ", "")
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
    written = [Chunk(line, plan, style, needs).write(k) for k in range(len(plan.chunks))]
    functions = function("define void @prologue", written[0])
    body = written[1]
    if len(written) > 2:
        for k, lines in enumerate(written[1:]):
            functions += function(f"define internal void @chunk{k}", lines, "noinline")
        body = [f"call void @chunk{k}({ARGUMENTS})" for k in range(len(written) - 1)]
    elif is_speculative(line, plan, style):
        functions += function("define internal void @careful", written[1], "noinline cold")
        plain = Chunk(line, plan, style, needs, plain=True)
        body = plain.write(1)
        plain.repair()
    size = style.size
    parameters = PARAMETERS.replace("%failed", "%fails").replace("%offset", "%from")
    text = "\n".join(body)
    functions.append(LOOP.format(parameters=parameters, bytes=size, skipped=4 * style.lanes, body=text))
    numbers = [f"i64 {n}" for n in (plan.cells * size, len(needs.called), *sorted(needs.called))]
    width = 8 * style.alignment
    bits = f'"min-legal-vector-width"="{width}" "prefer-vector-width"="{width}"'
    return "\n".join(
        [
            f'target triple = "{binding.get_process_triple()}"',
            f"@needs = constant [{len(numbers)} x i64] [{', '.join(numbers)}]",
            *needs.declared,
            *functions,
            "attributes #0 = { nounwind willreturn memory(none) }",
            f'attributes #1 = {{ nounwind "stackrealign" {bits} }}',  # or a spilled register lies in two cache lines
        ]
    )


def function(name: str, lines: Sequence[str], traits: str = "") -> list[str]:
    """The definition of a function of one block of points."""
    return [f"{name}({PARAMETERS}) #1 {traits} {{", *lines, "ret void", "}"]


def is_speculative(line: Line, plan: Layout, style: Style) -> bool:
    """Whether products are plain at first: if a wrong one can be seen in an output that is not added to others."""
    chunk, constants = plan.chunks[1], dict(enumerate(line.constants, 1 + line.inputs))
    seen = not {x.slot for x in chunk}.isdisjoint(line.outputs)
    return seen and not style.strict and not line.sums and speculation.pays(chunk, constants)


def object_code(name: str, write: Callable[[], str], target: Target, level: int) -> bytes:
    """The object code for some IR, which is written if that is not on disk under its name."""
    data = object_cache.load(name)
    if data is None:
        data = target.machine(level).emit_object(binding.parse_assembly(write()))
        object_cache.keep(name, data)
    return data
