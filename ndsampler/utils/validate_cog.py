"""
Checks whether a file is a cloud-optimized GeoTIFF, in the module of earlier releases.

The rules are those of GDAL's validation script: tiles, overviews inside the file, all image descriptions
(IFDs) at its start, and the pixels of smaller overviews before those of larger ones. Only the structure is
checked; no pixels are decoded. The package rio-cogeo checks more: ``rio cogeo validate FILE`` in a terminal,
and ``rio_cogeo.cog_validate`` in Python.

References:
    https://github.com/OSGeo/gdal/blob/master/swig/python/gdal-utils/osgeo_utils/samples/validate_cloud_optimized_geotiff.py
    https://gdal.org/drivers/raster/cog.html
"""

from __future__ import annotations

import os
import re
import sys
from itertools import islice, pairwise, product
from typing import TYPE_CHECKING, Any

from ndsampler.backends.gdal import open_dataset
from ndsampler.errors import SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.io import DatasetReader

__all__ = ["ValidateCloudOptimizedGeoTIFFException", "main", "validate"]

#: The error that :func:`validate` raises for a file that cannot be read.
ValidateCloudOptimizedGeoTIFFException = SourceError

#: Largest side, in pixels, of an image that needs no overviews.
SMALL_SIDE = 512

#: Largest width, in pixels, of an image that may be stored in strips.
STRIP_WIDTH = 1024

#: Maximum number of blocks that are searched for one with pixels; a sparse file may have many empty blocks.
MAX_EMPTY_BLOCKS = 10_000

#: Start of the description of its layout that GDAL writes before the first IFD.
GHOST_HEADER = re.compile(r"GDAL_STRUCTURAL_METADATA_SIZE=(\d{6}) bytes\n")


def validate(ds: Any, check_tiled: bool = True) -> tuple[list[str], list[str], dict[str, Any]]:
    """Check whether a file is a cloud-optimized GeoTIFF.

    Args:
        ds: the path of a file, or a dataset of ``osgeo.gdal``.
        check_tiled: whether a wide image without tiles counts as an error.

    Returns:
        Warnings, errors and details. A file without errors is a cloud-optimized GeoTIFF. The details are the
        positions in the file, in bytes, of the description (``ifd_offsets``) and of the first block of pixels
        (``data_offsets``) of the image and of each overview.

    Raises:
        SourceError: if the file does not exist, or is not an image.

    Example:
        >>> from ndsampler.utils.util_gdal import _imwrite_cloud_optimized_geotiff
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     path = _imwrite_cloud_optimized_geotiff(f"{dpath}/a.tif", np.zeros((9, 9), np.uint8))
        ...     warnings, errors, details = validate(path)
        >>> warnings, errors
        ([], [])
    """
    path = ds.GetDescription() if hasattr(ds, "GetDescription") else os.fspath(ds)
    with GATE, open_dataset(path) as dataset:
        if dataset.driver != "GTiff":
            return [], ["The file is not a GeoTIFF"], {}
        factors = dataset.overviews(1)
        names = ["main", *(f"overview_{level}" for level in range(len(factors)))]
        levels = range(-1, len(factors))
        ifds = {name: _ifd_offset(dataset, level) for name, level in zip(names, levels)}
        blocks = {name: _first_block(path, dataset, level) for name, level in zip(names, levels)}
        errors = [
            *_size_errors(path, dataset, check_tiled),
            *_header_errors(dataset, ifds["main"]),
            *_ifd_errors(factors, ifds),
        ]
        warnings = _size_warnings(dataset)
    found = {name: offset for name, offset in blocks.items() if offset}
    errors += _block_errors(ifds, found)
    return warnings, errors, {"ifd_offsets": ifds, "data_offsets": found}


def main(argv: Sequence[str] | None = None) -> int:
    """Validate one file and print the result.

    Args:
        argv: the arguments, ``[-q] FILE``; None for those of the command line.

    Returns:
        The exit status: 0 for a cloud-optimized GeoTIFF, else 1.

    Raises:
        SourceError: if the file does not exist, or is not an image.

    Example:
        >>> main(["-q", "a.tif", "b.tif"])
        Usage: validate_cog.py [-q] FILE
        1
    """
    args = list(sys.argv[1:] if argv is None else argv)
    quiet = "-q" in args
    paths = [arg for arg in args if arg != "-q"]
    if len(paths) != 1 or paths[0].startswith("-"):
        sys.stdout.write("Usage: validate_cog.py [-q] FILE\n")
        return 1
    warnings, errors, details = validate(paths[0])
    if not quiet:
        lines = [f"warning: {text}" for text in warnings] + [f"error: {text}" for text in errors]
        verdict = "NOT a valid" if errors else "a valid"
        lines += [f"{paths[0]} is {verdict} cloud optimized GeoTIFF", f"details: {details}"]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if errors else 0


