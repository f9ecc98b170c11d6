"""
Labels that name the file of their pixels, such as those of ERS, ISIS and PDS images.

GDAL takes the bytes of that file for pixels, whatever it is, or opens it with any of its drivers. So a label
may name files in its own folder and below only, and no file whose format GDAL would find out.

References:
    https://pds.nasa.gov/datastandards/pds3/standards/ (chapter 5, detached labels)
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ndsampler.errors import SourceError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = ["REFERRING_DRIVERS", "check_data_files", "check_label"]

#: The drivers that find the file of the pixels by a name in another file.
REFERRING_DRIVERS = frozenset(
    {"ERS", "ISIS2", "ISIS3", "PDS", "EIR", "NDF", "FAST", "ILWIS", "SNODAS", "PCIDSK", "HFA", "ADRG", "SRP"}
)

#: Bytes in which one of :data:`_LABELS` must stand for GDAL to take a file for a label.
START_BYTES = 2**16

#: Bytes of a label that are searched. No label is as long.
MAX_LABEL = 2**24

#: Words by which GDAL recognizes the labels.
_LABELS = re.compile(
    rb"IsisCube|\^QUBE|(PDS|ODL)_VERSION_ID|CCSD3ZF|DatasetHeader|IMAGINE_RAW_FILE|NDF_REVISION|"
    rb"\[ilwis|NOHRSC",
    re.IGNORECASE,
)

#: What stands in a label whose pixels are in a file that GDAL opens with any driver.
_OPENS_ANY = re.compile(
    rb"COMPRESSED_FILE|Format\s*=\s*[\"']?(Geo|Big)?TIFF|DataSetType\s*=\s*[\"']?Translated|\.(ecw|jp2|j2k)\b|"
    rb"Type\s*=\s*MapList",
    re.IGNORECASE,
)

#: Comments, and marks that a text continues on the next line, which GDAL passes over.
_PASSED_OVER = re.compile(rb"/\*.*?\*/|-\r?\n\s*", re.DOTALL)

#: What ends a name in a label.
_SEPARATORS = re.compile(rb"[\s\"'=(),;<>{}\0]+")


def check_label(path: str) -> None:
    """Refuse a label that names a file outside its folder, or one that GDAL opens with any driver.

    Args:
        path: a local file, which may be something else than a label.

    Raises:
        SourceError: if it does.
    """
    with open(path, "rb") as file:
        text = file.read(START_BYTES)
        if _LABELS.search(text) is None:
            return
        text += file.read(MAX_LABEL)
    if len(text) > MAX_LABEL and b"\0" not in text:
        raise SourceError(f"{path} cannot be opened as an image: its label has more than {MAX_LABEL} bytes")
    text = _PASSED_OVER.sub(b"", text)
    if _OPENS_ANY.search(text):
        raise SourceError(
            f"{path} cannot be opened as an image: it is a label of an image of another format. "
            "Open that image"
        )
    folder = os.path.dirname(os.path.abspath(path))
    for word in _SEPARATORS.split(text):
        if b"/" in word or b"\\" in word:
            _check_place(path, os.path.join(folder, os.fsdecode(word.replace(b"\\", b"/"))))


def check_data_files(path: str, dataset: DatasetReader) -> None:
    """Refuse an open file that has its pixels outside its folder.

    Args:
        path: the file.
        dataset: the open file.

    Raises:
        SourceError: if it has.
    """
    if dataset.driver in REFERRING_DRIVERS:
        for name in dataset.files:
            if os.path.abspath(name) != os.path.abspath(path):
                _check_place(path, os.path.abspath(name))


def _check_place(path: str, place: str) -> None:
    """Raise a SourceError if there is a file at a place outside the folder of a label."""
    # Label and pixels may be links to files beside each other.
    folders = {os.path.realpath(os.path.dirname(path)), os.path.dirname(os.path.realpath(path))}
    try:
        real = os.path.realpath(place)
        is_inside = any(os.path.commonpath([folder, real]) == folder for folder in folders)
        is_outside = not is_inside and os.path.isfile(real)
    except (OSError, ValueError):  # it is no path
        return
    if is_outside:
        raise SourceError(
            f"{path} cannot be opened as an image: it names {place!r} as the file of its pixels, and a label "
            "may name files in its own folder and below only"
        )
