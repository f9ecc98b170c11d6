"""
Opening a file with the drivers of GDAL that its content allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.backends.content import choose_drivers
from ndsampler.backends.references import check_overview_file

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = ["open_allowed"]


def open_allowed(path: str, name: str | None, **options: Any) -> DatasetReader:
    """Open a file with the drivers that :func:`ndsampler.backends.content.choose_drivers` allows.

    Args:
        path: a local file.
        name: what the library has GDAL open instead: a page of the file, or a VRT of pages; None for
            the path.
        **options: open options of GDAL's driver; ``driver`` if the library knows it.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if no driver may open it.
        RasterioIOError: if GDAL cannot open it.
    """
    import rasterio
    from rasterio.env import env_ctx_if_needed
    from rasterio.io import DatasetReader

    if name is not None:
        # The pages of a VRT have names that only the driver of TIFFs opens.
        options["driver"] = "VRT" if name.startswith("<") else "GTiff"
        return rasterio.open(name, **options)
    if "driver" in options:
        dataset = rasterio.open(path, **options)
    else:
        # rasterio.open takes a single name.
        with env_ctx_if_needed():
            dataset = DatasetReader(path, driver=list(choose_drivers(path)), **options)
    try:
        check_overview_file(path, dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset
