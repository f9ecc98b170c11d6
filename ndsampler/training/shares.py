"""
The share of each class in an epoch: converts weights, names of rules and dictionaries to shares that sum to
1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from ndsampler.category_tree import CategoryTree

    Weights = Literal["equal", "inverse", "sqrt"] | Mapping[Any, float] | ArrayLike | None

#: For each named rule, the weight of a class among its siblings as a function of its number of items.
RULES: dict[str, Callable[[int], float]] = {
    "equal": lambda count: 1.0,
    "inverse": lambda count: 1.0 / count,
    "sqrt": lambda count: float(np.sqrt(count)),
}


@dataclass(frozen=True, eq=False)
class ClassShare:
    """A class from which items are drawn."""

    label: Any
    """Label of its items."""
    items: NDArray[np.int64]
    """Indexes of its items."""
    share: Fraction
    """Share of all draws that are from this class."""


def class_shares(groups: ArrayLike, weights: Weights, tree: CategoryTree | None = None) -> list[ClassShare]:
    """Return the classes of items with their shares. The classes of a subtree are adjacent.

    Args:
        groups: label of each item.
        weights: None for shares in proportion to the number of items of a class; ``'equal'`` for equal
            shares; ``'inverse'`` for shares in inverse proportion to the number of items; ``'sqrt'`` for
            shares in proportion to its square root. A dictionary states the shares of some classes, and the
            others divide the rest in proportion to their numbers of items. An array contains a weight for
            each class in the order of ``np.unique``.
        tree: hierarchy whose nodes are the labels. Shares are divided among the siblings at each level, and
            multiplied along the path to each class.

    Raises:
        ArgumentError: for a weight of a class without items, a share above one, or unknown weights.

    Example:
        >>> [float(found.share) for found in class_shares(['a', 'b', 'b', 'b'], 'equal')]
        [0.5, 0.5]
    """
    labels, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if not len(labels):
        raise ArgumentError("groups is empty; expected a label for each item")
    order = np.argsort(inverse, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    members = dict(zip(labels.tolist(), parts))
    counts = {label: len(part) for label, part in members.items()}
    if tree is None:
        shares = _divide(counts, weights)
    else:
        shares = _divide_tree(counts, weights, tree)
    return [ClassShare(label, members[label], share) for label, share in shares.items() if share > 0]


def read_labels(groups: ArrayLike) -> NDArray[Any]:
    """Return labels as an array that can be sorted.

    Args:
        groups: label of each item.

    Raises:
        ArgumentTypeError: if labels are missing, cannot be compared with each other, or are sequences.
    """
    if isinstance(groups, (list, tuple)):
        # If labels have mixed types, numpy converts numbers to strings, and makes arrays of objects from
        # None.
        kinds = {"string" if isinstance(label, str) else type(label).__name__ for label in groups}
        if kinds & {"NoneType", "tuple", "list", "dict", "set"} or ("string" in kinds and len(kinds) > 1):
            raise ArgumentTypeError(
                f"groups has labels of the types {', '.join(sorted(kinds))}; expected all numbers or all "
                "strings, such as 'none' for an item without a label, or f'{city}/{kind}' for a pair"
            )
    labels = np.asarray(groups)
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ArgumentTypeError("groups has the label NaN; expected a label for each item, such as -1")
    if labels.dtype.kind == "O":
        return read_labels(labels.tolist())
    return labels


def read_weights(weights: Any) -> NDArray[np.float64]:
    """Return weights as an array of floats.

    Args:
        weights: a number for each class or item.

    Raises:
        ArgumentTypeError: if the weights are not numbers.
    """
    values = np.asarray(weights)
    is_real = values.dtype.kind in "biuf" or all(isinstance(value, Real) for value in values.ravel())
    if values.size and not is_real:
        raise ArgumentTypeError(f"weights has values of type {values.dtype}; expected numbers")
    return values.astype(np.float64)


def _divide(counts: Mapping[Any, int], weights: Weights) -> dict[Any, Fraction]:
    """Return the share of each sibling."""
    if isinstance(weights, Mapping):
        return _shares_from_mapping(counts, weights)
    if weights is None:
        values = [float(count) for count in counts.values()]
    elif isinstance(weights, str):
        if weights not in RULES:
            raise ArgumentError(
                f"weights is {weights!r}; expected one of {', '.join(map(repr, RULES))}, a dictionary of "
                "shares, an array or None"
            )
        values = [RULES[weights](count) for count in counts.values()]
    else:
        values = _weights_from_array(counts, weights)
    total = sum(map(Fraction, values))
    return {label: Fraction(value) / total for label, value in zip(counts, values)}


def _weights_from_array(counts: Mapping[Any, int], weights: ArrayLike) -> list[float]:
    """Return the weights in an array, one for each class."""
    values = read_weights(weights)
    if values.shape != (len(counts),):
        raise ArgumentError(
            f"weights has the shape {values.shape}; expected ({len(counts)},), a weight for each class in "
            "the order of np.unique(groups)"
        )
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ArgumentError("weights has a negative number, infinity or NaN, or only zeros")
    result: list[float] = values.tolist()
    return result


def _shares_from_mapping(counts: Mapping[Any, int], weights: Mapping[Any, float]) -> dict[Any, Fraction]:
    """Return the shares of all siblings, given some of them. The others divide the rest."""
    unknown = [label for label in weights if label not in counts]
    if unknown:
        raise ArgumentError(
            f"weights names {unknown[0]!r}, and no item has that class; expected some of {list(counts)[:10]}"
        )
    values = dict(zip(weights, read_weights(list(weights.values())).tolist()))
    shares = {label: Fraction(share) for label, share in values.items() if math.isfinite(share)}
    total = sum(shares.values())
    slack = Fraction(1, 10**6)
    if len(shares) < len(weights) or min(shares.values(), default=0) < 0 or total > 1 + slack:
        raise ArgumentError(
            f"weights states the shares {dict(weights)}, {float(total):g} in total; expected shares from 0 "
            "to 1 whose sum is at most 1"
        )
    rest = {label: count for label, count in counts.items() if label not in weights}
    if not rest:
        if total < 1 - slack:
            raise ArgumentError(
                f"weights states the shares {dict(weights)} of all classes, {float(total):g} in total; "
                "expected a sum of 1"
            )
        return {label: shares[label] / total for label in counts}
    left, items = max(Fraction(0), 1 - total), sum(rest.values())
    return {label: shares.get(label, left * Fraction(counts[label], items)) for label in counts}


def _divide_tree(counts: Mapping[Any, int], weights: Weights, tree: CategoryTree) -> dict[Any, Fraction]:
    """Return the shares of a hierarchy's classes, multiplied along the path to each, in depth-first order."""
    unknown = [label for label in counts if label not in tree.graph.nodes]
    if unknown:
        raise ArgumentError(f"groups has the label {unknown[0]!r}; expected names of classes of the tree")
    if weights is not None and not isinstance(weights, (str, Mapping)):
        raise ArgumentError("weights is an array; with a tree, expected a name or a dictionary of shares")
    graph = tree.graph
    below = {node: counts.get(node, 0) for node in graph.nodes}
    for node in reversed(_depth_first(graph)):
        below[node] += sum(below[child] for child in graph.successors(node))
    if isinstance(weights, Mapping):
        empty = [label for label in weights if not below.get(label)]
        if empty:
            raise ArgumentError(f"weights names {empty[0]!r}; expected classes of the tree that have items")
    shares: dict[Any, Fraction] = {}
    roots = [node for node in graph.nodes if graph.in_degree(node) == 0]
    pending: list[tuple[Sequence[Any], Any, Fraction]] = [(roots, None, Fraction(1))]
    while pending:
        nodes, parent, share = pending.pop()
        siblings = {node: below[node] for node in nodes if below[node]}
        if parent is not None and counts.get(parent):
            # Items with the label of the parent itself count as an additional child.
            siblings = {parent: counts[parent], **siblings}
        divided = _divide(siblings, _weights_of(weights, siblings))
        inner = []
        for node, part in divided.items():
            children = list(graph.successors(node))
            if node != parent and children and below[node] > counts.get(node, 0):
                inner.append((children, node, share * part))
            shares[node] = share * part
        pending += reversed(inner)
    leaves = {label: shares[label] for label in _depth_first(graph) if label in counts}
    return leaves


def _weights_of(weights: Weights, siblings: Mapping[Any, int]) -> Weights:
    """Return the weights of some siblings."""
    if not isinstance(weights, Mapping):
        return weights
    stated = {label: weights[label] for label in siblings if label in weights}
    return stated or None


def _depth_first(graph: Any) -> list[Any]:
    """Return the nodes of a forest, each parent right before its descendants."""
    found = []
    pending = [node for node in graph.nodes if graph.in_degree(node) == 0][::-1]
    while pending:
        node = pending.pop()
        found.append(node)
        pending += list(graph.successors(node))[::-1]
    return found
