"""Which code runs for which structural opcode in which sweep."""

from fasttape.execute.dots import dot_forward, dot_reverse, dot_tangent
from fasttape.execute.elementwise import elementwise_forward, elementwise_reverse, elementwise_tangent
from fasttape.execute.products import gemm_forward, gemm_reverse, gemm_tangent
from fasttape.execute.reductions import reduce_forward, reduce_reverse, reduce_tangent
from fasttape.layout import DOT, ELEMENTWISE, FORWARD, GEMM, REDUCE, REVERSE, TANGENT

STEPS = {
    (FORWARD, ELEMENTWISE): elementwise_forward,
    (REVERSE, ELEMENTWISE): elementwise_reverse,
    (TANGENT, ELEMENTWISE): elementwise_tangent,
    (FORWARD, REDUCE): reduce_forward,
    (REVERSE, REDUCE): reduce_reverse,
    (TANGENT, REDUCE): reduce_tangent,
    (FORWARD, GEMM): gemm_forward,
    (REVERSE, GEMM): gemm_reverse,
    (TANGENT, GEMM): gemm_tangent,
    (FORWARD, DOT): dot_forward,
    (REVERSE, DOT): dot_reverse,
    (TANGENT, DOT): dot_tangent,
}
