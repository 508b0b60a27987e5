"""The format of linear tapes: entries, and the matrix products between them."""

import functools
from typing import NamedTuple

import numpy as np


@functools.cache
def lead_type(dtype) -> np.dtype:
    """Where a slot leads: `coefficient` times what `node` holds."""
    return np.dtype([("node", np.uint32), ("coefficient", dtype)], align=True)


@functools.cache
def term_type(dtype) -> np.dtype:
    """An entry, `da` times node a plus `db` times node b; where there is one operand, b is node 0 and db is zero."""
    return np.dtype([("a", np.uint32), ("b", np.uint32), ("da", dtype), ("db", dtype)], align=True)


class Products(NamedTuple):
    """The entries between two products are a segment; there is one more segment than products."""

    segments: np.ndarray  # (segments, 4) int64: START, STOP, NODE, PRODUCT
    products: np.ndarray  # (products, 4) int64: RECORD, RESULTS, LEFT, RIGHT
    listed: np.ndarray  # where the elements of the operands of products lead


START, STOP, NODE, PRODUCT = range(4)  # of a segment: its entries, the node of the first, the product behind or -1
RECORD, RESULTS, LEFT, RIGHT = range(4)  # of a product: place in aux, first node, places in `listed` or -1
ENTRIES, NODES, SEGMENTS, PRODUCTS, LISTED = range(5)  # what is counted in `used`
