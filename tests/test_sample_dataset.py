"""Samples as tensors: their outputs, targets and transforms."""

from __future__ import annotations

import pickle
import random

import kwimage
import numpy as np
import pytest
from helpers_optional import import_optional
from helpers_training import ARRAYS, DIMS, Jitter, digest, write_dataset

from ndsampler import CocoSampler
from ndsampler.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, UnknownOptionError
from ndsampler.training import EpochOrder, SampleIndex, rasterize
from ndsampler.training.stacking import stack_samples

torch = import_optional("torch")

from ndsampler.training import SampleDataset, TargetSampler, collate_samples  # noqa: E402

WINDOW = (32, 40)

#: Windows inside, across and beside an image.
PLACES = [(1, 0, 0), (1, -10, 70), (2, 40, 20), (2, 80, 100), (1, 300, 300)]


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return CocoSampler(str(write_dataset(tmp_path_factory.mktemp("training"))))


@pytest.fixture(scope="module")
def targets():
    height, width = WINDOW
    return [{"gid": gid, "slices": (slice(y, y + height), slice(x, x + width))} for gid, y, x in PLACES]


@pytest.mark.parametrize("row", range(len(PLACES)))
def test_outputs_are_those_of_the_sample(sampler, targets, row):
    found = SampleDataset(sampler, targets, outputs=(*ARRAYS, "target"))[row]
    sample = sampler.load_sample(targets[row])
    annots = sample["annots"]
    assert np.array_equal(found["image"], sample["im"].transpose(2, 0, 1))
    ltrb = np.clip(annots["rel_boxes"].to_ltrb().data.reshape(-1, 4), 0, [40, 32, 40, 32])
    kept = (ltrb[:, 2] > ltrb[:, 0]) & (ltrb[:, 3] > ltrb[:, 1])
    assert np.array_equal(found["boxes"], ltrb[kept].astype(np.float32))
    labels = {4: 1, 9: 2, 2: 3}
    assert found["labels"].tolist() == [labels[cid] for cid in annots["cids"][kept]]
    numbers = np.flatnonzero(kept) + 1
    instances = rasterize(sample, "instance")
    for mask, number in zip(found["masks"].numpy(), numbers):
        assert (mask[instances == number] == 1).all()
    assert np.array_equal(found["mask"], rasterize(sample))
    gid, y, x = PLACES[row]
    rows, cols = np.mgrid[y : y + 32, x : x + 40]
    inside = (rows >= 0) & (rows < DIMS[0]) & (cols >= 0) & (cols < DIMS[1])
    assert np.array_equal(found["valid"], inside)
    assert (found["mask"].numpy()[~inside] == 255).all()
    points = [kpts for kpts, keep in zip(annots["rel_kpts"], kept) if keep]
    for triple, kpts in zip(found["keypoints"].tolist(), points):
        bow = [0, 0, 0] if kpts is None else [*kpts.data["xy"].data[0], 2]
        assert triple == [bow, [0, 0, 0]]
    assert found["target"]["gid"] == gid


def test_types_are_those_of_torchvision(sampler, targets):
    found = SampleDataset(sampler, targets, outputs=ARRAYS)[0]
    types = {name: str(found[name].dtype).removeprefix("torch.") for name in ARRAYS}
    assert types == {
        "image": "uint8",
        "boxes": "float32",
        "labels": "int64",
        "masks": "uint8",
        "mask": "int64",
        "keypoints": "float32",
        "valid": "bool",
    }
    assert found["masks"].shape == (len(found["boxes"]), *WINDOW)
    assert found["keypoints"].shape == (len(found["boxes"]), 2, 3)
    empty = SampleDataset(sampler, targets, outputs=ARRAYS)[4]
    assert [tuple(empty[name].shape) for name in ("boxes", "masks", "keypoints")] == [
        (0, 4),
        (0, *WINDOW),
        (0, 2, 3),
    ]


def test_only_what_is_asked_for_is_loaded(sampler, targets):
    assert list(SampleDataset(sampler, targets, outputs=["image"])[0]) == ["image"]
    assert SampleDataset(sampler, targets, outputs=["image", "valid"]).plan.with_annots is False
    assert SampleDataset(sampler, targets).plan.with_annots == ["boxes"]
    plan = SampleDataset(sampler, targets, outputs=["mask", "keypoints"]).plan
    assert plan.with_annots == ["keypoints", "segmentation"]


