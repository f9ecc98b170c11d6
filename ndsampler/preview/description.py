"""Describes a sample in a text that fits on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import escape_controls
from ndsampler.preview.sample import CategoryNames

if TYPE_CHECKING:
    from ndsampler.types import Sample

#: Keys of a target that are not listed, because other keys contain the same information.
LEFT_OUT = frozenset({"slices", "data_dims", "real_frames"})

#: Maximum number of characters of a value, and of categories that are named.
MOST_CHARACTERS, MOST_CATEGORIES = 90, 8


def describe(sample: Sample | Mapping[str, Any]) -> str:
    """Return a description of a sample that fits on one screen.

    A sample is a dictionary, so ``print`` writes out its pixels and category trees. The description states
    the shape, type and range of the pixels, the target, and the number of annotations of each category.
    Control characters of names are escaped.

    Args:
        sample: a sample that ``load_sample`` has returned.

    Example:
        >>> target = {'gid': 2, 'space_slice': (slice(-5, 45), slice(0, 64))}
        >>> print(describe({'im': np.zeros((50, 64, 3), np.uint8), 'target': target}))
        im       (50, 64, 3) uint8, 0 to 0
        target   gid: 2
                 space_slice: -5:45, 0:64
    """
    lines = [f"{'im':<9}{_describe_pixels(sample['im'])}"]
    target = sample.get("target", sample.get("tr", {}))
    pairs = [f"{key}: {_short(value)}" for key, value in target.items() if key not in LEFT_OUT]
    lines += [f"{'' if number else 'target':<9}{pair}" for number, pair in enumerate(pairs)]
    if sample.get("annots") is not None:
        lines.append(f"{'annots':<9}{_describe_annots(sample)}")
    if sample.get("params"):
        lines.append(f"{'params':<9}{', '.join(sample['params'])}")
    return "\n".join(escape_controls(line, keep="") for line in lines)


def _describe_pixels(im: Any) -> str:
    """Return the shape, type and range of an array of pixels, or the type of any other object."""
    if not hasattr(im, "dtype") or not hasattr(im, "shape"):
        count = f" of {len(im)}" if isinstance(im, Sequence) else ""
        return f"{type(im).__name__}{count}"
    values = np.asarray(im)
    text = f"{values.shape} {values.dtype}"
    known = values if values.dtype.kind in "iub" else values[np.isfinite(values)]
    if not known.size or known.dtype.kind == "c":
        return text
    missing = values.size - known.size
    return f"{text}, {known.min():g} to {known.max():g}" + (f", {missing:,} not finite" if missing else "")


def _describe_annots(sample: Any) -> str:
    """Return the number of annotations of each category."""
    names = CategoryNames.coerce(sample.get("classes"))
    cids = [cid for dets in sample["annots"]["frame_dets"] for cid in dets.data.get("cids", ())]
    counts = Counter(names.look_up(cid)[1] or "without a category" for cid in cids)
    named = [f"{count:,} {name}" for name, count in counts.most_common(MOST_CATEGORIES)]
    more = len(counts) - len(named)
    named += [f"and {more} more categories"] * (more > 0)
    total = f"{len(cids):,} annotation{'s' * (len(cids) != 1)}"
    return f"{total}: {', '.join(named)}" if named else total


def _short(value: Any) -> str:
    """Return the representation of a value in one line, truncated if it is long."""
    text = " ".join(_plain(value).split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _plain(value: Any) -> str:
    """Format slices as in numpy's index syntax, and other values with ``repr``."""
    if isinstance(value, slice) and value.step is None:
        return f"{value.start}:{value.stop}"
    if isinstance(value, tuple) and value and all(isinstance(part, slice) for part in value):
        return ", ".join(map(_plain, value))
    return repr(value.item() if isinstance(value, np.generic) else value)
