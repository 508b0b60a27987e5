"""What a plan learns from a program: which operands lead back to a differentiated input, which adjoints need no zeros.

An operand of an array instruction whose adjoints nobody has touched before, in the order of a reverse sweep, can set
them instead of adding to them. Nobody has to clear them then, and they may lie in memory that is new.
"""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.sweeps import sweep
from fasttape.execute.blocks import inner_stride, operand, points, run
from fasttape.layout import (
    ADDS,
    ADJOINTS,
    B_IS_SLOT,
    CALL,
    CLEAN,
    CONST,
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
EVERY = np.uint64(0x0101010101010101)  # a bit of one slot, times this, is the bit of the eight slots of a word
BLOCK = 64  # slots that are cleared together, eight words of state


@kernel
def is_array(op):
    """Whether an opcode is that of an array instruction."""
    return FIRST_STRUCTURAL <= op < GUARD


@kernel
def reach(aux, p, q):
    """The lowest and the highest place of operand q, among the slots or in its list, which has no others."""
    low = high = aux[q + FIRST]
    for d in range(aux[p + NDIM]):
        distance = (aux[p + SHAPE + d] - 1) * aux[q + STRIDES + d]
        low, high = low + min(distance, 0), high + max(distance, 0)
    return low, high


@kernel
def is_active(aux, p, q, active):
    """Whether operand q reads an active slot, or one lies between those that it reads.

    A run may hold results of several instructions, of which some depend on no input.
    """
    low, high = reach(aux, p, q)
    if aux[q + LIST] == REGULAR:
        if active[aux[q + FIRST]]:
            return True
        found = False
        for slot in range(low, high + 1):
            found |= active[slot]
        return found
    at, found = p + aux[q + LIST], False
    for place in range(at + low, at + high + 1):
        found = found or active[aux[place]]
    return found


@sweep
def activity(ops, a, b, aux, active, slot):
    for i in range(ops.size):
        op, p = ops[i], np.int64(a[i])
        if op < FIRST_STRUCTURAL:
            flag = active[p] or (B_IS_SLOT[op] and active[b[i]])
            if TERNARY[op]:
                flag = flag or active[aux[b[i]]] or active[aux[b[i] + 1]]
            active[slot] = flag
            slot += 1
        elif op == CONST:  # an instruction that a plan skips
            active[slot : slot + aux[p + SIZE]] = False
            slot += aux[p + SIZE]
        elif op != GUARD:
            flag = False
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                aux[q + ADJOINTS] = ADDS if is_active(aux, p, q, active) else PASSIVE
                flag = flag or aux[q + ADJOINTS] != PASSIVE
            active[slot : slot + aux[p + SIZE]] = flag
            slot += aux[p + SIZE]


@kernel
def span(aux, p, q):
    """The lowest slot that operand q reads, and the one behind the highest."""
    low, high = reach(aux, p, q)
    if aux[q + LIST] != REGULAR:
        at = p + aux[q + LIST]
        first, last = at + low, at + high
        low = high = aux[first]
        for place in range(first, last + 1):
            low, high = min(low, aux[place]), max(high, aux[place])
    return low, high + 1


@kernel
def covers_span(aux, p, q):
    """Whether operand q reads every slot of its span, as contiguous arrays and their transposes and repetitions do."""
    ndim, expected, left = aux[p + NDIM], 1, 0
    for d in range(ndim):
        left += aux[p + SHAPE + d] > 1 and aux[q + STRIDES + d] != 0
    for _ in range(ndim):
        for d in range(ndim):
            extent, stride = aux[p + SHAPE + d], aux[q + STRIDES + d]
            if extent > 1 and stride == expected:
                expected *= extent
                left -= 1
                break
    return left == 0 and aux[q + LIST] == REGULAR


@kernel
def repeats(aux, p, q, op, k):
    """Whether operand k meets its slots more than once; `op` says which dimension a product sums over for it."""
    ndim = aux[p + NDIM]
    missing = -1  # the dimension that this operand of a product does not have: rows and columns have two, an addend one
    if op == GEMM:
        missing = ndim - 1 if k == 2 else ndim - 2 - k
    count = 0
    for d in range(ndim):
        count += aux[p + SHAPE + d] > 1 and aux[q + STRIDES + d] == 0 and d != missing
    return count > 0


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
def any_have(state, words, start, stop, bit):
    """Whether some slot between two has a bit; without an early end, so that LLVM vectorizes the loop over words."""
    low, high = (start + 7) // 8, stop // 8
    found = np.uint64(0)
    for word in range(np.uint64(low), np.uint64(max(low, high))):
        found |= words[word]
    found &= np.uint64(bit) * EVERY
    for slot in range(start, min(8 * low, stop)):
        found |= np.uint64(state[slot] & bit)
    for slot in range(max(8 * high, start), stop):
        found |= np.uint64(state[slot] & bit)
    return found != 0


@kernel
def all_have(state, words, start, stop, bit):
    low, high = (start + 7) // 8, stop // 8
    every = np.uint64(bit) * EVERY
    found = every
    for word in range(np.uint64(low), np.uint64(max(low, high))):
        found &= words[word]
    missing = found != every
    for slot in range(start, min(8 * low, stop)):
        missing |= not state[slot] & bit
    for slot in range(max(8 * high, start), stop):
        missing |= not state[slot] & bit
    return not missing


@kernel
def set_all(state, words, start, stop, bit):
    low, high = (start + 7) // 8, stop // 8
    for word in range(np.uint64(low), np.uint64(max(low, high))):
        words[word] |= np.uint64(bit) * EVERY
    for slot in range(start, min(8 * low, stop)):
        state[slot] |= bit
    for slot in range(max(8 * high, start), stop):
        state[slot] |= bit


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
    if covers_span(aux, p, q):
        low, high = span(aux, p, q)
        for slot in range(low, high):
            touch(state, slot)
        return
    if aux[q + LIST] != REGULAR:
        low, high = reach(aux, p, q)
        for place in range(low, high + 1):
            read_singly(state, aux[p + aux[q + LIST] + place])
        return
    stride, done, total = inner_stride(aux, p, q), 0, points(aux, p)
    while done < total:
        place, left = run(aux, p, q, FIRST, done)
        for i in range(left if stride else 1):
            touch(state, place + i * stride)
        done += left


@kernel
def claim(aux, p, op, k, state, words):
    """Let operand k set the adjoints of its slots if nobody touched them, else add to them."""
    q = operand(aux, p, k)
    if covers_span(aux, p, q) and not repeats(aux, p, q, op, k) and alone(aux, p, op, k):
        low, high = span(aux, p, q)
        if not any_have(state, words, low, high, TOUCHED):
            set_all(state, words, low, high, SET)
            aux[q + ADJOINTS] = SETS
            return
    touch_all(aux, p, q, state)


@sweep
def first_touch(ops, a, b, aux, outputs, state, words, slot):
    """Fill in what `state` says of each slot; `words` is the same memory, eight slots in each number."""
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
        elif op == CONST:
            slot -= aux[p + SIZE]
            set_all(state, words, slot, slot + aux[p + SIZE], SET)
        else:
            slot -= aux[p + SIZE]
            aux[p + CLEAN] = all_have(state, words, slot, slot + aux[p + SIZE], SET)
            for k in range(aux[p + OPERANDS]):
                q = operand(aux, p, k)
                if aux[q + ADJOINTS] != PASSIVE:
                    claim(aux, p, op, k, state, words)
                elif aux[q + LIST] != REGULAR:
                    touch_all(aux, p, q, state)


@sweep
def zeros(words, out):
    """Fill `out` with (start, stop) of ranges in which some adjoint is not set; return how many there are.

    `words` is the state of all slots, eight slots in each number, padded to whole blocks of BLOCK slots.
    """
    count, each = 0, np.uint64(SET) * EVERY
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


@sweep
def large_operands(ops, a, aux, low, high, least, out):
    """Fill `out` with the spans of operands of `least` slots or more between two others; return their number."""
    count = 0
    for i in range(ops.size):
        if not is_array(ops[i]):
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


@sweep
def readers(ops, a, aux, state, words, starts, stops, found, single, all_set):
    """Fill `found` with pairs (operand, segment) for each operand that reads a segment; return how many there are.

    A segment that some operand reads together with its neighborhood gets a pair with operand -1. `single` and
    `all_set` get whether a slot of each segment is read singly, and whether all adjoints are set, by no call.
    """
    for s in range(starts.size):
        single[s] = any_have(state, words, starts[s], stops[s], SINGLE)
        all_set[s] = all_have(state, words, starts[s], stops[s], SET)
    count = 0
    for i in range(ops.size):
        if not is_array(ops[i]):
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
                    all_set[s] &= ops[i] != CALL
                    count += 1
    return count
