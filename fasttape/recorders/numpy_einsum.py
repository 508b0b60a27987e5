"""numpy.einsum as products of stacks of matrices, operand by operand."""

import math
import string

import numpy as np

from fasttape.errors import UnsupportedError
from fasttape.recorders.array import as_traced, builder_of


def parsed(subscripts, operands):
    """The labels of each operand and of the result; an ellipsis becomes labels of its own."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {len(terms)} operands in {subscripts!r}, but {len(operands)} were given")
    free = [label for label in string.ascii_letters if label not in subscripts]
    rest = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, operands, strict=True)]
    most = max((n for n, term in zip(rest, terms, strict=True) if "..." in term), default=0)
    for term, x, n in zip(terms, operands, rest, strict=True):
        if n < 0 or (n and "..." not in term):
            raise ValueError(f"einsum: {term!r} does not name the {x.ndim} axes of its operand")
    dots = "".join(free[:most])
    terms = [term.replace("...", dots[most - n :]) for term, n in zip(terms, rest, strict=True)]
    if not arrow:
        joined = "".join(terms)
        result = dots + "".join(sorted(x for x in set(joined) - set(dots) if joined.count(x) == 1))
    result = result.replace("...", dots)
    if len(set(result)) < len(result) or not set(result) <= set("".join(terms)):
        raise ValueError(f"einsum: the result {result!r} has a label twice, or one that no operand has")
    return terms, result


def diagonals(x, term):
    """An operand with each of its labels once: axes of one label become their diagonal."""
    for label in dict.fromkeys(term):
        while term.count(label) > 1:
            first, second = [d for d, other in enumerate(term) if other == label][:2]
            if x.shape[first] != x.shape[second]:
                raise ValueError(f"einsum: axes of label {label!r} have the lengths {x.shape[first], x.shape[second]}")
            x = np.diagonal(x, 0, first, second)
            term = "".join(other for d, other in enumerate(term) if d not in (first, second)) + label
    return x, term


def summed(x, term, kept):
    """An operand without the labels that nobody else has."""
    axes = tuple(d for d, label in enumerate(term) if label not in kept)
    return (x.sum(axes) if axes else x), "".join(label for label in term if label in kept)


def product(x, of_x, y, of_y, kept):
    """The product of two operands, summed over the labels that are not kept."""
    both = [label for label in of_x if label in of_y]
    batch = [label for label in both if label in kept]
    inner = [label for label in both if label not in kept]
    left = [label for label in of_x if label not in both]
    right = [label for label in of_y if label not in both]
    sizes = {}
    for label, n in [*zip(of_x, x.shape, strict=True), *zip(of_y, y.shape, strict=True)]:
        if sizes.setdefault(label, n) != n and 1 not in (sizes[label], n):
            raise ValueError(f"einsum: axes of label {label!r} have the lengths {sizes[label], n}")
        sizes[label] = max(sizes[label], n)

    def matrices(z, term, rows, columns):
        z = np.transpose(z, [term.index(label) for label in (*batch, *rows, *columns)])
        z = np.broadcast_to(z, [sizes[label] for label in (*batch, *rows, *columns)])
        return z.reshape(*(sizes[label] for label in batch), size(rows), size(columns))

    def size(labels):
        return math.prod(sizes[label] for label in labels)

    if inner:
        z = np.matmul(matrices(x, of_x, left, inner), matrices(y, of_y, inner, right))
    else:
        z = matrices(x, of_x, left, ()) * matrices(y, of_y, (), right)
    labels = (*batch, *left, *right)
    return np.reshape(z, [sizes[label] for label in labels]), "".join(labels)


def einsum(subscripts, *operands, optimize=False, **options):
    if not isinstance(subscripts, str) or options:
        raise UnsupportedError("numpy.einsum with lists of axes, or with options, cannot be recorded")
    builder = builder_of(operands)
    operands = [as_traced(builder, x) for x in operands]
    terms, result = parsed(subscripts, operands)
    pairs = [diagonals(x, term) for x, term in zip(operands, terms, strict=True)]
    x, term = pairs.pop(0)
    while True:
        kept = set(result).union(*(other for _, other in pairs))
        x, term = summed(as_traced(builder, x), term, kept)
        if not pairs:
            break
        y, other = pairs.pop(0)
        later = set(result).union(*(label for _, label in pairs))
        y, other = summed(as_traced(builder, y), other, later | set(term))
        x, term = product(as_traced(builder, x), term, as_traced(builder, y), other, later)
    x = as_traced(builder, x).transpose([term.index(label) for label in result])
    return x if result else x[()]


EINSUM = {np.einsum: einsum}
