"""Samples of the small datasets: windows to load, and the expected results."""

from __future__ import annotations

import os

import kwimage
import numpy as np
from helpers_datasets import ASSETS, DEEP, DIMS, FLOAT, PLAIN, RGB, STAR, geometry
from hypothesis import strategies as st

#: Tolerance of sample coordinates in pixels.
TOLERANCE = 1e-6

#: Targets of several kinds.
TARGETS = [
    {"gid": RGB, "cx": 20, "cy": 12, "width": 9, "height": 60},
    {"aid": PLAIN, "window_dims": "square", "pad": (4, 2)},
    {"gid": DEEP, "slices": (slice(-5, 9), slice(3, 30)), "channels": "B8|B1"},
    {"gid": ASSETS, "scale": 0.5},
    {"gid": FLOAT, "nodata": "float"},
]

margins = st.integers(0, 9)
pads = st.one_of(margins, st.tuples(st.tuples(margins, margins), st.tuples(margins, margins)))
scales = st.sampled_from([1, 1.0, 0.5, 2, (0.25, 3), (1, 2.5), 1.1])


@st.composite
def windows(draw, dims=DIMS):
    """Return slices that are inside, partly outside or completely outside an image."""
    starts = [draw(st.integers(-25, length + 25)) for length in dims]
    return tuple(slice(start, start + draw(st.integers(1, 60))) for start in starts)


def expected_geometry(dset, aids, warp):
    """Return the geometry of annotations, parsed and warped by kwimage with a 3x3 matrix."""
    anns = []
    for aid in aids:
        ann = {key: value for key, value in dset.anns[aid].items() if value not in (None, [])}
        anns.append({"category_id": STAR, "bbox": box_of(ann), **ann})
    dets = kwimage.Detections.from_coco_annots(anns, dset=dset)
    ssegs = [sseg and sseg.to_multi_polygon() for sseg in dets.data["segmentations"]]
    dets.data["segmentations"] = kwimage.PolygonList(ssegs)
    return geometry(dets.warp(kwimage.Affine(np.asarray(warp, float))))


def box_of(ann):
    """Return the box of an annotation, or the box around its polygon, which is a flat list."""
    if ann.get("bbox"):
        return ann["bbox"]
    x, y = ann["segmentation"][0::2], ann["segmentation"][1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def assert_same_geometry(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours["box"], theirs["box"], atol=TOLERANCE)
        assert (ours["polygons"] is None) == (theirs["polygons"] is None)
        assert (ours["points"] is None) == (theirs["points"] is None)
        if theirs["polygons"] is not None:
            assert len(ours["polygons"]) == len(theirs["polygons"])
            for ring, other in zip(ours["polygons"], theirs["polygons"]):
                np.testing.assert_allclose(ring, other, atol=TOLERANCE)
        if theirs["points"] is not None:
            np.testing.assert_allclose(ours["points"][0], theirs["points"][0], atol=TOLERANCE)
            assert ours["points"][1:] == theirs["points"][1:]


def overlapping(dset, gid, ltrb, thresh=0.0):
    """Return the annotations whose box touches a window and is inside by more than a fraction.

    For an annotation without a box, the box around its polygon is used.
    """
    found = []
    for aid in sorted(dset.index.gid_to_aids[gid]):
        x, y, width, height = box_of(dset.anns[aid])
        across = min(x + width, ltrb[2]) - max(x, ltrb[0])
        down = min(y + height, ltrb[3]) - max(y, ltrb[1])
        share = across * down / (width * height) if width and height else 0
        if across >= 0 and down >= 0 and (thresh <= 0 or share > thresh):
            found.append(aid)
    return found


def aids_of(sampler, with_annots=True, **target):
    """Return the ids of the annotations of a sample."""
    return sampler.load_sample({"gid": RGB, **target}, with_annots=with_annots)["annots"]["aids"].tolist()


def load(sampler, gid, rows, cols, **keys):
    """Return the pixels of a window of an image."""
    target = {"gid": gid, "slices": (slice(*rows), slice(*cols)), **keys}
    return sampler.load_sample(target, with_annots=False)["im"]


def load_all(sampler):
    """Return the comparable parts of a sample of each target."""
    return [comparable_parts(sampler.load_sample(target)) for target in TARGETS]


def load_all_and_process(sampler):
    """Load all targets; also return the id of the process."""
    return load_all(sampler), os.getpid()


def comparable_parts(sample):
    """Return the parts of a sample that can be compared."""
    annots = sample["annots"]
    ssegs = [sseg and sseg.to_coco(style="new") for sseg in annots["rel_ssegs"]]
    return {
        "im": sample["im"],
        "aids": annots["aids"],
        "boxes": annots["rel_boxes"].data,
        "ssegs": repr(ssegs),
        "target": repr(sample["target"]),
        "classes": list(sample["classes"]),
    }


def assert_same_samples(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
