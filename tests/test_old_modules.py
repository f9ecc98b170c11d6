"""Modules and attributes that programs written against earlier releases reach for."""

from __future__ import annotations

import importlib
import multiprocessing
import pickle

import kwarray
import kwcoco
import kwimage
import numpy as np
import pytest
import ubelt as ub
from helpers_images import random_pixels, write_png, write_tiff
from helpers_pools import make_dataset
from helpers_threads import PATIENCE

import ndsampler
from ndsampler import CocoRegions, CocoSampler, FrameIntersectionIndex
from ndsampler.backends.gdal import open_dataset
from ndsampler.coerce_data import coerce_datasets
from ndsampler.errors import (
    ArgumentError,
    ArgumentTypeError,
    BackendError,
    CacheError,
    MissingDependencyError,
    MissingSourceError,
    SourceError,
    UnknownOptionError,
)
from ndsampler.utils import (
    require,
    util_futures,
    util_gdal,
    util_lru,
    util_misc,
    util_shape,
    validate_cog,
)
from ndsampler.utils.util_gdal import LazyGDalFrameFile, _imwrite_cloud_optimized_geotiff
from ndsampler.utils.util_sklearn import StratifiedGroupKFold

DIMS = (300, 200)

#: What programs import, as they write it.
IMPORTS = [
    "from ndsampler import coerce_data; coerce_data.coerce_datasets",
    "from ndsampler.coco_dataset import CocoDataset",
    "from ndsampler import CocoDataset, util_futures; util_futures.Executor, util_futures.JobPool",
    "from ndsampler.util import util_lru, HashIdentifiable",
    "import ndsampler; ndsampler.util.util_gdal.LazyGDalFrameFile",
    "from ndsampler.utils import util_gdal; util_gdal._imwrite_cloud_optimized_geotiff",
    "import ndsampler; ndsampler.utils.util_gdal.batch_convert_to_cog, ndsampler.utils.util_misc",
    "from ndsampler.utils.util_gdal import have_gdal, batch_validate_cog",
    "from ndsampler.utils.util_futures import Executor, JobPool, SerialExecutor, as_completed",
    "from ndsampler.utils.util_sklearn import StratifiedGroupKFold",
    "from ndsampler.utils.util_lru import LRUDict",
    "from ndsampler.utils.util_misc import HashIdentifiable",
    "from ndsampler.utils.util_shape import nestshape",
    "from ndsampler.utils.validate_cog import validate, ValidateCloudOptimizedGeoTIFFException",
    "from ndsampler import frame_cache, isect_indexer, abstract_frames, category_tree, toydata",
]


@pytest.fixture(scope="module")
def dset():
    """A dataset of twelve images with annotations of three categories, and one image without any."""
    rng = np.random.RandomState(3)
    dset = make_dataset(
        {gid: rng.randint(1, 30, (gid % 5 + 2, 4)).tolist() for gid in range(40, 52)} | {60: []}
    )
    others = [dset.add_category(name) for name in ("other", "rare")]
    for aid, ann in dset.anns.items():
        ann["category_id"] = [1, *others][aid % 3]
    dset.rebuild_index()
    return dset


@pytest.fixture
def pixels():
    return random_pixels("uint8", 3, DIMS)


def read_whole(path) -> np.ndarray:
    with open_dataset(str(path)) as file:
        return file.read().transpose(1, 2, 0)


# --- where things are ----------------------------------------------------------------------------