def test_samples_of_a_batch_are_those_loaded_one_by_one(sampler, targets):
    dataset = SampleDataset(sampler, targets, outputs=ARRAYS, transform=Jitter())
    indexes = [SampleIndex(n % 5, epoch=1, g=n) for n in range(7)] + [SampleIndex(-3, epoch=1, g=8)]
    dataset = SampleDataset(sampler, targets, WINDOW, ARRAYS, Jitter())
    batch = dataset.__getitems__(indexes)
    assert [digest(sample) for sample in batch] == [digest(dataset[index]) for index in indexes]


def images_in(samples, images):
    """Return for each sample whether its image lies in its place in an array."""
    if images is None:
        return []
    return [
        np.shares_memory(sample["image"].numpy(), place)
        and not np.shares_memory(sample["image"].numpy(), rest)
        for sample, place, rest in zip(samples, images, [images[1:], *images[:-1]])
    ]


def test_images_are_read_into_an_array_if_they_have_the_shape_of_those_before(sampler, targets):
    other = {"gid": 1, "slices": (slice(0, 20), slice(0, 20))}
    dataset = SampleDataset(sampler, [*targets, other])
    expected = [digest(dataset[row]) for row in range(6)]
    for rows, places in (
        ([0, 1, 2], []),
        ([3, 4], [True, True]),
        ([2, 5, 0], [True, False, True]),
        ([0, 1], []),
        ([1], [True]),
    ):
        samples, images = dataset.load_into(rows, np.empty)
        assert images_in(samples, images) == places
        assert [digest(sample) for sample in samples] == [expected[row] for row in rows]
        batch = stack_samples(samples, images=images)
        if 5 not in rows:
            assert torch.equal(batch["image"], collate_samples(samples)["image"])


def test_images_that_are_transformed_or_changed_by_a_subclass_have_arrays_of_their_own(sampler, targets):
    class Darker(SampleDataset):
        def __getitems__(self, indices):
            return [{**sample, "image": sample["image"] // 2} for sample in super().__getitems__(indices)]

    for dataset in (Darker(sampler, targets), SampleDataset(sampler, targets, None, ARRAYS, Jitter())):
        for _ in range(2):
            samples, images = dataset.load_into([1, 2], np.empty)
            assert images is None
            assert digest(samples[0]) == digest(dataset.__getitems__([1])[0])


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (2, 6, 5, 3)])
def test_a_stack_leaves_what_lies_in_its_place_and_copies_the_rest(shape):
    images = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(np.uint8)
    parts = [np.moveaxis(image, -1, -3) for image in images]
    expected = np.stack(parts)
    mixed = [{"image": part if row == 1 else part.copy(order="K")} for row, part in enumerate(parts)]
    images[[0, 2]] = 0
    stacked = stack_samples(mixed, allocate=np.empty, images=images)["image"]
    assert np.shares_memory(stacked, images)
    np.testing.assert_array_equal(stacked, expected)


def test_targets_come_from_pools_grids_lists_and_functions(sampler, targets):
    sampler.preselect(n_pos=6, n_neg=3, window_dims=WINDOW, rng=0)
    outputs = ["image", "target"]
    positives = SampleDataset(sampler, "positives", WINDOW, outputs)
    pool = SampleDataset(sampler, "pool", WINDOW, outputs)
    assert (len(positives), len(pool)) == (6, 9)
    for row in (0, 5, 8):
        expected = sampler.load_item(row, target={"window_dims": WINDOW})["im"]
        assert np.array_equal(pool[row]["image"], expected.transpose(2, 0, 1))
    assert torch.equal(positives[5]["image"], pool[5]["image"])
    grid = sampler.new_sample_grid("image_detection", WINDOW)
    whole, part = SampleDataset(sampler, grid), SampleDataset(sampler, grid["targets"][2:4])
    assert (len(whole), len(part)) == (len(grid["targets"]), 2)
    assert torch.equal(whole[3]["image"], part[1]["image"])

    def choose(epoch, g):
        return targets[(epoch + g) % 5]

    drawn = SampleDataset(sampler, choose)
    assert torch.equal(
        drawn[SampleIndex(0, epoch=1, g=1)]["image"], SampleDataset(sampler, targets)[2]["image"]
    )
    with pytest.raises(ArgumentTypeError, match="a function and has no length"):
        len(drawn)


