"""A straight line of IR: the recipes of rows filled in, cells of memory, and calls of rows that have no recipe."""

from typing import NamedTuple

from fasttape.compiler.emitter import Recipe, Style, recipe, splat
from fasttape.layout import LANES_FORWARD, LANES_STRICT
from fasttape.ops import CODE, OPS

NEG = CODE["neg"]
SCRATCH = 4  # cells at the beginning of a workspace: three operands and a result, for rows that are called


def kind_of(code) -> int:
    """The kind of the entry that goes through lanes as libm computes them."""
    return LANES_STRICT if OPS[code].vector else LANES_FORWARD


class Needs:
    """What the blocks of one module use from outside."""

    def __init__(self):
        self.declared: dict[str, None] = {}
        self.called: set[int] = set()  # rows whose entries are called


class Value(NamedTuple):
    """The numbers in a slot: a register, or a constant; and of truth values the register that has these."""

    name: str
    constant: str = ""
    truth: str = ""


class Block:
    """Writes the instructions of one straight line."""

    def __init__(self, style: Style, needs: Needs):
        self.style, self.needs = style, needs
        self.kind = style.vector(style.real)
        self.cell, self.number = style.alignment, style.size // style.lanes  # bytes
        self.lines: list[str] = []
        self.known: dict[str, str] = {}  # registers by instruction

    def row(self, code, operands, parameter=(), *, elementwise=False) -> Value:
        """The result of a row; of one that is `elementwise` the interpreter takes libmvec as well."""
        constants = tuple([x.constant for x in operands])
        truths = tuple([bool(x.truth) for x in operands])
        found = recipe(self.style, code, parameter, constants, truths, elementwise)
        return self.called(code, operands, *parameter) if found is None else self.follow(found, operands)

    def follow(self, found: Recipe, operands) -> Value:
        """Fill in a recipe; what has been computed before is not computed again."""
        self.needs.declared.update(dict.fromkeys(found.declared))
        names = [x.name for x in operands] + [x.truth for x in operands]
        for opened in found.instructions:
            instruction = opened.format(*names)
            name = self.known.get(instruction)
            if name is None:
                name = self.known[instruction] = self.fresh(instruction)
            names.append(name)
        return Value(found.result.format(*names), truth=found.truth.format(*names))

    def multiply_add(self, x: Value, y: Value, z: Value, minus_product: bool, minus_term: bool) -> Value:
        """x y + z, or with other signs, rounded once if the processor can."""
        function = self.style.intrinsic("fmuladd", self.style.real)
        self.needs.declared[f"declare {self.kind} @{function}({self.kind}, {self.kind}, {self.kind}) #0"] = None
        signed = (self.row(NEG, [v]) if minus else v for v, minus in ((x, minus_product), (z, minus_term)))
        first, last = (v.name for v in signed)
        arguments = ", ".join(f"{self.kind} {name}" for name in (first, y.name, last))
        return Value(self.fresh(f"call {self.kind} @{function}({arguments})"))

    def called(self, code, operands, parameter=0) -> Value:
        """A row by its entry, which goes through the points."""
        self.needs.called.add(code)
        size = self.style.size
        for k, x in enumerate(operands):
            self.store(x, "%ws", k * size)
        entry = self.fresh(f"load ptr, ptr {self.address('%entries', 8 * (kind_of(code) * 256 + code))}")
        places = ", ".join(f"ptr {self.address('%ws', k * size)}" for k in range(SCRATCH))
        self.lines.append(f"call void {entry}(i64 {parameter}, i64 {self.style.lanes}, {places})")
        return self.load("%ws", (SCRATCH - 1) * size)

    def constant(self, value) -> Value:
        """A constant of the program."""
        spelling = splat(value, self.style.real)
        return Value(spelling, spelling)

    def fresh(self, instruction) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {instruction}")
        return name

    def address(self, base, offset) -> str:
        return self.fresh(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    def load(self, base, offset, *, aligned=True) -> Value:
        """The numbers that stand so many bytes behind an address."""
        place = self.address(base, offset)
        return Value(self.fresh(f"load {self.kind}, ptr {place}, align {self.cell if aligned else self.number}"))

    def store(self, x: Value, base, offset, *, aligned=True):
        place = self.address(base, offset)
        self.lines.append(f"store {self.kind} {x.name}, ptr {place}, align {self.cell if aligned else self.number}")

    def fails(self, x: Value, outcome, instruction, before) -> str:
        """The numbers of the guards that failed: this one where none has before and `x` has not the outcome."""
        lanes, words = self.style.lanes, f"<{self.style.lanes} x i32>"
        truth = x.truth or self.fresh(f"fcmp une {self.kind} {x.name}, zeroinitializer")
        held = self.fresh(f"icmp eq {words} {before}, splat (i32 -1)")
        wrong = self.fresh(f"xor <{lanes} x i1> {truth}, splat (i1 {int(outcome)})")
        now = self.fresh(f"and <{lanes} x i1> {held}, {wrong}")
        here = f"splat (i32 {instruction})" if isinstance(instruction, int) else self.everywhere(instruction)
        return self.fresh(f"select <{lanes} x i1> {now}, {words} {here}, {words} {before}")

    def everywhere(self, word: str) -> str:
        """The lower half of a word at each point."""
        words = f"<{self.style.lanes} x i32>"
        first = self.fresh(f"insertelement {words} poison, i32 {self.fresh(f'trunc i64 {word} to i32')}, i32 0")
        return self.fresh(f"shufflevector {words} {first}, {words} poison, {words} zeroinitializer")
