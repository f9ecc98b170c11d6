"""The bounded dictionary, against a list of keys in the order of their use."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.errors import ArgumentError
from ndsampler.utils.util_lru import LRUDict

STEPS = st.lists(st.tuples(st.sampled_from(["set", "get", "ask", "delete"]), st.integers(0, 6)), max_size=60)


@given(STEPS, st.integers(0, 4))
def test_it_keeps_what_was_used_last(steps, max_size):
    cache = LRUDict(max_size)
    used: list[int] = []
    for step, key in steps:
        if step == "ask" or (step != "set" and key not in used):
            assert (key in cache) is cache.has_key(key) is (key in used)
            continue
        used = [other for other in used if other != key]
        if step == "delete":
            del cache[key]
        elif step == "get":
            assert cache[key] == -key
            used.append(key)
        else:
            cache[key] = -key
            used = [*used, key][max(len(used) + 1 - max_size, 0) :]
        assert list(cache.items()) == [(other, -other) for other in used]


def test_a_smaller_size_forgets_at_once():
    cache = LRUDict.new(max_size=3, impl="auto")
    cache.update({1: "a", 2: "b", 3: "c"})
    assert cache.get(4) is None
    cache.set_size(1)
    assert list(cache) == [3]
    cache.clear()
    assert len(cache) == 0


def test_it_survives_a_pickle():
    cache = LRUDict(2)
    cache.update({1: "a", 2: "b"})
    copy = pickle.loads(pickle.dumps(cache))
    copy[3] = "c"
    assert list(copy.items()) == [(2, "b"), (3, "c")]


def test_a_size_below_zero_is_refused():
    with pytest.raises(ArgumentError, match=r"max_size is -1; expected"):
        LRUDict(-1)
    with pytest.raises(KeyError):
        LRUDict(1)["absent"]
