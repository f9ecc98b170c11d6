"""Typical mistakes in targets and in arguments of ``load_sample``, and the words that each message must hold.

Every error is one of this library and of the builtin class that a caller would catch.
"""

from __future__ import annotations

import re
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers_datasets import DEEP, DIMS, GRAY, NO_BOX, PLAIN, RGB, one_image, stills
from helpers_images import random_pixels, write_png
from helpers_videos import MOVING, SPACE, videos

from ndsampler import CocoSampler
from ndsampler.errors import NDSamplerError
from ndsampler.sampling import keys

WINDOW = {"cx": 20, "cy": 12, "width": 9, "height": 6}

STILL = {"gid": RGB, **WINDOW}

#: Annotations whose boxes are malformed, by the number of their values.
BAD_BOXES = {5: [3, 4, 12, 9, 0.5], 8: [3, 4, 15, 4, 15, 13, 3, 13], 3: [3, 4, 12], 1: "3,4,12,9"}


class Mistake(NamedTuple):
    """A call that cannot be answered."""

    call: Callable[[Any], Any]
    """The call, on an object with a sampler of ``stills``, of a ``film`` and of malformed ``boxes``."""
    builtin: type[Exception]
    """What a caller would catch."""
    words: tuple[str, ...]
    """What the message must hold."""


def still(builtin: type[Exception], *words: str, **keys: Any) -> Mistake:
    """A mistake in a target of an image."""
    return Mistake(lambda on: on.stills.load_sample({**STILL, **keys}), builtin, words)


def film(builtin: type[Exception], *words: str, **keys: Any) -> Mistake:
    """A mistake in a target of a video."""
    target = {"vidid": MOVING, "space_slice": SPACE, **keys}
    return Mistake(lambda on: on.film.load_sample(target), builtin, words)


ARRAY = np.array([True, False])

