"""Tiny kwcoco videos for sampling, with the pixels and matrices of each frame."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

import kwcoco
import kwimage
import numpy as np
from helpers_images import random_pixels, write_tiff
from hypothesis import strategies as st

#: Video ids: frames with different transforms; frames of several files; missing pixels, twice; and exact
#: pixels.
MOVING, BANDS, GAPS, FLOATS, EXACT = 7, 3, 5, 6, 2

#: Frames of MOVING, in the order of their frame index, named after their transform to the video.
SAME, SHIFTED, ENLARGED, TURNED = 31, 12, 25, 8

#: Frames of BANDS: all three files; only the first; all three at twice the resolution, shifted and rotated.
COMPLETE, SPARSE, FINE = 40, 43, 41

#: Frames of the other videos, in order.
GAP_FRAMES, FLOAT_FRAMES, EXACT_FRAMES = (50, 51), (60, 61), (74, 70, 71, 72, 73)

#: Images that belong to no video.
LOOSE = (90, 91)

#: (height, width) of the videos, and of the frames of MOVING and of the images without a video.
VIDEO_DIMS = {MOVING: (44, 60), BANDS: (50, 70), GAPS: (30, 46), FLOATS: (30, 46), EXACT: (37, 53)}
FRAME_DIMS = (40, 56)

#: What the files of GAPS and FLOATS declare as "no measurement".
DEEP_NODATA, FLOAT_NODATA = 9, -99.0

#: Annotations in each frame of MOVING and LOOSE: box, polygon and keypoints; only a box; and one at the
#: border.
WHOLE, BOXED, BORDER = 0, 1, 2

#: Frames of MOVING again, to loop over.
MOVING_FRAMES = (SAME, SHIFTED, ENLARGED, TURNED)

#: Maximum distance of random windows from a frame in pixels.
REACH = 12

#: A window of rows and columns inside every video.
SPACE = (slice(6, 30), slice(9, 44))

scales = st.one_of(
    st.sampled_from([1.0, 0.5, 0.25, 2.0, (0.5, 2.0), (1.0, 0.3)]),
    st.tuples(st.floats(0.25, 3.0), st.floats(0.25, 3.0)),
)


@dataclass(frozen=True)
class File:
    """One file of a frame."""

    channels: tuple[str, ...]
    """Names of the bands."""
    pixels: np.ndarray
    """(height, width, channels)."""
    warp_img_from_asset: np.ndarray = field(default_factory=lambda: np.eye(3))
    """3x3 matrix to the frame."""


@dataclass(frozen=True)
class Frame:
    """One frame."""

    gid: int
    """Image id."""
    dims: tuple[int, int]
    """(height, width) of the image."""
    files: tuple[File, ...]
    """The files of the frame."""
    warp_vid_from_img: np.ndarray = field(default_factory=lambda: np.eye(3))
    """3x3 matrix to the video."""
    nodata: float | None = None
    """The nodata value that the files declare."""


@dataclass(repr=False)
class Videos:
    """A dataset and the contents of its frames."""

    dset: kwcoco.CocoDataset
    """The dataset."""
    frames: dict[int, Frame]
    """The frames by image id."""


def affine(
    scale: Any = 1.0, theta: float = 0.0, shear: float = 0.0, offset: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Return a 3x3 matrix."""
    matrix = kwimage.Affine.affine(scale=scale, theta=theta, shearx=shear, offset=offset).matrix
    return np.asarray(matrix, float)


