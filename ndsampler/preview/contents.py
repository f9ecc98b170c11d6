"""Loads and draws the samples, or the windows of a grid, that ``sampler.show`` displays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.coco_regions import CocoRegions
from ndsampler.dataset.kwcoco_adapter import find_video, frames_of_video
from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.preview.choice import in_turn, load_strip, natural_colors, usual_window
from ndsampler.preview.picture import Picture
from ndsampler.preview.predictions import Predict, pair_up
from ndsampler.preview.sample import (
    RGB_CHANNELS,
    Bands,
    channel_names,
    parse_bands,
    rgb_of,
    split_frames,
)
from ndsampler.preview.sheet import draw_sheet, frame_captions
from ndsampler.preview.show import name_of
from ndsampler.preview.windows import draw_windows

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler

#: Maximum side in pixels of a whole image on a sheet, and of an image with the windows of a grid.
IMAGE_SIDE, GRID_SIDE = 300, 900

#: Side of the window of a video, in pixels, unless one is given.
VIDEO_SIDE = 256

#: Number of samples in a row of the sheet if each has its prediction beside it.
_PAIRS = 2

#: Number of positives from which samples of each category are chosen.
MOST_POSITIVES = 2000


@dataclass(frozen=True)
class ShowRequest:
    """How the samples are chosen and loaded."""

    what: Any
    """A name, a target, a sample, a list of targets or samples, or a grid."""
    count: int
    """Maximum number of samples."""
    window_dims: Any
    """(height, width) of windows in pixels; None for a size that suits the dataset."""
    bands: Bands
    """Channels to show."""
    rng: np.random.RandomState
    """The source of randomness."""
    predict: Predict | None
    """Function that predicts the annotations of a sample; None to draw no predictions."""

    @property
    def keys(self) -> dict[str, Any]:
        """The target keys that load the bands; none if the bands are given by position."""
        names = [] if self.bands is None else parse_bands(self.bands)
        named = names and all(isinstance(name, str) for name in names)
        return {"channels": "|".join(map(str, dict.fromkeys(names)))} if named else {}

    def keys_for(self, sampler: CocoSampler, gid: Any) -> dict[str, Any]:
        """Return the target keys that load the bands of an image; by default its natural colors."""
        return self.keys if self.bands is not None else natural_colors(sampler, gid)

    def window(self, sampler: CocoSampler) -> dict[str, Any]:
        """Return the target key that sets the size of windows."""
        return {"window_dims": usual_window(sampler) if self.window_dims is None else self.window_dims}


#: Samples, their captions (None for the default captions), and the title of their sheet.
_Loaded = tuple[list[Any], list[str] | None, str]


def draw_contents(sampler: CocoSampler, request: ShowRequest, side: int | None, title: str | None) -> Picture:
    """Draw the requested samples, or the windows of a grid.

    Args:
        sampler: loads the samples.
        request: the samples to show, and how to load them.
        side: space for each sample in pixels; None for the default.
        title: line at the top; None for one that describes the contents.

    Raises:
        ArgumentError: if there is nothing to show, a band or a name is unknown, or predictions do not fit.
    """
    what = request.what
    if what == "grid" or (isinstance(what, Mapping) and "positives_indexes" in what):
        return _show_grid(sampler, request, title)
    samples, captions, usual = _load(sampler, request)
    bands = _default_bands(samples) if usual and request.bands is None else request.bands
    title = usual + _describe_bands(bands) if title is None else title
    options: dict[str, Any] = {}
    if request.predict is not None:
        options["columns"], title = 2 * _PAIRS, f"{title}: each beside its prediction" if title else title
        samples, captions = pair_up(samples, request.predict, sampler.classes)
    samples = [_select_bands(sample, request.bands) for sample in samples]
    options |= {"side": side, "title": title, "captions": captions}
    return Picture(draw_sheet(samples, sampler.classes, **options))


def _load(sampler: CocoSampler, request: ShowRequest) -> _Loaded:
    """Load the requested samples."""
    what = request.what
    if request.count < 1:
        raise ArgumentError(f"count is {request.count}; expected 1 or more samples")
    if isinstance(what, str):
        if what not in _LOADERS:
            names = ", ".join(map(repr, (*_LOADERS, "grid")))
            raise ArgumentError(f"what is {what!r}; expected a target, a sample, a list of them, or {names}")
        return _LOADERS[what](sampler, request)
    items = [what] if isinstance(what, Mapping) else what
    if not isinstance(items, Iterable):
        raise ArgumentTypeError(f"what is {what!r}; expected a target, a sample, or a list of them")
    samples = [_load_item(sampler, item, request) for item in itertools.islice(items, request.count)]
    if len(samples) == 1 and np.ndim(samples[0]["im"]) == 4:
        return split_frames(samples[0]), frame_captions(samples[0]), ""
    return samples, None, ""


def _load_item(sampler: CocoSampler, item: Mapping[str, Any], request: ShowRequest) -> Any:
    """Return a sample from an item that is a sample or a target."""
    if "im" in item:
        return item
    still = "gid" in item and "vidid" not in item and "channels" not in item
    return sampler.load_sample(
        {**item, **(request.keys_for(sampler, item["gid"]) if still else request.keys)}
    )


def _load_positives(sampler: CocoSampler, request: ShowRequest) -> _Loaded:
    total = sampler.n_positives
    if not total:
        raise ArgumentError("there are no positives to show; the dataset has no annotations with boxes")
    rows = request.rng.permutation(total)[: max(MOST_POSITIVES, request.count)]
    targets = [sampler.regions.get_positive(int(row)) for row in rows]
    kinds = [target["category_id"] for target in targets]
    chosen = [targets[row] for row in in_turn(kinds, request.count, request.rng)]
    samples = _load_windows(sampler, chosen, request)
    return samples, None, f"{len(samples)} of {total:,} positives{name_of(sampler)}"


def _load_windows(
    sampler: CocoSampler, targets: list[Any], request: ShowRequest, window: dict[str, Any] | None = None
) -> list[Any]:
    """Load targets of the pools; without a given window, use the requested size."""
    window = request.window(sampler) if window is None else window
    return [
        sampler.load_sample({**target, **window, **request.keys_for(sampler, target["gid"])})
        for target in targets
    ]


def _load_negatives(sampler: CocoSampler, request: ShowRequest) -> _Loaded:
    regions, window = sampler.regions, request.window(sampler)
    if regions.n_negatives and request.window_dims is None:
        rows = request.rng.permutation(regions.n_negatives)[: request.count]
        targets, total = [regions.get_negative(int(row)) for row in rows], regions.n_negatives
    else:
        # A separate pool leaves the sampler's own pool unchanged.
        fresh = CocoRegions(sampler.dset)
        fresh.preselect(n_pos=0, n_neg=request.count, rng=request.rng, **window)
        targets = [fresh.get_negative(row) for row in range(fresh.n_negatives)]
        total = len(targets)
    if not targets:
        raise ArgumentError("no window without annotations was found; try smaller window_dims")
    samples = _load_windows(sampler, targets, request, {})
    return samples, None, f"{len(samples)} of {total:,} negatives{name_of(sampler)}"


def _load_images(sampler: CocoSampler, request: ShowRequest) -> _Loaded:
    gids = sampler.image_ids
    if not gids:
        raise ArgumentError("there are no images to show; the dataset is empty")
    chosen = sorted(int(row) for row in request.rng.permutation(len(gids))[: request.count])
    samples, captions = [], []
    for gid in (gids[row] for row in chosen):
        height, width = sampler.frames.image_dims(gid)
        scale = min(1.0, IMAGE_SIDE / max(height, width))
        captions.append(f"image {gid} | {width} x {height} at {scale:.0%}")
        target = {"gid": gid, "scale": scale, **request.keys_for(sampler, gid)}
        samples.append(sampler.load_sample(target, with_annots="boxes"))
    return samples, captions, f"{len(samples)} of {len(gids):,} images{name_of(sampler)}"


def _load_video(sampler: CocoSampler, request: ShowRequest) -> _Loaded:
    dims = (VIDEO_SIDE, VIDEO_SIDE) if request.window_dims is None else request.window_dims
    if not (np.ndim(dims) == 1 and len(dims) == 2):
        raise ArgumentError(f"window_dims is {dims!r}; expected the (height, width) of a window in the video")
    sample = load_strip(sampler, (int(dims[0]), int(dims[1])), request.count, **request.keys)
    if sample is None:
        raise ArgumentError("there is no video to show; expected one with at least two frames")
    return split_frames(sample), frame_captions(sample), _title_of_video(sampler, sample["target"])


def _title_of_video(sampler: CocoSampler, target: Mapping[str, Any]) -> str:
    """Return a title that says which frames of a video are shown."""
    vidid, times = target["vidid"], target["time_slice"]
    total = len(frames_of_video(sampler.dset, vidid))
    name = find_video(sampler.dset, vidid).get("name", vidid)
    return f"Frames {times.start} to {times.stop - 1} of {total:,}, video {name}{name_of(sampler)}"


_LOADERS: dict[str, Callable[[CocoSampler, ShowRequest], _Loaded]] = {
    "positives": _load_positives,
    "negatives": _load_negatives,
    "images": _load_images,
    "video": _load_video,
}


def _show_grid(sampler: CocoSampler, request: ShowRequest, title: str | None) -> Picture:
    """Draw the windows of a grid on an image."""
    grid = request.what
    if grid == "grid":
        dims = request.window(sampler)["window_dims"]
        grid = sampler.new_sample_grid("image_detection", dims, legacy=False)
    sample, caption = draw_windows(sampler, grid, GRID_SIDE, request.bands, request.keys)
    title = f"A grid of windows{name_of(sampler)}" if title is None else title
    side = max(sample["im"].shape)
    return Picture(draw_sheet([sample], sampler.classes, side=side, captions=[caption], title=title))


def _describe_bands(bands: Bands) -> str:
    """Return the end of a title that tells which channels the colors show."""
    if bands is None:
        return ""
    names = [name if isinstance(name, str) else f"channel {name}" for name in parse_bands(bands)]
    return f": {names[0]} in gray" if len(names) == 1 else f": {', '.join(names)} as red, green, blue"


def _default_bands(samples: list[Any]) -> Bands:
    """Return the bands that are shown of samples with more than three; None if they show natural colors."""
    names = channel_names(samples[0])
    count = np.shape(samples[0]["im"])[-1]
    if count <= 3 or any(set(wanted) <= set(names) for wanted in RGB_CHANNELS):
        return None
    return names[:3] if len(names) == count else [0, 1, 2]


def _select_bands(sample: Any, bands: Bands) -> Any:
    """Return a sample that has only the bands to show."""
    return sample if bands is None else {**sample, "im": rgb_of(sample, 0, bands), "params": {}}