@pytest.mark.parametrize("statement", IMPORTS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_programs_import_is_there(statement):
    exec(statement, {})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_places_give_the_things_of_today():
    assert ndsampler.CocoDataset is kwcoco.CocoDataset
    assert importlib.import_module("ndsampler.coco_dataset").CocoDataset is kwcoco.CocoDataset
    assert ndsampler.util_futures.JobPool is util_futures.JobPool is ub.JobPool
    assert ndsampler.util_futures.Executor is util_futures.Executor is ub.Executor
    assert ndsampler.util.util_lru is util_lru
    assert util_misc.HashIdentifiable is ndsampler.HashIdentifiable


@pytest.mark.parametrize("module", ["coco_dataset", "util", "util_futures", "utils"])
def test_an_old_place_does_not_make_up_names(module):
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = importlib.import_module(f"ndsampler.{module}").no_such_name
    with pytest.raises(AttributeError, match="_no_such_name"):
        _ = importlib.import_module(f"ndsampler.{module}")._no_such_name


def test_each_old_place_says_where_its_content_lives_now():
    pointers = {
        "coco_dataset": "kwcoco.CocoDataset",
        "coerce_data": "kwcoco.CocoDataset.subset",
        "util": "ndsampler.utils",
        "util_futures": "ubelt.util_futures",
        "utils.util_futures": "ubelt.JobPool",
        "utils.util_gdal": "ndsampler.backends.cog.CogBackend",
        "utils.util_misc": "ndsampler.utils.hash_identifiable",
        "utils.util_sklearn": "sklearn.model_selection.StratifiedGroupKFold",
        "utils.validate_cog": "rio_cogeo.cog_validate",
    }
    for module, pointer in pointers.items():
        assert pointer in importlib.import_module(f"ndsampler.{module}").__doc__


# --- futures, shapes, folds ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["serial", "thread"])
def test_jobs_of_the_pool_can_be_awaited_counted_and_gone_through(mode):
    pool = util_futures.JobPool(mode, max_workers=2)
    for number in range(3):
        pool.submit(abs, -number)
    assert sorted(job.result(PATIENCE) for job in pool.as_completed()) == [0, 1, 2]
    assert len(pool) == 3
    assert sorted(job.result(PATIENCE) for job in pool) == [0, 1, 2]
    assert [job.result(PATIENCE) for job in pool.jobs] == [0, 1, 2]


def test_an_executor_without_workers_works_at_once():
    with util_futures.Executor("process", max_workers=0) as executor:
        assert isinstance(executor.backend, util_futures.SerialExecutor)
        job = executor.submit(abs, -3)
        assert list(util_futures.as_completed([job])) == [job]
        assert job.result(PATIENCE) == 3


def test_shapes_of_nested_containers_take_the_place_of_arrays():
    data = [np.zeros((2, 3)), {"a": np.ones(4), "b": None}, (1, np.float32(2)), kwimage.Boxes.random(5)]
    assert util_shape.nestshape(data) == [(2, 3), {"a": (4,), "b": None}, (1, ()), (5, 4)]
    with pytest.raises(ArgumentTypeError, match="expected lists, tuples, dicts and arrays"):
        util_shape.nestshape([{1, 2}])


@pytest.mark.parametrize(
    "settings", [{}, {"shuffle": True, "random_state": np.random.RandomState(0)}, {"random_state": 3}]
)
def test_folds_keep_groups_whole_and_hold_out_each_once(settings):
    rng = np.random.RandomState(0)
    groups = np.repeat(np.arange(12), 5).tolist()
    categories = rng.randint(1, 4, 60).tolist()
    folds = list(StratifiedGroupKFold(**settings).split(X=groups, y=categories, groups=groups))
    assert len(folds) == 3
    held_out = np.concatenate([test for _, test in folds])
    assert sorted(held_out.tolist()) == list(range(60))
    for train, test in folds:
        assert set(np.take(groups, train)).isdisjoint(np.take(groups, test))


@pytest.mark.parametrize("categories", [[1, 1, 2, 2], [1, 2, 3, 4]])
def test_more_folds_than_groups_leave_the_last_empty(categories):
    folds = list(StratifiedGroupKFold(n_splits=3).split(categories, categories, groups=[5, 6, 6, 6]))
    assert sorted(test.tolist() for _, test in folds[:2]) == [[0], [1, 2, 3]]
    assert [part.tolist() for part in folds[2]] == [[0, 1, 2, 3], []]


def test_a_single_group_is_held_out_at_once():
    folds = list(StratifiedGroupKFold(n_splits=2).split([0, 0], [1, 1], groups=[5, 5]))
    assert [[part.tolist() for part in fold] for fold in folds] == [[[], [0, 1]], [[0, 1], []]]


def test_folds_know_their_number_and_want_two_and_rows():
    assert StratifiedGroupKFold().get_n_splits() == 3
    assert (
        repr(StratifiedGroupKFold()) == "StratifiedGroupKFold(n_splits=3, random_state=None, shuffle=False)"
    )
    with pytest.raises(ArgumentError, match="n_splits is 1; expected two folds"):
        StratifiedGroupKFold(n_splits=1)
    with pytest.raises(ArgumentError, match="no rows to split"):
        next(StratifiedGroupKFold().split([], [], []))


def test_an_absent_package_is_named_with_the_command_that_installs_it(monkeypatch):
    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(require, "import_module", fail)
    with pytest.raises(MissingDependencyError, match="run 'pip install scikit-learn'"):
        next(StratifiedGroupKFold().split([1], [1], [1]))


# --- datasets of a configuration -----------------------------------------------------------------


def test_a_dataset_is_split_into_parts_that_share_no_image_and_lose_no_annotation(dset):
    subsets = coerce_datasets({"datasets": dset})
    assert list(subsets) == ["train", "vali", "test"]
    gids = [gid for subset in subsets.values() for gid in subset.imgs]
    assert sorted(gids) == sorted(gid for gid, aids in dset.index.gid_to_aids.items() if aids)
    assert sum(subset.n_annots for subset in subsets.values()) == dset.n_annots
    assert subsets["train"].imgs[gids[0]] is not dset.imgs[gids[0]]


def test_a_split_is_the_same_each_time_and_leaves_the_configuration_alone(dset):
    config = {"datasets": dset, "split_factor": 2}
    first, second = ({tag: sorted(d.imgs) for tag, d in coerce_datasets(config).items()} for _ in range(2))
    assert first == second
    assert config == {"datasets": dset, "split_factor": 2}


def test_the_part_for_testing_can_go_to_training(dset):
    with_test = coerce_datasets({"datasets": dset})
    without = coerce_datasets({"datasets": dset, "no_test": True})
    assert list(without) == ["train", "vali"]
    assert sorted(without["train"].imgs) == sorted([*with_test["train"].imgs, *with_test["test"].imgs])


def test_the_parts_of_a_dataset_are_tagged(dset):
    assert coerce_datasets({"datasets": dset})["vali"].tag == (f"{dset.tag}-vali" if dset.tag else "vali")
    tagged = dset.copy()
    tagged.tag = "mine"
    assert coerce_datasets({"datasets": tagged})["vali"].tag == "mine-vali"


def test_a_dataset_that_is_named_for_a_purpose_is_not_split(dset, tmp_path):
    path = tmp_path / "data.kwcoco.json"
    dset.dump(path)
    for name in (path, str(path), f"path:{path}", f"PATH:{path}"):
        subsets = coerce_datasets({"train_dataset": name, "test_dataset": dset, "datasets": "nothing"})
        assert list(subsets) == ["train", "test"]
        assert subsets["test"] is dset
        assert subsets["train"].anns == dset.anns


def test_a_configuration_without_datasets_gives_none():
    assert coerce_datasets({}) == {}


def test_hash_ids_of_datasets_are_made_when_asked_for(dset):
    copy = dset.copy()
    assert (
        coerce_datasets({"train_dataset": copy}, build_hashid=True)["train"].hashid == copy.hashid is not None
    )


def test_a_demo_set_without_its_prefix_is_taken_with_a_warning():
    with pytest.warns(UserWarning, match="write 'special:shapes2'") as caught:
        subsets = coerce_datasets({"vali_dataset": "shapes2"})
    assert subsets["vali"].n_images == 2
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore:.* is no file")
@pytest.mark.parametrize("name", ["special:nothing", "/no/such/file.json"])
def test_a_name_that_means_nothing_is_an_error(name):
    with pytest.raises(UnknownOptionError, match="expected the path of a file"):
        coerce_datasets({"train_dataset": name})


def test_what_is_no_dataset_is_an_error():
    with pytest.raises(ArgumentTypeError, match="expected a kwcoco dataset, a path"):
        coerce_datasets({"train_dataset": 5})


def test_three_annotated_images_are_enough_to_split(dset):
    subsets = coerce_datasets({"datasets": dset.subset([41, 42, 43, 60])})
    assert [subset.n_images for subset in subsets.values()] == [1, 1, 1]


def test_too_few_images_to_split_are_an_error(dset):
    for gids in ([], sorted(dset.imgs)[:2]):
        with pytest.raises(ArgumentError, match="too few to split by 3.*give train_dataset"):
            coerce_datasets({"datasets": dset.subset(gids)})


# --- cloud-optimized GeoTIFFs --------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["auto", "RAW", "DEFLATE", "LZW", "ZSTD"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_an_array_is_written_as_a_valid_cog_with_its_own_pixels(tmp_path, compress, dtype):
    data = random_pixels(dtype, 3, DIMS)
    path = tmp_path / "a.tif"
    assert _imwrite_cloud_optimized_geotiff(path, data, compress=compress) is path
    np.testing.assert_array_equal(read_whole(path), data)
    assert validate_cog.validate(path)[1] == []


def test_a_gray_array_is_written_as_one_band_with_tiles_as_asked(tmp_path):
    data = random_pixels("uint16", 1, DIMS)[:, :, 0]
    path = _imwrite_cloud_optimized_geotiff(str(tmp_path / "a.tif"), data, blocksize=128)
    np.testing.assert_array_equal(read_whole(path), data[:, :, None])
    with open_dataset(path) as file:
        assert file.block_shapes == [(128, 128)]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, pixels):
    old = _imwrite_cloud_optimized_geotiff(tmp_path / "a.tif", pixels)
    before = old.read_bytes()
    with pytest.raises(CacheError, match="cannot store (longdouble|float)"):
        _imwrite_cloud_optimized_geotiff(old, pixels.astype(np.longdouble))
    with pytest.raises(BackendError, match="compress is 'NOSUCH'"):
        _imwrite_cloud_optimized_geotiff(old, pixels, compress="NOSUCH")
    with pytest.raises(CacheError, match=r"no_folder"):
        _imwrite_cloud_optimized_geotiff(tmp_path / "no_folder" / "a.tif", pixels)
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(CacheError, match=r"folder.tif cannot be written"):
        _imwrite_cloud_optimized_geotiff(tmp_path / "folder.tif", pixels)
    assert old.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "folder.tif"]


