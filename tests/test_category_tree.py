"""Probabilities and decisions on category trees, against direct recursive evaluations."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import warnings

import kwcoco
import networkx as nx
import numpy as np
import pytest
from helpers_categories import (
    SOFTMAXES,
    children_of,
    decision_oracle,
    entropy_oracle,
    gini_oracle,
    letters_tree,
    oracle_for,
    roots_of,
    source_oracle,
    trees,
    trees_and_energies,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler.category_tree import (
    CategoryTree,
    Mixin_CategoryTree_Torch,
    entropy,
    gini,
    sink_nodes,
    source_nodes,
)
from ndsampler.classes.hierarchy import Hierarchy
from ndsampler.errors import ArgumentError, ArgumentTypeError, UnknownOptionError
from ndsampler.utils import deprecation


@pytest.fixture
def letters():
    return letters_tree()


# --- softmax -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOFTMAXES)
@given(case=trees_and_energies())
def test_a_softmax_equals_its_recursive_definition(name, case):
    tree, energy = case
    found = getattr(tree, name)(energy, dim=1)
    oracle = oracle_for(name)
    expected = [[oracle(tree, row, idx) for idx in range(len(tree))] for row in energy]
    np.testing.assert_allclose(found, np.reshape(expected, energy.shape), atol=1e-9)


@given(case=trees_and_energies())
def test_children_sum_to_their_parent_and_roots_to_one(case):
    tree, energy = case
    for probs in [tree.hierarchical_softmax(energy, dim=1), np.exp(tree.sink_log_softmax(energy, dim=1))]:
        np.testing.assert_allclose(probs[:, roots_of(tree)].sum(axis=1), 1)
        for idx in range(len(tree)):
            if children_of(tree, idx):
                np.testing.assert_allclose(probs[:, children_of(tree, idx)].sum(axis=1), probs[:, idx])


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1, -2])
def test_the_categories_may_be_on_any_axis(letters, name, dim):
    energy = np.random.RandomState(0).randn(2, 3, 4, 5)
    last = getattr(letters, name)(energy, dim=-1)
    moved = getattr(letters, name)(np.moveaxis(energy, -1, dim), dim=dim)
    np.testing.assert_array_equal(moved, np.moveaxis(last, -1, dim))


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [("float16", "float16"), ("float32", "float32"), ("float64", "float64"), ("int32", "float64")],
)
def test_the_type_of_floating_energies_is_kept(letters, name, given_dtype, dtype):
    energy = np.array([[1, -2, 3, 0, 2]], dtype=given_dtype)
    found = getattr(letters, name)(energy, dim=1)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, getattr(letters, name)(energy.astype(float), dim=1), rtol=1e-2)


@pytest.mark.parametrize("name", SOFTMAXES)
def test_huge_energies_stay_finite(letters, name):
    found = getattr(letters, name)(np.array([[1e4, -1e4, 1e4, 0, 1e4]]), dim=1)
    assert np.isfinite(found).all()


def test_energies_of_minus_infinity_take_a_category_away(letters):
    energy = np.array([[0.0, -np.inf, 0, 0, 0]])
    assert letters.hierarchical_softmax(energy, dim=1).tolist() == [[0.5, 0, 0.5, 0.5, 0.5]]


def test_flat_categories_have_the_ordinary_softmax():
    tree = CategoryTree.from_mutex(list("abc"), bg_hack=False)
    energy = np.random.RandomState(0).randn(4, 3)
    expected = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
    for name in ["hierarchical_softmax", "graph_softmax"]:
        np.testing.assert_allclose(getattr(tree, name)(energy, dim=1), expected)


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_wrong_number_of_categories_is_refused(letters, name):
    for count in [4, 6]:
        with pytest.raises(ArgumentError, match=f"has {count} entries; expected one for each of 5"):
            getattr(letters, name)(np.zeros((2, count)), dim=1)


@pytest.mark.parametrize("name", SOFTMAXES)
def test_no_categories_give_no_probabilities(name):
    assert getattr(CategoryTree(), name)(np.zeros((2, 0)), dim=1).shape == (2, 0)


# --- losses ------------------------------------------------------------------------------------------


@given(case=trees_and_energies(), data=st.data())
def test_the_loss_is_minus_the_log_probability_of_the_target(case, data):
    tree, energy = case
    targets = np.array([data.draw(st.integers(0, len(tree) - 1)) for _ in energy], dtype=int)
    losses = [-source_oracle(tree, row, target) for row, target in zip(energy, targets, strict=True)]
    loss = tree.hierarchical_cross_entropy
    np.testing.assert_allclose(loss(energy, targets, reduction="none"), losses, atol=1e-9)
    np.testing.assert_allclose(loss(energy, targets, reduction="sum"), sum(losses), atol=1e-9)
    if len(losses):
        np.testing.assert_allclose(loss(energy, targets), np.mean(losses), atol=1e-9)
        log_probs = tree.hierarchical_log_softmax(energy, dim=1)
        np.testing.assert_allclose(tree.hierarchical_nll_loss(log_probs, targets), np.mean(losses), atol=1e-9)


def test_losses_of_pixels_and_targets_that_do_not_count(letters):
    energy = np.random.RandomState(0).randn(2, 5, 3, 4)
    targets = np.random.RandomState(1).randint(0, 5, (2, 3, 4))
    flat = letters.hierarchical_cross_entropy(
        np.moveaxis(energy, 1, -1).reshape(-1, 5), targets.ravel(), "none"
    )
    found = letters.hierarchical_cross_entropy(energy, targets, "none")
    np.testing.assert_allclose(found.ravel(), flat)
    targets[0] = -100
    assert (
        letters.hierarchical_cross_entropy(energy, targets, "none")[0].tolist() == np.zeros((3, 4)).tolist()
    )
    np.testing.assert_allclose(letters.hierarchical_cross_entropy(energy, targets), flat[12:].mean())


def test_a_bad_reduction_target_or_shape_is_refused(letters):
    energy = np.zeros((2, 5))
    with pytest.raises(ArgumentError, match="'bad'; expected 'mean', 'sum' or 'none'"):
        letters.hierarchical_cross_entropy(energy, np.array([0, 1]), reduction="bad")
    with pytest.raises(ArgumentError, match="range from 1 to 9; expected indexes of categories, from 0 to 4"):
        letters.hierarchical_cross_entropy(energy, np.array([1, 9]))
    with pytest.raises(ArgumentError, match="expected one index for each item"):
        letters.hierarchical_cross_entropy(energy, np.array([1, 2, 3]))


# --- decisions ---------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    case=trees_and_energies(),
    thresh=st.sampled_from([-0.1, 0.0, 0.1, 0.3, 0.5, 0.8]),
    criterion=st.sampled_from(["gini", "entropy", "prob"]),
    data=st.data(),
)
def test_a_decision_equals_its_recursive_definition(case, thresh, criterion, data):
    tree, energy = case
    probs = tree.hierarchical_softmax(energy, dim=1)
    some = st.sets(st.integers(0, len(tree) - 1), max_size=len(tree) // 2)
    ignored, always = data.draw(some), data.draw(some)
    if ignored.issuperset(roots_of(tree)):
        with pytest.raises(ValueError, match="top-level classes are ignored"):
            tree.decision(probs, 1, thresh, criterion, ignored, always)
        return
    idxs, conf = tree.decision(probs, 1, thresh, criterion, ignored, always)
    expected = [decision_oracle(tree, row, thresh, criterion, ignored, always) for row in probs]
    assert idxs.tolist() == expected
    assert conf.tolist() == [row[idx] for row, idx in zip(probs, expected, strict=True)]


def test_a_negative_threshold_goes_to_a_leaf_and_a_threshold_of_one_stays_at_the_root(letters):
    probs = np.array([[0.6, 0.2, 0.4, 0.4, 0.4], [0.3, 0.1, 0.2, 0.2, 0.7]])
    assert letters.decision(probs, dim=1, thresh=-1)[0].tolist() == [3, 4]
    assert letters.decision(probs, dim=1, thresh=1)[0].tolist() == [0, 4]


def test_items_on_several_axes_are_answered_flat_in_c_order(letters):
    probs = letters.hierarchical_softmax(np.random.RandomState(0).randn(2, 3, 4, 5) * 3, dim=-1)
    rows = probs.reshape(-1, 5)
    idxs, conf = letters.decision(rows, dim=1, thresh=0.1)
    assert len(set(idxs.tolist())) > 2
    for dim in [0, 1, 2, 3, -1]:
        moved_idxs, moved_conf = letters.decision(np.moveaxis(probs, -1, dim), dim=dim, thresh=0.1)
        np.testing.assert_array_equal(moved_idxs, idxs)
        np.testing.assert_array_equal(moved_conf, conf)
    single_idxs, single_conf = letters.decision(rows[0], dim=0, thresh=0.1)
    assert (single_idxs.tolist(), single_conf.tolist()) == ([idxs[0]], [conf[0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_indexes_are_int64_and_confidences_of_the_type_given(letters, dtype):
    idxs, conf = letters.decision(np.full((3, 5), 0.5, dtype=dtype), dim=1)
    assert (idxs.dtype, conf.dtype) == (np.int64, dtype)
    idxs, conf = letters.decision(np.zeros((0, 5), dtype=dtype), dim=1)
    assert (idxs.shape, conf.shape, conf.dtype) == ((0,), (0,), dtype)


def test_any_collection_of_indexes_or_a_single_one_may_be_ignored(letters):
    probs = np.array([[0.6, 0.2, 0.4, 0.4, 0.4]])
    for ignored in [[0], (0,), {0}, np.array([0]), range(1), 0, np.int64(0)]:
        assert letters.decision(probs, dim=1, ignore_class_idxs=ignored)[0].tolist() == [4]
    for always in [[0], {0}, np.array([0]), 0]:
        assert letters.decision(probs, dim=1, thresh=1, always_refine_idxs=always)[0].tolist() == [3]


def test_bad_arguments_of_a_decision_say_what_was_expected(letters):
    probs = np.zeros((1, 5))
    with pytest.raises(UnknownOptionError, match=r"'best'; expected one of .*entropy.*gini.*prob") as caught:
        letters.decision(probs, dim=1, criterion="best")
    assert isinstance(caught.value, KeyError)
    for bad in [5, -1]:
        with pytest.raises(ArgumentError, match=rf"ignore_class_idxs holds \[{bad}\]; .* from 0 to 4"):
            letters.decision(probs, dim=1, ignore_class_idxs=[bad])
        with pytest.raises(ArgumentError, match="always_refine_idxs holds"):
            letters.decision(probs, dim=1, always_refine_idxs=[bad])
    with pytest.raises(ArgumentError, match="expected one for each of 5 categories"):
        letters.decision(np.zeros((1, 6)), dim=1)
    with pytest.raises(ArgumentError, match="0 categories"):
        CategoryTree().decision(np.zeros((1, 0)), dim=1)


# --- impurities --------------------------------------------------------------------------------------


@given(rows=st.lists(st.lists(st.sampled_from([0, 0.1, 0.25, 0.5, 1]), min_size=3, max_size=3), max_size=4))
def test_impurities_equal_their_formulas(rows):
    probs = np.reshape(rows, (-1, 3)).astype(float)
    np.testing.assert_allclose(gini(probs), [gini_oracle(row) for row in rows], atol=1e-12)
    np.testing.assert_allclose(entropy(probs), [entropy_oracle(row) for row in rows], atol=1e-12)
    np.testing.assert_allclose(gini(probs.T, axis=0), gini(probs))
    np.testing.assert_allclose(entropy(probs.T, axis=0), entropy(probs))


def test_impurities_take_lists_and_keep_the_precision():
    assert gini([[0.5, 0.5]]).tolist() == [0.5]
    assert entropy([[0.5, 0.5]]).tolist() == [1.0]
    assert gini(np.ones((2, 1), "float32")).dtype == entropy(np.ones((2, 1), "float32")).dtype == "float32"


# --- the tree itself ---------------------------------------------------------------------------------


@given(tree=trees())
def test_groups_of_siblings_are_those_of_kwcoco(tree):
    groups = [group.tolist() for group in Hierarchy.from_graph(tree.graph, tree.node_to_idx).groups]
    assert groups == kwcoco.CategoryTree(tree.graph).idx_groups


@given(tree=trees())
def test_source_and_sink_nodes_have_nothing_above_or_below(tree):
    assert [tree.node_to_idx[node] for node in source_nodes(tree.graph)] == roots_of(tree)
    assert set(sink_nodes(tree.graph)) == {
        node for i, node in enumerate(tree.idx_to_node) if not children_of(tree, i)
    }


def test_an_edge_added_in_place_counts_at_once(letters):
    letters.hierarchical_softmax(np.zeros((1, 5)), dim=1)
    letters.graph.add_edge("e", "d")
    letters.graph.remove_edge("c", "d")
    fresh = CategoryTree(letters.graph.copy())
    energy = np.random.RandomState(0).randn(3, 5)
    for name in SOFTMAXES:
        np.testing.assert_array_equal(
            getattr(letters, name)(energy, dim=1), getattr(fresh, name)(energy, dim=1)
        )
    assert letters.idx_groups == fresh.idx_groups


def test_a_node_added_in_place_is_indexed_when_next_used(letters):
    assert letters.id_to_idx[5] == 4
    letters.graph.add_edge("e", "f")
    probs = np.array([[0.2, 0.1, 0.1, 0.1, 0.8, 0.8]])
    assert letters.decision(probs, dim=1)[0].tolist() == [letters.node_to_idx["f"]]
    assert letters.id_to_idx[letters.node_to_id["f"]] == 5


def test_rebuilding_the_index_forgets_tables_made_before(letters):
    assert (letters.id_to_idx[1], letters.idx_to_id[0], letters.idx_to_descendants_idxs()[4]) == (0, 1, set())
    letters.graph.nodes["a"]["id"] = 77
    letters.graph.add_edge("e", "f")
    letters._build_index()
    assert (letters.id_to_idx[77], letters.idx_to_id[0]) == (0, 77)
    assert letters.idx_to_descendants_idxs()[4] == {letters.index("f")}


@pytest.mark.parametrize("edge", ["eb", "da"])
def test_an_edge_in_place_that_makes_no_forest_is_refused(letters, edge):
    letters.graph.add_edge(*edge)
    with pytest.raises(ArgumentError, match="not a forest; expected at most one parent"):
        letters.hierarchical_softmax(np.zeros((1, 5)), dim=1)


def test_a_graph_that_is_no_forest_is_refused():
    with pytest.raises(ArgumentError, match="forest"):
        CategoryTree(nx.DiGraph(["ab", "ac", "bd", "cd"]))
    CategoryTree(nx.DiGraph(["ab", "ac", "bd", "cd"]), checks=False)


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiDiGraph, nx.Graph])
@given(edges=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6))
def test_the_same_graphs_are_refused_as_by_kwcoco(kind, edges):
    graph = kind(edges)
    try:
        kwcoco.CategoryTree(graph)
    except ValueError:
        with pytest.raises(ArgumentError, match="forest|DAG"):
            CategoryTree(graph)
    else:
        CategoryTree(graph)


def test_what_is_no_graph_is_refused():
    with pytest.raises(ArgumentTypeError, match="of the type list; expected a networkx.DiGraph"):
        CategoryTree(["a", "b"])


@given(tree=trees(), through_json=st.booleans())
def test_a_tree_comes_back_from_json_as_it_was(tree, through_json):
    for node in list(tree.graph)[::2]:
        tree.graph.nodes[node]["id"] = 100 + len(node) + tree.node_to_idx[node]
    tree._build_index()
    compute_what_is_kept(tree)
    tree.hierarchical_softmax(np.zeros((1, len(tree))), dim=1)
    state = tree.__json__()
    assert set(state) == {"graph", "id_to_node", "idx_to_node"}
    before = copy.deepcopy(state)
    given_state = json.loads(json.dumps(state)) if through_json else state
    back = CategoryTree.from_json(given_state)
    assert state == before
    for other in [back, back.copy(), CategoryTree.coerce(given_state)]:
        assert_same_categories(other, tree)


CATEGORIES = [{"name": "c", "id": 3}, {"name": "a", "id": 7, "supercategory": "c"}, {"name": "b", "id": 5}]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda cls: cls.from_coco(CATEGORIES),
        lambda cls: cls.from_mutex(["x", "background", "y"]),
        lambda cls: cls(nx.DiGraph([("z", "b"), ("z", "a")])),
        lambda cls: cls.demo("btree", r=2, h=1),
        lambda cls: cls(),
    ],
    ids=["coco", "names", "graph", "numbers", "empty"],
)
def test_the_json_of_a_tree_is_that_of_kwcoco_and_each_reads_the_others(make, warm):
    ours, theirs = make(CategoryTree), make(kwcoco.CategoryTree)
    expected = theirs.__json__()
    assert ours.__json__() == expected
    if warm:
        compute_what_is_kept(ours)
        compute_what_is_kept(theirs)
    for state in [theirs.__json__(), expected, json.loads(json.dumps(expected))]:
        assert_same_categories(CategoryTree.from_json(state), theirs)
    found = kwcoco.CategoryTree.from_json(ours.__json__())
    assert type(found) is kwcoco.CategoryTree
    assert_same_categories(found, theirs)


def test_a_tree_keeps_its_ids_on_its_way_through_text_and_kwcoco():
    ours = CategoryTree.from_coco(CATEGORIES)
    theirs = kwcoco.CategoryTree.from_json(json.loads(json.dumps(ours.__json__())))
    assert theirs.idx_to_node == ours.idx_to_node
    assert_same_categories(CategoryTree.from_json(theirs.__json__()), ours)
    assert_same_categories(CategoryTree.coerce(theirs), ours)


def compute_what_is_kept(tree):
    """Make kwcoco compute the tables that it keeps on the tree."""
    _ = tree.id_to_idx, tree.idx_to_id
    tree.idx_to_ancestor_idxs(), tree.idx_to_descendants_idxs(), tree.idx_pairwise_distance()


def test_pickles_and_copies_are_equal_trees(letters):
    compute_what_is_kept(letters)
    letters.hierarchical_softmax(np.zeros((1, 5)), dim=1)
    for other in [
        pickle.loads(pickle.dumps(letters)),
        copy.copy(letters),
        copy.deepcopy(letters),
        letters.copy(),
    ]:
        assert_same_categories(other, letters)


def test_a_tree_of_kwcoco_keeps_its_ids_and_indexes():
    cats = [{"name": "c", "id": 3}, {"name": "a", "id": 7, "supercategory": "c"}, {"name": "b"}]
    original = kwcoco.CategoryTree.from_coco(cats)
    reordered = kwcoco.CategoryTree.from_json(kwcoco.CategoryTree.from_coco(cats).__json__())
    for foreign in [original, reordered]:
        tree = CategoryTree.coerce(foreign)
        assert isinstance(tree, CategoryTree)
        assert_same_categories(tree, original)
        assert_same_categories(tree.copy(), original)
    assert CategoryTree.coerce(original).graph is original.graph


def test_everything_that_describes_categories_can_be_coerced(letters):
    assert CategoryTree.coerce(letters) is letters
    assert CategoryTree.coerce(letters.graph).idx_groups == letters.idx_groups
    assert CategoryTree.coerce(2).idx_to_node == ["class_1", "class_2"]
    assert CategoryTree.coerce(["x", "background"]).node_to_id == {"x": 1, "background": 0}
    assert CategoryTree.coerce(["x", "background"], bg_hack=False).node_to_id == {"x": 0, "background": 1}
    assert_same_categories(CategoryTree.coerce(list(letters.to_coco())), letters)
    with pytest.raises(TypeError, match="Unknown type"):
        CategoryTree.coerce(3.5)
    with pytest.raises(ValueError, match="kwargs"):
        CategoryTree.coerce(letters, bg_hack=False)


def test_kwcoco_takes_the_tree_as_one_of_its_own(letters):
    assert kwcoco.CategoryTree.coerce(letters) is letters
    assert issubclass(CategoryTree, Mixin_CategoryTree_Torch)
    assert CategoryTree.demo("btree", r=2, h=2).idx_groups[0] == [0, 7]


def assert_same_categories(found, expected):
    assert found.idx_to_node == expected.idx_to_node
    assert found.id_to_node == expected.id_to_node
    assert found.node_to_id == expected.node_to_id
    assert dict(found.id_to_idx) == dict(expected.id_to_idx)
    assert sorted(found.idx_groups) == sorted(expected.idx_groups)
    assert set(found.graph.edges) == set(expected.graph.edges)


# --- old spellings -----------------------------------------------------------------------------------


def calls_of(spelling, tree):
    energy, targets = np.random.RandomState(0).randn(2, 5), np.array([1, 3])
    log_probs = tree.hierarchical_log_softmax(energy, dim=1)
    return {
        "softmax": lambda: getattr(tree, f"{spelling}_softmax")(energy, dim=1),
        "log_softmax": lambda: getattr(tree, f"{spelling}_log_softmax")(energy, dim=1),
        "cross_entropy": lambda: getattr(tree, f"{spelling}_cross_entropy")(energy, targets, reduction="sum"),
        "nll_loss": lambda: getattr(tree, f"{spelling}_nll_loss")(log_probs, targets),
    }


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy", "nll_loss"])
def test_the_old_spelling_answers_the_same_and_warns_once(letters, name, monkeypatch):
    monkeypatch.setattr(deprecation, "_given", set())
    with pytest.warns(FutureWarning, match=f"call hierarchical_{name} instead") as caught:
        found = [calls_of("heirarchical", letters)[name]() for _ in range(3)]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for value in found:
        np.testing.assert_array_equal(value, calls_of("hierarchical", letters)[name]())


def test_the_spelling_of_today_does_not_warn(letters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls_of("hierarchical", letters).values():
            call()


def test_signatures_are_the_documented_ones():
    def parameters(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()][1:]

    required = inspect.Parameter.empty
    for name in SOFTMAXES:
        assert parameters(getattr(CategoryTree, name)) == [("class_energy", required), ("dim", required)]
    assert parameters(CategoryTree.decision) == [
        ("class_probs", required),
        ("dim", required),
        ("thresh", 0.5),
        ("criterion", "gini"),
        ("ignore_class_idxs", None),
        ("always_refine_idxs", None),
    ]
    assert parameters(CategoryTree.hierarchical_cross_entropy)[-1] == ("reduction", "mean")
    assert [name for name, _ in parameters(CategoryTree.__init__)] == ["graph", "checks"]
