"""Compressed run-length encoding, as COCO files hold it."""

from __future__ import annotations

__all__ = ["decode_counts"]


def decode_counts(text: str | bytes) -> list[int]:
    """Return the run lengths of a compressed run-length encoding.

    Each number is written in groups of 5 bits, least significant first, as characters from ``'0'`` on;
    bit 6 says that another group follows, bit 5 of the last group is the sign. From the fourth number on
    the difference to the number two places before is stored.

    Args:
        text: the ``counts`` of an encoded mask.

    Returns:
        Lengths of the runs in column-major order, the first of zeros.

    Raises:
        ValueError: if the text ends inside a number, or holds a foreign character.

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
            raise ValueError(f"{chr(code)!r} is no character of a run-length encoding")
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