def test_a_lazy_file_slices_as_its_array_does(tmp_path, pixels):
    image = LazyGDalFrameFile(_imwrite_cloud_optimized_geotiff(tmp_path / "a.tif", pixels))
    assert (image.shape, image.ndim, image.dtype, len(image)) == (pixels.shape, 3, pixels.dtype, len(pixels))
    for index in np.s_[:, :], np.s_[5:9, 100:], np.s_[np.int64(3) : 8, ::2, 1], np.s_[..., 0], np.s_[-4:], 7:
        np.testing.assert_array_equal(image[index], pixels[index])
    np.testing.assert_array_equal(np.asarray(image), pixels)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image))[2:4], pixels[2:4])
    assert "a.tif" in repr(image)


def test_a_lazy_file_may_be_of_any_format(tmp_path, pixels):
    np.testing.assert_array_equal(LazyGDalFrameFile(write_png(tmp_path / "a.png", pixels))[4:6], pixels[4:6])


def test_a_lazy_file_that_does_not_exist_says_so_when_it_is_used(tmp_path):
    image = LazyGDalFrameFile(tmp_path / "a.tif")
    with pytest.raises(MissingSourceError, match=r"a.tif does not exist"):
        _ = image.shape


@pytest.mark.parametrize(("mode", "max_workers"), [("process", 0), ("thread", 2), ("serial", 0)])
def test_files_are_converted_in_a_batch(tmp_path, pixels, mode, max_workers):
    sources = [write_png(tmp_path / "a.png", pixels), write_tiff(tmp_path / "b.tif", pixels[:50])]
    made = [tmp_path / "a.cog.tif", tmp_path / "b.cog.tif"]
    config = {"compress": "DEFLATE", "blocksize": 64}
    util_gdal.batch_convert_to_cog(sources, made, mode, max_workers, cog_config=config)
    np.testing.assert_array_equal(read_whole(made[0]), pixels)
    np.testing.assert_array_equal(read_whole(made[1]), pixels[:50])
    reports = list(util_gdal.batch_validate_cog(made, mode, max_workers))
    assert [(report["fpath"], report["status"], report["errors"]) for report in reports] == [
        (str(path), "pass", []) for path in made
    ]


