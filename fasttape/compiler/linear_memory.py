"""The memory of linear tapes that compiled code writes: one for each thread, used as a stack and reused.

A tape is a header of words (HEADER) and two buffers: records {a, b: uint32, da, db: float64}, one for each slot, and
adjoints, which are zero whenever no reverse sweep is running. A recording takes the slots from the current length on
and gives them back, so one may run inside of another. Slot 0 stands for no operand.

A record stands for a sum of two terms, whose slots lie before its own. Where a is 0 it stands for the terms in the
records before it (`compiler.wide_records`); where b does not lie before, for a sum of terms on a and on the complement
of b, and of the slot right before its own (`compiler.product_sums`).
"""

import ctypes
import functools
import mmap
import os
import sys
import threading

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

ALIGNMENT = 1 << 16  # of headers, so that the upper half of a node locates one
HEADER = LENGTH, CAPACITY, RECORDS, LIMIT, ROOM, ADJOINTS, FAILED = range(7)
RECORD = np.dtype([("a", "u4"), ("b", "u4"), ("da", "f8"), ("db", "f8")])
FIRST_CAPACITY = 1024
MOST_SLOTS = (1 << 32) - 1
HUGE_PAGE = 1 << 21
FULL = "the tape of this thread is full: the function records more operations than fit in memory"

BYTE, HALF, WORD, REAL = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.DoubleType()
POINTER = BYTE.as_pointer()
RECORD_TYPE = ir.LiteralStructType([HALF, HALF, REAL, REAL])
KEY = "fasttape_thread_tape"


def word(x):
    return ir.Constant(WORD, x)


def most_slots() -> int:
    """The number of slots that a tape may have here: as many as fit in the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MOST_SLOTS
    return min(MOST_SLOTS, memory // (RECORD.itemsize + 8))


def new_key():
    """The address of a key of Python's thread-local storage, by which compiled code finds the tape of its thread."""
    api = ctypes.pythonapi
    api.PyThread_tss_alloc.restype = ctypes.c_void_p
    api.PyThread_tss_create.argtypes = (ctypes.c_void_p,)
    api.PyThread_tss_set.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    key = api.PyThread_tss_alloc()
    if not key or api.PyThread_tss_create(key):
        raise MemoryError("no thread-local storage is left")
    return key


THREAD_KEY = new_key()
binding.add_symbol(KEY, THREAD_KEY)


