"""
A forest of categories as arrays of indexes, and the prediction of a category from the roots down.

:mod:`ndsampler.category_tree` maps the indexes to names. This module needs only numpy, and networkx to
check a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import networkx as nx
    from numpy.typing import NDArray

__all__ = ["Hierarchy", "RefineRule", "check_forest", "impurity_rule", "probability_rule", "walk_down"]

#: A function that decides for n items whether a prediction is refined from a category to one of its children.
#: It takes the probabilities of the category and its siblings (n, S), the position of the category among
#: them, and the probabilities of its children (n, K), and returns (n,) booleans.
RefineRule = Callable[[Any, int, Any], Any]


def check_forest(graph: Any) -> None:
    """Check that a graph of categories is a forest.

    The time is proportional to the number of nodes and edges. ``networkx.is_forest`` would build a subgraph
    of each component, which takes many times as long for categories without a hierarchy.

    Args:
        graph: the graph. Its edges point from a category to a more specific one.

    Raises:
        ArgumentTypeError: if it is not a networkx graph.
        ArgumentError: if it has a cycle or undirected edges, or if its edges without their directions form a
            cycle.

    Example:
        >>> import networkx as nx
        >>> check_forest(nx.DiGraph([("animal", "cat"), ("animal", "dog")]))
        >>> check_forest(nx.DiGraph([("animal", "cat"), ("cat", "animal")]))
        Traceback (most recent call last):
        ...
        ndsampler.errors.ArgumentError: the category graph of 2 nodes and 2 edges has a cycle; ...
    """
    import networkx as nx

    if not isinstance(graph, nx.Graph):
        raise ArgumentTypeError(
            f"the category graph is of the type {type(graph).__name__}; expected a networkx.DiGraph"
        )
    if not len(graph):
        return
    size = f"the category graph of {len(graph)} nodes and {graph.number_of_edges()} edges"
    if not nx.is_directed_acyclic_graph(graph):
        raise ArgumentError(f"{size} has a cycle; expected a directed acyclic graph (DAG)")
    if graph.number_of_edges() != len(graph) - nx.number_weakly_connected_components(graph):
        raise ArgumentError(f"{size} is not a forest; expected one path from a root to each category")


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A forest of categories, each represented by its index."""

    edges: tuple[tuple[Hashable, Hashable], ...]
    """The (parent, child) names of each edge of the graph from which the hierarchy was made."""

    groups: tuple[NDArray[np.int64], ...]
    """Groups of siblings, each sorted. The roots come first, and every parent before its children."""

    parents: tuple[int, ...]
    """Parent category of each group; -1 for the roots."""

    child_group: dict[int, int]
    """For each category with children, the group of its children."""

    group_of: list[int]
    """Group of each category."""

    offset_of: list[int]
    """Position of each category within its group."""

    inverse: NDArray[np.int64]
    """Position of each category in the concatenation of all groups."""

    leaves: NDArray[np.int64]
    """The categories without children, sorted."""

    leaf_place_of: NDArray[np.int64]
    """Position of each category in ``leaves``; -1 for a category with children."""

    @classmethod
    def from_graph(cls, graph: nx.DiGraph, node_to_idx: dict[Hashable, int]) -> Hierarchy:
        """Return the hierarchy of a graph.

        Args:
            graph: the graph. Its edges point from a category to a more specific one.
            node_to_idx: index of each node, counted from 0 without gaps.

        Raises:
            ArgumentError: if the graph is not a forest.

        Example:
            >>> import networkx as nx
            >>> graph = nx.DiGraph([("animal", "cat"), ("animal", "dog")])
            >>> tree = Hierarchy.from_graph(graph, {"animal": 0, "cat": 1, "dog": 2})
            >>> [group.tolist() for group in tree.groups]
            [[0], [1, 2]]
        """
        groups, parents = _sibling_groups(graph, node_to_idx)
        order = np.concatenate(groups)
        if not np.array_equal(np.sort(order), np.arange(len(node_to_idx))):
            raise ArgumentError(
                f"the category graph of {len(node_to_idx)} nodes and {graph.number_of_edges()} edges is not "
                "a forest; expected at most one parent for each category and no cycle: remove an edge"
            )
        group_of, offset_of = [0] * len(order), [0] * len(order)
        for place, group in enumerate(groups):
            for offset, idx in enumerate(group.tolist()):
                group_of[idx], offset_of[idx] = place, offset
        child_group = {parent: place for place, parent in enumerate(parents) if parent >= 0}
        leaves = np.array([idx for idx in range(len(order)) if idx not in child_group], dtype=np.int64)
        leaf_place_of = np.full(len(order), -1, dtype=np.int64)
        leaf_place_of[leaves] = np.arange(len(leaves))
        return cls(
            edges=tuple(graph.edges),
            groups=groups,
            parents=parents,
            child_group=child_group,
            group_of=group_of,
            offset_of=offset_of,
            inverse=np.argsort(order),
            leaves=leaves,
            leaf_place_of=leaf_place_of,
        )

    def longest_path(self) -> list[int]:
        """Return the categories on the longest path from a root; the first such path if there are several.

        Example:
            >>> import networkx as nx
            >>> graph = nx.DiGraph([("animal", "cat"), ("animal", "dog")])
            >>> Hierarchy.from_graph(graph, {"animal": 0, "cat": 1, "dog": 2}).longest_path()
            [0, 1]
        """
        parent_of = [self.parents[group] for group in self.group_of]
        paths: list[list[int]] = []
        for leaf in self.leaves.tolist():
            path = [leaf]
            while parent_of[path[0]] >= 0:
                path.insert(0, parent_of[path[0]])
            paths.append(path)
        return max(paths, key=len, default=[])


