"""What a plan learns from a program: which operands lead back to a differentiated input, which adjoints need no zeros.

An operand of an array instruction whose adjoints nobody has touched before, in the order of a reverse sweep, can set
them instead of adding to them. Nobody has to clear them then, and they may lie in memory that is new.
"""

import numpy as np

from fasttape.compiler.jit import kernel, sweep
from fasttape.execute.blocks import inner_stride, operand, points, run
from fasttape.layout import (
    ADDS,
    ADJOINTS,
    B_IS_SLOT,
    CLEAN,
    ELEMENTWISE,
    FIRST,
    FIRST_STRUCTURAL,
    GEMM,
    GUARD,
    LIST,
    NDIM,
    OPERANDS,
    PASSIVE,
    REGULAR,
    SETS,
    SHAPE,
    SIZE,
    STRIDES,
    TERNARY,
)

# What is known of the adjoint of a slot (the first contribution adds or sets), and whether its value is read singly
ADDED, SET, SINGLE = 1, 2, 4
TOUCHED = ADDED | SET
BLOCK = 64  # slots that are cleared together, eight words of state


@kernel
def is_active(aux, p, q, active):
    """Whether operand q reads an active slot; one that is not a list reads a run, active or not as a whole."""
    if aux[q + LIST] == REGULAR:
        return active[aux[q + FIRST]]
    for i in range(points(aux, p)):
        place, _ = run(aux, p, q, FIRST, i)
        if active[aux[p + aux[q + LIST] + place]]:
            return True
    return False


@sweep
def activity(digest):
    def activity(ops, a, b, aux, active, slot):
        digest
        for i in range(ops.size):
            op, p = ops[i], np.int64(a[i])
            if op < FIRST_STRUCTURAL:
                flag = active[p] or (B_IS_SLOT[op] and active[b[i]])
                if TERNARY[op]:
                    flag = flag or active[aux[b[i]]] or active[aux[b[i] + 1]]
                active[slot] = flag
                slot += 1
            elif op != GUARD:
                flag = False
                for k in range(aux[p + OPERANDS]):
                    q = operand(aux, p, k)
                    aux[q + ADJOINTS] = ADDS if is_active(aux, p, q, active) else PASSIVE
                    flag = flag or aux[q + ADJOINTS] != PASSIVE
                active[slot : slot + aux[p + SIZE]] = flag
                slot += aux[p + SIZE]

    return activity


@kernel
def span(aux, p, q):
    """The lowest slot that operand q reads, and the one behind the highest."""
    low = high = aux[q + FIRST]
    for d in range(aux[p + NDIM]):
        reach = (aux[p + SHAPE + d] - 1) * aux[q + STRIDES + d]
        low, high = low + min(reach, 0), high + max(reach, 0)
    if aux[q + LIST] != REGULAR:
        at = p + aux[q + LIST]
        listed = aux[at + low : at + high + 1]
        low, high = listed.min(), listed.max()
    return low, high + 1


@kernel
def visits_once(aux, p, q, op, k):
    """Whether operand k visits each slot of its span once."""
    ndim, expected, found = aux[p + NDIM], 1, 0
    summed = ndim - 2 - k if op == GEMM else -1  # the dimension that this operand of a product does not have
    for _ in range(ndim):
        for d in range(ndim):
            extent, stride = aux[p + SHAPE + d], aux[q + STRIDES + d]
            if extent > 1 and d != summed and stride == expected:
                expected *= extent
                found += 1
                break
    for d in range(ndim):
        found -= aux[p + SHAPE + d] > 1 and d != summed
    return found == 0 and aux[q + LIST] == REGULAR


@kernel
def alone(aux, p, op, k):
    """Whether no other operand of the instruction passes anything on to the slots of operand k before or after it."""
    q = operand(aux, p, k)
    low, high = span(aux, p, q)
    for j in range(aux[p + OPERANDS]):
        other = operand(aux, p, j)
        if j == k or aux[other + ADJOINTS] == PASSIVE:
            continue
        lowest, highest = span(aux, p, other)
        same = op == ELEMENTWISE and aux[other + LIST] == REGULAR  # then both go through the same slots in step
        for d in range(FIRST, STRIDES + aux[p + NDIM]):
            same = same and aux[other + d] == aux[q + d]
        if lowest < high and low < highest and not same:
            return False
    return True


@kernel
def any_have(state, start, stop, bits):
    """Whether some slot has one of the bits; without an early end, so that LLVM vectorizes the loop."""
    found = np.uint8(0)
    for slot in range(np.uint64(start), np.uint64(stop)):
        found |= state[slot]
    return found & bits != 0


@kernel
def all_have(state, start, stop, bit):
    found = np.uint8(255)
    for slot in range(np.uint64(start), np.uint64(stop)):
        found &= state[slot]
    return found & bit != 0


@kernel
def set_all(state, start, stop, bit):
    for slot in range(np.uint64(start), np.uint64(stop)):
        state[slot] |= np.uint8(bit)


