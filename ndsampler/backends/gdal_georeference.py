"""
Georeferences of images, which GDAL reads from files and writes to them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.backends.gdal import open_dataset
from ndsampler.backends.gdal_env import open_quietly
from ndsampler.backends.gdal_open import open_for_writing
from ndsampler.errors import SourceError
from ndsampler.utils.fork_safety import GATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Georeference", "read_georeference", "write_georeference"]


@dataclass(frozen=True)
class Georeference:
    """The position of an image on the earth: a transform, ground control points, or rational polynomials."""

    crs: Any = None
    """Coordinate reference system of the transform, a rasterio ``CRS``; None if the file has none."""

    transform: tuple[float, ...] | None = None
    """The six numbers (a, b, c, d, e, f) of x = a column + b row + c, y = d column + e row + f."""

    gcps: tuple[Any, ...] = ()
    """Ground control points, each a rasterio ``GroundControlPoint``."""

    gcps_crs: Any = None
    """Coordinate reference system of the ground control points."""

    rpcs: Any = None
    """Rational polynomial coefficients, a rasterio ``RPC``; None if the file has none."""

    def __bool__(self) -> bool:
        """Return whether the image has a transform, ground control points or polynomials."""
        return self.crs is not None or self.transform is not None or bool(self.gcps or self.rpcs)

    def warped(self, warp: NDArray[np.float64] | None) -> Georeference:
        """Return the georeference of another image whose pixels are warped from this one.

        Ground control points and polynomials are dropped unless the warp is the identity.

        Args:
            warp: 3x3 matrix from the pixels of this image to those of the other; None for the identity.

        Example:
            >>> doubled = Georeference(transform=(10.0, 0, 500, 0, -10, 900)).warped(np.diag([2.0, 2, 1]))
            >>> doubled.transform
            (5.0, 0.0, 500.0, 0.0, -5.0, 900.0)
        """
        if warp is None:
            return self
        if self.transform is None:
            return Georeference()
        own = np.array([*self.transform, 0, 0, 1], dtype=np.float64).reshape(3, 3)
        moved = (own @ np.linalg.inv(warp))[:2].ravel()
        return Georeference(self.crs, tuple(moved.tolist()))


def read_georeference(path: str) -> Georeference:
    """Return the georeference of a file; an empty one for a file that GDAL cannot read.

    Args:
        path: a local file.
    """
    try:
        with GATE, open_dataset(path) as dataset:
            transform = tuple(dataset.transform)[:6]
            found = Georeference(dataset.crs, None if dataset.transform.is_identity else transform)
            gcps, crs = dataset.gcps
            return replace(found, gcps=tuple(gcps), gcps_crs=crs, rpcs=dataset.rpcs)
    except SourceError:
        return Georeference()


def write_georeference(path: str, georeference: Georeference) -> None:
    """Write a georeference into a TIFF file.

    Args:
        path: the file.
        georeference: the georeference to write.
    """
    import rasterio

    with GATE, open_quietly(functools.partial(open_for_writing, path, "r+", driver="GTiff")) as dataset:
        if georeference.crs is not None:
            dataset.crs = georeference.crs
        if georeference.transform is not None:
            dataset.transform = rasterio.Affine(*georeference.transform)
        elif georeference.gcps:
            dataset.gcps = (list(georeference.gcps), georeference.gcps_crs)
        if georeference.rpcs is not None:
            dataset.rpcs = georeference.rpcs
