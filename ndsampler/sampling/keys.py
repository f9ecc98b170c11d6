"""
The keys of a target: aliases, keys that are read, and keys that programs are known to add.

Any other key is kept and ignored. If it resembles a key that is read, it is probably misspelled, and a
warning is given for the first target that contains it.
"""

from __future__ import annotations

from typing import Any

from ndsampler.types import Target
from ndsampler.utils.deprecation import warn_user

#: Aliases of keys of a target. If both are given, the canonical key takes precedence.
ALIASES = {"image_id": "gid", "video_id": "vidid", "image_ids": "gids"}

#: Keys that this library reads.
READ_KEYS = (*Target.__annotations__, *ALIASES)

#: Keys that this library writes into targets.
WRITTEN_KEYS = (
    "aids annot_idx category_id data_dims img_height img_width real_frames rel_cx rel_cy space_dims"
)

#: Keys of the dictionaries of a kwcoco dataset, which programs use as targets or copy into them.
COCO_KEYS = (
    "alias area assets auxiliary caption channels coco_url date_captured datetime file_name flickr_url "
    "frame_index id ignore images iscrowd keypoints license name parents prob quantization resolution role "
    "score segmentation sensor_coarse supercategory timestamp track_id valid_region video_name "
    "warp_aux_to_img warp_img_to_vid warp_to_wld weight"
)

#: Keys that programs known to use this library add to targets.
PROGRAM_KEYS = (
    "FORCE_LOADING_BAD_IMAGES PROPAGATE_NAN_BANDS SAMECOLOR_BANDS SAMECOLOR_QUALITY_HEURISTIC "
    "SAMECOLOR_VALUES _input_gsd _native_video_gsd _our_norm allow_augment annot_id annotation_id class_idxs "
    "cxywh dist_weights fliprot_params force_bad_frames frame_indexes frame_infos input_space_scale label "
    "main_gid main_idx main_skip_reason mask_low_quality new_complete_gids observable_threshold "
    "output_space_scale output_type properties quality_threshold requested_index resample_invalid_frames "
    "resampled resolved_index robust_normalize sensor verbose_ndsample vidname weights"
)

#: Keys that give no warning.
KNOWN_KEYS = frozenset(READ_KEYS).union(WRITTEN_KEYS.split(), COCO_KEYS.split(), PROGRAM_KEYS.split())

#: Maximum number of unknown keys that are remembered.
MAX_REMEMBERED = 10_000

#: Smallest similarity of a misspelled key to the key that was meant, as in :func:`difflib.get_close_matches`.
SIMILARITY = 0.85

#: Shorter keys, such as ``gid`` and ``cx``, are not compared, because they resemble too many other words.
SHORTEST_COMPARED = 4

#: The known keys, and keys that have been checked already.
_settled: set[Any] = set(KNOWN_KEYS)


def check_keys(target: dict[str, Any]) -> None:
    """Warn about keys that are probably misspelled, each once in a process.

    Args:
        target: the user's dictionary.

    Warns:
        UserWarning: for a key that resembles a key that is read.
    """
    if _settled.issuperset(target):
        return
    for key in target.keys() - _settled:
        meant = find_meant(key)
        if meant is None or warn_user(_message(key, meant), UserWarning):
            _remember(key)


def _message(key: str, meant: str) -> str:
    """Return the warning about a misspelled key."""
    return f"the target has a key {key!r}, which is ignored; did you mean {meant!r}?"


def _remember(key: Any) -> None:
    """Record that a key has been checked."""
    if len(_settled) >= len(KNOWN_KEYS) + MAX_REMEMBERED:
        _settled.intersection_update(KNOWN_KEYS)
    _settled.add(key)


def find_meant(key: Any) -> str | None:
    """Return the known key that a user probably meant, or None.

    Args:
        key: a key of a target that is not known.

    Example:
        >>> find_meant('chanels'), find_meant('windowdims'), find_meant('widht'), find_meant('my_weight')
        ('channels', 'window_dims', 'width', None)
    """
    from difflib import get_close_matches

    if not isinstance(key, str):
        return None
    plain = _squash(key)
    names = {_squash(name): name for name in READ_KEYS}
    if plain in names:
        return names[plain]
    if len(plain) < SHORTEST_COMPARED:
        return None
    compared = [name for name in names if len(name) >= SHORTEST_COMPARED]
    swapped = [name for name in compared if sorted(name) == sorted(plain)]
    close = swapped or get_close_matches(plain, compared, n=1, cutoff=SIMILARITY)
    return names[close[0]] if close else None


def _squash(key: str) -> str:
    """Return a key in lower case and without punctuation."""
    return "".join(filter(str.isalnum, key.lower()))
