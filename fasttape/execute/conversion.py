"""Arguments into slots and slots into results, in compiled code: loops over flat descriptions of trees of objects.

A node is WIDTH words. In what comes in, nodes say what objects have to be for a recording to hold and where their
numbers go; in what goes out, which objects to make. Children follow their parents, and how a child is found depends on
the kind of its parent. No answer is ever wrong: what is not exactly as described is for `binding` to judge.
"""

import numpy as np

from fasttape.compiler.jit import kernel
from fasttape.compiler.late import capi
from fasttape.compiler.objects import TYPE_FIELD
from fasttape.execute.blocks import LINE
from fasttape.execute.entries import ALL
from fasttape.layout import ADJOINT, FIRST

KIND, CLS, SIZE, PARENT, INDEX, KEY, SLOT, NUMBERS, SHAPE, DTYPE, PLACES, SOURCE = range(12)
WIDTH = 12

# Kinds of nodes. Of a NAMESPACE, a dict, only some values matter; the parts of an INSTANCE are attributes
# and, where KEY is 0, the dict of its own; ITEMS is a list of the same objects, whose addresses are at SLOT. The keys
# of a DICT that comes in are in `shapes`, from SHAPE on
LIST, TUPLE, DICT, NAMESPACE, CELL, INSTANCE, SAME, ITEMS, CONTENT, NUMBER, SCALAR, ARRAY = range(12)
OUTPUTS, ADJOINTS, PLACED = range(3)  # SOURCE: where the numbers of a result are; PLACED: in the new array itself
NOWHERE = -1  # PLACES of an array that is copied; else where `places` lists the operands that read it: count, pairs


@kernel
def child(nodes, objects, k):
    """The object of node k, borrowed; 0 where there is none."""
    at = k * WIDTH
    parent = nodes[at + PARENT]
    if parent < 0:
        return nodes[at + KEY]
    kind, x = nodes[parent * WIDTH + KIND], objects[parent]
    if kind == TUPLE:
        return capi.tuple_item(x, nodes[at + INDEX])
    if kind == LIST:
        return capi.list_item(x, nodes[at + INDEX])
    if kind == CELL:
        return capi.word_at(x + capi.CONTENTS)
    if kind == INSTANCE:
        name = nodes[at + KEY]
        found = capi.attribute(x, name) if name else capi.instance_dict(x, 0)
        if found:  # its owner holds it, too
            capi.release(found)
        else:
            capi.clear_error()
        return found
    return capi.dict_item(x, nodes[at + KEY])


@kernel
def same_shape(x, nodes, at, shapes):
    """Whether an array is contiguous and has the dtype and shape of a node."""
    flags = capi.C_CONTIGUOUS | capi.ALIGNED
    if capi.word_at(x + capi.DESCRIPTOR) != nodes[at + DTYPE] or capi.half_at(x + capi.FLAGS) & flags != flags:
        return False
    if capi.half_at(x + capi.NDIM) != nodes[at + SIZE]:
        return False
    for d in range(nodes[at + SIZE]):
        if capi.word_at(capi.word_at(x + capi.DIMENSIONS) + 8 * d) != shapes[nodes[at + SHAPE] + d]:
            return False
    return True


@kernel
def same_items(x, addresses, size):
    """Whether a list holds the objects at some addresses."""
    if capi.list_size(x) != size:
        return False
    items, same = capi.words(addresses, size), 0
    while same < size and capi.list_item(x, same) == items[same]:
        same += 1
    return same == size


@kernel
def same_keys(x, keys, room):
    """Whether a dict has some keys in their order; `room` is the address of three words."""
    words = capi.words(room, 3)
    words[0] = 0
    for expected in keys:
        if not capi.next_of_dict(x, room, room + 8, room + 16):
            return False
        key = words[1]
        if key != expected:
            capi.acquire(key)
            equal = capi.compare(key, expected, np.int32(capi.EQUAL))
            capi.release(key)
            if equal != 1:
                capi.clear_error()
                return False
    return True


@kernel
def read(x, nodes, at, shapes, places, values, aux, room, dtype):
    """Whether an object is what its node describes; if so its numbers are in their slots."""
    kind = nodes[at + KIND]
    if kind == SAME:
        return x == nodes[at + SLOT]
    if x == 0 or capi.word_at(x + TYPE_FIELD) != nodes[at + CLS]:
        return False
    if kind == TUPLE:
        return capi.tuple_size(x) == nodes[at + SIZE]
    if kind == LIST:
        return capi.list_size(x) == nodes[at + SIZE]
    if kind == DICT:
        keys = shapes[nodes[at + SHAPE] : nodes[at + SHAPE] + nodes[at + SIZE]]
        return capi.dict_size(x) == keys.size and same_keys(x, keys, room)
    if kind == ITEMS:
        return same_items(x, nodes[at + SLOT], nodes[at + SIZE])
    if kind == NUMBER:
        values[nodes[at + SLOT]] = capi.float_value(x)
    elif kind == CONTENT:
        size, source = nodes[at + NUMBERS], capi.word_at(x + capi.DATA)
        return same_shape(x, nodes, at, shapes) and capi.same_bytes(source, nodes[at + SLOT], size) == 0
    elif kind == ARRAY:
        if not same_shape(x, nodes, at, shapes):
            return False
        source = capi.word_at(x + capi.DATA)
        if nodes[at + PLACES] == NOWHERE:
            numbers, slot = capi.numbers(source, ALL, dtype), nodes[at + SLOT]
            for i in range(nodes[at + NUMBERS]):
                values[slot + i] = numbers[i]
        else:
            place(
                places,
                nodes[at + PLACES],
                aux,
                FIRST,
                (source - values.ctypes.data) // values.itemsize,
                nodes[at + SLOT],
            )
    return True


