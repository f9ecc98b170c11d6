"""Samples leave the worker processes of data loaders, whatever the target asks for."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from delayed_image.channel_spec import ChannelSpec, FusedChannelSpec
from helpers_optional import import_optional
from helpers_videos import COMPLETE, EXACT, FLOATS, GAPS, LOOSE, MOVING, SPACE, SPARSE, videos

from ndsampler import CocoSampler

SAME = 31

STILL = {"gid": SAME, "slices": SPACE}

VIDEO = {"vidid": MOVING, "space_slice": SPACE}

TARGETS = {
    "still": STILL,
    "still by annotation": {"aid": 1031},
    "still with channels": {**STILL, "channels": "r|b"},
    "still with a specification": {**STILL, "channels": FusedChannelSpec.coerce("b|g")},
    "still with three slices": {"gid": SAME, "slices": (*SPACE, slice(0, 2))},
    "masked still": {**STILL, "nodata": "ma"},
    "xarray of a still": {**STILL, "as_xarray": True},
    "video": {"vidid": MOVING},
    "video in time": {**VIDEO, "time_slice": slice(-1, 2), "pad": (1, 2, 3)},
    "video with a specification": {**VIDEO, "channels": ChannelSpec.coerce("r,b")},
    "scaled video": {**VIDEO, "scale": (0.5, 2), "dtype": np.float32},
    "masked video": {"vidid": GAPS, "nodata": "ma"},
    "xarray": {**VIDEO, "as_xarray": True},
    "masked xarray": {"vidid": FLOATS, "nodata": "ma", "as_xarray": True},
    "native": {"gids": [COMPLETE, SPARSE], "space_slice": SPACE, "use_native_scale": True},
    "native xarray": {"gids": [COMPLETE], "use_native_scale": True, "as_xarray": True},
    "masked native": {"gids": [COMPLETE], "use_native_scale": True, "nodata": "ma"},
    "realigned": {"gids": [COMPLETE], "use_native_scale": True, "realign_native": "largest"},
    "delayed": {**VIDEO, "finalize": False},
    "images": {"gids": list(LOOSE)},
    "images of an iterator": {"gids": iter(LOOSE)},
    "images of a view": {"gids": dict.fromkeys(LOOSE).keys()},
    "without the older keys": {**VIDEO, "legacy_annots": False, "legacy_target": False},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def used_specifications():
    """Make every shared specification store what its methods return."""
    yield
    FusedChannelSpec._memo.clear()


def use_all_specifications():
    for spec in list(FusedChannelSpec._memo.values()):
        spec.as_list(), spec.as_set(), spec.as_oset(), spec.unique(), spec.normalize()


def fresh(target):
    """Return a target that can be sampled again, its iterator unread."""
    return {**target, "gids": iter(LOOSE)} if hasattr(target.get("gids"), "__next__") else dict(target)


def pixels_in(pixels):
    """Return the arrays of a sample: of the image, or of parts or delayed images of its frames."""
    if isinstance(pixels, list):
        return [array for item in pixels for array in pixels_in(item)]
    return [np.asarray(pixels.finalize() if hasattr(pixels, "finalize") else pixels)]


def assert_same_sample(found, expected):
    assert found.keys() == expected.keys()
    for ours, theirs in zip(pixels_in(found["im"]), pixels_in(expected["im"])):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (sample["annots"]["frame_dets"] for sample in (found, expected))
    assert [dets.data["aids"].tolist() for dets in ours] == [dets.data["aids"].tolist() for dets in theirs]
    assert found["params"].get("request_chanspec") == expected["params"].get("request_chanspec")


@pytest.mark.parametrize("name", TARGETS)
def test_every_sample_survives_pickle(sampler, used_specifications, name):
    sample = sampler.load_sample(fresh(TARGETS[name]))
    use_all_specifications()
    assert_same_sample(pickle.loads(pickle.dumps(sample)), sample)
    again = sampler.load_sample(fresh(TARGETS[name]))
    assert_same_sample(pickle.loads(pickle.dumps(again)), sample)


@pytest.mark.parametrize("name", ["video", "native", "delayed"])
def test_every_sample_can_be_copied_deeply(sampler, used_specifications, name):
    sample = sampler.load_sample(fresh(TARGETS[name]))
    use_all_specifications()
    assert_same_sample(copy.deepcopy(sample), sample)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
def test_a_copy_of_a_specification_works_as_the_original(sampler, copier):
    spec = sampler.load_sample({"vidid": EXACT})["params"]["request_chanspec"]
    names = spec.as_list()
    twin = copier(spec)
    assert type(twin) is FusedChannelSpec
    assert twin == spec
    assert (twin.as_list(), twin.spec, twin.numel()) == (names, "b|g|r", 3)


# --- data loaders --------------------------------------------------------------------------------


class Samples:
    """The samples of some targets, as a data loader takes them."""

    def __init__(self, sampler, targets):
        self.sampler = sampler
        self.targets = targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.sampler.load_sample(self.targets[index])


def take_all(batch):
    """Collate nothing."""
    return batch


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_workers_of_a_data_loader_return_every_sample(data, used_specifications, method):
    loading = import_optional("torch.utils.data")
    multiprocessing = import_optional("torch.multiprocessing")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method} processes")
    sampler = CocoSampler(data.dset)
    targets = [target for target in TARGETS.values() if not hasattr(target.get("gids"), "__next__")]
    targets = [{**target, "gids": list(target["gids"])} if "gids" in target else target for target in targets]
    expected = [sampler.load_sample(target) for target in targets]
    use_all_specifications()
    loader = loading.DataLoader(
        Samples(sampler, targets),
        batch_size=4,
        num_workers=2,
        collate_fn=take_all,
        multiprocessing_context=method,
        timeout=90,
    )
    found = [sample for batch in loader for sample in batch]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert_same_sample(ours, theirs)