class Memory(threading.local):
    """The tape of a thread; its buffers are freed with the thread."""

    def __init__(self):
        room = np.zeros((2 * ALIGNMENT) // 8, np.int64)
        self.room = room[(-room.ctypes.data % ALIGNMENT) // 8 :]
        self.header = self.room[: len(HEADER)]
        self.header[[LENGTH, LIMIT]] = 1, most_slots()
        self.address = self.header.ctypes.data
        self.owner = Buffers(self.header)
        ctypes.pythonapi.PyThread_tss_set(THREAD_KEY, self.address)


class Buffers:
    """Frees the buffers of a header when nobody holds it any more."""

    def __init__(self, header):
        self.addresses = header[RECORDS : ADJOINTS + 1 : ADJOINTS - RECORDS]  # a view of the two
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = (ctypes.c_void_p,)

    def __del__(self):
        for address in self.addresses.tolist():
            self.free(address)


THREAD = Memory()


def current_tape(module):
    """header* fasttape_tape(): the tape of the thread; one that Python knows nothing of gets a tape for good."""
    found, builder = function(module, "fasttape_tape", [], WORD)
    if builder is None:
        return found
    key = cgutils.add_global_variable(module, BYTE, KEY)
    key.linkage = "external"
    call = functools.partial(cgutils.get_or_insert_function, module)
    held = builder.call(call(ir.FunctionType(POINTER, [POINTER]), "PyThread_tss_get"), [key])
    with builder.if_then(builder.icmp_unsigned("!=", held, ir.Constant(POINTER, None))):
        builder.ret(builder.ptrtoint(held, WORD))
    room = builder.call(call(ir.FunctionType(POINTER, [WORD, WORD]), "calloc"), [word(2), word(ALIGNMENT)])
    with builder.if_then(builder.icmp_unsigned("==", room, ir.Constant(POINTER, None))):
        builder.ret(word(0))
    address = builder.and_(builder.add(builder.ptrtoint(room, WORD), word(ALIGNMENT - 1)), word(-ALIGNMENT))
    header = builder.inttoptr(address, WORD.as_pointer())
    builder.store(word(1), builder.gep(header, [word(LENGTH)]))
    builder.store(word(most_slots()), builder.gep(header, [word(LIMIT)]))
    store = call(ir.FunctionType(HALF, [POINTER, POINTER]), "PyThread_tss_set")
    builder.call(store, [key, builder.inttoptr(address, POINTER)])
    builder.ret(address)
    return found


def function(module, name, parameters, returned):
    """A function of the module to be defined, or None where it is defined already; and the function."""
    found = cgutils.get_or_insert_function(module, ir.FunctionType(returned, parameters), name)
    if found.blocks:
        return found, None
    found.linkage = "linkonce_odr"
    found.attributes.add("noinline")
    return found, ir.IRBuilder(found.append_basic_block())


def resize(builder, header, buffer, size):
    """Reallocate a buffer of a header to some bytes; whether that failed."""
    signature = ir.FunctionType(POINTER, [POINTER, WORD])
    realloc = cgutils.get_or_insert_function(builder.module, signature, "realloc")
    place = builder.gep(header, [word(buffer)])
    moved = builder.call(realloc, [builder.inttoptr(builder.load(place), POINTER), size])
    failed = builder.icmp_unsigned("==", moved, ir.Constant(POINTER, None))
    with builder.if_then(builder.not_(failed)):
        address = builder.ptrtoint(moved, WORD)
        builder.store(address, place)
        if sys.platform == "linux":
            with builder.if_then(builder.icmp_unsigned(">=", size, word(2 * HUGE_PAGE))):
                ask_for_huge_pages(builder, address, size)
    return failed


def ask_for_huge_pages(builder, address, size):
    """Let a long buffer have huge pages, which are fetched ahead and come at once; it is right without them, too."""
    signature = ir.FunctionType(HALF, [POINTER, WORD, HALF])
    madvise = cgutils.get_or_insert_function(builder.module, signature, "madvise")
    start = builder.and_(builder.add(address, word(HUGE_PAGE - 1)), word(-HUGE_PAGE))
    length = builder.and_(builder.sub(builder.add(address, size), start), word(-HUGE_PAGE))
    advice = ir.Constant(HALF, mmap.MADV_HUGEPAGE)
    builder.call(madvise, [builder.inttoptr(start, POINTER), length, advice])


def grow(module):
    """bool fasttape_grow(header, needed): make room for twice the records, or for those needed; whether that failed.

    After a failure the tape is marked and wraps around, since a `try` of the user's goes on until its next check.
    """
    found, builder = function(module, "fasttape_grow", [WORD.as_pointer(), WORD], ir.IntType(1))
    if builder is None:
        return found
    header, needed = found.args
    length, capacity, limit, failure = (builder.gep(header, [word(k)]) for k in (LENGTH, CAPACITY, LIMIT, FAILED))
    most = builder.load(limit)
    size = builder.shl(builder.load(capacity), word(1))
    for least in (word(FIRST_CAPACITY), needed):
        size = builder.select(builder.icmp_unsigned("<", size, least), least, size)
    size = builder.select(builder.icmp_unsigned(">", size, most), most, size)
    failed = cgutils.alloca_once_value(builder, builder.icmp_unsigned(">", needed, most))
    with builder.if_then(builder.not_(builder.load(failed))):
        builder.store(resize(builder, header, RECORDS, builder.mul(size, word(RECORD.itemsize))), failed)
        with builder.if_then(builder.not_(builder.load(failed))):
            builder.store(size, capacity)
    with builder.if_then(builder.load(failed)):
        builder.store(word(1), length)
        builder.store(word(1), failure)
    builder.ret(builder.load(failed))
    return found


def full(context):
    """What to do when a tape is full: raise MemoryError in the function that is being compiled."""
    return lambda builder: context.call_conv.return_user_exc(builder, MemoryError, (FULL,))


def reserve(builder, header, needed, when_full):
    """Make room for a tape of `needed` slots."""
    capacity = builder.load(builder.gep(header, [word(CAPACITY)]))
    with builder.if_then(builder.icmp_unsigned(">", needed, capacity), likely=False):
        failed = builder.call(grow(builder.module), [header, needed])
        with builder.if_then(failed, likely=False):
            when_full(builder)


def resize_adjoints(context, builder, header):
    """Make as much room for adjoints as there is for records; what is new is zero."""
    room, capacity, adjoints = (builder.gep(header, [word(k)]) for k in (ROOM, CAPACITY, ADJOINTS))
    old, new = builder.load(room), builder.load(capacity)
    failed = resize(builder, header, ADJOINTS, builder.shl(new, word(3)))
    with builder.if_then(failed, likely=False):
        full(context)(builder)
    fresh = builder.gep(builder.inttoptr(builder.load(adjoints), REAL.as_pointer()), [old])
    cgutils.memset(builder, builder.bitcast(fresh, POINTER), builder.shl(builder.sub(new, old), word(3)), 0)
    builder.store(new, room)


def header_of(builder, node):
    """The header that a node is located by."""
    return builder.inttoptr(builder.shl(builder.lshr(node, word(32)), word(16)), WORD.as_pointer())


def append(builder, live, a, da, b, db, when_full):
    """Append a record with operands a and b to the tape that a live node is on; the node of its slot."""
    header = header_of(builder, live)
    length = builder.gep(header, [word(LENGTH)])
    reserve(builder, header, builder.add(builder.load(length), word(1)), when_full)
    slot = builder.load(length)
    records = builder.inttoptr(builder.load(builder.gep(header, [word(RECORDS)])), RECORD_TYPE.as_pointer())
    place = builder.gep(records, [slot])
    for k, x in enumerate((builder.trunc(a, HALF), builder.trunc(b, HALF), da, db)):
        builder.store(x, builder.gep(place, [ir.Constant(HALF, 0), ir.Constant(HALF, k)]))
    builder.store(builder.add(slot, word(1)), length)
    return builder.or_(builder.and_(live, word(-1 << 32)), slot)


def give_up(builder):
    builder.ret(word(0))
