"""
The images of a dataset as columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.columns import Columns, describe_unknown, find_sorted
from ndsampler.dataset.records import read_images
from ndsampler.errors import ArgumentError, UnknownIdError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ImageTable"]


@dataclass(eq=False)
class ImageTable(Columns):
    """
    One row per image, sorted by image id. The columns must not be changed.

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
    """Widths in pixels; -1 if the dataset does not state the width."""

    heights: NDArray[np.int32]
    """Heights in pixels; -1 if the dataset does not state the height."""

    vidids: NDArray[np.int64]
    """Video ids; :data:`~ndsampler.dataset.columns.NO_ID` for an image that belongs to no video."""

    frame_index: NDArray[np.int64]
    """Positions in time within the video; -1 if the dataset does not state the position."""

    order: NDArray[np.int64]
    """The rows in the order of the dataset: ``gids[order]`` lists the images as the dataset does."""

    valid_regions: dict[int, Any]
    """Image id to valid region as the dataset stores it (image pixels), for the images that have one."""

    warps: dict[int, Any]
    """Image id to warp_vid_from_img as the dataset stores it, for the frames where it is not the identity."""

    @classmethod
    def from_coco(cls, dset: Any) -> ImageTable:
        """Return the images of a dataset.

        Args:
            dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.

        Raises:
            ArgumentError: if an id, a size or a frame index is not a number.
        """
        records = read_images(dset)
        order = np.argsort(records.numbers["id"], kind="stable")
        rows_in_dataset_order = np.empty_like(order)
        rows_in_dataset_order[order] = np.arange(len(order))
        columns = {key: column[order] for key, column in records.numbers.items()}
        return cls(
            gids=columns["id"],
            widths=columns["width"].astype(np.int32),
            heights=columns["height"].astype(np.int32),
            vidids=columns["video_id"],
            frame_index=columns["frame_index"],
            order=rows_in_dataset_order,
            valid_regions=records.valid_regions,
            warps=records.warps,
        )

    def __len__(self) -> int:
        return len(self.gids)

    @cached_property
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
        """Return the row of each image; -1 for an id that the dataset lacks.

        Args:
            gids: image ids.
        """
        return find_sorted(self.gids, np.asarray(gids, dtype=np.int64))

    def indices_of(self, gids: ArrayLike) -> NDArray[np.int64]:
        """Return the row of each image.

        Args:
            gids: image ids.

        Raises:
            UnknownIdError: if the dataset lacks one of the images.
        """
        wanted = np.asarray(gids, dtype=np.int64)
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
        """Check that the dataset states the sizes of images.

        Args:
            rows: rows of the images; all when None.

        Raises:
            ArgumentError: if one has no width or height; the message lists the first five.
        """
        unknown = (self.widths < 0) | (self.heights < 0)
        if not unknown.any():
            return
        missing = self.gids[unknown] if rows is None else np.unique(self.gids[rows[unknown[rows]]])
        if len(missing):
            raise ArgumentError(
                f"{len(missing)} images have no width or height, ids {missing[:5].tolist()}; expected "
                "both in pixels; call dset._ensure_imgsize() to read them from the files, or add them"
            )
