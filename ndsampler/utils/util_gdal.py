"""Whether GDAL, through rasterio, can be used here."""

from __future__ import annotations

import logging

__all__ = ["have_gdal"]

logger = logging.getLogger(__name__)


def have_gdal() -> bool:
    """Say whether rasterio's GDAL loads and can read and write GeoTIFF.

    An installed ``osgeo`` is neither needed nor looked at.

    Returns:
        True when the ``cog`` backend can work here.

    Example:
        >>> have_gdal() in {True, False}
        True
    """
    try:
        import rasterio
    except ImportError as ex:
        # A wheel that is present and cannot load its libraries ends here as well.
        logger.debug("rasterio cannot be imported: %s", ex)
        return False
    with rasterio.Env() as env:
        return "GTiff" in env.drivers()