def _sibling_groups(
    graph: nx.DiGraph, node_to_idx: dict[Hashable, int]
) -> tuple[tuple[NDArray[np.int64], ...], tuple[int, ...]]:
    """Return the groups of siblings, depth first from the roots, and the parent of each group."""
    groups: list[NDArray[np.int64]] = []
    parents: list[int] = []
    pending = [(-1, [node for node, degree in graph.in_degree() if degree == 0])]
    # There are more groups than nodes only if several paths lead to a node.
    while pending and len(groups) <= len(node_to_idx):
        parent, nodes = pending.pop()
        groups.append(np.array(sorted(node_to_idx[node] for node in nodes), dtype=np.int64))
        parents.append(parent)
        # The last item of the list is visited first.
        pending += [(node_to_idx[node], list(graph[node])) for node in reversed(nodes) if graph[node]]
    return tuple(groups), tuple(parents)


def impurity_rule(impurity: Callable[[Any], Any], thresh: float) -> RefineRule:
    """Return a rule that refines a prediction while the impurity of the distribution is low.

    Let h be the impurity of the other siblings together with the children, and h_worst the impurity if the
    probability were spread evenly over the children. The prediction is refined if
    ``1 - h / h_worst > thresh``.

    Args:
        impurity: function of (n, K) probabilities that returns (n,) values; 0 if one probability is 1.
        thresh: a higher threshold leads to predictions closer to the roots.

    Example:
        >>> rule = impurity_rule(lambda probs: 1 - (probs**2).sum(axis=1), 0.5)
        >>> rule(np.array([[1.0], [1.0]]), 0, np.array([[0.9, 0.1], [0.55, 0.45]])).tolist()
        [True, False]
    """

    def refine(siblings: Any, place: int, children: Any) -> Any:
        if children.shape[1] == 1:
            return np.ones(len(children), dtype=bool)
        others = np.delete(siblings, place, axis=1)
        even = np.repeat(siblings[:, [place]] / children.shape[1], children.shape[1], axis=1)
        worst = impurity(np.concatenate([others, even], axis=1))
        found = impurity(np.concatenate([others, children], axis=1))
        return 1 - found / (worst + 1e-30) > thresh

    return refine


def probability_rule(thresh: float) -> RefineRule:
    """Return a rule that refines a prediction while the most probable child exceeds ``thresh``.

    Args:
        thresh: a probability.

    Example:
        >>> rule = probability_rule(0.5)
        >>> rule(np.array([[1.0], [1.0]]), 0, np.array([[0.9, 0.1], [0.5, 0.5]])).tolist()
        [True, False]
    """

    def refine(siblings: Any, place: int, children: Any) -> Any:
        return children.max(axis=1) > thresh

    return refine


def walk_down(
    probs: NDArray[np.floating],
    tree: Hierarchy,
    rule: RefineRule,
    ignored: Collection[int] = (),
    always: Collection[int] = (),
) -> NDArray[np.int64]:
    """Predict a category for each row by refining from the roots down.

    Args:
        probs: (N, C) probability of each category.
        tree: hierarchy of the C categories.
        rule: decides whether a prediction is refined to one of the children.
        ignored: categories that are never predicted, and neither are their descendants.
        always: categories that are always refined.

    Returns:
        (N,) indexes of categories.

    Raises:
        ArgumentError: if all roots are ignored.

    Example:
        >>> import networkx as nx
        >>> tree = Hierarchy.from_graph(nx.DiGraph([("animal", "cat")]), {"animal": 0, "cat": 1})
        >>> walk_down(np.ones((2, 2)), tree, probability_rule(0.5)).tolist()
        [1, 1]
    """
    kept = [
        np.array([idx for idx in group.tolist() if idx not in ignored], dtype=np.int64)
        for group in tree.groups
    ]
    if not len(kept[0]):
        raise ArgumentError(
            f"all {len(tree.groups[0])} top-level classes are ignored; expected at least one that is not: "
            "leave a root out of ignore_class_idxs"
        )
    chosen = np.empty(len(probs), dtype=np.int64)
    rows_at = {0: np.arange(len(probs))}
    for place, siblings in enumerate(kept):
        rows = rows_at.pop(place, np.empty(0, dtype=np.int64))
        if not len(rows):
            continue
        level = probs[rows[:, None], siblings]
        best = level.argmax(axis=1)
        chosen[rows] = siblings[best]
        for offset, idx in enumerate(siblings.tolist()):
            children = tree.child_group.get(idx)
            if children is None or not len(kept[children]):
                continue
            here = best == offset
            if idx not in always:
                here[here] = rule(level[here], offset, probs[rows[here][:, None], kept[children]])
            rows_at[children] = rows[here]
    return chosen