@kernel
def touch(state, slot):
    if not state[slot] & TOUCHED:
        state[slot] |= ADDED


@kernel
def read_singly(state, slot):
    """Note that a scalar instruction, or an index list, reads a slot."""
    touch(state, slot)
    state[slot] |= SINGLE


@kernel
def touch_all(aux, p, q, state):
    """Note that operand q adds to the slots that it reads."""
    stride, listed, done, total = inner_stride(aux, p, q), aux[q + LIST], 0, points(aux, p)
    while done < total:
        place, left = run(aux, p, q, FIRST, done)
        for i in range(left if stride else 1):
            if listed == REGULAR:
                touch(state, place + i * stride)
            else:
                read_singly(state, aux[p + listed + place + i * stride])
        done += left


@kernel
def claim(aux, p, op, k, state):
    """Let operand k set the adjoints of its slots if nobody touched them, else add to them."""
    q = operand(aux, p, k)
    if visits_once(aux, p, q, op, k) and alone(aux, p, op, k):
        low, high = span(aux, p, q)
        if not any_have(state, low, high, TOUCHED):
            set_all(state, low, high, SET)
            aux[q + ADJOINTS] = SETS
            return
    touch_all(aux, p, q, state)


@sweep
def first_touch(digest):
    def first_touch(ops, a, b, aux, outputs, state, slot):
        digest
        for k in range(outputs.size):
            read_singly(state, outputs[k])
        for k in range(ops.size):
            i = ops.size - 1 - k
            op, p = ops[i], np.int64(a[i])
            if op < FIRST_STRUCTURAL:
                slot -= 1
                read_singly(state, p)
                if B_IS_SLOT[op]:
                    read_singly(state, b[i])
                if TERNARY[op]:
                    read_singly(state, aux[b[i]])
                    read_singly(state, aux[b[i] + 1])
            elif op == GUARD:
                state[p] |= SINGLE
            else:
                slot -= aux[p + SIZE]
                aux[p + CLEAN] = all_have(state, slot, slot + aux[p + SIZE], SET)
                for k in range(aux[p + OPERANDS]):
                    q = operand(aux, p, k)
                    if aux[q + ADJOINTS] != PASSIVE:
                        claim(aux, p, op, k, state)
                    elif aux[q + LIST] != REGULAR:
                        touch_all(aux, p, q, state)

    return first_touch


@sweep
def zeros(digest):
    def zeros(words, out):
        """Fill `out` with (start, stop) of ranges in which some adjoint is not set; return how many there are.

        `words` is the state of all slots, eight slots in each number, padded to whole blocks of BLOCK slots.
        """
        digest
        count, each = 0, np.uint64(SET * 0x0101010101010101)
        for block in range(words.size // 8):
            at, every = np.uint64(block) * np.uint64(8), each
            for k in range(8):
                every &= words[at + np.uint64(k)]
            if every == each:
                continue
            if count and out[count - 1, 1] == block * BLOCK:
                count -= 1
            else:
                out[count, 0] = block * BLOCK
            out[count, 1] = (block + 1) * BLOCK
            count += 1
        return count

    return zeros


@sweep
def large_operands(digest):
    def large_operands(ops, a, aux, low, high, least, out):
        """Fill `out` with the spans of operands of `least` slots or more between two others; return their number."""
        digest
        count = 0
        for i in range(ops.size):
            if ops[i] < FIRST_STRUCTURAL or ops[i] == GUARD:
                continue
            p = np.int64(a[i])
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                start, stop = span(aux, p, q)
                if aux[q + LIST] == REGULAR and low <= start and stop <= high and stop - start >= least:
                    out[count, 0] = start
                    out[count, 1] = stop
                    count += 1
        return count

    return large_operands


@sweep
def readers(digest):
    def readers(ops, a, aux, state, starts, stops, found, single, all_set):
        """Fill `found` with pairs (operand, segment) for each operand that reads a segment; return how many there are.

        A segment that some operand reads together with its neighborhood gets a pair with operand -1. `single` and
        `all_set` get whether a slot of each segment is read singly, and whether all adjoints are set.
        """
        digest
        for s in range(starts.size):
            single[s] = any_have(state, starts[s], stops[s], SINGLE)
            all_set[s] = all_have(state, starts[s], stops[s], SET)
        count = 0
        for i in range(ops.size):
            if ops[i] < FIRST_STRUCTURAL or ops[i] == GUARD:
                continue
            p = np.int64(a[i])
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                if aux[q + LIST] != REGULAR:
                    continue
                low, high = span(aux, p, q)
                for s in range(starts.size):
                    if low < stops[s] and starts[s] < high:
                        if count < len(found):
                            inside = starts[s] <= low and high <= stops[s]
                            found[count] = (q if inside else -1), s
                        count += 1
        return count

    return readers


def has_arrays(ops) -> bool:
    """Whether some instruction of a program is an array instruction."""
    return bool(ops.size) and bool(((ops >= FIRST_STRUCTURAL) & (ops != GUARD)).any())
