"""
Opens a file with the GDAL drivers that are allowed for its content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.backends.content import choose_drivers
from ndsampler.backends.detached import check_data_files
from ndsampler.backends.references import check_overview_file

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

__all__ = ["open_allowed", "open_for_writing"]


def open_allowed(path: str, name: str | None, **options: Any) -> DatasetReader:
    """Open a file with the drivers that :func:`ndsampler.backends.content.choose_drivers` allows.

    Args:
        path: a local file.
        name: a name that GDAL opens instead of the path: a page of the file, or a VRT of pages; None for the
            path.
        **options: open options of GDAL's driver, and ``driver`` if the caller knows which one to use.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if no driver may open it.
        RasterioIOError: if GDAL cannot open it.
    """
    if name is not None:
        # Only the TIFF driver opens names of pages, including those inside a VRT.
        return _open(name, ["VRT" if name.startswith("<") else "GTiff"], options)
    drivers = [options.pop("driver")] if "driver" in options else list(choose_drivers(path))
    dataset = _open(path, drivers, options)
    try:
        check_overview_file(path, dataset)
        check_data_files(path, dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset


def _open(name: str, drivers: list[str], options: dict[str, Any]) -> DatasetReader:
    """Open a file with one of several drivers. rasterio.open takes only one, and enters an environment."""
    from ndsampler.backends.gdal_dataset import Dataset

    return Dataset(name, driver=drivers, **options)


def open_for_writing(path: str, mode: str, **profile: Any) -> DatasetWriter:
    """Create a file or open it for changes, without the environment that rasterio.open would enter.

    Args:
        path: a local file, or one in GDAL's memory file system.
        mode: ``"w+"`` to create a file, ``"r+"`` to change one.
        **profile: driver, size, type and creation options of a new file.
    """
    from ndsampler.backends.gdal_dataset import WritableDataset

    return WritableDataset(path, mode, **profile)
