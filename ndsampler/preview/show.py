"""``sampler.show``: draws positives, negatives, images, grids and videos of a sampler."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ndsampler.coco_regions import CocoRegions
from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.preview.choice import in_turn, load_strip, natural_colors, usual_window
from ndsampler.preview.picture import Picture
from ndsampler.preview.predictions import Predict, pair_up
from ndsampler.preview.sample import Bands, parse_bands, rgb_of, split_frames
from ndsampler.preview.sheet import draw_sheet, frame_captions
from ndsampler.preview.windows import draw_windows
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.html import html_table
from ndsampler.utils.random_state import ensure_rng

if TYPE_CHECKING:
    from ndsampler.coco_sampler import CocoSampler

#: What may be shown by name.
What = Literal["positives", "negatives", "images", "grid", "video"]

#: Largest side of a whole image on a sheet, and of an image with the windows of a grid, in pixels.
IMAGE_SIDE, GRID_SIDE = 300, 900

#: Side of the window of a video, in pixels, unless one is given.
VIDEO_SIDE = 256

#: Samples in a row of the sheet that have their predictions beside them.
_PAIRS = 2

#: Positives among which those of each category are looked for.
MOST_POSITIVES = 2000


class Showing:
    """The methods of a sampler that draw pictures of its samples."""

    @fork_safe
    def show(
        self,
        what: What | Mapping[str, Any] | Sequence[Mapping[str, Any]] = "positives",
        count: int = 8,
        *,
        window_dims: Any = None,
        bands: str | Sequence[str | int] | None = None,
        rng: Any = 0,
        side: int | None = None,
        title: str | None = None,
        predict: Predict | None = None,
    ) -> Picture:
        """Draw samples, with their annotations, on one sheet.

        The pools stay as they are; no preselected negative is consumed.

        Args:
            what: ``'positives'``, of each category in turn; ``'negatives'``; ``'images'``, scaled down;
                ``'grid'``, the windows of a grid on the largest image; ``'video'``, some frames of the
                longest video; or a target, a sample, a list of either, or a grid that
                ``new_sample_grid`` has made.
            count: most samples on the sheet.
            window_dims: (height, width) of windows in pixels, or another value that targets accept; by
                default that of the pools, or a square that shows most annotations with some context.
            bands: one channel, or the three that are shown as red, green and blue, as a code such as
                ``'nir|red|green'`` or as a list of names or positions. Each is stretched on its own.
            rng: seed or random state that selects the samples.
            side: room for each sample in pixels. Samples are enlarged by whole numbers only. By default
                they take about 300 pixels.
            title: line at the top; by default one that says what is shown.
            predict: a function that predicts what a sample contains. It is called with each sample, and its
                predictions are drawn beside the annotations. It returns a ``kwimage.Detections`` in
                coordinates of the sample; or an array of (height, width) labels, which are numbered as in
                ``SampleDataset.label_names``: 0 is background.

        Returns:
            A picture that notebooks display and that ``save(path)`` writes.

        Raises:
            ArgumentError: if there is nothing to show, a band is missing, ``what`` is unknown, or
                predictions do not fit their samples.
            TargetError, SourceError: as ``load_sample`` does.

        Example:
            >>> import ndsampler
            >>> ndsampler.CocoSampler.demo('shapes8').show(count=4, window_dims=(64, 64), side=128)
            <Picture 280 x 402>
        """
        sampler = cast("CocoSampler", self)
        request = _Request(count, window_dims, bands, ensure_rng(rng))
        if what == "grid" or (isinstance(what, Mapping) and "positives_indexes" in what):
            return _show_grid(sampler, what, request, title)
        samples, captions, usual = _load(sampler, what, request)
        title = usual + _shown_as(request.bands) if title is None else title
        options: dict[str, Any] = {}
        if predict is not None:
            options["columns"], title = 2 * _PAIRS, f"{title}: each beside its prediction" if title else title
            samples, captions = pair_up(samples, predict, sampler.classes)
        samples = [_in_bands(sample, bands) for sample in samples]
        options |= {"side": side, "title": title, "captions": captions}
        return Picture(draw_sheet(samples, sampler.classes, **options))

    def _repr_html_(self) -> str:
        """Return a summary of the sampler as a table for notebooks, without reading an image."""
        sampler = cast("CocoSampler", self)
        if sampler.regions is None:
            return html_table(type(self).__name__, {"state": "not initialised; call init()"})
        rows = {**sampler.regions.summary(), **sampler.frames.summary()}
        return html_table(f"{type(self).__name__}{_of(sampler)}", rows)


@dataclass(frozen=True)
class _Request:
    """How the samples are chosen and loaded."""

    count: int
    """Most samples."""
    window_dims: Any
    """(height, width) in pixels; None for a usual size."""
    bands: Bands
    """Channels to show."""
    rng: np.random.RandomState
    """The source of randomness."""

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of targets that load the bands, unless they are given by position."""
        names = [] if self.bands is None else parse_bands(self.bands)
        named = names and all(isinstance(name, str) for name in names)
        return {"channels": "|".join(map(str, dict.fromkeys(names)))} if named else {}

    def keys_for(self, sampler: CocoSampler, gid: Any) -> dict[str, Any]:
        """Return the keys of targets that load the bands of an image: its natural colors by default."""
        return self.keys if self.bands is not None else natural_colors(sampler, gid)

    def window(self, sampler: CocoSampler) -> dict[str, Any]:
        """Return the key of targets that gives the size of windows."""
        return {"window_dims": usual_window(sampler) if self.window_dims is None else self.window_dims}