def smooth_pixels(dims: tuple[int, int], channels: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return waves that differ from channel to channel; neighbors differ by a few hundredths of the range."""
    rows, cols = np.mgrid[0 : dims[0], 0 : dims[1]][..., None]
    phase = np.arange(channels) * 1.1 + seed
    waves = 2 + np.sin(rows / 9 + phase) + np.cos(cols / 11 - phase)
    top = {"uint8": 60, "uint16": 4000, "float32": 1.0}[dtype]
    return (waves * top).astype(dtype)


def _moving_frames() -> list[Frame]:
    warps = {
        SAME: np.eye(3),
        SHIFTED: affine(offset=(3, -2)),
        ENLARGED: affine(scale=(1.25, 1.1), offset=(-4.3, 0.73)),
        TURNED: affine(scale=0.95, theta=0.3, shear=0.15, offset=(10.2, -3.4)),
    }
    return [
        Frame(gid, FRAME_DIMS, (File(("r", "g", "b"), smooth_pixels(FRAME_DIMS, 3, seed=gid)),), warp)
        for gid, warp in warps.items()
    ]


def _band_frames() -> list[Frame]:
    turned = affine(scale=4, theta=0.1, offset=(2, -1.5))
    red = File(("red", "green"), smooth_pixels((50, 70), 2))
    nir = File(("nir",), smooth_pixels((25, 35), 1, "uint16"), affine(scale=2))
    swir = File(("swir",), smooth_pixels((13, 18), 1, "float32"), turned)
    fine_red = File(("red", "green"), smooth_pixels((100, 140), 2, seed=3))
    fine_nir = File(("nir",), smooth_pixels((34, 47), 1, "uint16"), affine(scale=3, offset=(-0.5, 0.25)))
    fine_swir = File(("swir",), smooth_pixels((26, 36), 1, "float32"), affine(scale=4))
    moved = affine(scale=0.5, theta=0.05, offset=(2.5, -1.25))
    return [
        Frame(COMPLETE, (50, 70), (red, nir, swir)),
        Frame(SPARSE, (50, 70), (File(("red", "green"), smooth_pixels((50, 70), 2, seed=2)),)),
        Frame(FINE, (100, 140), (fine_red, fine_nir, fine_swir), moved),
    ]


def _gap_frames() -> list[Frame]:
    frames = []
    for index, gid in enumerate(GAP_FRAMES):
        pixels = smooth_pixels((30, 46), 2, "uint16", seed=gid)
        pixels[8:13, 10 + index : 17], pixels[20, 5, 1] = DEEP_NODATA, DEEP_NODATA
        frames.append(Frame(gid, (30, 46), (File(("a", "b"), pixels),), nodata=DEEP_NODATA))
    for index, gid in enumerate(FLOAT_FRAMES):
        pixels = smooth_pixels((30, 46), 2, "float32", seed=gid)
        pixels[8:13, 10 + index : 17], pixels[20, 5, 1] = np.nan, FLOAT_NODATA
        frames.append(Frame(gid, (30, 46), (File(("a", "b"), pixels),), nodata=FLOAT_NODATA))
    return frames


def _exact_frames() -> list[Frame]:
    dims = VIDEO_DIMS[EXACT]
    shifts = dict(zip(EXACT_FRAMES, [(0, 0), (0, 0), (4, -3), (-5, 6), (1, 1)]))
    return [
        Frame(
            gid, dims, (File(("r", "g", "b"), random_pixels("uint8", 3, dims, seed=gid)),), affine(offset=xy)
        )
        for gid, xy in shifts.items()
    ]


def _loose_frames() -> list[Frame]:
    return [
        Frame(gid, FRAME_DIMS, (File(("r", "g", "b"), smooth_pixels(FRAME_DIMS, 3, seed=gid)),))
        for gid in LOOSE
    ]


def annotation_id(gid: int, kind: int) -> int:
    """Return the id of an annotation of a frame."""
    return 1000 * (kind + 1) + gid


def annotations(gid: int) -> list[dict[str, Any]]:
    """Return the annotations of one frame in its own pixels; they move to the right from frame to frame."""
    step = gid % 5
    outline = [[12 + step, 8], [25 + step, 9.5], [23 + step, 22.5], [13 + step, 20]]
    hole = [[15 + step, 12], [19 + step, 12], [17 + step, 16]]
    whole = {
        "bbox": [12 + step, 8, 13, 14.5],
        "segmentation": {"exterior": outline, "interiors": [hole]},
        "keypoints": [
            {"xy": [14.5 + step, 10.25], "keypoint_category_id": 4, "visible": 2},
            {"xy": [22.0 + step, 19], "keypoint_category_id": 6, "visible": 1},
        ],
    }
    pieces = [whole, {"bbox": [34.5, 25, 9, 7.25]}, {"bbox": [50, 33, 12, 14]}]
    return [
        {
            "id": annotation_id(gid, kind),
            "image_id": gid,
            "category_id": 1 + kind % 2,
            "track_id": kind,
            **piece,
        }
        for kind, piece in enumerate(pieces)
    ]


def _entry(frame: Frame, dpath: pathlib.Path, key: str) -> dict[str, Any]:
    """Write the files of a frame and return its dictionary for the dataset."""
    height, width = frame.dims
    entry: dict[str, Any] = {"id": frame.gid, "width": width, "height": height}
    parts = []
    for index, file in enumerate(frame.files):
        path = write_tiff(dpath / f"frame{frame.gid}_{index}.tif", file.pixels, nodata=frame.nodata)
        channels = "|".join(file.channels)
        rows, cols = file.pixels.shape[:2]
        parts.append({"file_name": path.name, "channels": channels, "width": cols, "height": rows})
        if not np.array_equal(file.warp_img_from_asset, np.eye(3)):
            parts[-1]["warp_aux_to_img"] = {"type": "affine", "matrix": file.warp_img_from_asset.tolist()}
    if len(parts) == 1 and frame.gid != SPARSE:
        entry.update(parts[0])
    else:
        entry.update({"name": f"frame{frame.gid}", "file_name": None, key: parts})
    if not np.array_equal(frame.warp_vid_from_img, np.eye(3)):
        entry["warp_img_to_vid"] = {"type": "affine", "matrix": frame.warp_vid_from_img.tolist()}
    return entry


def videos(dpath: pathlib.Path, key: str = "assets") -> Videos:
    """Return a dataset of five videos and two images, and write its files to a folder.

    Args:
        dpath: the folder.
        key: key for the files of a frame: ``'assets'`` or ``'auxiliary'``.
    """
    groups = {
        MOVING: _moving_frames(),
        BANDS: _band_frames(),
        GAPS: _gap_frames()[:2],
        FLOATS: _gap_frames()[2:],
        EXACT: _exact_frames(),
        None: _loose_frames(),
    }
    entries = []
    for vidid, frames in groups.items():
        for index, frame in enumerate(frames):
            entry = _entry(frame, dpath, key)
            if vidid is not None:
                entry.update(video_id=vidid, frame_index=10 + 3 * index)
            entries.append(entry)
    # Shuffle the images, because their order in the file must not matter.
    entries.sort(key=lambda entry: (entry["id"] * 7) % 11)
    annotated = (SAME, SHIFTED, ENLARGED, TURNED, *LOOSE)
    content = {
        "videos": [
            {"id": vidid, "name": f"video{vidid}", "width": width, "height": height}
            for vidid, (height, width) in VIDEO_DIMS.items()
        ],
        "images": entries,
        "annotations": [ann for gid in annotated for ann in annotations(gid)],
        "categories": [{"id": 1, "name": "ship", "keypoints": ["bow", "stern"]}, {"id": 2, "name": "buoy"}],
        "keypoint_categories": [{"id": 4, "name": "bow"}, {"id": 6, "name": "stern"}],
    }
    dset = kwcoco.CocoDataset(content, bundle_dpath=dpath)
    return Videos(dset, {frame.gid: frame for frames in groups.values() for frame in frames})


def warp_whole(
    pixels: np.ndarray, warp: np.ndarray, dims: tuple[int, int], margin: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Warp a whole file onto a grid once; also return which pixels are farther than a margin from its border.

    Args:
        pixels: (height, width, channels).
        warp: 3x3 matrix from the file to the grid, whole numbers at the corners of pixels.
        dims: (height, width) of the grid.
        margin: margin in pixels of the file.
    """
    kind = np.float32 if pixels.dtype.kind == "f" else pixels.dtype
    shrinks = np.linalg.svd(warp[:2, :2], compute_uv=False).min() < 1
    warped = kwimage.warp_affine(
        pixels.astype(kind),
        kwimage.Affine(warp),
        dsize=dims[::-1],
        interpolation="linear",
        antialias=bool(shrinks),
        border_mode="replicate",
        origin_convention="corner",
    ).reshape(*dims, -1)
    x, y = centers_in(warp, dims)
    height, width = pixels.shape[:2]
    inside = (x > margin) & (x < width - margin) & (y > margin) & (y < height - margin)
    return warped, inside


def centers_in(warp: np.ndarray, dims: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, in source pixels, of the centers of the pixels of a grid."""
    rows, cols = np.mgrid[0 : dims[0], 0 : dims[1]] + 0.5
    (a, b, tx), (c, d, ty) = np.linalg.inv(warp)[:2]
    return a * cols + b * rows + tx, c * cols + d * rows + ty


def sample_from_video(rows: tuple[int, int], cols: tuple[int, int], scale: Any = 1.0) -> np.ndarray:
    """Compute the 3x3 matrix from a video to a scaled window."""
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    return np.diag([scale_x, scale_y, 1.0]) @ affine(offset=(-cols[0], -rows[0]))


@st.composite
def windows(draw, dims, smallest=1):
    """Return (start, stop) for rows and columns that are inside, partly outside or outside a frame."""
    rows, cols = (
        (start, start + draw(st.integers(smallest, length + REACH)))
        for length in dims
        for start in [draw(st.integers(-REACH, length + REACH))]
    )
    return rows, cols


def load(sampler, with_annots=False, **target):
    return sampler.load_sample(target, with_annots=with_annots)


def pixels_of(sampler, **target):
    return load(sampler, **target)["im"]


def as_slices(rows, cols):
    return slice(*rows), slice(*cols)


def whole(data, gid, channels=None):
    """Return the pixels of a frame with one file, with sorted or given channels."""
    file = data.frames[gid].files[0]
    names = sorted(file.channels) if channels is None else channels
    return file.pixels[..., [file.channels.index(name) for name in names]]
