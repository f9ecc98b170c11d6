"""
Opening a kwcoco dataset by its path, with errors that say what is wrong with the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ndsampler.errors import ArgumentError, MissingSourceError


def open_dataset(path: str | os.PathLike[str]) -> Any:
    """Open a kwcoco dataset.

    Args:
        path: path of a ``.kwcoco.json`` file, or of another format that kwcoco reads.

    Returns:
        A ``kwcoco.CocoDataset``.

    Raises:
        MissingSourceError: if there is no such file.
        ArgumentError: if the file is not a kwcoco dataset, or has no images.
    """
    import kwcoco

    if not Path(path).is_file():
        raise MissingSourceError(f"{path} does not exist, or is not a file; expected a kwcoco file")
    try:
        dset = kwcoco.CocoDataset.coerce(os.fspath(path))
    except (ValueError, LookupError, TypeError, AttributeError, NotImplementedError, OSError) as ex:
        reason = f"{type(ex).__name__}: {ex}"
        raise ArgumentError(f"{path} cannot be read as a kwcoco file ({reason[:200]})") from ex
    if not dset.n_images:
        raise ArgumentError(f"{path} holds no images; expected a kwcoco file with at least one")
    return dset