#: Samples, their captions or None for the usual ones, and the title of their sheet.
_Loaded = tuple[list[Any], list[str] | None, str]


def _load(sampler: CocoSampler, what: Any, request: _Request) -> _Loaded:
    """Load what is to be shown."""
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


def _load_item(sampler: CocoSampler, item: Mapping[str, Any], request: _Request) -> Any:
    """Return a sample, which may be given as a target."""
    if "im" in item:
        return item
    still = "gid" in item and "vidid" not in item and "channels" not in item
    return sampler.load_sample(
        {**item, **(request.keys_for(sampler, item["gid"]) if still else request.keys)}
    )


def _load_positives(sampler: CocoSampler, request: _Request) -> _Loaded:
    total = sampler.n_positives
    if not total:
        raise ArgumentError("there are no positives to show; the dataset has no annotations with boxes")
    rows = request.rng.permutation(total)[: max(MOST_POSITIVES, request.count)]
    targets = [sampler.regions.get_positive(int(row)) for row in rows]
    kinds = [target["category_id"] for target in targets]
    chosen = [targets[row] for row in in_turn(kinds, request.count, request.rng)]
    samples = _load_windows(sampler, chosen, request)
    return samples, None, f"{len(samples)} of {total:,} positives{_of(sampler)}"


def _load_windows(
    sampler: CocoSampler, targets: list[Any], request: _Request, window: dict[str, Any] | None = None
) -> list[Any]:
    """Load targets of the pools; without a window, in one that suits the request."""
    window = request.window(sampler) if window is None else window
    return [
        sampler.load_sample({**target, **window, **request.keys_for(sampler, target["gid"])})
        for target in targets
    ]


def _load_negatives(sampler: CocoSampler, request: _Request) -> _Loaded:
    regions, window = sampler.regions, request.window(sampler)
    if regions.n_negatives and request.window_dims is None:
        rows = request.rng.permutation(regions.n_negatives)[: request.count]
        targets, total = [regions.get_negative(int(row)) for row in rows], regions.n_negatives
    else:
        # A pool of its own leaves that of the sampler as it is.
        fresh = CocoRegions(sampler.dset)
        fresh.preselect(n_pos=0, n_neg=request.count, rng=request.rng, **window)
        targets = [fresh.get_negative(row) for row in range(fresh.n_negatives)]
        total = len(targets)
    if not targets:
        raise ArgumentError("no window without annotations was found; try smaller window_dims")
    samples = _load_windows(sampler, targets, request, {})
    return samples, None, f"{len(samples)} of {total:,} negatives{_of(sampler)}"


def _load_images(sampler: CocoSampler, request: _Request) -> _Loaded:
    gids = sampler.image_ids
    if not gids:
        raise ArgumentError("there are no images to show; the dataset is empty")
    chosen = sorted(int(row) for row in request.rng.permutation(len(gids))[: request.count])
    samples = []
    for gid in (gids[row] for row in chosen):
        scale = min(1.0, IMAGE_SIDE / max(sampler.frames.image_dims(gid)))
        target = {"gid": gid, "scale": scale, **request.keys_for(sampler, gid)}
        samples.append(sampler.load_sample(target, with_annots="boxes"))
    return samples, None, f"{len(samples)} of {len(gids):,} images{_of(sampler)}"


def _load_video(sampler: CocoSampler, request: _Request) -> _Loaded:
    dims = (VIDEO_SIDE, VIDEO_SIDE) if request.window_dims is None else request.window_dims
    sample = load_strip(sampler, max(dims), **request.keys)
    if sample is None:
        raise ArgumentError("there is no video with two frames or more, and a width and height, to show")
    return split_frames(sample), frame_captions(sample), f"A video{_of(sampler)}"


_LOADERS: dict[str, Callable[[CocoSampler, _Request], _Loaded]] = {
    "positives": _load_positives,
    "negatives": _load_negatives,
    "images": _load_images,
    "video": _load_video,
}


def _show_grid(sampler: CocoSampler, what: Any, request: _Request, title: str | None) -> Picture:
    """Draw the windows of a grid on an image."""
    grid = what
    if what == "grid":
        dims = request.window(sampler)["window_dims"]
        grid = sampler.new_sample_grid("image_detection", dims, legacy=False)
    sample, caption = draw_windows(sampler, grid, GRID_SIDE, request.bands, request.keys)
    title = f"A grid of windows{_of(sampler)}" if title is None else title
    side = max(sample["im"].shape)
    return Picture(draw_sheet([sample], sampler.classes, side=side, captions=[caption], title=title))


def _of(sampler: CocoSampler) -> str:
    """Return the name of a dataset as the end of a title."""
    path = getattr(sampler.dset, "fpath", None)
    return f" of {os.path.basename(str(path))}" if path else ""


def _shown_as(bands: Bands) -> str:
    """Return which channels the colors show, as the end of a title."""
    if bands is None:
        return ""
    names = [name if isinstance(name, str) else f"channel {name}" for name in parse_bands(bands)]
    return f": {names[0]} in gray" if len(names) == 1 else f": {', '.join(names)} as red, green, blue"


def _in_bands(sample: Any, bands: Bands) -> Any:
    """Return a sample whose pixels are the bands to show."""
    return sample if bands is None else {**sample, "im": rgb_of(sample, 0, bands), "params": {}}