@kernel
def place(places, at, aux, field, origin, slot):
    """Let the operands that read the slots from `slot` on find them at `origin`."""
    for i in range(places[at]):
        aux[places[at + 1 + 2 * i] + field] = places[at + 2 + 2 * i] - slot + origin


@kernel
def matches(nodes, objects, shapes, places, values, aux, dtype):
    """Whether objects are what the nodes describe; if so the inputs are in their slots."""
    room = objects.ctypes.data + 8 * (nodes.size // WIDTH)
    for k in range(nodes.size // WIDTH):
        x = objects[0] if k == 0 else child(nodes, objects, k)
        if not read(x, nodes, k * WIDTH, shapes, places, values, aux, room, dtype):
            return False
        objects[k] = x
    return True


@kernel
def new_array(nodes, at, shapes, data, numpy):
    """A new array as a node describes it, in given memory unless that is 0."""
    flags = np.int32(capi.C_CONTIGUOUS | capi.ALIGNED | capi.WRITEABLE if data else 0)
    dimensions = shapes.ctypes.data + 8 * nodes[at + SHAPE]
    rank, number = np.int32(nodes[at + SIZE]), np.int32(nodes[at + DTYPE])
    return capi.call(numpy[1], (nodes[at + CLS], rank, dimensions, number, 0, data, np.int32(0), flags, 0))


@kernel
def make_placed(nodes, objects, shapes, places, adjoints, aux, numpy):
    """Make the arrays into which a reverse sweep writes by itself, each from the beginning of a cache line."""
    for k in range(nodes.size // WIDTH):
        at = k * WIDTH
        if nodes[at + KIND] == ARRAY and nodes[at + SOURCE] == PLACED:
            length = shapes.ctypes.data + 8 * (nodes[at + SHAPE] + nodes[at + SIZE])
            number, none, one = np.int32(nodes[at + DTYPE]), np.int32(0), np.int32(1)
            memory = capi.call(numpy[1], (nodes[at + CLS], one, length, number, 0, 0, none, none, 0))
            if memory == 0:
                return False
            data = (capi.word_at(memory + capi.DATA) + LINE - 1) // LINE * LINE
            objects[k] = new_array(nodes, at, shapes, data, numpy)
            if objects[k] == 0 or capi.call(numpy[2], (objects[k], memory)) < 0:
                return False
            place(
                places,
                nodes[at + PLACES],
                aux,
                ADJOINT,
                (data - adjoints.ctypes.data) // adjoints.itemsize,
                nodes[at + SLOT],
            )
    return True


@kernel
def made(nodes, at, shapes, values, adjoints, outputs, numpy, dtype):
    """A new object as a node describes it, containers empty; 0 if there is no memory for it."""
    kind, slot, result = nodes[at + KIND], nodes[at + SLOT], 0
    if kind == LIST:
        result = capi.new_list(nodes[at + SIZE])
    elif kind == TUPLE:
        result = capi.new_tuple(nodes[at + SIZE])
    elif kind == DICT:
        result = capi.copy_dict(slot)
    elif kind == SAME:
        capi.acquire(slot)
        result = slot
    elif kind == ARRAY:
        result = new_array(nodes, at, shapes, 0, numpy)
        if result:
            numbers = capi.numbers(capi.word_at(result + capi.DATA), ALL, dtype)
            for i in range(nodes[at + NUMBERS]):
                numbers[i] = adjoints[slot + i] if nodes[at + SOURCE] == ADJOINTS else values[outputs[slot + i]]
    elif nodes[at + SOURCE] == ADJOINTS:
        result = new_number(nodes, at, adjoints, slot, numpy)
    else:
        result = new_number(nodes, at, values, outputs[slot], numpy)
    return result


@kernel
def new_number(nodes, at, numbers, place, numpy):
    """A number as a Python float, or as a scalar of NumPy."""
    if nodes[at + KIND] == NUMBER:
        return capi.new_float(numbers[place])
    return capi.call(numpy[0], (numbers.ctypes.data + place * numbers.itemsize, nodes[at + DTYPE], 0))


@kernel
def build(nodes, objects, shapes, values, adjoints, outputs, numpy, dtype):
    """The tree of new objects that the nodes describe; 0 with an error set if there is no memory for it."""
    for k in range(nodes.size // WIDTH):
        at = k * WIDTH
        if not (nodes[at + KIND] == ARRAY and nodes[at + SOURCE] == PLACED):
            objects[k] = made(nodes, at, shapes, values, adjoints, outputs, numpy, dtype)
        x, parent, failed = objects[k], nodes[at + PARENT], objects[k] == 0
        if parent >= 0 and not failed:
            kind, container = nodes[parent * WIDTH + KIND], objects[parent]
            if kind == LIST:
                capi.set_list_item(container, nodes[at + INDEX], x)
            elif kind == TUPLE:
                capi.set_tuple_item(container, nodes[at + INDEX], x)
            else:
                failed = capi.set_dict_item(container, nodes[at + KEY], x) < 0
                capi.release(x)
        if failed:
            if k:
                capi.release(objects[0])
            return 0
    return objects[0]