MISTAKES: dict[str, Mistake] = {
    # What is sampled.
    "the window size as the target": Mistake(
        lambda on: on.stills.load_sample((64, 64)), ValueError, ("(64, 64)", "dictionary", "'gid'")
    ),
    "an image id as the target": Mistake(
        lambda on: on.stills.load_sample(RGB), ValueError, (str(RGB), "dictionary")
    ),
    "no target": Mistake(lambda on: on.stills.load_sample(), ValueError, ("None", "dictionary")),
    "a list as the target, with an older argument": Mistake(
        lambda on: on.stills.load_sample([1], pad=(1, 1)), ValueError, ("[1]", "dictionary")
    ),
    "a list of keys for an item": Mistake(
        lambda on: on.stills.load_item(0, target=[1]), ValueError, ("[1]", "dictionary")
    ),
    "a number of keys for a positive": Mistake(
        lambda on: on.stills.load_positive(0, target=3), ValueError, ("target is 3", "dictionary")
    ),
    "no image": Mistake(
        lambda on: on.stills.load_sample(WINDOW), ValueError, ("names no image", "'gid'", "'vidid'", "'aid'")
    ),
    "an image id as text": still(KeyError, "'10'", "one of the 7 ids", "4, 7", "int", "str", gid="10"),
    "an unknown image": still(KeyError, "99", "one of the 7 ids in dset.imgs", "4, 7", gid=99),
    "an image id that is a list": still(KeyError, "[11]", "list", gid=[RGB]),
    "a video id as text": film(ValueError, "'7'", "7, 3", "int", "str", vidid=str(MOVING)),
    "an unknown image among frames": film(KeyError, "999", "ids in dset.imgs", gids=[8, 999]),
    "one image id in gids": film(ValueError, "gids is 8", "list", gids=8),
    "no frames": film(ValueError, "gids is empty", gids=[]),
    "frames behind the last": film(ValueError, "slice(9, 12, None)", "4 frames", time_slice=slice(9, 12)),
    # An annotation.
    "an annotation id as text": Mistake(
        lambda on: on.stills.load_sample({"aid": "101"}), KeyError, ("'101'", "annotation id", "int", "str")
    ),
    "an array of annotation ids": Mistake(
        lambda on: on.stills.load_sample({"aid": np.array([101, 102])}), KeyError, ("101", "annotation id")
    ),
    "an annotation without a box": Mistake(
        lambda on: on.stills.load_sample({"aid": NO_BOX}), ValueError, (str(NO_BOX), "'bbox'", "'slices'")
    ),
    "an annotation of another image": Mistake(
        lambda on: on.stills.load_sample({"gid": GRAY, "aid": PLAIN}),
        ValueError,
        (f"annotation {PLAIN}", f"image {RGB}", f"gid {GRAY}", "leave out one"),
    ),
    **{
        f"an annotation with a box of {count}": Mistake(
            lambda on, count=count: on.boxes.load_sample({"aid": count}, with_annots=False),
            ValueError,
            (f"annotation {count}", str(box), "4 numbers", "x, y, width, height"),
        )
        for count, box in BAD_BOXES.items()
    },
    "a box of 3 in the target": Mistake(
        lambda on: on.stills.load_sample({"gid": RGB, "bbox": [1, 2, 3]}),
        ValueError,
        ("bbox is [1, 2, 3]", "x, y, width, height"),
    ),
    # Where the window lies.
    "a center without a size": Mistake(
        lambda on: on.stills.load_sample({"gid": RGB, "cx": 5, "cy": 5}),
        ValueError,
        ("no 'height'", "'window_dims'"),
    ),
    "a size without a place": Mistake(
        lambda on: on.stills.load_sample({"gid": RGB, "window_dims": (64, 64)}),
        ValueError,
        ("not its position", "'cx'", "'slices'"),
    ),
    "one number as window_dims": still(ValueError, "window_dims is 64", "(height, width)", window_dims=64),
    "an unknown name as window_dims": still(ValueError, "'full'", "'square'", "'extent'", window_dims="full"),
    "a center that is not a number": still(ValueError, "cx is nan", "finite", cx=float("nan")),
    "a size below 0": still(ValueError, "(6, -3)", "above 0", width=-3),
    "a step in slices": still(ValueError, "step", "scale", slices=(slice(0, 9, 2), slice(0, 9))),
    "numbers instead of slices": still(ValueError, "slices is (0, 9, 0, 9)", "2 slices", slices=(0, 9, 0, 9)),
    "a video's slices on an image": still(
        ValueError, "slice(8, 9, None)", "channels", "'vidid'", slices=(slice(0, 2), slice(0, 9), slice(8, 9))
    ),
    "a pad for three axes of an image": still(ValueError, "pad is (1, 2, 3)", "2 axes", pad=(1, 2, 3)),
    "a pad below 0": still(ValueError, "pad is -1", "0 or more", pad=-1),
    "a window of the size of a continent": still(ValueError, "pixels", "smaller", window_dims=(10**9, 10**9)),
    # How it is read.
    "an unknown channel": still(KeyError, f"image {RGB}", "'nir'", "r|g|b", channels="nir"),
    "a number as channels": still(ValueError, "channels is 3", "'r|g|b'", channels=3),
    "a scale of 0": still(ValueError, "scale is 0", "above 0", scale=0),
    "an array as as_xarray": still(ValueError, "as_xarray is array", "True or False", as_xarray=ARRAY),
    "an array as use_native_scale": film(
        ValueError, "use_native_scale is array", "True or False", use_native_scale=ARRAY
    ),
    "an array as finalize": film(ValueError, "finalize is array", "True or False", finalize=ARRAY),
    "an array as legacy_target": still(
        ValueError, "legacy_target is array", "True or False", legacy_target=ARRAY
    ),
    "an array as legacy_annots": still(
        ValueError, "legacy_annots is array", "True or False", legacy_annots=ARRAY
    ),
    "an array as antialias": still(ValueError, "antialias is array", "'auto'", antialias=ARRAY),
    "an array as interpolation": still(ValueError, "interpolation is array", interpolation=ARRAY),
    "an array as realign_native": film(ValueError, "realign_native is array", realign_native=ARRAY),
    "a nodata of 65 bits": still(ValueError, "nodata is 18446744073709551616", "64 bits", nodata=2**64),
    "an unknown name as nodata": still(ValueError, "'zero'", "'float'", "'ma'", nodata="zero"),
    "a dtype with commas": still(ValueError, "dtype is 'i4,,'", "numpy type", dtype="i4,,"),
    "a dtype of records": still(ValueError, "dtype is 'i4,i4'", "numeric numpy type", dtype="i4,i4"),
    "a dtype of text": still(ValueError, "dtype is <class 'str'>", "numeric numpy type", dtype=str),
    "a mode as padkw": still(ValueError, "padkw is 'edge'", "dictionary", padkw="edge"),
    "an unknown interpolation": still(ValueError, "'bilinear'", "'linear'", interpolation="bilinear"),
    # Which annotations.
    "an unknown kind of annotation": Mistake(
        lambda on: on.stills.load_sample(STILL, with_annots="masks"),
        AssertionError,
        ("'masks'", "'boxes'", "'segmentation'"),
    ),
    "an array as with_annots": Mistake(
        lambda on: on.stills.load_sample(STILL, with_annots=ARRAY), AssertionError, ("True", "'boxes'")
    ),
    "one id as annot_ids": Mistake(
        lambda on: on.stills.load_sample(STILL, annot_ids=101), ValueError, ("annot_ids is 101", "list")
    ),
    "an annotation id of 71 bits": Mistake(
        lambda on: on.stills.load_sample(STILL, annot_ids=[2**70]), KeyError, (str(2**70), "no such")
    ),
    "a visible_thresh in words": Mistake(
        lambda on: on.stills.load_sample(STILL, visible_thresh="half"),
        ValueError,
        ("'half'", "more than this part", "1 keeps none"),
    ),
    "an array as visible_thresh": Mistake(
        lambda on: on.stills.load_sample(STILL, visible_thresh=np.array([0.1, 0.2])),
        ValueError,
        ("visible_thresh is array", "0 to 1"),
    ),
}


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    """Return the samplers that mistakes are made on."""
    folder = tmp_path_factory.mktemp("mistakes")
    path = write_png(folder / "a.png", random_pixels(dims=DIMS))
    anns = [{"id": count, "bbox": box} for count, box in BAD_BOXES.items()]
    return types.SimpleNamespace(
        stills=CocoSampler(stills(folder).dset),
        film=CocoSampler(videos(folder).dset),
        boxes=CocoSampler(one_image(path, DIMS, anns)),
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(on, name):
    mistake = MISTAKES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(NDSamplerError) as caught:
            mistake.call(on)
    assert isinstance(caught.value, mistake.builtin)
    message = str(caught.value)
    assert [word for word in mistake.words if word not in message] == []
    assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, NDSamplerError)


