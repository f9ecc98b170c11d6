"""The order of an epoch: permutations, quotas, hierarchies, negatives and locality."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndsampler import CategoryTree
from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.training import EpochOrder
from ndsampler.training.permutation import SMALL, make_key, permute

#: Ten classes, of which the rarest has a thousandth of the items.
RARE = np.repeat(np.arange(10), [20, 7000, 3000, 2500, 2000, 1800, 1500, 1200, 600, 380])

#: Animals of two kinds, cars, and a kind of animal that is divided further.
LABELS = ["cat"] * 2 + ["dog"] * 30 + ["pug"] * 8 + ["car"] * 160


def tree() -> CategoryTree:
    graph = nx.DiGraph()
    graph.add_edges_from([("animal", "cat"), ("animal", "dog"), ("dog", "pug")])
    graph.add_node("car")
    return CategoryTree(graph)


def prefix_errors(order, shares, labels, epoch=0, items=None):
    """Return how far each class is off its share at the end of every block of an epoch."""
    block, drawn = order._draws.quotas.block, labels[order.items(epoch) if items is None else items]
    counts = np.stack([np.cumsum(drawn == label) for label in shares])
    ends = np.append(np.arange(block, len(order) - block + 1, block), len(order)) - 1
    expected = np.outer(list(shares.values()), ends + 1)
    return np.abs(counts[:, ends] - expected)


# --- permutations -----------------------------------------------------------


@given(st.integers(1, 300), st.integers(-(2**40), 2**40), st.integers(0, 3))
def test_an_epoch_holds_each_item_once(n, seed, epoch):
    assert sorted(EpochOrder(n, seed).items(epoch).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [1, 2, SMALL - 1, SMALL, SMALL + 1, 100_003])
def test_a_permutation_of_any_size_holds_each_number_once(n):
    assert np.array_equal(np.sort(permute(np.arange(n), n, make_key(n))), np.arange(n))


@settings(max_examples=30)
@given(st.integers(1, 10**9), st.data())
def test_any_part_of_an_epoch_is_that_of_the_whole(n, data):
    order = EpochOrder(n, seed=3)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, min(n, start + 50)))
    one_by_one = [order.item(2, position) for position in range(start, stop)]
    assert order.items(2, start, stop).tolist() == one_by_one
    assert order.take(2, np.arange(start, stop)[::-1]).tolist() == one_by_one[::-1]


def test_orders_stay_as_they_are_on_every_machine():
    assert EpochOrder(3000).items(0, 0, 8).tolist() == [2716, 2017, 728, 1080, 1352, 2866, 92, 1911]
    assert EpochOrder(3000).items(5, 0, 4).tolist() == [1094, 1878, 1792, 2222]
    assert EpochOrder(10**6, seed=7).items(2, 999_996).tolist() == [524939, 205416, 569517, 693456]
    mixed = EpochOrder(6, groups=list("aabbbb"), weights="equal", length=12, negatives=0.25)
    assert mixed.items(0).tolist() == [0, -1, 3, 1, 2, 1, -2, 4, 5, 0, 0, -3]
    weighted = EpochOrder(5, weights=[1, 2, 3, 4, 0], length=10)
    assert weighted.items(1).tolist() == [0, 3, 2, 1, 3, 1, 3, 3, 2, 2]
    local = EpochOrder(9, groups=[1, 1, 1, 2, 2, 2, 3, 3, 3], locality=2)
    assert local.items(1).tolist() == [8, 4, 7, 3, 6, 5, 0, 2, 1]


@pytest.mark.parametrize("n", [200, SMALL + 5000])
def test_places_are_spread_evenly(n):
    """Items at fixed positions over many seeds fall into ten equal ranges alike, by a chi-square test."""
    found = np.concatenate([EpochOrder(n, seed).items(0, 0, 20) for seed in range(200)])
    counts = np.bincount(found * 10 // n, minlength=10)
    expected = len(found) / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # one in a thousand is above, for 9 degrees


def test_seeds_and_epochs_give_other_orders():
    orders = [EpochOrder(1000, seed).items(epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len(set(map(tuple, orders))) == 9


def test_without_shuffling_items_come_in_their_order():
    order = EpochOrder(4, shuffle=False, length=6)
    assert order.items(0).tolist() == [0, 1, 2, 3, 0, 1]
    assert order.items(1).tolist() == [2, 3, 0, 1, 2, 3]


def test_a_short_epoch_goes_on_where_the_one_before_ended():
    order = EpochOrder(10, seed=2, length=4)
    drawn = np.concatenate([order.items(epoch) for epoch in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))


def test_a_billion_windows_take_no_memory():
    EpochOrder(SMALL).item(0, 0)
    tracemalloc.start()
    try:
        EpochOrder(10**9).item(7, 123_456_789)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


# --- quotas -----------------------------------------------------------------


@pytest.mark.parametrize("weights", ["equal", "inverse", "sqrt", None])
@pytest.mark.parametrize("epoch", [0, 3])
def test_each_class_is_at_most_one_draw_off_after_every_block(weights, epoch):
    counts = Counter(RARE.tolist())
    rule = {"equal": lambda n: 1, "inverse": lambda n: 1 / n, "sqrt": np.sqrt, None: lambda n: n}[weights]
    total = sum(map(rule, counts.values()))
    shares = {label: rule(n) / total for label, n in counts.items()}
    order = EpochOrder(len(RARE), groups=RARE, weights=weights, length=30_011)
    assert prefix_errors(order, shares, RARE, epoch).max() <= 1 + 1e-6


def items_of_ranks(order, epoch, resumed_at):
    """Return the items of one rank up to a position, and of three ranks from there, in the order of steps."""
    before = order.items(epoch, 0, resumed_at)
    steps = -(-(len(order) - resumed_at) // 3)
    ranks = [order.take(epoch, np.arange(resumed_at + rank, len(order), 3)) for rank in range(3)]
    after = [int(items[step]) for step in range(steps) for items in ranks if step < len(items)]
    return np.concatenate([before, after])


@pytest.mark.parametrize("weights", ["equal", None])
def test_ranks_together_keep_the_quotas_of_every_block_after_a_resume(weights):
    order = EpochOrder(len(RARE), groups=RARE, weights=weights, length=20_011)
    counts = np.bincount(RARE)
    shares = dict(enumerate(np.full(10, 0.1) if weights else counts / counts.sum()))
    items = items_of_ranks(order, 2, resumed_at=4001)
    assert prefix_errors(order, shares, RARE, 2, items).max() <= 1 + 1e-6


def test_ranks_together_keep_the_quotas_of_a_hierarchy_after_a_resume():
    labels = np.array(LABELS)
    order = EpochOrder(len(labels), groups=labels, weights="equal", tree=tree(), length=5003)
    items = items_of_ranks(order, 1, resumed_at=1234)
    for shares, names in (
        ({"cat": 1 / 4, "dog": 1 / 8, "pug": 1 / 8, "car": 1 / 2}, labels),
        ({True: 1 / 2, False: 1 / 2}, labels != "car"),
        ({True: 1 / 4, False: 3 / 4}, np.isin(labels, ["dog", "pug"])),
    ):
        assert prefix_errors(order, shares, names, 1, items).max() <= 1 + 1e-6


def test_a_class_goes_through_its_items_before_it_repeats_one():
    order = EpochOrder(len(RARE), groups=RARE, weights="equal", length=1000)
    drawn = np.concatenate([order.items(epoch) for epoch in range(4)])
    rare = drawn[RARE[drawn] == 0]
    for start in range(0, len(rare) - 19, 20):
        assert len(set(rare[start : start + 20].tolist())) == 20
    often = drawn[RARE[drawn] == 1]
    assert len(set(often.tolist())) == len(often)


def test_blocks_are_shuffled():
    order = EpochOrder(100, groups=[0] * 50 + [1] * 50, weights="equal", length=640)
    halves = order.items(0, 0, 64) < 50
    assert halves.sum() == 32
    assert 10 < np.abs(np.diff(halves.astype(int))).sum() < 55


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ("equal", {"cat": 1 / 4, "dog": 1 / 8, "pug": 1 / 8, "car": 1 / 2}),
        ({"animal": 0.9, "cat": 0.1}, {"cat": 0.09, "dog": 0.81 * 30 / 38, "pug": 0.81 * 8 / 38, "car": 0.1}),
        (None, {"cat": 0.01, "dog": 0.15, "pug": 0.04, "car": 0.8}),
    ],
)
def test_quotas_multiply_down_a_hierarchy(weights, shares):
    labels = np.array(LABELS)
    order = EpochOrder(len(labels), groups=labels, weights=weights, tree=tree(), length=5003)
    assert prefix_errors(order, shares, labels).max() <= 1 + 1e-6
    animals = {True: 1 - shares["car"], False: shares["car"]}
    assert prefix_errors(order, animals, labels != "car").max() <= 1 + 1e-6


def test_stated_shares_leave_the_rest_to_the_other_classes():
    order = EpochOrder(10, groups=list("abbbbccccc"), weights={"a": 0.5}, length=900)
    drawn = Counter("abbbbccccc"[item] for item in order.items(0))
    assert drawn["a"] == 450
    assert abs(drawn["b"] - 200) <= 1


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any), st.integers(1, 400))
def test_items_are_drawn_by_their_weights_to_within_one_draw(weights, length):
    order = EpochOrder(len(weights), weights=weights, length=length)
    counts = np.bincount(order.items(1), minlength=len(weights))
    assert np.abs(counts - np.array(weights) * length / sum(weights)).max() <= 1 + 1e-6
    assert not counts[np.array(weights) == 0].any()


# --- negatives and locality -------------------------------------------------


def test_negatives_are_counted_down_from_minus_one():
    order = EpochOrder(30, negatives=0.25, length=400)
    for epoch in range(2):
        items = order.items(epoch)
        assert sorted(items[items < 0].tolist()) == list(range(-100, 0))
    assert len(EpochOrder(30, negatives=0.25)) == 40


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 8), st.integers(0, 2))
def test_few_images_are_in_play_at_a_time(images, in_play, epoch):
    images = np.array(images)
    order = EpochOrder(len(images), groups=images, locality=in_play)
    items = order.items(epoch)
    assert sorted(items.tolist()) == list(range(len(images)))
    assert [order.item(epoch, position) for position in range(len(images))] == items.tolist()
    first = list(dict.fromkeys(images[items].tolist()))
    for start in range(0, len(first), in_play):
        chunk = set(first[start : start + in_play])
        places = np.flatnonzero(np.isin(images[items], list(chunk)))
        assert np.array_equal(places, np.arange(places[0], places[0] + len(places)))


def test_an_order_survives_pickling():
    orders = [
        EpochOrder(40, groups=[0, 1] * 20, weights="equal"),
        EpochOrder(40, groups=[0, 1] * 20, locality=1),
        EpochOrder(40, weights=range(40)),
    ]
    for order in orders:
        copy = pickle.loads(pickle.dumps(order))
        assert np.array_equal(copy.items(3), order.items(3))
        assert copy.fingerprint == order.fingerprint


def test_fingerprints_differ_where_orders_do():
    orders = [
        EpochOrder(40),
        EpochOrder(41),
        EpochOrder(40, length=41),
        EpochOrder(40, shuffle=False),
        EpochOrder(40, negatives=0.1, length=40),
        EpochOrder(40, groups=[0, 1] * 20),
        EpochOrder(40, groups=[1, 0] * 20),
        EpochOrder(40, groups=[0] * 20 + [1] * 20),
        EpochOrder(40, groups=[0, 1] * 20, weights={0: 0.4}),
        EpochOrder(40, groups=[0, 1] * 20, locality=1),
        EpochOrder(40, weights=[1] * 40),
    ]
    assert len({order.fingerprint for order in orders}) == len(orders)
    assert EpochOrder(40, seed=1).fingerprint == EpochOrder(40).fingerprint


# --- mistakes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0; expected an integer from 1"),
        ({"n": 2, "length": 0}, "length is 0"),
        ({"n": 2, "negatives": 1}, "negatives is 1; expected a share"),
        ({"n": 2, "negatives": float("nan")}, "negatives is nan"),
        ({"n": 2, "groups": [1]}, r"groups has the shape \(1,\); expected \(2,\), a value for each item"),
        ({"n": 2, "groups": [1, 2], "weights": {3: 0.1}}, "weights names 3, and no item has that class"),
        (
            {"n": 2, "groups": [1, 2], "weights": {1: 0.9, 2: 0.4}},
            r"1\.3 in total; expected shares from 0 to 1",
        ),
        ({"n": 2, "groups": [1, 2], "weights": {1: 0.5, 2: 0.1}}, "of all classes.*expected a sum of 1"),
        ({"n": 2, "groups": [1, 2], "weights": "evenly"}, "weights is 'evenly'; expected one of 'equal'"),
        ({"n": 2, "groups": [1, 2], "weights": [1, 2, 3]}, r"weights has the shape \(3,\)"),
        ({"n": 2, "groups": [1, 2], "weights": [1, -2]}, "negative number, infinity or NaN"),
        ({"n": 2, "weights": "equal"}, "need groups"),
        ({"n": 2, "weights": [1, np.nan]}, "negative number, infinity or NaN"),
        ({"n": 2, "weights": [0, 0]}, "only zeros"),
        ({"n": 2, "weights": [1, 2], "negatives": 0.5}, "cannot be combined with negatives"),
        ({"n": 2, "groups": ["cat", "cow"], "tree": tree()}, "groups has the label 'cow'"),
        ({"n": 2, "groups": ["cat", "dog"], "tree": tree(), "weights": {"car": 0.5}}, "weights names 'car'"),
        ({"n": 2, "locality": 1}, "locality needs groups"),
        ({"n": 2, "groups": [1, 2], "locality": 0}, "locality is 0"),
        ({"n": 2, "groups": [1, 2], "locality": 1, "weights": "equal"}, "locality needs shuffle=True"),
        ({"n": 3, "negatives": 1e-12}, "expected numbers above 1e-07"),
        ({"n": 2, "groups": ["a", None]}, "labels of the types NoneType, string; expected all numbers or"),
        ({"n": 2, "groups": ["1", 1]}, "labels of the types int, string"),
        ({"n": 2, "groups": [("a", 1), ("b", 1)]}, "labels of the types tuple"),
        ({"n": 2, "groups": [[1], [1, 2]], "locality": 1}, "labels of the types list"),
        ({"n": 2, "groups": np.array([None, "a"], object)}, "labels of the types NoneType, string"),
        ({"n": 2, "groups": [1.0, np.nan]}, "groups has the label NaN"),
        ({"n": 2, "groups": ["a", "b"], "weights": {"a": "0.5"}}, "weights has values of type <U3"),
        ({"n": 2, "groups": ["a", "b"], "weights": {"a": None}}, "weights has values of type object"),
        ({"n": 2, "groups": ["a", "b"], "weights": {"a": np.nan}}, "expected shares from 0 to 1"),
        ({"n": 2, "groups": ["a", "b"], "weights": {"a": -0.5}}, "expected shares from 0 to 1"),
        ({"n": 2, "weights": ["1", "2"]}, "weights has values of type <U1"),
        ({"n": 2, "weights": [1j, 2]}, "weights has values of type complex128"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        EpochOrder(**arguments)


def test_labels_weights_and_seeds_may_have_the_types_of_other_libraries():
    labels = ["a", "b", "b", "b"]
    expected = EpochOrder(4, seed=-3, groups=labels, weights={"a": 0.25}, length=64).items(0).tolist()
    for groups in (np.array(labels), np.array(labels, object), tuple(map(np.str_, labels))):
        for share in (Fraction(1, 4), np.float32(0.25)):
            order = EpochOrder(np.int64(4), np.int32(-3), groups=groups, weights={"a": share}, length=64)
            assert order.items(np.int64(0)).tolist() == expected
    nothing = EpochOrder(4, groups=labels, weights={"a": 0}, length=64)
    assert 0 not in nothing.items(0)


def test_positions_and_epochs_that_do_not_exist_are_refused():
    order = EpochOrder(5)
    for epoch, start, stop in ((-1, 0, 1), (0, 0, 6), (0, 3, 2), (0, -1, 2)):
        with pytest.raises(ArgumentError):
            order.items(epoch, start, stop)
    with pytest.raises(ArgumentError, match="expected 0 to 4"):
        order.item(0, 5)
    with pytest.raises(ArgumentError, match="epoch is -1; expected an integer from 0"):
        order.items(-1)
    with pytest.raises(ArgumentTypeError, match="n is 2.5; expected an integer"):
        EpochOrder(2.5)
