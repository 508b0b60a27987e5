"""LLVM IR from the rules of the table: a rule is run on `Number`s, which write down what it does to them.

A Number stands for one number at each of several points, a vector in a register. Where a rule branches it is run once
for each way, and the results are chosen between; a rule that loops on its numbers, or that names a function which
neither LLVM nor libmvec has, is called for one point after another through the entry that the interpreter uses. So
there is no code of any row here. What a row writes is kept as a recipe, since a program repeats few rows.
"""

import functools
import math
import operator
import struct
from typing import NamedTuple

import numpy as np

from fasttape import ops
from fasttape.compiler import vector

# What both LLVM and C99 call by these names is exact, so its bits are those of the interpreter
INTRINSICS = frozenset({"sqrt", "fabs", "floor", "ceil", "trunc", "rint", "copysign"})
DEEPEST = 3  # branches on one way through a rule
ZEROS = "zeroinitializer"  # shorter to read than zero's bits, and the constant that a program has most of
REAL = {"float64": "double", "float32": "float"}
CODE_OF = {name: code for code, op in enumerate(ops.OPS) for name in op.names}
COMPARISONS = {"oeq": operator.eq, "une": operator.ne, "olt": operator.lt, "ole": operator.le}
COMPARISONS |= {"ogt": operator.gt, "oge": operator.ge}


class NotEmittedError(TypeError):
    """A rule does what cannot be written down for several points at once."""


class Fork(Exception):
    """A rule asks for the outcome of a comparison."""

    def __init__(self, truth):
        self.truth = truth


