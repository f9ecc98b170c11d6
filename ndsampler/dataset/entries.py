"""Reads the dictionaries of images and videos, whose values may be malformed."""

from __future__ import annotations

import os
from typing import Any

from ndsampler.dataset.kwcoco_adapter import list_parts
from ndsampler.errors import SourceError

__all__ = ["MAX_SIDE", "list_files", "malformed_image", "stated_video_dims"]

#: Maximum side of an image in pixels; no format allows more.
MAX_SIDE = 2**32


def list_files(gid: Any, img: Any, folder: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the path of each file of an image, and the dictionary that names it: the image or a part of it.

    Args:
        gid: image id for the error message.
        img: the entry of the image.
        folder: the folder to which file names are relative.

    Raises:
        SourceError: if a part is not a dictionary, or a file name is not text.

    Example:
        >>> list_files(1, {'file_name': 'a.png', 'assets': [{'channels': 'r'}]}, '/data')[0][0]
        '/data/a.png'
    """
    try:
        named = [entry for entry in (img, *list_parts(img)) if entry.get("file_name")]
        return [(os.path.join(folder, os.fspath(entry["file_name"])), entry) for entry in named]
    except (AttributeError, TypeError, ValueError) as ex:
        raise malformed_image(gid, ex) from ex


def malformed_image(gid: Any, error: Exception) -> SourceError:
    """Return the error for an image whose dictionary in the dataset is malformed.

    Args:
        gid: image id.
        error: the error that a value of the dictionary caused.
    """
    return SourceError(f"the dictionary of image {gid} in the dataset is malformed: {error}")


def stated_video_dims(vidid: Any, video: Any) -> tuple[int, int] | None:
    """Return the (height, width) that the dictionary of a video states, or None.

    Args:
        vidid: id of the video for the error message.
        video: the entry of the video.

    Raises:
        SourceError: if they are not numbers of pixels.

    Example:
        >>> stated_video_dims(1, {'width': 4, 'height': 3.0}), stated_video_dims(1, {'width': 4})
        ((3, 4), None)
    """
    width, height = video.get("width"), video.get("height")
    if width is None or height is None:
        return None
    try:
        dims = int(height), int(width)
    except (TypeError, ValueError, OverflowError) as ex:
        raise SourceError(f"video {vidid} has width {width!r} and height {height!r}: {ex}") from ex
    if not all(0 <= side <= MAX_SIDE for side in dims):
        raise SourceError(
            f"video {vidid} has width {width!r} and height {height!r}; expected numbers from 0 to {MAX_SIDE}"
        )
    return dims
