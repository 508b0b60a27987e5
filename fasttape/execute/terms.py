"""The format of linear tapes: entries, and the matrix products between them."""

import functools

import numpy as np


@functools.cache
def lead_type(dtype) -> np.dtype:
    """Where a slot leads: `coefficient` times what `node` holds."""
    return np.dtype([("node", np.uint32), ("coefficient", dtype)], align=True)


@functools.cache
def term_type(dtype) -> np.dtype:
    """An entry, `da` times node a plus `db` times node b; where there is one operand, b is node 0 and db is zero."""
    return np.dtype([("a", np.uint32), ("b", np.uint32), ("da", dtype), ("db", dtype)], align=True)


# The entries between two products are a segment, and there is one more segment than products. `segments` and `products`
# are tables of int64 with these columns; `listed` says where the elements of the operands of products lead.
START, STOP, NODE, PRODUCT = range(4)  # of a segment: its entries, the node of the first, the product behind or -1
RECORD, RESULTS, LEFT, RIGHT = range(4)  # of a product: place in aux, first node, places in `listed` or -1
ENTRIES, NODES, SEGMENTS, PRODUCTS, LISTED = range(5)  # what is counted in `used`
