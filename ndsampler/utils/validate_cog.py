"""
Whether a file is a cloud-optimized GeoTIFF, under its old name.

The package rio-cogeo looks into that now: ``rio cogeo validate FILE`` in a terminal, and
``rio_cogeo.cog_validate`` in Python.
"""

from __future__ import annotations

import os
from typing import Any

from ndsampler.backends.gdal import open_dataset, quiet_gdal
from ndsampler.errors import SourceError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.require import require

__all__ = ["ValidateCloudOptimizedGeoTIFFException", "validate"]

#: What :func:`validate` raises for a file that cannot be read at all.
ValidateCloudOptimizedGeoTIFFException = SourceError


@fork_safe
def validate(ds: Any, check_tiled: bool = True) -> tuple[list[str], list[str], dict[str, Any]]:
    """Tell what keeps a file from being a cloud-optimized GeoTIFF.

    Args:
        ds: the path of a file, or a dataset of ``osgeo.gdal``.
        check_tiled: whether a large image without tiles counts as an error.

    Returns:
        Warnings, errors, and ``{'ifd_offsets': ...}``, where in the file the description of the image and
        of each overview lies. A file without errors is one.

    Raises:
        SourceError: if the file does not exist, or is no image.
        MissingDependencyError: if rio-cogeo is not installed.

    Example:
        >>> from ndsampler.utils.util_gdal import _imwrite_cloud_optimized_geotiff
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as dpath:
        ...     path = _imwrite_cloud_optimized_geotiff(f"{dpath}/a.tif", np.zeros((9, 9), np.uint8))
        ...     warnings, errors, details = validate(path)
        >>> warnings, errors
        ([], [])
    """
    cogeo = require("rio_cogeo.cogeo", "rio-cogeo", "validate")
    path = ds.GetDescription() if hasattr(ds, "GetDescription") else os.fspath(ds)
    with open_dataset(path) as dataset:
        levels = range(-1, len(dataset.overviews(1)) if dataset.driver == "GTiff" else -1)
        offsets = {_level_name(level): _ifd_offset(dataset, level) for level in levels}
    errors, remarks = _findings(cogeo, path)
    if not check_tiled:
        errors = [error for error in errors if "not tiled" not in error]
    return remarks, errors, {"ifd_offsets": offsets} if offsets else {}


def _findings(cogeo: Any, path: str) -> tuple[list[str], list[str]]:
    """Return errors and warnings of rio-cogeo, without rasterio's remark on files that lie nowhere."""
    with quiet_gdal():
        return cogeo.cog_validate(path, quiet=True)[1:]


def _level_name(level: int) -> str:
    return "main" if level < 0 else f"overview_{level}"


def _ifd_offset(dataset: Any, level: int) -> int:
    overview = {} if level < 0 else {"ovr": level}
    return int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, **overview))