def test_negatives_follow_from_epoch_and_position(sampler):
    dataset = SampleDataset(sampler, "positives", (12, 15), ["labels", "target", "image"], seed=3)
    places = [(epoch, g) for epoch in range(2) for g in range(6)]
    found = [dataset[SampleIndex(-1 - g, epoch, g)]["target"] for epoch, g in places]
    windows = [(target["gid"], target["cx"], target["cy"]) for target in found]
    assert len(set(windows)) == len(windows)
    for place, window in zip(places, windows):
        sample = pickle.loads(pickle.dumps(dataset))[SampleIndex(-9, *place)]
        assert (sample["target"]["gid"], sample["target"]["cx"], sample["target"]["cy"]) == window
        assert sample["image"].shape == (3, 12, 15)
        assert len(sample["labels"]) == 0
    other = SampleDataset(sampler, "positives", (12, 15), ["target"], seed=4)[SampleIndex(-1)]["target"]
    assert (other["gid"], other["cx"], other["cy"]) != windows[0]


def test_labels_and_groups_say_what_targets_are(sampler):
    dataset = SampleDataset(sampler, "positives")
    assert dataset.label_names == ["background", "boat", "buoy", "pier"]
    assert dataset.ignore_index == 255
    targets = [sampler.regions.get_positive(row) for row in range(len(dataset))]
    assert dataset.groups().tolist() == [target["category_id"] for target in targets]
    assert dataset.groups(lambda target: target["gid"] * 2).tolist() == [2 * t["gid"] for t in targets]


def test_options_are_laid_over_all_targets(sampler, targets):
    dataset = SampleDataset(sampler, targets, options={"scale": 0.5, "dtype": "float32"})
    expected = sampler.load_sample({**targets[2], "scale": 0.5, "dtype": "float32"})["im"]
    assert np.array_equal(dataset[2]["image"], expected.transpose(2, 0, 1))


def test_videos_have_a_time_axis():
    sampler = CocoSampler.demo("vidshapes2", num_frames=5)
    target = {"vidid": 1, "time_slice": slice(0, 3), "space_slice": (slice(0, 200), slice(0, 300))}
    outputs = ("image", "boxes", "labels", "masks", "mask", "valid", "frame_index")
    found = SampleDataset(sampler, [target], outputs=outputs)[0]
    sample = sampler.load_sample(target)
    assert np.array_equal(found["image"], sample["im"].transpose(0, 3, 1, 2))
    assert np.array_equal(found["mask"], rasterize(sample))
    assert len(found["frame_index"]) == len(found["boxes"]) == len(found["masks"])
    assert set(found["frame_index"].tolist()) <= {0, 1, 2}
    native = SampleDataset(sampler, [{**target, "use_native_scale": True}])[0]
    assert [[part.shape[0] for part in frame] for frame in native["image"]] == [[3]] * 3
    assert torch.equal(native["boxes"], found["boxes"])


# --- transforms -------------------------------------------------------------


def test_randomness_follows_from_epoch_and_position_alone(sampler, targets):
    dataset = SampleDataset(sampler, targets, outputs=("image", "mask"), transform=Jitter())
    index = SampleIndex(0, epoch=2, g=9)
    expected = digest(dataset[index])
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    assert digest(dataset[index]) == expected
    after = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    assert after == (torch.rand(1).item(), np.random.rand(), random.random())
    others = [SampleIndex(0, epoch=3, g=9), SampleIndex(0, epoch=2, g=8)]
    assert len({expected, *(digest(dataset[other]) for other in others)}) == 3
    seeded = SampleDataset(sampler, targets, outputs=("image", "mask"), transform=Jitter(), seed=1)
    assert digest(seeded[index]) != expected


