"""Category trees for tests, and oracles that follow the definitions: one row, one node at a time."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from hypothesis import strategies as st

from ndsampler.category_tree import CategoryTree

MAX_NODES = 12
MAX_ROWS = 4

SOFTMAXES = [
    "conditional_log_softmax",
    "source_log_softmax",
    "sink_log_softmax",
    "hierarchical_log_softmax",
    "graph_log_softmax",
    "hierarchical_softmax",
    "graph_softmax",
]


def tree_of(parents, order=None):
    """Return a tree in which the parent of node i is parents[i], or None for a root."""
    names = [f"n{i:02d}" for i in range(len(parents))]
    graph = nx.DiGraph()
    graph.add_nodes_from(names if order is None else [names[i] for i in order])
    graph.add_edges_from((names[p], names[i]) for i, p in enumerate(parents) if p is not None)
    return CategoryTree(graph)


@st.composite
def trees(draw):
    count = draw(st.integers(1, MAX_NODES))
    parents = [draw(st.none() | st.integers(0, i - 1)) if i else None for i in range(count)]
    return tree_of(parents, draw(st.permutations(range(count))))


@st.composite
def trees_and_energies(draw):
    tree = draw(trees())
    rows = draw(st.integers(0, MAX_ROWS))
    seed = draw(st.integers(0, 2**31))
    scale = draw(st.sampled_from([0.3, 2.0, 8.0]))
    return tree, np.random.RandomState(seed).randn(rows, len(tree)) * scale


def letters_tree():
    """Return a tree with the roots a and e, the children b and c of a, and the child d of c."""
    graph = nx.DiGraph()
    graph.add_nodes_from("abcde")
    graph.add_edges_from(["ab", "ac", "cd"])
    return CategoryTree(graph)


# --- oracles: one row, one node at a time ------------------------------------------------------------


def children_of(tree, idx):
    return sorted(tree.node_to_idx[node] for node in tree.graph.successors(tree.idx_to_node[idx]))


def roots_of(tree):
    return sorted(i for i, node in enumerate(tree.idx_to_node) if tree.graph.in_degree(node) == 0)


def parent_of(tree, idx):
    parents = list(tree.graph.predecessors(tree.idx_to_node[idx]))
    return tree.node_to_idx[parents[0]] if parents else None


def log_sum(values):
    return math.log(sum(math.exp(value) for value in values))


def conditional_oracle(tree, row, idx):
    parent = parent_of(tree, idx)
    siblings = roots_of(tree) if parent is None else children_of(tree, parent)
    return row[idx] - log_sum(row[i] for i in siblings)


def source_oracle(tree, row, idx):
    parent = parent_of(tree, idx)
    above = 0 if parent is None else source_oracle(tree, row, parent)
    return conditional_oracle(tree, row, idx) + above


def sink_oracle(tree, row, idx):
    children = children_of(tree, idx)
    if children:
        return log_sum(sink_oracle(tree, row, child) for child in children)
    leaves = [i for i in range(len(tree)) if not children_of(tree, i)]
    return row[idx] - log_sum(row[i] for i in leaves)


def oracle_for(name):
    log_oracle = {"conditional_log_softmax": conditional_oracle, "sink_log_softmax": sink_oracle}.get(
        name, source_oracle
    )
    if "log" in name:
        return log_oracle
    return lambda tree, row, idx: math.exp(log_oracle(tree, row, idx))


def gini_oracle(probs):
    return 1 - sum(p * p for p in probs)


def entropy_oracle(probs):
    return -sum(p * math.log2(p) for p in probs if p)


def is_refined(tree, probs, siblings, best, children, thresh, criterion):
    if criterion == "prob":
        return max(probs[i] for i in children) > thresh
    if len(children) == 1:
        return True
    impurity = {"gini": gini_oracle, "entropy": entropy_oracle}[criterion]
    others = [probs[i] for i in siblings if i != best]
    found = impurity(others + [probs[i] for i in children])
    worst = impurity(others + [probs[best] / len(children)] * len(children))
    return 1 - found / (worst + 1e-30) > thresh


def decision_oracle(tree, probs, thresh, criterion, ignored=(), always=(), siblings=None):
    """Return the decision for one row by the definition, with one recursive call for each level."""
    siblings = [i for i in (roots_of(tree) if siblings is None else siblings) if i not in ignored]
    best = max(siblings, key=lambda i: (probs[i], -i))
    children = [i for i in children_of(tree, best) if i not in ignored]
    if children and (best in always or is_refined(tree, probs, siblings, best, children, thresh, criterion)):
        return decision_oracle(tree, probs, thresh, criterion, ignored, always, children)
    return best
