"""
The images of a dataset as columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.columns import Columns, as_ids, describe_unknown, find_sorted
from ndsampler.dataset.records import MAX_SIDE, read_images
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import ArgumentError, UnknownIdError
from ndsampler.utils.lazy import LazyAttribute

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ndsampler.dataset.sizes import Failure

__all__ = ["ImageTable"]


@dataclass(eq=False)
class ImageTable(Columns):
    """
    One row per image, sorted by image id.

    Do not change the columns; only :meth:`require_sizes` fills in missing sizes.

    Example:
        >>> import kwcoco
        >>> table = ImageTable.from_coco(kwcoco.CocoDataset({"images": [
        ...     {"id": 7, "file_name": "b.png", "width": 6, "height": 4},
        ...     {"id": 3, "file_name": "a.png"}]}))
        >>> table.gids.tolist(), table.widths.tolist()
        ([3, 7], [-1, 6])
        >>> table.index_of(7)
        1
    """

    gids: NDArray[np.int64]
    """Image ids, ascending."""

    widths: NDArray[np.int32]
    """Widths in pixels; -1 where the dataset states none and :meth:`require_sizes` has read none."""

    heights: NDArray[np.int32]
    """Heights in pixels; -1 in the same cases."""

    vidids: NDArray[np.int64]
    """Video ids; :data:`~ndsampler.dataset.columns.NO_ID` for an image that belongs to no video."""

    frame_index: NDArray[np.int64]
    """Frame indexes within the video; -1 if the dataset does not state the frame index."""

    order: NDArray[np.int64]
    """The rows in the order of the dataset: ``gids[order]`` lists the images as the dataset does."""

    valid_regions: dict[int, Any]
    """Image id to valid region as the dataset stores it (image pixels), for the images that have one."""

    warps: dict[int, Any]
    """Image id to warp_vid_from_img as the dataset stores it, for the frames where it is not the identity."""

    size_source: SizeSource | None = None
    """Reads missing sizes from the files; not pickled."""

    @classmethod
    def from_coco(cls, dset: Any, size_source: SizeSource | None = None) -> ImageTable:
        """Return the images of a dataset.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
            size_source: reads missing sizes; by default from the files in the folder of the dataset.

        Raises:
            ArgumentError: if an id, a size or a frame index is not a number, or far too large.
        """
        records = read_images(dset)
        order = np.argsort(records.numbers["id"], kind="stable")
        rows_in_dataset_order = np.empty_like(order)
        rows_in_dataset_order[order] = np.arange(len(order))
        columns = {key: column[order] for key, column in records.numbers.items()}
        return cls(
            gids=columns["id"],
            widths=_sides(columns, "width"),
            heights=_sides(columns, "height"),
            vidids=columns["video_id"],
            frame_index=columns["frame_index"],
            order=rows_in_dataset_order,
            valid_regions=records.valid_regions,
            warps=records.warps,
            size_source=size_source or SizeSource(dset),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "size_source": None}

    def __len__(self) -> int:
        return len(self.gids)

    @LazyAttribute
    def _rows_by_gid(self) -> dict[int, int]:
        return dict(zip(self.gids.tolist(), range(len(self.gids)), strict=True))

    def index_of(self, gid: int) -> int:
        """Return the row of an image.

        Args:
            gid: image id.

        Raises:
            UnknownIdError: if the dataset has no such image.
        """
        try:
            return self._rows_by_gid[gid]
        except KeyError:
            raise UnknownIdError(self.describe_unknown(gid)) from None

    def find(self, gids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each image, or -1 if the dataset lacks it.

        Args:
            gids: image ids.
        """
        return find_sorted(self.gids, as_ids(gids, "image"))

    def indices_of(self, gids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each image.

        Args:
            gids: image ids.

        Raises:
            UnknownIdError: if the dataset lacks one of the images.
        """
        wanted = as_ids(gids, "image")
        rows = self.find(wanted)
        if (rows < 0).any():
            raise UnknownIdError(self.describe_unknown(wanted[rows < 0][0]))
        return rows

    def describe_unknown(self, gid: Any) -> str:
        """Return the error message for an image id that does not exist.

        Args:
            gid: the id.
        """
        return describe_unknown("image", gid, self.gids)

    def require_sizes(self, rows: NDArray[np.int64] | None = None) -> None:
        """Read the sizes of images from their files, unless they are known.

        If one size is unknown, the missing sizes of all images are read. Files that cannot be read cause an
        error only if ``rows`` contains their image.

        Args:
            rows: rows of the images; None for all.

        Raises:
            SourceError: if the size of one of them cannot be read.
            ArgumentError: if the table was unpickled, and has no files to read sizes from.
        """
        missing = self._unsized_rows(rows)
        if not len(missing):
            return
        if self.size_source is None:
            raise ArgumentError(
                f"{len(missing)} images have no width or height, ids {self.gids[missing][:5].tolist()}; "
                "expected both in pixels; add them to the dataset"
            )
        failures = self.fill_sizes()
        missing = self._unsized_rows(missing)
        if len(missing):
            gid = int(self.gids[missing[0]])
            raise self.size_source.explain(gid, failures.get(gid), len(missing))

    def fill_sizes(self) -> dict[int, Failure]:
        """Read the missing sizes of all images.

        Returns:
            For each image whose file cannot be read, its path and the reason.
        """
        missing = self._unsized_rows()
        if not len(missing) or self.size_source is None:
            return {}
        sizes, failures = self.size_source.fill(self.gids[missing].tolist())
        rows = self.find(list(sizes))
        dims = np.array(list(sizes.values()), dtype=np.int32).reshape(-1, 2)
        self.heights[rows], self.widths[rows] = dims.T
        return failures

    def _unsized_rows(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return those of the rows (None for all) without a width or height; each once, ascending."""
        unsized = (self.widths < 0) | (self.heights < 0)
        return np.nonzero(unsized)[0] if rows is None else np.unique(rows[unsized[rows]])


def _sides(columns: dict[str, NDArray[np.int64]], key: str) -> NDArray[np.int32]:
    """Return the widths or heights of images as int32."""
    too_large = np.nonzero(columns[key] > MAX_SIDE)[0]
    if len(too_large):
        row = too_large[0]
        raise ArgumentError(
            f"image {columns['id'][row]} has {key} {columns[key][row]}; expected at most {MAX_SIDE} pixels"
        )
    return columns[key].astype(np.int32)
