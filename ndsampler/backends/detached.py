"""
Checks detached labels, which name the file that contains their pixels. ERS, ISIS and PDS images have them.

GDAL reads the bytes of any file that a label names as pixels, or opens the file with any of its drivers. A
label may therefore name only files in its own folder and below, and no file whose format GDAL would have to
detect.

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

#: The drivers of formats in which one file names the file that contains the pixels.
REFERRING_DRIVERS = frozenset(
    {"ERS", "ISIS2", "ISIS3", "PDS", "EIR", "NDF", "FAST", "ILWIS", "SNODAS", "PCIDSK", "HFA", "ADRG", "SRP"}
)

#: Number of bytes at the start of a file in which GDAL looks for one of :data:`_LABELS`.
START_BYTES = 2**16

#: Maximum length of a label in bytes. Real labels are shorter.
MAX_LABEL = 2**24

#: Pattern of the words by which GDAL recognizes labels.
_LABELS = re.compile(
    rb"IsisCube|\^QUBE|(PDS|ODL)_VERSION_ID|CCSD3ZF|DatasetHeader|IMAGINE_RAW_FILE|NDF_REVISION|"
    rb"\[ilwis|NOHRSC",
    re.IGNORECASE,
)

#: Pattern of a label for which GDAL would open the file of the pixels with any driver.
_OPENS_ANY = re.compile(
    rb"COMPRESSED_FILE|Format\s*=\s*[\"']?(Geo|Big)?TIFF|DataSetType\s*=\s*[\"']?Translated|\.(ecw|jp2|j2k)\b|"
    rb"Type\s*=\s*MapList",
    re.IGNORECASE,
)

#: Pattern of comments and line continuations, which GDAL ignores.
_IGNORED = re.compile(rb"/\*.*?\*/|-\r?\n\s*", re.DOTALL)

#: Pattern of the characters that separate names in a label.
_SEPARATORS = re.compile(rb"[\s\"'=(),;<>{}\0]+")


def check_label(path: str) -> None:
    """Reject a label that names a file outside its folder, or one that GDAL would open with any driver.

    Args:
        path: a local file. If it is not a label, it is accepted.

    Raises:
        SourceError: if the label is rejected.
    """
    with open(path, "rb") as file:
        text = file.read(START_BYTES)
        if _LABELS.search(text) is None:
            return
        text += file.read(MAX_LABEL)
    if len(text) > MAX_LABEL and b"\0" not in text:
        raise SourceError(f"{path} cannot be opened as an image: its label has more than {MAX_LABEL} bytes")
    text = _IGNORED.sub(b"", text)
    if _OPENS_ANY.search(text):
        raise SourceError(
            f"{path} cannot be opened as an image: it is a label of an image of another format. "
            "Use the path of that image instead"
        )
    folder = os.path.dirname(os.path.abspath(path))
    for word in _SEPARATORS.split(text):
        if b"/" in word or b"\\" in word:
            _check_named_file(path, os.path.join(folder, os.fsdecode(word.replace(b"\\", b"/"))))


def check_data_files(path: str, dataset: DatasetReader) -> None:
    """Reject an open file whose pixels are in a file outside its folder.

    Args:
        path: the file.
        dataset: the open file.

    Raises:
        SourceError: if the file is rejected.
    """
    if dataset.driver in REFERRING_DRIVERS:
        for name in dataset.files:
            if os.path.abspath(name) != os.path.abspath(path):
                _check_named_file(path, os.path.abspath(name))


def _check_named_file(path: str, place: str) -> None:
    """Raise a SourceError if a name in a label leads to an existing file outside the label's folder."""
    # The label and the file of the pixels may be links to files beside each other.
    folders = {os.path.realpath(os.path.dirname(path)), os.path.dirname(os.path.realpath(path))}
    try:
        real = os.path.realpath(place)
        is_inside = any(os.path.commonpath([folder, real]) == folder for folder in folders)
        is_outside = not is_inside and os.path.isfile(real)
    except (OSError, ValueError):  # the name is not a valid path
        return
    if is_outside:
        raise SourceError(
            f"{path} cannot be opened as an image: it names {place!r} as the file of its pixels; a label may "
            "name only files in its own folder and below"
        )
