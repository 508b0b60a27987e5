"""What compiled code needs to handle Python objects: CPython's and NumPy's C API, and memory by address.

Objects and addresses are 64-bit words here. All of this asks for the interpreter's lock.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttape.compiler.objects import FIRST_FIELD
from fasttape.compiler.vector import emit_prefetch

WORD = types.int64


def function(name, returned, *parameters):
    """A function of CPython's C API for compiled callers."""
    return types.ExternalFunction(name, returned(*parameters))


list_item = function("PyList_GetItem", WORD, WORD, WORD)  # those that end in item lend what they return
tuple_item = function("PyTuple_GetItem", WORD, WORD, WORD)
dict_item = function("PyDict_GetItemWithError", WORD, WORD, WORD)
list_size = function("PyList_Size", WORD, WORD)
tuple_size = function("PyTuple_Size", WORD, WORD)
dict_size = function("PyDict_Size", WORD, WORD)
new_list = function("PyList_New", WORD, WORD)
new_tuple = function("PyTuple_New", WORD, WORD)
copy_dict = function("PyDict_Copy", WORD, WORD)
set_list_item = function("PyList_SetItem", types.int32, WORD, WORD, WORD)  # takes the reference over, as for tuples
set_tuple_item = function("PyTuple_SetItem", types.int32, WORD, WORD, WORD)
set_dict_item = function("PyDict_SetItem", types.int32, WORD, WORD, WORD)
next_of_dict = function("PyDict_Next", types.int32, WORD, WORD, WORD, WORD)  # lends key and value
compare = function("PyObject_RichCompareBool", types.int32, WORD, WORD, types.int32)
attribute = function("PyObject_GetAttr", WORD, WORD, WORD)
instance_dict = function("PyObject_GenericGetDict", WORD, WORD, WORD)  # a new reference
float_value = function("PyFloat_AsDouble", types.float64, WORD)
new_float = function("PyFloat_FromDouble", WORD, types.float64)
integer_value = function("PyLong_AsLongLong", WORD, WORD)
new_integer = function("PyLong_FromLongLong", WORD, WORD)
acquire = function("Py_IncRef", types.void, WORD)
release = function("Py_DecRef", types.void, WORD)
error = function("PyErr_Occurred", WORD)
clear_error = function("PyErr_Clear", types.void)
unlock = function("PyEval_SaveThread", WORD)
lock = function("PyEval_RestoreThread", types.void, WORD)
call_object = function("PyObject_Call", WORD, WORD, WORD, WORD)
same_bytes = function("memcmp", types.int32, WORD, WORD, WORD)

# The fields of NumPy's arrays, which belong to its binary interface
DATA, NDIM, DIMENSIONS, STRIDES, DESCRIPTOR, FLAGS = 16, 24, 32, 40, 56, 64
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400
CONTENTS = FIRST_FIELD  # of a closure cell
EQUAL = 2  # how to compare


def array_at(context, builder, kind, address, shape, strides=()):
    """Memory as an array, whose runtime is whoever called; words are LLVM values. Without strides it is contiguous."""
    made = context.make_array(kind)(context, builder)
    made.itemsize = word(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    made.nitems, strides = word(1), list(strides)
    for extent in reversed(shape):
        if len(strides) < kind.ndim:
            strides.insert(0, builder.mul(made.nitems, made.itemsize))
        made.nitems = builder.mul(made.nitems, extent)
    made.data = builder.inttoptr(address, made.data.type)
    made.shape, made.strides = cgutils.pack_array(builder, shape), cgutils.pack_array(builder, strides)
    made.meminfo, made.parent = (ir.Constant(x.type, None) for x in (made.meminfo, made.parent))
    return made._getvalue()


def word(x):
    return ir.Constant(ir.IntType(64), x)


@intrinsic
def numbers(typingctx, address, count, dtype):
    """So many numbers of a dtype from an address on, as an array."""
    kind = types.Array(dtype.dtype, 1, "C")

    def emit(context, builder, signature, args):
        return array_at(context, builder, kind, args[0], [args[1]])

    return kind(types.int64, types.int64, dtype), emit


@intrinsic
def words(typingctx, address, count):
    """So many words from an address on, as an array."""

    def emit(context, builder, signature, args):
        return array_at(context, builder, signature.return_type, args[0], [args[1]])

    return types.Array(types.int64, 1, "C")(types.int64, types.int64), emit


@intrinsic
def word_at(typingctx, address):
    """The word that memory holds."""

    def emit(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), emit


@intrinsic
def half_at(typingctx, address):
    """The 32-bit word that memory holds."""

    def emit(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()))

    return types.int32(types.int64), emit


@intrinsic
def prefetch(typingctx, address):
    """Bring the line of an address into the cache of the second level."""

    def emit(context, builder, signature, args):
        emit_prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), writes=False, level=2)
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def call(typingctx, function, arguments):
    """Call a C function at an address with words; it returns a word."""

    def emit(context, builder, signature, args):
        kinds = [context.get_value_type(kind) for kind in signature.args[1]]
        target = builder.inttoptr(args[0], ir.FunctionType(ir.IntType(64), kinds).as_pointer())
        return builder.call(target, [builder.extract_value(args[1], k) for k in range(len(kinds))])

    return types.int64(function, arguments), emit


@intrinsic(prefer_literal=True)
def stack(typingctx, count):
    """The address of memory for so many words, until the function returns that asks for it."""

    def emit(context, builder, signature, args):
        size = ir.Constant(ir.IntType(64), count.literal_value)
        memory = cgutils.alloca_once(builder, ir.IntType(64), size=size)
        return builder.ptrtoint(memory, ir.IntType(64))

    return (types.int64(count), emit) if isinstance(count, types.IntegerLiteral) else None