class Style(NamedTuple):
    """How numbers are computed."""

    dtype: str
    lanes: int
    strict: bool  # nothing is contracted, no function of libmvec: the bits of the interpreter
    registers: str  # the letter of the registers in the vector ABI, or nothing

    @property
    def real(self) -> str:
        return REAL[self.dtype]

    @property
    def size(self) -> int:
        """Bytes of a cell: one number of the program at each point."""
        return self.lanes * vector.BITS[self.dtype] // 8

    @property
    def alignment(self) -> int:
        """Of cells, in bytes: a register, or a number where there are none."""
        return min(vector.WIDTHS.get(self.registers, self.size * 8) // 8, self.size)

    def vector(self, real) -> str:
        return f"<{self.lanes} x {real}>"

    def intrinsic(self, name, real) -> str:
        """LLVM's own function of that name."""
        return f"llvm.{name}.v{self.lanes}{'f64' if real == 'double' else 'f32'}"


class Number:
    """One number at each point, by the name of its register; `value` where it is a constant."""

    __slots__ = ("name", "real", "sketch", "truth", "value")

    def __init__(self, sketch, name, real, value=None, truth=None):
        self.sketch, self.name, self.real, self.value, self.truth = sketch, name, real, value, truth

    def __add__(self, other):
        return self.sketch.arithmetic("fadd", self, other)

    def __radd__(self, other):
        return self.sketch.arithmetic("fadd", other, self)

    def __sub__(self, other):
        return self.sketch.arithmetic("fsub", self, other)

    def __rsub__(self, other):
        return self.sketch.arithmetic("fsub", other, self)

    def __mul__(self, other):
        return self.sketch.arithmetic("fmul", self, other)

    def __rmul__(self, other):
        return self.sketch.arithmetic("fmul", other, self)

    def __truediv__(self, other):
        return self.sketch.arithmetic("fdiv", self, other)

    def __rtruediv__(self, other):
        return self.sketch.arithmetic("fdiv", other, self)

    def __pow__(self, other):
        return self.sketch.function("operator.pow", (self, other))

    def __rpow__(self, other):
        return self.sketch.function("operator.pow", (other, self))

    def __neg__(self):
        return self.sketch.negative(self)

    def __eq__(self, other):
        return self.sketch.compare("oeq", self, other)

    def __ne__(self, other):
        return self.sketch.compare("une", self, other)

    def __lt__(self, other):
        return self.sketch.compare("olt", self, other)

    def __le__(self, other):
        return self.sketch.compare("ole", self, other)

    def __gt__(self, other):
        return self.sketch.compare("ogt", self, other)

    def __ge__(self, other):
        return self.sketch.compare("oge", self, other)

    __hash__ = None

    def __bool__(self):
        return bool(self != 0.0)

    def __array_ufunc__(self, ufunc, method, *operands, **options):
        if method != "__call__" or options:
            return NotImplemented
        return self.sketch.function(f"numpy.{ufunc.__name__}", operands)


class Truth:
    """A truth value at each point."""

    __slots__ = ("name", "sketch")

    def __init__(self, sketch, name):
        self.sketch, self.name = sketch, name

    def __and__(self, other):
        return (self if other else False) if isinstance(other, bool) else self.sketch.logic("and", self, other)

    def __or__(self, other):
        return (True if other else self) if isinstance(other, bool) else self.sketch.logic("or", self, other)

    __rand__, __ror__ = __and__, __or__

    def __mul__(self, other):
        return self.sketch.number(self) * other

    __rmul__ = __mul__

    def __bool__(self):
        return self.sketch.outcome(self)


class Mathematics:
    """Stands for the module `math` in a rule."""

    def __init__(self, sketch):
        self.sketch = sketch

    def __getattr__(self, name):
        def function(*operands):
            if any(isinstance(x, Number) for x in operands):
                return self.sketch.function(f"math.{name}", operands)
            return getattr(math, name)(*operands)

        return function


class Recipe(NamedTuple):
    """The instructions of a row, with the registers of operands, and of earlier instructions, left open by number."""

    instructions: tuple[str, ...]
    result: str
    truth: str  # of a result that is 1 or 0
    declared: tuple[str, ...]  # the functions that they call


@functools.lru_cache(maxsize=1 << 12)
def recipe(style: Style, code, parameter, constants, truths, elementwise) -> Recipe | None:
    """What a row writes; None if it has to be called for one point after another.

    Of each operand `constants` has the number in LLVM's spelling, or nothing, and `truths` whether it is a truth value.
    """
    sketch = Sketch(style, 2 * len(constants))
    operands = [sketch.operand(k, *known) for k, known in enumerate(zip(constants, truths, strict=True))]
    try:
        result = sketch.cast(sketch.apply(code, (*operands, *parameter), elementwise), style.real)
    except TypeError:
        return None
    truth = "" if result.truth is None else result.truth.name
    return Recipe(tuple(sketch.instructions), result.name, truth, tuple(sketch.declared))


class Sketch:
    """Runs the rule of one row."""

    def __init__(self, style: Style, opened: int):
        self.style, self.opened = style, opened
        self.instructions: list[str] = []
        self.declared: dict[str, None] = {}
        self.known: dict[str, Number | Truth] = {}  # by instruction
        self.inside: list[int] = []  # rows whose rules are being run
        self.outcomes: list[bool] = []  # of the branches on the way that is taken
        self.asked = 0

    def operand(self, k, constant, truth) -> "Number":
        if constant:
            return Number(self, constant, self.style.real, value=spelled(constant))
        known = Truth(self, f"{{{self.opened // 2 + k}}}") if truth else None
        return Number(self, f"{{{k}}}", self.style.real, truth=known)

    # ---- rows

    def function(self, name, operands):
        """What a rule means by the name of a function."""
        if name not in CODE_OF:
            raise NotEmittedError(name)
        return self.apply(CODE_OF[name], operands)

    def apply(self, code, operands, elementwise=False):
        """A row on numbers, by libmvec, by its rule, or as the instruction that its rule is another name for."""
        op, real = ops.OPS[code], self.common(operands)
        if op.vector and (elementwise or not self.style.strict):
            form = vector.form(op.vector, op.arity, "float64" if real == "double" else "float32", self.style.registers)
            if form is not None and self.style.lanes % form.lanes == 0:
                names = [self.name(x, real) for x in operands]
                return self.call_by_registers(form, names, real, self.style.lanes)
        if code in self.inside:
            names = [name for name in INTRINSICS if name in {x.rpartition(".")[2] for x in op.names}]
            if not names:
                raise NotEmittedError(op.name)
            given = [self.name(x, real) for x in operands]
            return self.call(self.style.intrinsic(names[0], real), given, real, self.style.lanes)
        rule = ops.rebound(op.value, lambda name, value: Mathematics(self) if value is math else None)
        self.inside.append(code)
        result = self.every_way(rule, operands)
        self.inside.pop()
        return result

    def every_way(self, rule, operands):
        """What a rule returns, chosen between its ways where it branches."""
        before, depth = (self.outcomes, self.asked), list(self.inside)

        def explore(outcomes):
            self.outcomes, self.asked, self.inside = outcomes, 0, list(depth)
            try:
                return rule(*operands)
            except Fork as fork:
                if len(outcomes) == DEEPEST:
                    raise NotEmittedError("a loop") from None
                return self.choose(fork.truth, explore([*outcomes, True]), explore([*outcomes, False]))

        try:
            return explore([])
        finally:
            self.outcomes, self.asked = before

    def outcome(self, truth) -> bool:
        """The outcome of a branch on the way that is taken."""
        if self.asked == len(self.outcomes):
            raise Fork(truth)
        self.asked += 1
        return self.outcomes[self.asked - 1]

    # ---- instructions

    def vector(self, real) -> str:
        return self.style.vector(real)

    def fresh(self, instruction) -> str:
        self.instructions.append(instruction)
        return f"{{{self.opened + len(self.instructions) - 1}}}"

    def once(self, instruction, real) -> "Number":
        """A number that is computed once, however often it is asked for."""
        if instruction not in self.known:
            self.known[instruction] = Number(self, self.fresh(instruction), real)
        return self.known[instruction]

    def once_true(self, instruction) -> "Truth":
        if instruction not in self.known:
            self.known[instruction] = Truth(self, self.fresh(instruction))
        return self.known[instruction]

    def common(self, operands) -> str:
        """The type in which operands meet: that of the numbers; Numba takes a literal for a double."""
        reals = {x.real for x in operands if isinstance(x, Number)}
        wide = self.style.strict and any(isinstance(x, float | int) for x in operands)
        return "double" if wide or "double" in reals else "float"

    def name(self, x, real) -> str:
        """An operand in some type."""
        return self.cast(x, real).name if isinstance(x, Number) else splat(x, real)

    def cast(self, x, real) -> "Number":
        if isinstance(x, Truth):
            x = self.number(x)
        if not isinstance(x, Number):
            return Number(self, splat(x, real), real, value=float(x))
        if x.real == real:
            return x
        if x.value is not None:
            return Number(self, splat(x.value, real), real, value=x.value)
        instruction = "fpext" if real == "double" else "fptrunc"
        return self.once(f"{instruction} {self.vector(x.real)} {x.name} to {self.vector(real)}", real)

    def arithmetic(self, instruction, x, y):
        if isinstance(x, Truth) or isinstance(y, Truth):
            return NotImplemented
        if instruction == "fmul" and 1.0 in (x if isinstance(x, float) else 0.0, y if isinstance(y, float) else 0.0):
            return self.cast(y if isinstance(x, float) else x, self.common((x, y)))
        real = self.common((x, y))
        left, right = self.name(x, real), self.name(y, real)
        return self.once(f"{instruction} {self.vector(real)} {left}, {right}", real)

    def negative(self, x) -> "Number":
        return self.once(f"fneg {self.vector(x.real)} {x.name}", x.real)

    def call(self, function, names, real, lanes) -> "Number":
        """A function of several numbers at once."""
        kind = f"<{lanes} x {real}>"
        self.declared[f"declare {kind} @{function}({', '.join([kind] * len(names))}) #0"] = None
        arguments = ", ".join(f"{kind} {x}" for x in names)
        return self.once(f"call {kind} @{function}({arguments})", real)

    def call_by_registers(self, form, names, real, lanes) -> "Number":
        """A function of one register, for each register of its operands."""
        if lanes == form.lanes:
            return self.call(form.name, names, real, lanes)
        kind, half = f"<{lanes} x {real}>", lanes // 2
        halves = []
        for start in (0, half):
            cut = [self.shuffled(f"{kind} {x}, {kind} {x}", range(start, start + half), real).name for x in names]
            halves.append(self.call_by_registers(form, cut, real, half).name)
        return self.shuffled(", ".join(f"<{half} x {real}> {x}" for x in halves), range(lanes), real)

    def shuffled(self, operands, order, real) -> "Number":
        """Chosen numbers of two operands."""
        places = ", ".join(f"i32 {k}" for k in order)
        return self.once(f"shufflevector {operands}, <{len(order)} x i32> <{places}>", real)

    def compare(self, predicate, x, y):
        """The truth of a comparison, at all points or known beforehand."""
        if predicate == "une" and y == 0.0 and isinstance(y, float) and x.truth is not None:
            return x.truth
        values = [v.value if isinstance(v, Number) else v for v in (x, y)]
        if None not in values:
            return COMPARISONS[predicate](*values)
        real = self.common((x, y))
        return self.once_true(f"fcmp {predicate} {self.vector(real)} {self.name(x, real)}, {self.name(y, real)}")

    def logic(self, instruction, x, y) -> "Truth":
        if not (isinstance(x, Truth) and isinstance(y, Truth)):
            raise NotEmittedError(f"{instruction} of numbers")
        return self.once_true(f"{instruction} <{self.style.lanes} x i1> {x.name}, {y.name}")

    def number(self, truth) -> "Number":
        """1 where a truth value is true, else 0."""
        made = self.choose(truth, self.cast(1.0, self.style.real), self.cast(0.0, self.style.real))
        return Number(self, made.name, made.real, truth=truth)

    def choose(self, truth, x, y) -> "Number":
        x, y = (self.number(v) if isinstance(v, Truth) else v for v in (x, y))
        real = self.common((x, y)) if isinstance(x, Number) or isinstance(y, Number) else self.style.real
        if self.name(x, real) == self.name(y, real):
            return self.cast(x, real)
        kind = self.vector(real)
        condition = f"<{self.style.lanes} x i1> {truth.name}"
        return self.once(f"select {condition}, {kind} {self.name(x, real)}, {kind} {self.name(y, real)}", real)


def splat(value, real) -> str:
    """A constant that is the same at all points, in LLVM's spelling: the bits of a double."""
    value = np.float64(value) if real == "double" else np.float64(np.float32(value))
    bits = struct.pack(">d", value)
    return f"splat ({real} 0x{bits.hex().upper()})" if any(bits) else ZEROS


def spelled(constant) -> float:
    """The number that is spelled so."""
    return 0.0 if constant == ZEROS else struct.unpack(">d", bytes.fromhex(constant[-17:-1]))[0]
