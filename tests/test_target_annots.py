"""The annotations of a target without its pixels: their ids, and themselves."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_videos import EXACT, LOOSE, MOVING, MOVING_FRAMES, SHIFTED, SPACE, TURNED, as_slices, videos

from ndsampler.errors import NDSamplerError, TargetError, UnknownIdError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return videos(tmp_path_factory.mktemp("videos"))


#: Targets of images that are one grid with their video, as earlier releases took them.
ALIGNED = [
    {"gids": list(LOOSE), "space_slice": as_slices((0, 40), (0, 56))},
    {"gids": LOOSE[::-1], "space_slice": SPACE},
    {"gids": [LOOSE[0], LOOSE[0]], "space_slice": SPACE},
    {"gids": np.array(LOOSE), "space_slice": as_slices((-5, 20), (-5, 20))},
    {"gids": [31], "space_slice": as_slices((0.5, 20.5), (3.5, 20.5))},
]


@pytest.mark.parametrize("target", ALIGNED)
def test_the_ids_are_a_list_of_python_integers_frame_by_frame(sampler, data, target):
    before = dict(target)
    found = sampler.load_target_annots(target)
    (y0, y1), (x0, x1) = ((int(part.start), int(part.stop)) for part in target["space_slice"])
    expected = []
    for gid in target["gids"]:
        for aid in sorted(data.dset.index.gid_to_aids[gid]):
            x, y, width, height = data.dset.anns[aid]["bbox"]
            if x <= x1 and x + width >= x0 and y <= y1 and y + height >= y0:
                expected.append(aid)
    assert found == expected
    assert {type(found), *map(type, found)} == {list, int}
    assert target == before


@pytest.mark.parametrize(
    "target",
    [
        {"vidid": MOVING, "space_slice": SPACE},
        {"gids": [SHIFTED, TURNED], "space_slice": SPACE},
        {"vidid": MOVING, "time_slice": slice(1, 3)},
        {"gid": TURNED, "cx": 20, "cy": 20, "width": 20, "height": 9},
        {"aid": 1031},
        {"image_ids": MOVING_FRAMES},
    ],
)
def test_the_ids_are_those_of_the_sample(sampler, target):
    assert sampler.load_target_annots(target) == sampler.load_sample(target)["annots"]["aids"].tolist()


def test_the_margins_do_not_count(sampler):
    target = {"gids": LOOSE, "space_slice": as_slices((0, 5), (0, 5))}
    assert sampler.load_target_annots({**target, "pad": (20, 20)}) == []
    assert sampler.load_annots({**target, "pad": (20, 20)})["aids"].tolist() != []


@pytest.mark.parametrize(
    "target",
    [
        {"gids": [], "space_slice": SPACE},
        {"gids": (), "space_slice": SPACE},
        {"gids": LOOSE, "space_slice": as_slices((0, 2), (0, 2))},
        {"vidid": EXACT, "space_slice": SPACE},
    ],
)
def test_no_annotations_are_an_empty_list(sampler, target):
    assert sampler.load_target_annots(target) == []


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ({"gids": [LOOSE[0], 999], "space_slice": SPACE}, KeyError),
        ({"space_slice": SPACE}, TargetError),
        ({"gids": 90, "space_slice": SPACE}, TargetError),
        ({"gids": LOOSE, "space_slice": (slice(0, 5),)}, ValueError),
        (None, TargetError),
        ([1, 2], TargetError),
    ],
)
def test_a_target_that_cannot_be_sampled_is_refused(sampler, target, error):
    with pytest.raises(error) as caught:
        sampler.load_target_annots(target)
    assert isinstance(caught.value, NDSamplerError)


def test_no_pixels_are_read(sampler, monkeypatch):
    def read(*args, **kwargs):
        raise AssertionError("pixels were read")

    monkeypatch.setattr(sampler.frames.reader, "read", read)
    assert sampler.load_target_annots(ALIGNED[0])
    assert len(sampler.load_annots(ALIGNED[0])["frame_dets"]) == 2


@pytest.mark.parametrize("call", ["load_sample", "load_annots"])
def test_keypoints_carry_their_categories(sampler, call):
    for target in ({"gid": TURNED}, {"vidid": MOVING}, {"vidid": EXACT}):
        found = getattr(sampler, call)(target)
        annots = found["annots"] if call == "load_sample" else found
        assert annots["rel_kpts"].meta["classes"] is sampler.kp_classes
        assert list(sampler.kp_classes) == ["bow", "stern"]
        for dets in annots["frame_dets"]:
            assert dets.data["keypoints"].meta["classes"] is sampler.kp_classes


@pytest.mark.parametrize("with_annots", [True, "boxes", []])
def test_keypoints_that_are_not_asked_for_carry_their_categories_too(sampler, with_annots):
    annots = sampler.load_sample({"vidid": MOVING}, with_annots=with_annots)["annots"]
    assert annots["rel_kpts"].meta == {"classes": sampler.kp_classes}


def test_an_id_that_no_annotation_has_is_a_key_error(sampler):
    for ids in ([2**70], [-(2**70)], [999]):
        with pytest.raises(UnknownIdError) as caught:
            sampler.load_annots({"gid": TURNED}, annot_ids=ids)
        assert isinstance(caught.value, KeyError)
