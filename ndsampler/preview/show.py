"""``sampler.show``: draws positives, negatives, images, grids and videos of a sampler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, cast

from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.random_state import ensure_rng

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.preview.picture import Picture
    from ndsampler.preview.predictions import Predict

#: Names of what ``show`` can display.
What = Literal["positives", "negatives", "images", "grid", "video"]


class Showing:
    """The methods of a sampler that draw its samples."""

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
        """Draw samples with their annotations on one sheet.

        This does not change the pools, and consumes no preselected negative.

        Args:
            what: ``'positives'``, from each category in turn; ``'negatives'``; ``'images'``, scaled down;
                ``'grid'``, the windows of a grid on the largest image; ``'video'``, some frames of the
                longest video; or a target, a sample, a list of targets or samples, or a grid from
                ``new_sample_grid``.
            count: maximum number of samples on the sheet, or of frames of a video.
            window_dims: (height, width) of windows in pixels, or another value that targets accept; by
                default that of the pools, or a square that shows most annotations with some context.
            bands: one channel, or the three that are shown as red, green and blue, as a code such as
                ``'nir|red|green'`` or as a list of names or positions. Each is stretched separately.
            rng: seed or random state that selects the samples.
            side: space for each sample in pixels. Samples are enlarged only by whole numbers. By default,
                they take about 300 pixels.
            title: line at the top; by default a description of the contents.
            predict: a function that is called with each sample. Its predictions are drawn beside the
                annotations. It returns a ``kwimage.Detections`` in coordinates of the sample, or a
                (height, width) array of labels, which are numbered as in ``SampleDataset.label_names``: 0 is
                background.

        Returns:
            A picture. Notebooks display it, and its method ``save(path)`` writes it to a file.

        Raises:
            ArgumentError: if there is nothing to show, a band is missing, ``what`` is unknown, or
                predictions do not fit their samples.
            TargetError, SourceError: if ``load_sample`` raises it.

        Example:
            >>> import ndsampler
            >>> ndsampler.CocoSampler.demo('shapes8').show(count=4, window_dims=(64, 64), side=128)
            <Picture 280 x 402>
        """
        from ndsampler.preview.contents import ShowRequest, draw_contents

        request = ShowRequest(what, count, window_dims, bands, ensure_rng(rng), predict)
        return draw_contents(cast("CocoSampler", self), request, side, title)

    def _repr_html_(self) -> str:
        """Return a summary of the sampler as an HTML table for notebooks, without reading images."""
        from ndsampler.utils.html import html_table

        sampler = cast("CocoSampler", self)
        if sampler.regions is None:
            return html_table(type(self).__name__, {"state": "not initialized; call init()"})
        rows = {**sampler.regions.summary(), **sampler.frames.summary()}
        return html_table(f"{type(self).__name__}{name_of(sampler)}", rows)


def name_of(sampler: CocoSampler) -> str:
    """Return the name of a sampler's dataset as the end of a title.

    Args:
        sampler: sampler of the dataset.
    """
    path = getattr(sampler.dset, "fpath", None)
    return f" of {os.path.basename(str(path))}" if path else ""