def test_generators_are_restored_after_a_transform_that_fails(sampler, targets):
    def fail(sample):
        random.random(), np.random.rand(), torch.rand(1)
        raise RuntimeError("no")

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with pytest.raises(RuntimeError, match="no"):
        SampleDataset(sampler, targets, transform=fail)[0]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def mirror(image, mask, masks, bboxes, labels, keypoints, valid):
    """Mirror a sample, in the style of albumentations."""
    width = image.shape[1]
    return {
        "image": np.ascontiguousarray(image[:, ::-1]),
        "mask": mask[:, ::-1].copy(),
        "masks": [mask[:, ::-1] for mask in masks],
        "bboxes": [(width - right, top, width - left, bottom) for left, top, right, bottom in bboxes],
        "labels": list(labels),
        "keypoints": [(width - x, y) for x, y in keypoints],
        "valid": valid[:, ::-1],
    }


@pytest.mark.parametrize("row", range(4))
def test_a_transform_may_take_keywords(sampler, targets, row):
    plain = SampleDataset(sampler, targets, outputs=ARRAYS)[row]
    found = SampleDataset(sampler, targets, outputs=ARRAYS, transform=mirror)[row]
    for name in ("image", "mask", "masks", "valid"):
        assert torch.equal(found[name], plain[name].flip(-1)), name
    assert torch.equal(found["boxes"][:, [0, 2]], WINDOW[1] - plain["boxes"][:, [2, 0]])
    assert torch.equal(found["labels"], plain["labels"])
    assert torch.equal(found["keypoints"][..., 0], WINDOW[1] - plain["keypoints"][..., 0])
    assert torch.equal(found["keypoints"][..., 1:], plain["keypoints"][..., 1:])
    assert {name: found[name].dtype for name in ARRAYS} == {name: plain[name].dtype for name in ARRAYS}


def test_albumentations_are_seeded_by_sample(sampler, targets):
    album = import_optional("albumentations")
    boxes = album.BboxParams(format="pascal_voc", label_fields=["labels"])
    transform = album.Compose([album.HorizontalFlip(p=0.5), album.RandomGamma(p=1)], bbox_params=boxes)
    outputs = ("image", "boxes", "labels", "mask")
    dataset = SampleDataset(sampler, targets, outputs=outputs, transform=transform)
    digests = [digest(dataset[SampleIndex(0, g=g)]) for g in range(8)]
    assert len(set(digests)) > 4
    assert [digest(dataset[SampleIndex(0, g=g)]) for g in reversed(range(8))] == digests[::-1]


def test_torchvision_transforms_images_boxes_and_masks_together(sampler, targets):
    v2 = import_optional("torchvision.transforms.v2")
    dataset = SampleDataset(
        sampler, targets, outputs=ARRAYS, transform=v2.RandomHorizontalFlip(1), tv_tensors=True
    )
    found, plain = dataset[1], SampleDataset(sampler, targets, outputs=ARRAYS)[1]
    for name in ("image", "mask", "masks", "valid"):
        assert torch.equal(torch.as_tensor(found[name]), plain[name].flip(-1)), name
    assert torch.equal(torch.as_tensor(found["boxes"])[:, 0], WINDOW[1] - plain["boxes"][:, 2])
    assert torch.equal(found["visible"], plain["keypoints"][..., 2])
    assert type(collate_samples([found, found])["image"]) is torch.Tensor


# --- batches and mistakes ---------------------------------------------------


def test_batches_stack_what_has_one_size(sampler, targets):
    dataset = SampleDataset(sampler, targets, outputs=ARRAYS)
    batch = collate_samples([dataset[0], dataset[2]])
    assert batch["image"].shape == (2, 3, *WINDOW)
    assert batch["mask"].shape == batch["valid"].shape == (2, *WINDOW)
    assert torch.equal(batch["image"][1], dataset[2]["image"])
    assert [torch.equal(a, dataset[n]["boxes"]) for a, n in zip(batch["boxes"], (0, 2))] == [True, True]
    sizes = SampleDataset(sampler, "positives", outputs=["image", "mask"])
    ragged = collate_samples([sizes[0], sizes[1]])
    assert [image.shape[1:] for image in ragged["image"]] == [mask.shape for mask in ragged["mask"]]
    with pytest.raises(ArgumentError, match="there are no samples"):
        collate_samples([])
    with pytest.raises(ArgumentError, match="the samples have different outputs"):
        collate_samples([dataset[0], sizes[0]])