def _size_warnings(dataset: DatasetReader) -> list[str]:
    """Return a warning if a large image has no overviews."""
    if max(dataset.shape) <= SMALL_SIDE or dataset.overviews(1):
        return []
    return ["The file is greater than 512xH or Wx512, it is recommended to include internal overviews"]


def _size_errors(path: str, dataset: DatasetReader, check_tiled: bool) -> list[str]:
    """Return errors for images without tiles and for overviews in another file."""
    errors = []
    if any(name.lower().endswith(".ovr") and name != path for name in dataset.files):
        errors.append("Overviews found in external .ovr file. They should be internal")
    if check_tiled and _is_striped(dataset):
        errors.append("The file is greater than 512xH or Wx512, but is not tiled")
    if check_tiled:
        for level in range(len(dataset.overviews(1))):
            with open_dataset(path, overview_level=level) as overview:
                if _is_striped(overview):
                    errors.append(f"Overview of index {level} is not tiled")
    return errors


def _is_striped(dataset: DatasetReader) -> bool:
    result: bool = dataset.width > STRIP_WIDTH and dataset.block_shapes[0][1] == dataset.width
    return result


def _header_errors(dataset: DatasetReader, offset: int) -> list[str]:
    """Return errors if the main IFD does not follow the header, or later changes have broken the layout."""
    layout = dataset.get_tag_item("GDAL_STRUCTURAL_METADATA", "TIFF") or ""
    expected = {8, 16}
    if match := GHOST_HEADER.match(layout):
        end = match.end() + int(match[1])
        expected |= {start + end + (start + end) % 2 for start in (8, 16)}
    errors = []
    if offset not in expected:
        errors.append(
            "The offset of the main IFD should be 8 for ClassicTIFF or 16 for BigTIFF, "
            f"or follow GDAL's description of the layout. It is {offset} instead"
        )
    if "KNOWN_INCOMPATIBLE_EDITION=YES" in layout:
        errors.append("Later changes have invalidated the optimized layout of the file")
    return errors


def _ifd_errors(factors: Sequence[int], ifds: dict[str, int]) -> list[str]:
    """Return errors if overviews do not become smaller, or their IFDs are not in their order."""
    errors = [
        f"Overview of index {level + 1} has larger dimension than overview of index {level}"
        for level, (factor, following) in enumerate(pairwise(factors))
        if following < factor
    ]
    for (name, offset), (other, following) in pairwise(ifds.items()):
        if following < offset:
            errors.append(
                f"The offset of the IFD for {_phrase(other)} is {following}, whereas it should be greater "
                f"than the one of {_phrase(name)}, which is at byte {offset}"
            )
    return errors


def _block_errors(ifds: dict[str, int], blocks: dict[str, int]) -> list[str]:
    """Return errors if pixels come before the last IFD, or those of a larger level before a smaller one's."""
    errors = []
    if blocks and list(blocks.values())[-1] < list(ifds.values())[-1]:
        last = "smallest overview" if len(ifds) > 1 else "image"
        errors.append(f"The offset of the first block of the {last} should be after its IFD")
    for (name, offset), (other, following) in reversed(list(pairwise(blocks.items()))):
        if offset < following:
            errors.append(
                f"The offset of the first block of {_phrase(name)} should be after the one of "
                f"the {_phrase(other)}"
            )
    return errors


def _phrase(name: str) -> str:
    return "the main resolution image" if name == "main" else f"overview of index {name.rpartition('_')[2]}"


def _ifd_offset(dataset: DatasetReader, level: int) -> int:
    return int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, **_at(level)))


def _first_block(path: str, dataset: DatasetReader, level: int) -> int:
    """Return the position of the first block with pixels; 0 if all searched blocks are empty."""
    factor = 1 if level < 0 else dataset.overviews(1)[level]
    rows, cols = _block_shape(path, dataset, level)
    blocks = product(range(-(-dataset.height // factor // rows)), range(-(-dataset.width // factor // cols)))
    for y, x in islice(blocks, MAX_EMPTY_BLOCKS):
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1, **_at(level))
        if offset:
            return int(offset)
    return 0


def _block_shape(path: str, dataset: DatasetReader, level: int) -> tuple[int, int]:
    """Return the (height, width) of the blocks of a level."""
    shape: tuple[int, int] = dataset.block_shapes[0]
    if level >= 0:
        with open_dataset(path, overview_level=level) as overview:
            shape = overview.block_shapes[0]
    return shape


def _at(level: int) -> dict[str, int]:
    return {} if level < 0 else {"ovr": level}
