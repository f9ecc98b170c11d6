"""
Checks the files that an image refers to: the sources of a VRT, and files beside the image.

GDAL opens these files later, and with any of its drivers, so they are checked when the image is opened.

References:
    https://gdal.org/en/stable/drivers/raster/vrt.html
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ndsampler.backends.content import ERDAS, TIFF, VRT, choose_drivers, find_content, read_head
from ndsampler.backends.pages import check_pages
from ndsampler.errors import MissingSourceError, SourceError
from ndsampler.utils.file_version import FileVersion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree import ElementTree

    from rasterio.io import DatasetReader

__all__ = ["check_overview_file", "check_side_files", "check_vrt"]

#: Maximum size in bytes of a VRT that is read.
MAX_VRT_BYTES = 64 * 2**20

#: Maximum depth of VRTs that refer to VRTs.
MAX_DEPTH = 8

#: Maximum number of files named by VRTs that are remembered as readable.
MAX_OPENED = 10_000

#: The sources of VRTs that have been opened once, to check that they are readable.
_opened: dict[FileVersion, None] = {}

#: Suffixes that GDAL appends to the name of an image for the files of its overviews and masks.
SIDE_ENDINGS = (".ovr", ".msk", ".msk.ovr", ".ovr.msk", ".OVR", ".MSK")

#: Elements of a VRT, and of its bands, that hold free text, which GDAL does not open.
FREE_TEXTS = frozenset({"Metadata", "Description", "CategoryNames", "SRS", "GCPList"})

#: Elements of a VRT that name a file.
FILE_ELEMENTS = frozenset({"SourceFilename", "SourceDataset", "DEMPath"})

# A subdataset of a local file, such as NETCDF:"a.nc":band. The file is in the second group.
_SUBDATASET = re.compile(
    r"(GTIFF_DIR:(?:off:)?\d+|NETCDF|HDF5|HDF4_SDS|NITF_IM:\d+):\"?([^\"]+?)\"?(?::.*)?$"
)

# A protocol or a driver's prefix; a drive letter of Windows has one character.
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]+:")

# A host, or one of GDAL's virtual file systems, such as an archive.
_NOT_LOCAL = re.compile(r"://|(?:^|[:\"'])/vsi", re.IGNORECASE)


def check_side_files(path: str) -> None:
    """Reject an image if a file of overviews or masks beside it has a format that GDAL does not write there.

    Args:
        path: a local image file.

    Raises:
        SourceError: if such a file is neither a TIFF nor an Erdas Imagine file, or has too many pages.
    """
    for ending in SIDE_ENDINGS:
        beside = path + ending
        if not os.path.lexists(beside):
            continue
        content = find_content(_read_beside(beside))
        if content is TIFF:
            check_pages(beside)
        elif content is not ERDAS:
            raise SourceError(
                f"{path} cannot be opened as an image: {beside} is neither a TIFF nor an Erdas Imagine file. "
                "Remove it, or build it again"
            )


def _read_beside(path: str) -> bytes:
    """Return the first bytes of a file beside an image; those of a TIFF for a broken link."""
    try:
        return read_head(path)
    except MissingSourceError:
        return b"II*\0"


def check_overview_file(path: str, dataset: DatasetReader) -> None:
    """Reject an open file if its metadata names another file for its overviews.

    Args:
        path: the file.
        dataset: the open file. The caller must not have read any of its overviews yet.

    Raises:
        SourceError: if another file is named.
    """
    named = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if named:
        raise SourceError(
            f"{path} cannot be opened as an image: it names {named!r} as the file of its overviews, and "
            "overviews are read from the image or from the .ovr file beside it only"
        )


def check_vrt(path: str, depth: int = 1) -> None:
    """Reject a VRT that accesses the network, runs Python, or refers to a file that must not be read.

    Args:
        path: the VRT.
        depth: 1 for the VRT that is opened; n + 1 for a VRT to which one of depth n refers.

    Raises:
        SourceError: if the VRT is rejected, or cannot be parsed.
    """
    if depth > MAX_DEPTH:
        raise SourceError(
            f"{path} cannot be opened as an image: VRTs refer to VRTs {depth} levels deep; "
            f"expected at most {MAX_DEPTH}"
        )
    names = set()
    root = _parse(path)
    raw = _check_raw_bands(path, root)
    for element, text in _list_texts(root):
        if element.tag == "PixelFunctionCode" or (
            element.tag == "PixelFunctionLanguage" and text.lower() != "c"
        ):
            raise SourceError(f"{path} cannot be opened as an image: its pixel function contains code")
        if _NOT_LOCAL.search(text):
            raise _not_local(path, text)
        if _names_file(element):
            names.add(text)
    for name in sorted(names):
        _check_target(path, name, depth, name in raw)


def _check_raw_bands(path: str, root: ElementTree.Element) -> set[str]:
    """Reject a VRT that reads a file outside its folder as raw pixels, which would expose any file.

    Returns:
        The names of the files that the VRT reads as raw pixels.

    Raises:
        SourceError: if one of them is outside the folder of the VRT.
    """
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    raw: set[str] = set()
    for band in root.iter():
        kinds = [value.lower() for key, value in band.attrib.items() if key.lower() == "subclass"]
        if "vrtrawrasterband" not in kinds:
            continue
        names = [element.text or "" for element in band.iter() if element.tag.lower() == "sourcefilename"]
        raw.update(name.strip() for name in names)
    for name in sorted(raw):
        for place in map(os.path.realpath, _candidate_paths(path, name)):
            if os.path.exists(place) and os.path.commonpath([folder, place]) != folder:
                raise SourceError(
                    f"{path} cannot be opened as an image: it reads {name!r} as raw pixels; a VRT may read "
                    "only files in its own folder and below in this way"
                )
    return raw


def _not_local(path: str, name: str) -> SourceError:
    """Return the error for a VRT that refers to something other than a local file."""
    return SourceError(
        f"{path} cannot be opened as an image: it refers to {name[:200]!r}; a VRT may refer to local "
        "files only"
    )


def _names_file(element: ElementTree.Element) -> bool:
    """Whether the text of a VRT element is a file name."""
    if element.tag in FILE_ELEMENTS:
        return True
    stated = element.get("key", element.get("name", "")).lower()
    return element.tag in ("MDI", "Argument", "Option", "OOI") and stated.endswith(
        ("dataset", "filename", "dem")
    )


def _parse(path: str) -> ElementTree.Element:
    """Return the root element of a VRT; raise a SourceError if the VRT defines entities."""
    from xml.etree import ElementTree

    try:
        if os.path.getsize(path) > MAX_VRT_BYTES:
            raise SourceError(f"{path} is a VRT of more than {MAX_VRT_BYTES} bytes")
        with open(path, "rb") as file:
            text = file.read(MAX_VRT_BYTES)
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
            raise SourceError(f"{path} cannot be opened as an image: it defines entities")
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError) as ex:
        raise SourceError(f"{path} cannot be opened as an image: it is a damaged VRT: {ex}") from ex
    if root.tag != "VRTDataset":
        raise SourceError(f"{path} cannot be opened as an image: its root is {root.tag}; expected VRTDataset")
    return root


def _list_texts(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, str]]:
    """Yield each element with its text and with each attribute value, except elements of free text."""
    from xml.etree import ElementTree

    waiting = [root]
    while waiting:
        element = waiting.pop()
        has_free = element.tag in ("VRTDataset", "VRTRasterBand")
        waiting.extend(child for child in element if not (has_free and child.tag in FREE_TEXTS))
        if element.text and element.text.strip():
            yield element, element.text.strip()
        for value in element.attrib.values():
            yield ElementTree.Element("attribute"), value.strip()


def _is_file_name(text: str) -> bool:
    """Whether a text is the name of a local file, rather than a connection string that GDAL interprets.

    Example:
        >>> [_is_file_name(name) for name in ('C:/a.tif', 'WMS:a', '<GDAL_WMS>', '{"a": 1}')]
        [True, False, False, False]
    """
    return not text.startswith(("<", "{")) and _PREFIX.match(text) is None


def _check_target(path: str, name: str, depth: int, is_raw: bool) -> None:
    """Check a file to which a VRT refers, or raise a SourceError if it does not exist."""
    part = _SUBDATASET.match(name)
    stated = part[2] if part else name
    places = _candidate_paths(path, stated)
    if not _is_file_name(stated) or any(place.startswith("/vsi") for place in places):
        raise _not_local(path, name)
    found = [place for place in sorted(places) if os.path.exists(place)]
    for place in found:
        if find_content(read_head(place)) is VRT and place.lower().endswith(".vrt"):
            check_side_files(place)
            check_vrt(place, depth + 1)
        elif part or is_raw:
            choose_drivers(place)
        else:
            _check_opens(place)
    if not found:
        raise SourceError(f"{path} cannot be opened as an image: it refers to {name!r}, which does not exist")


def _candidate_paths(path: str, name: str) -> set[str]:
    """Return the paths at which a file may be that a VRT names.

    There are up to two paths, because GDAL releases differ in when a name is relative to the VRT.
    """
    folder = os.path.dirname(os.path.abspath(path))
    return {os.path.normpath(os.path.join(folder, name)), os.path.abspath(name)}


def _check_opens(path: str) -> None:
    """Check that a source of a VRT can be opened.

    Otherwise GDAL may not report an error when pixels are read, and return uninitialized memory.

    Raises:
        SourceError: if the source cannot be opened.
    """
    from rasterio.errors import RasterioIOError

    from ndsampler.backends.gdal_open import open_allowed

    version = FileVersion.find(path)
    if version is not None and version in _opened:
        return
    try:
        # open_quietly is already opening the VRT and holds its lock, so it must not be called here.
        open_allowed(path, None).close()
    except RasterioIOError as ex:
        raise SourceError(f"{path} cannot be opened as an image: {ex}") from ex
    if version is not None:
        if len(_opened) >= MAX_OPENED:
            _opened.clear()
        _opened[version] = None
