"""Draw one decision on a category tree: python docs/figures/category_decision.py OUTPUT.png."""

from __future__ import annotations

import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

from ndsampler import CategoryTree
from ndsampler.category_tree import gini

THRESH = 0.3

#: Category, its parent, and the energy that a network gave it.
ENERGIES = [
    ("animal", None, 2.2),
    ("vehicle", None, 0.0),
    ("mammal", "animal", 2.6),
    ("bird", "animal", 0.0),
    ("fish", "animal", -0.4),
    ("dog", "mammal", 0.9),
    ("cat", "mammal", 0.6),
    ("zebra", "mammal", -1.2),
    ("car", "vehicle", 0.5),
    ("ship", "vehicle", 0.0),
]

WALKED, STOPPED, OTHER = "#9ecae1", "#2171b5", "#f0f0f0"


def make_tree() -> CategoryTree:
    graph = nx.DiGraph()
    graph.add_nodes_from(name for name, _, _ in ENERGIES)
    graph.add_edges_from((parent, name) for name, parent, _ in ENERGIES if parent)
    return CategoryTree(graph)


def place_nodes(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Return (x, y) of each node: depth to the right, leaves one below another."""
    places: dict[str, tuple[float, float]] = {}
    leaf_rows = iter(range(len(graph)))

    def place(node: str, depth: int) -> float:
        rows = [place(child, depth + 1) for child in graph.successors(node)]
        row = sum(rows) / len(rows) if rows else float(next(leaf_rows))
        places[node] = (float(depth), -row)
        return row

    for root in [node for node in graph if graph.in_degree(node) == 0]:
        place(root, 0)
    return places


def gain_of_refining(tree: CategoryTree, probs: dict[str, float], node: str) -> float:
    """Return 1 - h / h_worst, which is compared with the threshold."""
    parents = list(tree.graph.predecessors(node))
    level = (
        tree.graph.successors(parents[0])
        if parents
        else [n for n in tree.graph if not tree.graph.in_degree(n)]
    )
    others = [probs[name] for name in level if name != node]
    children = list(tree.graph.successors(node))
    found = gini(np.array(others + [probs[name] for name in children]), axis=0)
    worst = gini(np.array(others + [probs[node] / len(children)] * len(children)), axis=0)
    return float(1 - found / worst)


def draw(output: pathlib.Path) -> None:
    tree = make_tree()
    all_probs = tree.hierarchical_softmax(np.array([[energy for _, _, energy in ENERGIES]]), dim=1)
    chosen = tree.idx_to_node[tree.decision(all_probs, dim=1, thresh=THRESH)[0][0]]
    walked = nx.ancestors(tree.graph, chosen) | {chosen}
    probs = dict(zip(tree.idx_to_node, all_probs[0].tolist(), strict=True))
    places = place_nodes(tree.graph)

    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=130)
    for parent, child in tree.graph.edges:
        on_path = child in walked
        (x0, y0), (x1, y1) = places[parent], places[child]
        style = {"color": STOPPED if on_path else "#bbbbbb", "lw": 2.5 if on_path else 1.2}
        axes.plot(
            [x0, (x0 + x1) / 2, (x0 + x1) / 2, x1], [y0, y0, y1, y1], zorder=1.5 if on_path else 1, **style
        )
    for node, (x, y) in places.items():
        color = STOPPED if node == chosen else WALKED if node in walked else OTHER
        box = {"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "#666666", "lw": 0.8}
        text_color = "white" if node == chosen else "black"
        label = f"{node}  {probs[node]:.2f}"
        axes.text(x, y, label, ha="center", va="center", fontsize=9.5, color=text_color, bbox=box, zorder=2)
        if node in walked:
            gain = gain_of_refining(tree, probs, node)
            verdict = f"{gain:.2f} ≤ {THRESH}: stop" if node == chosen else f"{gain:.2f} > {THRESH}: go on"
            axes.text(x, y + 0.42, verdict, ha="center", va="bottom", fontsize=8.5, color=STOPPED, zorder=3)
    axes.set_title(f"The decision is “{chosen}”: none of its children stands out", fontsize=11)
    note = f"In the boxes: P(node).  Above: 1 − h / h_worst with Gini impurity, against thresh = {THRESH}."
    figure.text(0.5, 0.03, note, ha="center", fontsize=8.5, color="#444444")
    axes.set_xlim(-0.45, 2.4)
    axes.margins(y=0.12)
    axes.axis("off")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(output)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]))
