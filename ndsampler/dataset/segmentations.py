"""Parsing the segmentations of COCO files, including run-length encoding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentTypeError, UnknownIdError

if TYPE_CHECKING:
    import kwimage

__all__ = ["decode_counts", "parse_segmentation", "parse_segmentations"]


def decode_counts(text: str | bytes) -> list[int]:
    """Return the run lengths of a compressed run-length encoding.

    Each number is encoded in groups of 5 bits, least significant group first, and each group as a character
    counted from ``'0'``. The sixth bit says that another group follows; the fifth bit of the last group is
    the sign. From the fourth number on, the difference from the number two positions earlier is stored.

    Args:
        text: the ``counts`` of an encoded mask.

    Returns:
        Lengths of the runs in column-major order; the first run is of zeros.

    Raises:
        ValueError: if the text ends inside a number, or contains an invalid character.

    References:
        ``rleFrString`` in https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c

    Example:
        >>> decode_counts('52203')
        [5, 2, 2, 2, 5]
    """
    codes = text if isinstance(text, bytes) else text.encode("ascii")
    counts: list[int] = []
    value = shift = 0
    for code in codes:
        group = code - 48
        if not 0 <= group < 64:
            raise ValueError(f"{chr(code)!r} is not a character of a run-length encoding")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"the run-length encoding {text!r} ends inside a number")
    return counts


def parse_segmentation(raw: Any) -> kwimage.MultiPolygon:
    """Return a segmentation in any COCO format as polygons.

    Args:
        raw: a flat list, a list of flat lists, a dictionary with an exterior and holes, a list of such
            dictionaries, or a run-length encoding, compressed or not.

    Returns:
        The polygons in image coordinates.

    Raises:
        ValueError, TypeError, KeyError: by kwimage, if the segmentation is malformed.
    """
    import kwimage

    if isinstance(raw, dict) and "counts" in raw:
        raw = _plain_runs(raw)
    return kwimage.MultiPolygon.coerce(raw)


def parse_segmentations(dset: Any, aids: Iterable[int]) -> list[kwimage.MultiPolygon | None]:
    """Return the segmentations of annotations as polygons, None for those without.

    Args:
        dset: a ``kwcoco.CocoDataset`` or ``kwcoco.CocoSqlDatabase``.
        aids: annotation ids.

    Raises:
        ArgumentTypeError: if the ids are not a list.
        UnknownIdError: if the dataset lacks one of the annotations.
        ValueError, TypeError, KeyError: as kwimage does, if a segmentation is malformed.
    """
    if not isinstance(aids, Iterable):
        raise ArgumentTypeError(f"aids is {aids!r}; expected a list of annotation ids")
    found = []
    for aid in aids:
        try:
            found.append(dset.anns[aid].get("segmentation"))
        except (KeyError, TypeError):
            known = f"expected one of the dataset's {len(dset.anns)}"
            raise UnknownIdError(f"no annotation has the id {aid!r}; {known}") from None
    return [parse_segmentation(raw) if raw else None for raw in found]


def _plain_runs(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a run-length encoding with its counts as numbers, after checking them against its size."""
    counts = raw["counts"]
    if isinstance(counts, (str, bytes)):
        # kwimage reads this form only if an optional compiled package is installed.
        counts = decode_counts(counts)
    height, width = raw["size"]
    if sum(counts) != height * width:
        raise ValueError(f"the runs make {sum(counts)} pixels, the size is {height} x {width}")
    return {**raw, "counts": counts}
