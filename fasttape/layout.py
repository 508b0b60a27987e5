"""The encoding of instructions: structural opcodes and the fields of an array instruction's record in `aux`.

A scalar instruction is (ops, a, b) with operand slots in `a` and `b`; a row with the INTEGER trait keeps its integer in
`b` (two's complement), a ternary row keeps its second and third operand in `aux[b]`, `aux[b + 1]`. A structural
instruction keeps in `a` the place of its record in `aux`:

    LENGTH SIZE CODE PARAM CLEAN OPERANDS NDIM  shape[NDIM]  operands  index lists
    operand: ADJOINTS LIST FIRST ADJOINT strides[NDIM]

The iteration space has `shape`; operand k's element at multi-index i is slot `FIRST + i . strides`, or, where LIST is
not negative, slot `aux[record + LIST + FIRST + i . strides]`. Results fill SIZE consecutive slots in C order.

A CALL has a dimension for each operand, along which this operand alone goes, in steps of one: they are runs, or lists,
of different lengths. CODE is the number of its rule in the program.

CLEAN, ADJOINTS and ADJOINT belong to the executor's plan: in a program the first two are 0, and ADJOINT, the place of
the operand's adjoints and tangents, is FIRST.
"""

import itertools

import numpy as np

from fasttape.ops import CODE as OPCODE
from fasttape.ops import COMMUTATIVE, INTEGER, OPS

# Structural opcodes stand at the top of the byte so that rows added to the table never meet them.
CONST = 255  # not in a program: while recording, a run of slots that holds its values; in a plan, one that is skipped
GUARD = 254  # a: slot of a truth value; b: the outcome that was recorded; produces no slot
HELD = -1  # in place of the instruction of a guard that failed: every guard held
ELEMENTWISE = 253  # the row CODE over the iteration space
REDUCE = 252  # the row CODE over the trailing (PARAM = 0) or leading (PARAM = 1) dimensions
GEMM = 251  # shape = batch + (m, n, k): sums over k the product of two operands; a plan may add a third to the sum
DOT = 250  # in a plan: a chain of products and sums; see execute.dots
CALL = 249  # rule CODE of the program, which Python runs between two parts of a sweep; PARAM: whether that is pure
FIRST_STRUCTURAL = 249
STRUCTURAL_NAMES = {ELEMENTWISE: "array operations", REDUCE: "reductions", GEMM: "matrix products"}
STRUCTURAL_NAMES[DOT] = "sums of products"

# In lanes: an operation, and another one that reads its result as its first or second operand, in place of both. Their
# operands are the first one's and then the second one's other.
_JOINED = tuple(OPCODE[name] for name in ("add", "sub", "mul", "times", "neg"))
PAIRS = tuple(
    (first, second, place)
    for first, second in itertools.product(_JOINED, repeat=2)
    for place in range(1 if COMMUTATIVE in OPS[second].traits else OPS[second].arity)
)
FIRST_PAIR = FIRST_STRUCTURAL - len(PAIRS)

LENGTH, SIZE, CODE, PARAM, CLEAN, OPERANDS, NDIM, SHAPE = range(8)
ADJOINTS, LIST, FIRST, ADJOINT, STRIDES = range(5)
REGULAR = -1
PASSIVE, ADDS, SETS = range(3)  # ADJOINTS: what a reverse sweep does with those of an operand

# Entries: addresses of compiled functions, one column of 256 opcodes for each kind of work, in one flat array.
FORWARD, REVERSE, TANGENT, PARTIALS, LANES_FORWARD, LANES_STRICT, LANES_PARTIALS, BLAS = range(8)
ENTRIES = 8 * 256

# What the operand columns hold, by opcode: a slot, or something else (an integer, a place in aux, an outcome, nothing).
A_IS_SLOT = np.zeros(256, bool)
B_IS_SLOT = np.zeros(256, bool)
TERNARY = np.zeros(256, bool)
for _code, _op in enumerate(OPS):
    A_IS_SLOT[_code] = True
    B_IS_SLOT[_code] = _op.arity == 2 and INTEGER not in _op.traits
    TERNARY[_code] = _op.arity == 3
A_IS_SLOT[GUARD] = True