#: Calls that are answered, each with a warning that explains what is ignored.
IGNORED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "a misspelled key": (
        lambda on: on.load_sample({**STILL, "chanels": "r"}),
        ("'chanels'", "did you mean 'channels'"),
    ),
    "a key as an argument": (
        lambda on: on.load_sample(STILL, window_dims=(8, 8)),
        ("ignored: window_dims", "{**target, 'window_dims': ...}"),
    ),
    "an unknown argument": (lambda on: on.load_sample(STILL, colour="red"), ("ignored: colour",)),
    "an unknown argument of an item": (lambda on: on.load_item(0, colour=1), ("ignored: colour",)),
    "an unknown argument of a positive": (lambda on: on.load_positive(0, colour=1), ("ignored: colour",)),
    "an unknown argument of a negative": (lambda on: on.load_negative(rng=0, colour=1), ("ignored: colour",)),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_is_named(on, monkeypatch, name):
    monkeypatch.setattr(keys, "_settled", set(keys.KNOWN_KEYS))
    call, words = IGNORED[name]
    with pytest.warns(UserWarning, match=re.escape(words[0])) as caught:
        assert call(on.stills)["im"].ndim == 3
    assert [word for word in words if word not in str(caught[0].message)] == []
    assert caught[0].filename == __file__


def test_a_threshold_of_one_keeps_nothing(on):
    for gid in (RGB, DEEP):
        assert on.stills.load_sample({"gid": gid}, visible_thresh=1)["annots"]["aids"].tolist() == []
    assert len(on.stills.load_sample({"gid": RGB}, visible_thresh=0.999)["annots"]["aids"])