def test_files_are_converted_by_worker_processes(tmp_path, pixels, monkeypatch):
    sources = [write_png(tmp_path / f"{n}.png", pixels[:, : 50 + n]) for n in range(3)]
    made = [str(tmp_path / f"{n}.cog.tif") for n in range(3)]
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: spawn)
    util_gdal.batch_convert_to_cog(sources, made, mode="process", max_workers=2)
    for n in range(3):
        np.testing.assert_array_equal(read_whole(made[n]), pixels[:, : 50 + n])


def test_a_batch_stops_at_a_source_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(SourceError, match=r"bad.png cannot be opened as an image"):
        util_gdal.batch_convert_to_cog([tmp_path / "bad.png"], [tmp_path / "bad.tif"])
    with pytest.raises(MissingSourceError, match=r"absent.png does not exist"):
        util_gdal.batch_convert_to_cog([tmp_path / "absent.png"], [tmp_path / "bad.tif"])
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


def test_a_batch_wants_as_many_files_to_write_as_to_read(tmp_path):
    with pytest.raises(ArgumentError, match="1 files to convert and 0 to write"):
        util_gdal.batch_convert_to_cog(["a.png"], [])


def test_what_is_no_cog_is_told_apart_from_what_is_none_at_all(tmp_path, pixels):
    png = write_png(tmp_path / "a.png", pixels)
    reports = list(util_gdal.batch_validate_cog([png, tmp_path / "absent.tif"]))
    assert [report["status"] for report in reports] == ["fail", "fail"]
    assert reports[0]["errors"] == ["The file is not a GeoTIFF"]
    assert reports[1]["errors"] == [f"{tmp_path / 'absent.tif'} does not exist"]
    with pytest.raises(validate_cog.ValidateCloudOptimizedGeoTIFFException, match="does not exist"):
        validate_cog.validate(tmp_path / "absent.tif")


