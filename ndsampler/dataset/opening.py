"""
Opening a dataset and its image folder, with errors that name the problem.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.dataset.kwcoco_adapter import is_view
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import ArgumentError, ArgumentTypeError, MissingSourceError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.quiet import stdout_to_log

if TYPE_CHECKING:
    from ndsampler.types import PathLike

__all__ = ["coerce_dataset", "complete_photos", "image_folder", "open_dataset"]

#: End of the error messages: the expected content of a file or dictionary.
EXPECTED = "expected MS-COCO or kwcoco: an object with the lists images, annotations and categories"

#: First bytes of a zip file; kwcoco files may be zipped.
ZIP_MAGIC = b"PK"

#: Maximum number of characters that are quoted from an error of kwcoco.
MAX_REASON = 200

#: Maximum number of files that the error for a folder names.
MAX_NAMED = 5


@fork_safe
def coerce_dataset(data: Any, images: PathLike | None = None) -> Any:
    """Return a kwcoco dataset from a path, a dictionary, or the name of a demo dataset.

    Args:
        data: a kwcoco dataset, which is returned unchanged; the path of a COCO or kwcoco file; a dictionary
            with the content of such a file; or a key of kwcoco's demo datasets.
        images: folder of the images; file names of the dataset are relative to it.

    Raises:
        MissingSourceError: if there is no such file or folder.
        ArgumentError: if the content is not a dataset, or has no images.
        ArgumentTypeError: for data of any other type.

    Example:
        >>> coerce_dataset({'images': [{'id': 1, 'file_name': 'a.png'}]}).n_images
        1
    """
    if isinstance(data, dict):
        return _rerooted(_open_dict(data), images)
    if isinstance(data, (str, os.PathLike)):
        if isinstance(data, str) and not _is_path(data):
            return _rerooted(_open_by_name(data), images)
        return open_dataset(data, images)
    if is_view(data) or hasattr(data, "imgs"):
        return data
    raise ArgumentTypeError(
        f"the dataset is {data!r}; expected a kwcoco dataset, a path, a dictionary, or a key of kwcoco's "
        "demo datasets"
    )


@fork_safe
def open_dataset(path: PathLike, images: PathLike | None = None) -> Any:
    """Open a dataset.

    Args:
        path: path of an MS-COCO or kwcoco file, or of a kwcoco bundle: a folder with one such file.
        images: folder of the images; by default the folder of the file.

    Returns:
        A ``kwcoco.CocoDataset``, or a ``kwcoco.CocoSqlDatabase`` for an ``.sqlite`` file.

    Raises:
        MissingSourceError: if there is no such file or folder.
        ArgumentError: if the file is not a dataset, or has no images.
    """
    import kwcoco

    text = os.path.expanduser(os.fspath(path))
    if not os.path.exists(text):
        raise MissingSourceError(f"{path} does not exist; expected an MS-COCO or kwcoco file")
    if not os.path.isfile(text) and not os.path.isdir(text):
        raise ArgumentError(f"{path} is a pipe or a device; {EXPECTED}")
    try:
        with stdout_to_log():
            dset = kwcoco.CocoDataset.coerce(text)
    except Exception as ex:  # kwcoco raises errors of many kinds
        raise ArgumentError(_what_is_wrong(text, ex)) from None
    return _rerooted(_with_images(dset, str(path)), images)


def image_folder(images: PathLike | None) -> str | None:
    """Return the absolute path of a folder of images; None if none is given.

    Args:
        images: the folder, which may begin with ``~``.

    Raises:
        MissingSourceError: if there is no such folder.
    """
    if images is None:
        return None
    folder = os.path.abspath(os.path.expanduser(os.fspath(images)))
    if not os.path.isdir(folder):
        raise MissingSourceError(
            f"images is {os.fspath(images)!r}: {folder} is not a folder; expected the folder that the file "
            "names of the dataset start from"
        )
    return folder


def complete_photos(dset: Any) -> None:
    """Add sizes, a box for every annotation, and a background category to kwcoco's demo photographs.

    Args:
        dset: the demo dataset ``'photos'``.
    """
    dset.remove_annotations([ann for ann in dset.anns.values() if ann.get("bbox") is None])
    dset.add_category("background", id=0)
    SizeSource(dset).fill(())


def _is_path(text: str) -> bool:
    """Whether a string is the path of a file, not a URI or a key of a demo dataset."""
    if "://" in text or text.startswith("special:"):
        return False
    return os.path.exists(os.path.expanduser(text)) or bool(
        os.path.dirname(text) or os.path.splitext(text)[1]
    )


def _open_by_name(name: str) -> Any:
    """Open a dataset from a URI, or make a demo dataset."""
    import kwcoco

    try:
        with stdout_to_log():
            return kwcoco.CocoDataset.coerce(name)
    except Exception as ex:  # kwcoco raises errors of many kinds
        raise MissingSourceError(
            f"there is no file {name!r} in {os.getcwd()}, nor a demo dataset of kwcoco by that name, such as "
            f"'shapes8' ({_reason(ex)})"
        ) from None


def _open_dict(data: dict[str, Any]) -> Any:
    """Return a dataset from a dictionary."""
    import kwcoco

    try:
        dset = kwcoco.CocoDataset(data)
    except Exception as ex:  # kwcoco raises errors of many kinds
        raise ArgumentError(f"the dictionary is not a dataset ({_reason(ex)}); {EXPECTED}") from None
    return _with_images(dset, "the dictionary")


def _rerooted(dset: Any, images: PathLike | None) -> Any:
    """Return a dataset after setting the folder to which its file names are relative."""
    if images is not None:
        dset.bundle_dpath = image_folder(images)
    return dset


def _with_images(dset: Any, what: str) -> Any:
    """Return a dataset after checking that it has images."""
    if dset.n_images:
        return dset
    wrong = None if is_view(dset) else _wrong_content(dset.dataset)
    if wrong:
        raise ArgumentError(f"{what} {wrong}; {EXPECTED}")
    raise ArgumentError(f"{what} holds no images; expected at least one in its list images")


def _what_is_wrong(path: str, error: Exception) -> str:
    """Return the error message for a file that kwcoco cannot read."""
    if os.path.isdir(path):
        found = sorted(file.name for file in Path(path).glob("*.json"))[:MAX_NAMED]
        inside = f"such as {', '.join(found)}" if found else "but no .json file is in it"
        return f"{path} is a folder; expected an MS-COCO or kwcoco file, {inside}"
    try:
        data = Path(path).read_bytes()
        wrong = None if data.startswith(ZIP_MAGIC) else _wrong_content(json.loads(data))
    except OSError as ex:
        return f"{path} cannot be read: {ex}"
    except ValueError as ex:
        wrong = f"is not JSON ({ex})"
    except RecursionError:
        wrong = "holds lists or dictionaries that are nested too deeply"
    return f"{path} {wrong or f'is not a dataset ({_reason(error)})'}; {EXPECTED}"


def _wrong_content(content: Any) -> str | None:
    """Return why the content of a file is not a dataset; None if no simple reason is found."""
    if not isinstance(content, dict):
        return f"holds a {type(content).__name__}"
    if not isinstance(content.get("images"), list):
        keys = ", ".join(map(repr, list(content)[:10])) or "none"
        return f"has no list of images, its keys are {keys}"
    return None


def _reason(error: Exception) -> str:
    """Return an error of kwcoco as one line of text."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
