"""Hash ids: equal for equal dependencies, whatever process or spelling they come from."""

from __future__ import annotations

import copy
import pathlib
import pickle
import sys

import numpy as np
import pytest
import ubelt as ub
from helpers_processes import check_script
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.utils import HashIdentifiable, have_gdal
from ndsampler.utils.hash_identifiable import HashIdentifiable as FromItsModule


class Depending(HashIdentifiable):
    def __init__(self, depends, **kwargs):
        super().__init__(**kwargs)
        self.depends = depends
        self.calls = 0

    def _depends(self):
        self.calls += 1
        return self.depends


#: One value of every type that dependencies may hold.
MIXED_DEPENDENCIES = """{
    'path': pathlib.PurePosixPath('/data/a.png'), pathlib.PurePosixPath('k'): {'x', 'y', 'z'},
    'flag': np.bool_(True), 'size': np.int32(3), 'scale': np.float64(0.5), 'grid': np.arange(6).reshape(2, 3),
    'objects': np.array([pathlib.PurePosixPath('b'), None], dtype=object), 'slice': slice(1, 2),
    'sets': {frozenset({'a', 'b', 'c'}), ('t', 1), frozenset({frozenset({1, 2})})}, (1, 2): None,
}"""


def mixed_dependencies():
    return eval(MIXED_DEPENDENCIES)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(plain_values)
def test_plain_dependencies_hash_as_they_are(value):
    assert Depending(value).hashid == ub.hash_data(value)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=6))
def test_the_order_of_a_dictionary_does_not_matter(table):
    assert Depending(table).hashid == Depending(dict(reversed(table.items()))).hashid


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ((1, 2), [1, 2]),
        ({"a": [pathlib.PurePosixPath("x"), np.int8(1)]}, {"a": ["x", 1]}),
        (frozenset({1, 2}), {2, 1}),
    ],
)
def test_paths_and_numpy_scalars_hash_as_the_plain_value(spelled, plain):
    assert Depending(spelled).hashid == Depending(plain).hashid


def test_arrays_of_equal_values_hash_equal_and_others_differ():
    grid = np.arange(6).reshape(2, 3)
    assert Depending([grid]).hashid == Depending([grid.copy()]).hashid
    assert Depending([grid]).hashid != Depending([grid + 1]).hashid
    assert Depending([grid]).hashid != Depending([grid.T]).hashid


def test_the_id_is_the_same_in_every_process_whatever_its_hash_seed():
    code = (
        "import pathlib, numpy as np\n"
        "from ndsampler.utils import HashIdentifiable\n"
        "class Depending(HashIdentifiable):\n"
        f"    def _depends(self): return {MIXED_DEPENDENCIES}\n"
        "print(Depending().hashid)\n"
    )
    expected = Depending(mixed_dependencies()).hashid
    for seed in ["1", "2"]:
        assert check_script(code, env={"PYTHONHASHSEED": seed}).strip() == expected


def test_the_id_is_computed_when_first_asked_for_and_kept():
    identifiable = Depending([1])
    assert identifiable.calls == 0
    first = identifiable.hashid
    assert identifiable.hashid == first
    assert identifiable.calls == 1


def test_setting_the_private_id_to_none_computes_it_anew():
    identifiable = Depending([1])
    first = identifiable.hashid
    identifiable.depends = [2]
    identifiable._hashid = None
    assert identifiable.hashid == Depending([2]).hashid != first


def test_a_class_may_make_the_id_itself_with_or_without_its_parts():
    class WithParts(HashIdentifiable):
        def _make_hashid(self):
            return "abc", ["a", "bc"]

    class Alone(HashIdentifiable):
        def _make_hashid(self):
            return "abc"

    with_parts = WithParts()
    assert with_parts.hashid == Alone().hashid == "abc"
    assert with_parts._hashid_parts == ["a", "bc"]


def test_the_id_may_be_given_on_the_class_or_on_the_instance():
    class Given(HashIdentifiable):
        _hashid = "given"

    assert Given().hashid == "given"
    identifiable = Depending([1])
    identifiable._hashid = "set"
    assert identifiable.hashid == "set"


def test_a_class_without_any_of_the_three_says_what_to_implement():
    class Forgot(HashIdentifiable):
        pass

    with pytest.raises(NotImplementedError, match=r"Forgot has no hashid.*_depends\(\)"):
        _ = Forgot().hashid


def test_a_dependency_that_cannot_be_hashed_is_a_type_error():
    with pytest.raises(TypeError, match="hash"):
        _ = Depending([object()]).hashid


def test_keyword_arguments_go_on_to_the_next_class():
    class Base:
        def __init__(self, colour):
            self.colour = colour

    class Derived(HashIdentifiable, Base):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

        def _depends(self):
            return self.colour

    assert Derived(colour="red").hashid == ub.hash_data("red")
    with pytest.raises(TypeError):
        HashIdentifiable(unknown=1)


def test_it_works_without_calling_the_constructor_of_the_base():
    class Silent(HashIdentifiable):
        def __init__(self):
            self.value = 1

        def _depends(self):
            return self.value

    assert Silent().hashid == ub.hash_data(1)


def test_copies_and_pickles_keep_the_id():
    identifiable = Depending(mixed_dependencies())
    before = pickle.loads(pickle.dumps(identifiable))
    assert before.hashid == identifiable.hashid
    for other in [
        copy.copy(identifiable),
        copy.deepcopy(identifiable),
        pickle.loads(pickle.dumps(identifiable)),
    ]:
        assert other.hashid == identifiable.hashid


def test_the_package_gives_the_class_of_its_module_and_lists_it():
    import ndsampler.utils as utils

    assert utils.HashIdentifiable is FromItsModule
    assert set(utils.__all__) <= set(dir(utils))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = utils.no_such_name


def test_gdal_is_usable_where_rasterio_writes_tiffs():
    rasterio = pytest.importorskip("rasterio")
    with rasterio.Env() as env:
        assert have_gdal() is ("GTiff" in env.drivers())


def test_gdal_is_not_usable_without_rasterio(monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert have_gdal() is False