def test_a_large_file_without_tiles_is_an_error_unless_that_is_not_asked(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.zeros((600, 1100, 1), np.uint8), layout="striped")
    warned, errors, details = validate_cog.validate(path)
    assert any("not tiled" in error for error in errors)
    assert any("overviews" in warning for warning in warned)
    assert list(details["ifd_offsets"]) == ["main"]
    assert not any("not tiled" in error for error in validate_cog.validate(path, check_tiled=False)[1])


def test_overviews_are_listed_with_their_places_in_the_file(tmp_path):
    path = _imwrite_cloud_optimized_geotiff(tmp_path / "a.tif", np.zeros((600, 520), np.uint8))
    _, _, details = validate_cog.validate(path)
    assert list(details["ifd_offsets"])[:2] == ["main", "overview_0"]
    assert list(details["ifd_offsets"].values()) == sorted(details["ifd_offsets"].values())


def test_a_dataset_of_osgeo_is_validated_by_its_name(tmp_path):
    class Dataset:
        def GetDescription(self):
            return path

    path = str(_imwrite_cloud_optimized_geotiff(tmp_path / "a.tif", np.zeros((9, 9), np.uint8)))
    assert validate_cog.validate(Dataset()) == validate_cog.validate(path)


# --- attributes that programs read and set -------------------------------------------------------


def test_the_backend_of_a_sampler_is_what_was_asked_for(dset, tmp_path):
    asked = {"type": "cog", "config": {"compress": "RAW"}}
    for backend in (None, "npy", "cog", asked):
        assert CocoSampler(dset, workdir=tmp_path, backend=backend)._backend == backend
    frames = CocoSampler(dset, workdir=tmp_path, backend=asked).frames
    assert frames._backend["type"] == "cog"
    assert frames._backend["config"]["compress"] == "RAW"
    assert CocoSampler(dset).frames._backend["type"] is None


