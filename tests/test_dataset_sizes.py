"""Sizes that a dataset does not state are read from the files when they are needed, and only then."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import kwcoco
import numpy as np
import pytest
from helpers_images import random_pixels, write_png, write_tiff
from helpers_optional import import_optional

import ndsampler
from ndsampler.coco_regions import new_image_sample_grid, tabular_coco_targets
from ndsampler.dataset import sizes as module
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import ArgumentError, MissingSourceError, SourceError

#: (height, width) of the images by id, in the order of the dataset.
SIZES = {3: (20, 30), 1: (12, 16), 7: (40, 50)}


def make_dataset(folder: Any, **more: Any) -> kwcoco.CocoDataset:
    """Write three images, and return a dataset that states no size but the width of the last."""
    for gid, dims in SIZES.items():
        write = write_png if gid != 7 else write_tiff
        write(folder / f"{gid}.{'png' if gid != 7 else 'tif'}", random_pixels(dims=dims, seed=gid))
    images = [
        {"id": 3, "file_name": "3.png"},
        {"id": 1, "file_name": "1.png"},
        {"id": 7, "file_name": "7.tif", "width": 50},
    ]
    annots = [
        {"id": aid, "image_id": gid, "category_id": 1, "bbox": [1, 2, 5, 6]} for aid, gid in ((1, 3), (2, 1))
    ]
    data = {"images": images, "annotations": annots, "categories": [{"id": 1, "name": "x"}], **more}
    return kwcoco.CocoDataset(data, bundle_dpath=str(folder))


def make_sized(folder: Any) -> kwcoco.CocoDataset:
    """Return the same dataset with all sizes stated."""
    dset = make_dataset(folder)
    for gid, (height, width) in SIZES.items():
        dset.imgs[gid].update(width=width, height=height)
    return dset


def stated(dset: kwcoco.CocoDataset) -> dict[int, tuple[Any, Any]]:
    """Return what a dataset states as (height, width), by image id."""
    return {gid: (img.get("height"), img.get("width")) for gid, img in dset.imgs.items()}


@pytest.fixture
def dset(tmp_path):
    return make_dataset(tmp_path)


@pytest.fixture
def reads(monkeypatch):
    """Return the names of the files whose size is read, from now on."""
    found: list[str] = []
    read = module.read_dims
    monkeypatch.setattr(module, "read_dims", lambda path, *stated: found.append(path) or read(path))
    return found


NEEDS = {
    "number": lambda sampler: len(sampler),
    "targets": lambda sampler: sampler.regions.targets,
    "positive": lambda sampler: sampler.load_positive(0),
    "negative": lambda sampler: sampler.load_negative(rng=0),
    "pools": lambda sampler: sampler.preselect(n_neg=2, window_dims=(4, 4), rng=0),
    "grid": lambda sampler: sampler.new_sample_grid("image_detection", (10, 10)),
    "index": lambda sampler: sampler.regions.isect_index.qtrees[3].width,
    "hash": lambda sampler: sampler.hashid,
}


@pytest.mark.parametrize("need", NEEDS)
def test_what_needs_a_size_reads_all_of_them_into_the_dataset(dset, reads, need):
    sampler = ndsampler.CocoSampler(dset)
    assert reads == []
    NEEDS[need](sampler)
    assert stated(dset) == SIZES
    assert all(type(side) is int for dims in stated(dset).values() for side in dims)
    assert len(reads) == 3
    for other in NEEDS.values():
        other(sampler)
    assert len(reads) == 3


@pytest.mark.parametrize(
    "need",
    [
        lambda dset: tabular_coco_targets(dset),
        lambda dset: new_image_sample_grid(dset, (10, 10)),
        lambda dset: ndsampler.FrameIntersectionIndex.from_coco(dset).qtrees[1].height,
        lambda dset: ndsampler.CocoRegions(dset).targets,
    ],
)
def test_functions_of_a_dataset_read_sizes_too(dset, need):
    need(dset)
    assert stated(dset) == SIZES


def test_results_are_those_of_a_dataset_that_states_its_sizes(tmp_path):
    found, expected = (ndsampler.CocoSampler(make(tmp_path)) for make in (make_dataset, make_sized))
    assert found.hashid == expected.hashid
    for name, column in expected.regions.targets._raw.items():
        np.testing.assert_array_equal(found.regions.targets[name], column)
    grids = [side.new_sample_grid("image_detection", (9, 9), 0.2)["targets"] for side in (found, expected)]
    assert grids[0] == grids[1]
    pools = [side.preselect(n_neg=5, window_dims=(4, 4), rng=0) for side in (found, expected)]
    assert pools[0] == pools[1]
    assert found.regions.get_negative(2) == expected.regions.get_negative(2)


def test_a_window_of_an_image_needs_no_size(dset, reads):
    sampler = ndsampler.CocoSampler(dset)
    assert sampler.load_sample({"gid": 1, "cx": 5, "cy": 5, "width": 8, "height": 8})["annots"][
        "aids"
    ].tolist() == [2]
    assert sampler.image_ids == [1, 3, 7]
    assert sampler.load_image(3).shape == (20, 30, 3)
    assert len(pickle.dumps(sampler)) > 0
    assert reads == []


def test_an_image_that_is_loaded_with_its_annotations_has_its_size(dset, reads):
    img, _ = ndsampler.CocoSampler(dset).load_image_with_annots(7)
    assert (img["height"], img["width"]) == SIZES[7]
    assert reads == []


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))]
)
@pytest.mark.parametrize(
    "before", [lambda s: None, lambda s: s.regions.annot_table, lambda s: s.regions.targets]
)
def test_copies_read_the_sizes_that_they_lack(dset, clone, before):
    sampler = ndsampler.CocoSampler(dset)
    before(sampler)
    other = clone(sampler)
    assert other.regions.targets["img_width"].tolist() == [30, 16]
    assert stated(other.dset) == SIZES


def test_sizes_that_a_program_writes_meanwhile_are_taken(dset, reads):
    sampler = ndsampler.CocoSampler(dset)
    assert sampler.regions.annot_table.images.widths.tolist() == [-1, -1, 50]
    for gid, (height, width) in SIZES.items():
        dset.imgs[gid].update(width=width, height=height)
    assert sampler.regions.targets["img_height"].tolist() == [20, 12]
    assert reads == []


@pytest.mark.parametrize("key", ["auxiliary", "assets"])
def test_files_of_an_image_get_their_sizes_with_it(tmp_path, key):
    write_tiff(tmp_path / "half.tif", random_pixels(channels=1, dims=(10, 15)))
    dset = make_dataset(tmp_path)
    dset.imgs[3][key] = [{"file_name": "half.tif", "channels": "nir", "warp_aux_to_img": {"scale": 2}}]
    assert SizeSource(dset).fill([3]) == ({3: SIZES[3]}, {})
    assert [(part["height"], part["width"]) for part in dset.imgs[3][key]] == [(10, 15)]


def test_nothing_is_read_if_every_image_states_its_size(tmp_path, reads):
    dset = make_sized(tmp_path)
    dset.imgs[3]["auxiliary"] = [{"file_name": "none.tif", "channels": "nir"}]
    assert SizeSource(dset).fill([3]) == ({3: SIZES[3]}, {})
    assert reads == []


# --- files that cannot be read ---------------------------------------------


def test_a_missing_file_is_one_error_with_image_and_path(tmp_path):
    dset = make_dataset(tmp_path)
    (tmp_path / "1.png").unlink()
    sampler = ndsampler.CocoSampler(dset)
    with pytest.raises(
        MissingSourceError, match=r"image 1 has no width and height.*1\.png does not exist"
    ) as caught:
        sampler.load_positive(0)
    assert isinstance(caught.value, FileNotFoundError)
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (
        None,
        caught.value.__context__ is not None,
    )
    # What could be read is there.
    assert stated(dset) == {**SIZES, 1: (None, None)}
    write_png(tmp_path / "1.png", random_pixels(dims=(5, 6)))
    assert sampler.regions.targets["img_width"].tolist() == [30, 6]


def test_a_damaged_file_is_one_error_with_image_and_path(tmp_path):
    dset = make_dataset(tmp_path)
    for gid in (1, 3):
        (tmp_path / f"{gid}.png").write_bytes(b"garbage")
    with pytest.raises(SourceError, match=r"image 1 and 1 more have no .*1\.png .*add both"):
        _ = ndsampler.CocoSampler(dset).regions.targets


def test_an_unreadable_image_without_annotations_does_no_harm(tmp_path):
    dset = make_dataset(tmp_path)
    (tmp_path / "7.tif").unlink()
    sampler = ndsampler.CocoSampler(dset)
    assert sampler.regions.targets["img_width"].tolist() == [30, 16]
    assert sampler.load_positive(1)["target"]["gid"] == 1
    assert len(sampler.hashid) > 20
    with pytest.raises(MissingSourceError, match=r"image 7 .*7\.tif does not exist"):
        sampler.new_sample_grid("image_detection", (10, 10))


def test_an_image_made_of_several_files_needs_a_stated_size(tmp_path):
    dset = make_dataset(tmp_path)
    dset.imgs[3].update(file_name=None, auxiliary=[{"file_name": "1.png", "channels": "r|g|b"}])
    with pytest.raises(SourceError, match="image 3 has no width and height.*no file of its own; add both"):
        _ = ndsampler.CocoSampler(dset).regions.targets


def test_a_table_from_a_pickle_says_that_it_has_no_files(dset):
    table = pickle.loads(pickle.dumps(ndsampler.CocoRegions(dset).annot_table))
    with pytest.raises(ArgumentError, match=r"3 images have no width or height, ids \[1, 3, 7\]"):
        table.images.require_sizes()


# --- many files -------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """A dataset of just as many images as give a progress bar."""
    write_png(tmp_path / "0.png", random_pixels(dims=(4, 5)))
    data = (tmp_path / "0.png").read_bytes()
    for number in range(module.MANY_FILES):
        (tmp_path / f"{number}.png").write_bytes(data)
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(module.MANY_FILES)]
    return kwcoco.CocoDataset({"images": images}, bundle_dpath=str(tmp_path))


def test_many_files_show_a_progress_bar_if_asked(many, capsys):
    assert SizeSource(many, verbose=1).fill([5]) == ({5: (4, 5)}, {})
    out, err = capsys.readouterr()
    assert out == ""
    assert "read image sizes" in err


@pytest.mark.parametrize(("count", "verbose"), [(module.MANY_FILES, 0), (module.MANY_FILES - 1, 1)])
def test_few_files_and_quiet_programs_show_none(many, capsys, count, verbose):
    many.remove_images([gid for gid in list(many.imgs) if gid >= count])
    SizeSource(many, verbose=verbose).fill([])
    assert set(stated(many).values()) == {(4, 5)}
    assert capsys.readouterr() == ("", "")


def test_an_interruption_drops_the_files_that_wait(many, monkeypatch):
    read = []

    def interrupt(path, *stated):
        read.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "read_dims", interrupt)
    with pytest.raises(KeyboardInterrupt):
        SizeSource(many).fill([])
    assert len(read) < module.MANY_FILES


# --- databases --------------------------------------------------------------


def test_sizes_of_a_view_are_kept_beside_it(tmp_path, reads):
    import_optional("sqlalchemy")
    view = make_dataset(tmp_path).view_sql(memory=True)
    sampler = ndsampler.CocoSampler(view, images=tmp_path)
    targets = sampler.regions.targets
    assert dict(zip(targets["gid"].tolist(), targets["img_width"].tolist())) == {3: 30, 1: 16}
    assert len(sampler.new_sample_grid("image_detection", (10, 10))["targets"]) > 20
    assert len(reads) == 3
    assert view.imgs[3]["width"] is None
    assert sampler.load_positive(0)["im"].shape == (6, 5, 3)