def test_the_fingerprint_notices_other_targets_and_annotations(tmp_path, targets):
    path = str(write_dataset(tmp_path / "a"))
    sampler = CocoSampler(path)
    first = SampleDataset(sampler, targets).fingerprint
    assert SampleDataset(CocoSampler(path), list(targets), outputs=["mask"], seed=4).fingerprint == first
    others = [
        SampleDataset(sampler, targets[:-1]),
        SampleDataset(sampler, targets[::-1]),
        SampleDataset(sampler, "positives"),
        SampleDataset(sampler, targets, options={"scale": 2}),
    ]
    moved = CocoSampler(path)
    moved.dset.remove_annotations([3])
    others.append(SampleDataset(moved, targets))
    assert len({first, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"targets": []}, ArgumentError, "there are no targets"),
        ({"targets": "negatives"}, ArgumentError, "targets is 'negatives'; expected 'positives'"),
        ({"targets": 5}, ArgumentTypeError, "targets is of type int"),
        ({"outputs": ["image", "polygons"]}, UnknownOptionError, "outputs names 'polygons'"),
        ({"outputs": "image"}, ArgumentTypeError, "expected a list such as"),
        ({"outputs": []}, ArgumentTypeError, "expected a list such as"),
        ({"transform": 3}, ArgumentTypeError, "transform is a int"),
    ],
)
def test_bad_arguments_are_refused(sampler, arguments, error, message):
    with pytest.raises(error, match=message):
        SampleDataset(sampler, **{"targets": "positives", **arguments})


def test_mistakes_of_seeds_transforms_and_batches_are_told(sampler, targets):
    for seed in (1.5, None, "0"):
        with pytest.raises(ArgumentTypeError, match="seed is .*; expected an integer"):
            SampleDataset(sampler, targets, seed=seed)
    assert SampleDataset(sampler, targets, seed=np.int64(-4)).seed == -4
    with pytest.raises(ArgumentTypeError, match="the transform returned None"):
        SampleDataset(sampler, targets, transform=lambda sample: None)[0]
    with pytest.raises(ArgumentTypeError, match="a sample is a NoneType; expected dictionaries"):
        collate_samples([None])


def test_samples_that_cannot_be_made_are_errors(sampler, targets):
    with pytest.raises(OutOfRangeError, match="target 5 was requested; expected 0 to 4"):
        SampleDataset(sampler, targets)[5]
    with pytest.raises(ArgumentTypeError, match="the index of a sample is 'a'"):
        SampleDataset(sampler, targets)["a"]
    with pytest.raises(ArgumentError):
        SampleDataset(sampler, "positives", (500, 500))[-1]
    with pytest.raises(ArgumentTypeError, match="torch has no type for image of complex256"):
        SampleDataset(sampler, targets, options={"dtype": "complex256"})[0]
    with pytest.raises(ArgumentError, match="the transform returned 0 of .* keypoints"):
        SampleDataset(
            sampler,
            targets,
            outputs=["image", "keypoints"],
            transform=lambda image, keypoints: {"keypoints": []},
        )[0]
    no_points = CocoSampler({"images": [{"id": 1, "file_name": "a.png"}]})
    with pytest.raises(ArgumentError, match="no keypoint categories"):
        SampleDataset(no_points, [{"gid": 1}], outputs=["keypoints"])


def test_an_order_that_a_dataset_cannot_serve_is_refused_at_once(sampler, targets):
    dataset = SampleDataset(sampler, targets, (500, 500))
    TargetSampler(EpochOrder(5), dataset=dataset)
    with pytest.raises(ArgumentError, match="the order has 6 items; the dataset has only 5 targets"):
        TargetSampler(EpochOrder(6), dataset=dataset)
    with pytest.raises(ArgumentError):
        TargetSampler(EpochOrder(5, negatives=0.5), dataset=dataset)
    TargetSampler(EpochOrder(9), dataset=SampleDataset(sampler, lambda epoch, g: targets[0]))


def test_an_image_without_colors_has_one_channel(tmp_path):
    kwimage.imwrite(tmp_path / "gray.png", np.arange(48, dtype=np.uint16).reshape(6, 8))
    sampler = CocoSampler({"images": [{"id": 1, "file_name": str(tmp_path / "gray.png")}]})
    image = SampleDataset(sampler, [{"gid": 1}], outputs=["image"])[0]["image"]
    assert (image.shape, image.dtype) == ((1, 6, 8), torch.uint16)