def test_the_backend_of_a_sampler_can_be_chosen_before_it_is_set_up(dset, tmp_path):
    sampler = CocoSampler(dset, workdir=tmp_path, autoinit=False)
    sampler._backend = "npy"
    sampler.init()
    assert sampler.frames._backend["type"] == "npy"


def test_targets_and_index_are_none_until_they_are_used(dset):
    regions = CocoRegions(dset)
    assert regions._targets is None
    assert regions._isect_index is None
    assert regions._targets is not regions.targets
    assert regions._targets is regions.targets
    assert regions._isect_index is not regions.isect_index
    assert regions._isect_index is regions.isect_index


def test_targets_and_index_that_are_set_to_none_are_made_anew(dset):
    regions = CocoRegions(dset)
    targets, index = regions.targets, regions.isect_index
    regions._targets = regions._isect_index = None
    assert regions.targets is not targets
    assert regions.isect_index is not index
    np.testing.assert_array_equal(regions.targets["aid"], targets["aid"])


def test_targets_that_a_program_sets_are_those_of_the_pool(dset):
    regions = CocoRegions(dset)
    targets = regions.targets
    few = kwarray.DataFrameArray({key: targets[key][3:7] for key in targets.columns})
    regions._targets = few
    assert regions.targets is few
    assert regions.n_positives == 4
    assert regions.preselect() == (4, 0)
    assert regions.get_positive(0)["aid"] == targets["aid"][3]


def test_an_index_that_a_program_sets_is_the_one_that_is_asked(dset):
    gid = next(gid for gid, aids in dset.index.gid_to_aids.items() if aids)
    whole = kwimage.Boxes([[0, 0, 1000, 1000]], "ltrb")
    regions = CocoRegions(dset)
    assert regions.overlapping_aids(gid, whole)
    bare = dset.copy()
    bare.clear_annotations()
    regions._isect_index = FrameIntersectionIndex.from_coco(bare)
    assert regions.overlapping_aids(gid, whole) == []


def test_columns_of_targets_come_as_one_array(dset):
    targets = CocoRegions(dset).targets
    expected = np.stack([targets["width"], targets["height"]], axis=1)
    np.testing.assert_array_equal(targets._getcols(["width", "height"]), expected)


def test_a_programs_own_choice_of_positives_takes_the_place_of_ours(dset):
    calls = []

    def choose(regions, window_dims, rng=None):
        calls.append((regions, window_dims, rng))
        return [5, 2]

    regions = CocoRegions(dset)
    regions.custom_preselect_positives = choose
    assert regions.preselect(n_neg=1, window_dims=(9, 7), rng=3) == (2, 1)
    assert calls == [(regions, (9, 7), 3)]
    assert [regions.get_positive(n)["aid"] for n in range(2)] == regions.targets["aid"][[5, 2]].tolist()


@pytest.mark.parametrize("chosen", [None, 5, [[1]], ["a"], [0.5], [-1], [10**6]])
def test_a_choice_that_is_no_list_of_rows_is_an_error(dset, chosen):
    regions = CocoRegions(dset)
    regions.custom_preselect_positives = lambda *args, rng: chosen
    with pytest.raises(ArgumentError, match="custom_preselect_positives returned"):
        regions.preselect()


def test_nothing_can_be_chosen(dset):
    regions = CocoRegions(dset)
    regions.custom_preselect_positives = lambda *args, rng: []
    assert regions.preselect() == (0, 0)


def test_what_is_inferred_of_a_target_wins_over_later_edits(dset):
    sampler = CocoSampler(dset)
    gid = next(iter(dset.imgs))
    target = sampler._infer_target_attributes({"gid": gid, "cx": 8, "cy": 9, "width": 6, "height": 4})
    assert target["space_slice"] == (slice(7, 11), slice(5, 11))
    target["cx"] = 0
    assert sampler._infer_target_attributes(target)["space_slice"] == (slice(7, 11), slice(5, 11))
