"""
Making training, validation and test datasets from a configuration, for programs of earlier releases.

New programs use kwcoco directly: :meth:`kwcoco.CocoDataset.coerce` opens a path or the key of a demo
dataset, and :meth:`kwcoco.CocoDataset.subset` returns a part of a dataset.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.dataset.kwcoco_adapter import build_hash
from ndsampler.errors import ArgumentError, ArgumentTypeError, UnknownOptionError
from ndsampler.utils.deprecation import warn_user
from ndsampler.utils.logs import get_logger
from ndsampler.utils.quiet import stdout_to_log
from ndsampler.utils.util_sklearn import StratifiedGroupKFold

if TYPE_CHECKING:
    import kwcoco
    from numpy.typing import NDArray

__all__ = ["coerce_datasets"]

logger = get_logger(__name__)

TAGS = ("train", "vali", "test")


def coerce_datasets(config: Any, build_hashid: bool = False, verbose: int = 1) -> dict[str, Any]:
    """Return the datasets that a configuration names, or split the only dataset that it names.

    Args:
        config: a dictionary, or an object with ``get``. The keys ``train_dataset``, ``vali_dataset`` and
            ``test_dataset`` name one dataset each. If there are none, ``datasets`` names one dataset to
            split. Each value is a dataset, the path of a file (with or without the prefix ``path:``), or
            ``special:KEY`` for a key of :meth:`kwcoco.CocoDataset.demo`. A split holds out a fraction of 1 /
            ``split_factor`` (default 3) for testing, and the same fraction of the rest for validation;
            ``no_test`` adds the test part to the training part.
        build_hashid: whether to compute the ``hashid`` of each dataset.
        verbose: whether to log the datasets.

    Returns:
        A dictionary with those of the keys ``train``, ``vali`` and ``test`` that exist. The parts of a split
        share no image, have similar proportions of each category, and leave out images without annotations.

    Raises:
        UnknownOptionError: for a name that is neither a file nor a key.
        ArgumentTypeError: for a value that does not describe a dataset.
        ArgumentError: if there are too few images to split.
        MissingDependencyError: if a dataset is to be split and scikit-learn is not installed.

    Example:
        >>> subsets = coerce_datasets({"datasets": "special:shapes8"})
        >>> list(subsets), sum(dset.n_images for dset in subsets.values())
        (['train', 'vali', 'test'], 8)
    """
    given = {tag: config.get(f"{tag}_dataset", None) for tag in TAGS}
    base = config.get("datasets", None)
    if any(data is not None for data in given.values()):
        subsets = {tag: _coerce_dataset(data) for tag, data in given.items() if data is not None}
    elif base is not None:
        factor = config.get("split_factor", 3)
        subsets = _split(_coerce_dataset(base), factor, bool(config.get("no_test", False)))
    else:
        subsets = {}
    for tag, dset in subsets.items():
        if build_hashid:
            build_hash(dset)
        if verbose:
            logger.info("dataset for %s: %s", tag, dset)
    return subsets


def _coerce_dataset(data: Any) -> Any:
    """Return a dataset, given the dataset itself, its path or the key of a demo dataset."""
    import kwcoco

    if hasattr(data, "imgs"):
        return data
    if not isinstance(data, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"{data!r} is not a dataset; expected a kwcoco dataset, a path, or 'special:' and a key"
        )
    name = os.fspath(data)
    path = Path(name[5:] if name.lower().startswith("path:") else name).expanduser()
    if path.exists():
        return kwcoco.CocoDataset(path)
    special = name.lower().startswith("special:")
    if not special:
        warn_user(f"{name} is not a file; for a demo dataset, write 'special:{name}'", UserWarning)
    try:
        with stdout_to_log():
            return kwcoco.CocoDataset.demo(name.lower()[8:] if special else name)
    except KeyError as ex:
        raise UnknownOptionError(
            f"{name!r} is not a dataset; expected the path of a file, or 'special:' and a key of "
            "kwcoco.CocoDataset.demo, such as 'special:shapes8'"
        ) from ex


def _split(base: kwcoco.CocoDataset, factor: int, no_test: bool) -> dict[str, Any]:
    """Return parts of a dataset, as copies."""
    split = _split_train_vali_test(base, factor)
    if no_test:
        split["train"] += split.pop("test")
    subsets = {}
    for tag, gids in split.items():
        subsets[tag] = base.subset(sorted(gids), copy=True)
        subsets[tag].tag = f"{base.tag}-{tag}" if base.tag else tag
    return subsets


def _split_train_vali_test(coco_dset: kwcoco.CocoDataset, factor: int = 3) -> dict[str, list[int]]:
    """Return the annotated images of a dataset in three parts, the same in every process.

    Args:
        coco_dset: the dataset.
        factor: 1 / factor of the images is held out for testing, then 1 / factor of the rest for validation.

    Returns:
        Ascending image ids under ``train``, ``vali`` and ``test``.

    Raises:
        ArgumentError: if there are too few images.
    """
    rows = [(ann["image_id"], ann.get("category_id") or -1) for ann in coco_dset.anns.values()]
    gids, cids = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    learn = test = train = vali = gids[:0]
    if len(gids):
        learn, test = _hold_out(gids, cids, factor)
    if len(learn):
        train, vali = _hold_out(gids[learn], cids[learn], factor)
    parts = {"train": gids[learn][train], "vali": gids[learn][vali], "test": gids[test]}
    if not all(map(len, parts.values())):
        raise ArgumentError(
            f"{len(np.unique(gids))} annotated images are too few to split by {factor} into three parts; add "
            "images, or give train_dataset, vali_dataset and test_dataset instead of datasets"
        )
    return {tag: np.unique(part).tolist() for tag, part in parts.items()}


def _hold_out(gids: NDArray[np.int64], cids: NDArray[np.int64], factor: int) -> Any:
    """Return the rows to keep and the rows to hold out; rows of an image stay together."""
    folds = StratifiedGroupKFold(n_splits=factor, shuffle=True, random_state=0)
    return next(folds.split(gids, cids, groups=gids))
