"""
Probabilities and decisions on a hierarchy of categories.

A network returns one number for each category, its *energy* (logit). On a tree, the softmax is
computed among siblings, and the chain rule gives the probability of every node::

    energies ──softmax among siblings──▶ P(node | parent) ──chain rule──▶ P(node)

A *decision* descends from the roots towards the leaves, and stops if the probability of a category
is spread over several of its children.

Every function accepts numpy arrays and torch tensors, and gives the same results
for both; torch is imported only if a tensor is passed.

References:
    Joseph Redmon and Ali Farhadi: YOLO9000: Better, Faster, Stronger. CVPR 2017.
    https://arxiv.org/abs/1612.08242 (section 4, "Hierarchical classification").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from kwcoco.category_tree import CategoryTree as KWCOCO_CategoryTree
from kwcoco.category_tree import sink_nodes, source_nodes

from ndsampler.classes.array_ops import Array, as_array, as_axis, as_targets, ops_for
from ndsampler.classes.hierarchy import (
    Hierarchy,
    RefineRule,
    check_forest,
    impurity_rule,
    probability_rule,
    walk_down,
)
from ndsampler.errors import ArgumentError, OutOfRangeError, UnknownOptionError
from ndsampler.utils.deprecation import warn_once
from ndsampler.utils.random_state import ensure_rng
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import networkx as nx
    from numpy.typing import NDArray

__all__ = ["CategoryTree", "Mixin_CategoryTree_Torch", "entropy", "gini", "sink_nodes", "source_nodes"]

Tree = TypeVar("Tree", bound="CategoryTree")


def gini(probs: Array, axis: int = 1, impl: Any = None) -> Array:
    """Return the Gini impurity ``1 - sum(p²)``, which is 0 if one category has all the probability.

    Args:
        probs: probabilities, which need not sum to 1.
        axis: axis to sum over.
        impl: ignored; accepted for compatibility.

    Returns:
        The impurities, in the shape of ``probs`` without ``axis``.

    Example:
        >>> gini(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [0.0, 0.5]
    """
    del impl
    probs = as_array(probs)
    return 1 - (probs**2).sum(axis)


def entropy(probs: Array, axis: int = 1, impl: Any = None) -> Array:
    """Return the entropy ``-sum(p log2 p)`` in bits; the term for a probability of 0 is 0.

    Args:
        probs: probabilities, which need not sum to 1.
        axis: axis to sum over.
        impl: ignored; accepted for compatibility.

    Returns:
        The entropies, in the shape of ``probs`` without ``axis``.

    Example:
        >>> entropy(np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])).tolist()
        [1.0, 1.5]
    """
    del impl
    probs = as_array(probs)
    return -ops_for(probs).entropy_terms(probs).sum(axis)


#: Name of a criterion to its measure of impurity.
_IMPURITIES: dict[str, Callable[..., Array]] = {"entropy": entropy, "gini": gini}


class Mixin_CategoryTree_Torch:
    """
    The computations on a category tree: log-probabilities, losses and decisions.

    In every method ``dim`` is the axis of the categories, in the order of ``idx_to_node``.
    """

    graph: nx.DiGraph
    idx_to_node: list[Any]
    node_to_idx: dict[Any, int]
    idx_groups: list[list[int]]

    def conditional_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return log P(node | parent): log-softmax within each group of siblings.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Log-probabilities, in the shape of ``class_energy``.

        Raises:
            ArgumentError: if ``dim`` does not have one entry for each category.

        Example:
            >>> tree = CategoryTree.demo("btree", r=2, h=1, add_zero=False)
            >>> np.exp(tree.conditional_log_softmax(np.zeros((1, 3)), dim=1)).tolist()
            [[1.0, 0.5, 0.5]]
        """
        ops, energy, tree = self._enter(class_energy, dim)
        parts = [ops.log_softmax(ops.take(energy, group)) for group in tree.groups]
        return ops.moveaxis(ops.take(ops.concat(parts), tree.inverse), -1, dim)

    def source_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return log P(node), by the chain rule from the roots down.

        log P(node) = log P(node | parent) + log P(parent), as in YOLO9000.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Log-probabilities, in the shape of ``class_energy``.

        Raises:
            ArgumentError: if ``dim`` does not have one entry for each category.

        Example:
            >>> tree = CategoryTree.demo("btree", r=2, h=2, add_zero=False)
            >>> np.exp(tree.source_log_softmax(np.zeros((1, 7)), dim=1)).round(2).tolist()
            [[1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]]
        """
        ops, energy, tree = self._enter(class_energy, dim)
        groups = [ops.log_softmax(ops.take(energy, group)) for group in tree.groups]
        return ops.moveaxis(_chained(ops, groups, tree), -1, dim)

    def sink_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return log P(node), by log-softmax over the leaves and sums up to the roots.

        The energies of categories with children are ignored.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Log-probabilities, in the shape of ``class_energy``.

        Raises:
            ArgumentError: if ``dim`` does not have one entry for each category.

        Example:
            >>> tree = CategoryTree.demo("btree", r=2, h=1, add_zero=False)
            >>> np.exp(tree.sink_log_softmax(np.zeros((1, 3)), dim=1)).round(2).tolist()
            [[1.0, 0.5, 0.5]]
        """
        ops, energy, tree = self._enter(class_energy, dim)
        known = {-1: ops.log_softmax(ops.take(energy, tree.leaves))}
        for group, parent in zip(tree.groups[:0:-1], tree.parents[:0:-1], strict=True):
            leaf_places = tree.leaf_place_of[group]
            children = [ops.take(known[-1], leaf_places[leaf_places >= 0])]
            children += [known[child] for child in group[leaf_places < 0].tolist()]
            known[parent] = ops.logsumexp(ops.concat(children))
        inner = [idx for idx in known if idx >= 0]
        inverse = np.argsort(np.concatenate([tree.leaves, np.array(inner, dtype=np.int64)]))
        return ops.moveaxis(ops.take(ops.concat(list(known.values())), inverse), -1, dim)

    def hierarchical_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return log P(node): another name of :meth:`source_log_softmax`.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Log-probabilities, in the shape of ``class_energy``.
        """
        return self.source_log_softmax(class_energy, dim)

    def graph_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return log P(node): another name of :meth:`source_log_softmax`.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Log-probabilities, in the shape of ``class_energy``.
        """
        return self.source_log_softmax(class_energy, dim)

    def hierarchical_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return P(node); siblings add up to the probability of their parent, and roots to 1.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Probabilities, in the shape of ``class_energy``.

        Example:
            >>> tree = CategoryTree.from_mutex(["a", "b"], bg_hack=False)
            >>> tree.hierarchical_softmax(np.log([[1.0, 3.0]]), dim=1).round(2).tolist()
            [[0.25, 0.75]]
        """
        log_probs = self.source_log_softmax(class_energy, dim)
        return ops_for(log_probs).exp(log_probs)

    def graph_softmax(self, class_energy: Array, dim: int) -> Array:
        """Return P(node): another name of :meth:`hierarchical_softmax`.

        Args:
            class_energy: raw output of a network, any number of axes.
            dim: axis of the categories.

        Returns:
            Probabilities, in the shape of ``class_energy``.
        """
        return self.hierarchical_softmax(class_energy, dim)

    def hierarchical_cross_entropy(
        self, class_energy: Array, targets: Array, reduction: str = "mean"
    ) -> Array:
        """Return the loss of raw energies: minus log P of the true categories.

        Args:
            class_energy: raw output of a network, (N, C) or (N, C, ...).
            targets: index of the true category of each item, (N,) or (N, ...); items with -100 are ignored.
            reduction: ``'mean'``, ``'sum'``, or ``'none'`` for one loss for each item.

        Returns:
            The loss, a scalar unless ``reduction`` is ``'none'``.

        Raises:
            ArgumentError: for an unknown reduction, a wrong number of categories, or targets that are not
                one whole number for each item.
            OutOfRangeError: if a target is not the index of a category.

        Example:
            >>> tree = CategoryTree.from_mutex(["a", "b"], bg_hack=False)
            >>> float(tree.hierarchical_cross_entropy(np.zeros((4, 2)), np.array([0, 1, 1, 0])).round(4))
            0.6931
        """
        if reduction not in {"mean", "sum", "none"}:
            raise ArgumentError(f"reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")
        class_energy = as_array(class_energy)
        dim = min(1, class_energy.ndim - 1)
        return self._nll_loss(self.hierarchical_log_softmax(class_energy, dim), targets, reduction)

    def hierarchical_nll_loss(self, class_logprobs: Array, targets: Array) -> Array:
        """Return the mean loss of log-probabilities: minus log P of the true categories.

        Args:
            class_logprobs: the result of :meth:`hierarchical_log_softmax`, (N, C) or (N, C, ...).
            targets: index of the true category of each item, (N,) or (N, ...); items with -100 are ignored.

        Returns:
            The loss, a scalar.

        Raises:
            ArgumentError: for a wrong number of categories, or targets that are not one whole number for
                each item.
            OutOfRangeError: if a target is not the index of a category.

        Example:
            >>> tree = CategoryTree.from_mutex(["a", "b"], bg_hack=False)
            >>> float(tree.hierarchical_nll_loss(np.array([[-0.5, -1.5]]), np.array([1])))
            1.5
        """
        return self._nll_loss(as_array(class_logprobs), targets, "mean")

    def _nll_loss(self, log_probs: Array, targets: Array, reduction: str) -> Array:
        """Return the loss of (N, C, ...) or (C,) log-probabilities."""
        ops, log_probs, _ = self._enter(log_probs, min(1, log_probs.ndim - 1))
        return ops.nll_loss(log_probs, as_targets(targets, log_probs), reduction)

    def decision(
        self,
        class_probs: Array,
        dim: int,
        thresh: float = 0.5,
        criterion: str = "gini",
        ignore_class_idxs: Iterable[int] | None = None,
        always_refine_idxs: Iterable[int] | None = None,
    ) -> tuple[NDArray[np.int64], Array]:
        """Choose one category for each item, as specific as the probabilities warrant.

        The decision descends from the roots and selects the most probable sibling on each level. Let h be
        the impurity after the selected category is replaced among its siblings by its children, and h_worst
        the impurity if its probability were spread evenly over its children. The decision continues with
        the children if ``1 - h / (h_worst + 1e-30) > thresh``. It always continues to an only child.

        Args:
            class_probs: the result of :meth:`hierarchical_softmax`, with any number of axes.
            dim: axis of the categories.
            thresh: higher values stop nearer to the roots.
            criterion: ``'gini'`` or ``'entropy'`` impurity, or ``'prob'`` to continue to the best
                child while its probability is above ``thresh``.
            ignore_class_idxs: categories that are never selected, nor are their descendants.
            always_refine_idxs: categories that are not selected if they have children.

        Returns:
            The chosen indexes as int64, and their probabilities in the type of
            ``class_probs``. Both are flat: one value for each item, in C order.

        Raises:
            ArgumentError: if there are no categories, all roots are ignored, an index is out
                of range, or ``dim`` does not have one entry for each category.
            UnknownOptionError: if there is no such criterion.

        Example:
            >>> tree = CategoryTree.demo("btree", r=2, h=1, add_zero=False)
            >>> probs = np.array([[1.0, 0.9, 0.1], [1.0, 0.55, 0.45]])
            >>> tree.decision(probs, dim=1)
            (array([1, 0]), array([0.9, 1. ]))
        """
        rule = _refine_rule(criterion, thresh)
        ops, probs, tree = self._enter(class_probs, dim, floating=False)
        ignored = _checked_indexes("ignore_class_idxs", ignore_class_idxs, len(self.idx_to_node))
        always = _checked_indexes("always_refine_idxs", always_refine_idxs, len(self.idx_to_node))
        if not self.idx_to_node:
            raise ArgumentError("the tree has 0 categories; expected at least one; add categories first")
        rows = probs.reshape(-1, probs.shape[-1])
        chosen = walk_down(ops.to_numpy(rows), tree, rule, ignored, always)
        return chosen, ops.take_per_row(rows, chosen)

    def heirarchical_softmax(self, class_energy: Array, dim: int) -> Array:
        """Misspelled name of :meth:`hierarchical_softmax`; warns once."""
        _warn_of_spelling("softmax")
        return self.hierarchical_softmax(class_energy, dim)

    def heirarchical_log_softmax(self, class_energy: Array, dim: int) -> Array:
        """Misspelled name of :meth:`hierarchical_log_softmax`; warns once."""
        _warn_of_spelling("log_softmax")
        return self.hierarchical_log_softmax(class_energy, dim)

    def heirarchical_cross_entropy(
        self, class_energy: Array, targets: Array, reduction: str = "mean"
    ) -> Array:
        """Misspelled name of :meth:`hierarchical_cross_entropy`; warns once."""
        _warn_of_spelling("cross_entropy")
        return self.hierarchical_cross_entropy(class_energy, targets, reduction)

    def heirarchical_nll_loss(self, class_logprobs: Array, targets: Array) -> Array:
        """Misspelled name of :meth:`hierarchical_nll_loss`; warns once."""
        _warn_of_spelling("nll_loss")
        return self.hierarchical_nll_loss(class_logprobs, targets)

    def _enter(self, data: Array, dim: int, floating: bool = True) -> tuple[Any, Array, Hierarchy]:
        """Return the array operations for the data, the data with the categories last, and the tree."""
        tree = self._hierarchy()
        data = as_array(data)
        ops = ops_for(data)
        axis = as_axis(dim, data)
        if not ops.is_real(data):
            raise ArgumentError(f"the scores are of the type {data.dtype}; expected real numbers")
        if data.shape[axis] != len(self.idx_to_node):
            raise ArgumentError(
                f"axis {dim} of an array of shape {tuple(data.shape)} has {data.shape[axis]} entries; "
                f"expected one for each of {len(self.idx_to_node)} categories: pass their axis as dim"
            )
        return ops, ops.moveaxis(ops.as_floating(data) if floating else data, axis, -1), tree

    def _apply_logprob_chain_rule(self, cond_logprobs: Array, dim: int) -> Array:
        """Return log P(node) for given log P(node | parent)."""
        ops, log_probs, tree = self._enter(cond_logprobs, dim)
        groups = [ops.take(log_probs, group) for group in tree.groups]
        return ops.moveaxis(_chained(ops, groups, tree), -1, dim)

    def _prob_decision(self, class_probs: Array, dim: int, thresh: float = 0.1) -> Any:
        """Return the :meth:`decision` by the criterion ``'prob'``."""
        return self.decision(class_probs, dim, thresh, "prob")

    def _demo_probs(self, num: int = 5, rng: Any = 0, nonrandom: int = 3, hackargmax: bool = True) -> Array:
        """Return a (num, C) float32 tensor of probabilities for tests; the first rows are not random.

        Args:
            num: number of rows.
            rng: seed or random state.
            nonrandom: number of rows that are not random. The first is uniform, and the others prefer a
                longest path with increasing certainty.
            hackargmax: ignored; accepted for compatibility.
        """
        tree = self._hierarchy()
        energy = ensure_rng(rng).rand(num, len(self.idx_to_node)).astype(np.float32)
        energy[: min(nonrandom, 1)] = 0
        for row in range(1, min(nonrandom, num)):
            energy[row, tree.longest_path()] += 2 ** ((row - 1) / 4) if row < nonrandom - 1 else 1e5
        torch = require("torch", "torch", "_demo_probs")
        return self.hierarchical_softmax(torch.from_numpy(energy), dim=1)

    def _hierarchy(self) -> Hierarchy:
        """Return the groups of siblings of the current graph, including edits in place."""
        if self.graph.nodes.keys() != self.node_to_idx.keys():
            self._build_index()
        edges = tuple(self.graph.edges)
        cached: Hierarchy | None = self.__dict__.get("_cache_hierarchy")
        if cached is None or cached.edges != edges:
            cached = Hierarchy.from_graph(self.graph, self.node_to_idx)
            self.idx_groups = [group.tolist() for group in cached.groups]
            self.__dict__["_cache_hierarchy"] = cached
        return cached

    def _build_index(self) -> None:
        """Rebuild the lookup tables; the class with the graph implements this."""
        raise NotImplementedError(f"{type(self).__name__} does not define how its categories are indexed")


class CategoryTree(KWCOCO_CategoryTree, Mixin_CategoryTree_Torch):  # type: ignore[misc, unused-ignore]
    """
    Categories that exclude each other, or form a hierarchy.

    This is a :class:`kwcoco.CategoryTree` with the computations of hierarchical
    classification. An edge of the graph points from a category to a more
    specific one.

    The graph may be edited in place. Computations use the edited graph; call
    ``_build_index()`` to update the lookup tables.

    Args:
        graph (nx.DiGraph): the hierarchy; by default there are no categories.
        checks (bool): whether to check that the graph is a forest.

    Raises:
        ArgumentTypeError: if ``graph`` is not a graph.
        ArgumentError: if it is not a forest: a directed graph without cycles, with at most one parent per
            node.

    Example:
        >>> tree = CategoryTree.coerce(["cat", "dog"])
        >>> tree.hierarchical_softmax(np.zeros((1, 2)), dim=1).tolist()
        [[0.5, 0.5]]

    Example:
        >>> import networkx as nx
        >>> tree = CategoryTree(nx.DiGraph([("animal", "cat"), ("animal", "dog")]))
        >>> tree.idx_groups
        [[0], [1, 2]]
    """

    def __init__(self, graph: nx.DiGraph | None = None, checks: bool = True) -> None:
        if checks and graph is not None:
            check_forest(graph)
        super().__init__(graph, checks=False)

    @classmethod
    def coerce(cls: type[Tree], data: Any, **kw: Any) -> Tree:
        """Return a tree from one of several descriptions.

        Args:
            data: a number of categories, a list of names, a list of COCO categories, a result of
                ``__json__``, a directed graph, or a tree.
            **kw: arguments of the constructor for this kind of data, such as ``bg_hack`` for names.

        Returns:
            The tree; ``data`` itself if it is already one.

        Raises:
            TypeError: if the data does not describe a tree.
            ValueError: if ``kw`` is given with a tree.

        Example:
            >>> CategoryTree.coerce(2).idx_to_node
            ['class_1', 'class_2']
        """
        if isinstance(data, KWCOCO_CategoryTree) and not isinstance(data, cls) and not kw:
            # Keep ids and indexes, even if the graph lists its nodes in another order.
            self = cls(_in_order(data.graph, data.idx_to_node))
            if data.node_to_id.keys() == self.node_to_id.keys():
                self.id_to_node = {_as_id(cid): node for cid, node in data.id_to_node.items()}
                self.node_to_id = {node: cid for cid, node in self.id_to_node.items()}
            return self
        result: Tree = super().coerce(data, **kw)
        return result

    def _build_index(self) -> None:
        super()._build_index()
        for name in [*self.__dict__]:
            if name.startswith("_cache") or name in _MEMOS:
                del self.__dict__[name]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key not in _MEMOS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {key: value for key, value in state.items() if key not in _MEMOS}
        # JSON stores keys as text, so convert category ids back to integers.
        state["id_to_node"] = {_as_id(cid): node for cid, node in state["id_to_node"].items()}
        super().__setstate__(state)
        self.graph = _in_order(self.graph, self.idx_to_node)


#: Attributes in which kwcoco caches computed values on the tree; they are not part of its state.
_MEMOS = frozenset(
    {"_id_to_idx", "_idx_to_id", "idx_pairwise_distance", "idx_to_ancestor_idxs", "idx_to_descendants_idxs"}
)


def _in_order(graph: nx.DiGraph, nodes: Sequence[Any]) -> nx.DiGraph:
    """Return the graph with its nodes in the given order; the same graph if they already are in order."""
    if list(graph.nodes) == list(nodes):
        return graph
    ordered = graph.__class__()
    ordered.add_nodes_from((node, graph.nodes[node]) for node in nodes if node in graph)
    ordered.add_nodes_from(graph.nodes.items())
    ordered.add_edges_from(graph.edges(data=True))
    return ordered


def _as_id(cid: Any) -> Any:
    """Convert a category id, which JSON stores as text, back to its type."""
    return int(cid) if isinstance(cid, str) and cid.lstrip("-").isdigit() else cid


def _chained(ops: Any, groups: Sequence[Array], tree: Hierarchy) -> Array:
    """Return (..., C) log P(node) from the log P(node | parent) of each group of siblings."""
    parts: list[Array] = []
    for part, parent in zip(groups, tree.parents, strict=True):
        if parent >= 0:
            place = tree.offset_of[parent]
            part = part + parts[tree.group_of[parent]][..., place : place + 1]
        parts.append(part)
    return ops.take(ops.concat(parts), tree.inverse)


def _refine_rule(criterion: str, thresh: Any) -> RefineRule:
    """Return the rule for a criterion.

    Raises:
        ArgumentError: if the threshold is not a number.
        UnknownOptionError: if there is no such criterion.
    """
    try:
        thresh = float(thresh)
    except (TypeError, ValueError):
        raise ArgumentError(f"thresh is {thresh!r}; expected a number from 0 to 1") from None
    if criterion == "prob":
        return probability_rule(thresh)
    if not isinstance(criterion, str) or criterion not in _IMPURITIES:
        raise UnknownOptionError(
            f"criterion is {criterion!r}; expected one of {[*sorted(_IMPURITIES), 'prob']}"
        )
    return impurity_rule(_IMPURITIES[criterion], thresh)


def _checked_indexes(name: str, idxs: Iterable[int] | None, total: int) -> frozenset[int]:
    """Return category indexes as a set.

    Raises:
        OutOfRangeError: if one of them is not the index of a category.
    """
    # Sets cannot be converted to arrays directly, and a single index cannot be iterated over.
    listed = [] if idxs is None else [idxs] if isinstance(idxs, (int, np.integer)) else list(idxs)
    foreign = [idx for idx in listed if not isinstance(idx, (int, np.integer)) or not 0 <= idx < total]
    if foreign:
        raise OutOfRangeError(
            f"{name} holds {foreign}; expected indexes of categories, from 0 to {total - 1}"
        )
    return frozenset(int(idx) for idx in listed)


def _warn_of_spelling(function: str) -> None:
    warn_once(f"heirarchical_{function} is misspelled; call hierarchical_{function} instead")
