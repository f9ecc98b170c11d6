"""
The bands that multispectral sensors measure of a painted landscape.

The bands are computed from the RGB color and the material of each pixel: plants reflect near infrared
(``nir``), water absorbs all infrared, and soil and roofs reflect short-wave infrared (``swir``). Each
pixel of a coarse band is the mean of the fine pixels that it covers, so all assets of a sensor show
the same scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.demo.landscape.canvas import (
    ASPHALT,
    DIRECTIONS,
    FOREST,
    FURROWS,
    GRASS,
    PLAIN,
    ROOF,
    SAND,
    SOIL,
    WATER,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ndsampler.demo.landscape.scene import Painting

#: Value of a 16-bit band for a value of 1 in the 8-bit pixels.
COUNTS = 16

#: Reflectance in near and short-wave infrared of each material, for a brightness of 1.
INFRARED: Mapping[int, tuple[float, float]] = {
    PLAIN: (1.0, 0.9),
    GRASS: (0.9, 0.8),
    SOIL: (1.2, 1.5),
    ASPHALT: (1.0, 1.1),
    WATER: (0.15, 0.04),
    SAND: (1.2, 1.5),
    ROOF: (1.1, 1.4),
    FOREST: (0.9, 0.6),
    **{FURROWS + direction: (0.9, 1.2) for direction in range(DIRECTIONS)},
}

#: Factors with which an excess of green, a sign of plants, is added to near and to short-wave infrared.
PLANTS = (3.0, -0.5)

#: Weights of the bands in the sum that a panchromatic sensor measures.
PANCHROMATIC: Mapping[str, float] = {"red": 0.3, "green": 0.3, "blue": 0.2, "nir": 0.2}


def measure_bands(painting: Painting) -> dict[str, NDArray[np.float64]]:
    """Return every band at the resolution of the painting, in counts.

    Args:
        painting: pixels and materials, (rows, columns) each.

    Returns:
        (rows, columns) arrays with the names ``red``, ``green``, ``blue``, ``nir``, ``swir`` and ``pan``.
    """
    rgb = painting.pixels.astype(np.float64)
    red, green, blue = (rgb[..., channel] for channel in range(3))
    brightness = rgb.mean(2)
    plants = np.clip(2 * green - red - blue, 0, None) * (painting.materials != WATER)
    factors = np.zeros((256, 2))
    factors[list(INFRARED)] = list(INFRARED.values())
    nir, swir = (
        np.clip(brightness * factors[painting.materials, band] + PLANTS[band] * plants, 0, None)
        for band in range(2)
    )
    bands = {"red": red, "green": green, "blue": blue, "nir": nir, "swir": swir}
    bands["pan"] = np.sum([weight * bands[name] for name, weight in PANCHROMATIC.items()], 0)
    return {name: COUNTS * band for name, band in bands.items()}


@dataclass(frozen=True)
class Asset:
    """A file of a sensor."""

    name: str

    channels: tuple[str, ...]
    """Names of the bands."""

    step: int
    """Side of a pixel of the file in pixels of the landscape."""

    def pixels(self, bands: Mapping[str, NDArray[np.float64]]) -> NDArray[np.uint16]:
        """Return the pixels of the file.

        Args:
            bands: bands as :func:`measure_bands` returns them; rows and columns are multiples of the step.

        Returns:
            (rows, columns, channels) uint16.
        """
        coarse = [mean_of_blocks(bands[name], self.step) for name in self.channels]
        return np.rint(np.stack(coarse, 2)).astype(np.uint16)


@dataclass(frozen=True)
class Sensor:
    """The files that a sensor makes of each frame, from the finest to the coarsest."""

    assets: tuple[Asset, ...]

    @property
    def step(self) -> int:
        """Side of a pixel of the sensor's images in pixels of the landscape."""
        return self.assets[0].step


#: The sensors by name. Steps divide the side of a frame.
SENSORS: Mapping[str, Sensor] = {
    "airborne": Sensor(
        (
            Asset("pan", ("pan",), 1),
            Asset("multispectral", ("red", "green", "blue", "nir"), 2),
            Asset("infrared", ("swir",), 4),
        )
    ),
    "satellite": Sensor((Asset("multispectral", ("red", "green", "blue", "nir", "swir"), 4),)),
}

#: The side of a frame must be a multiple of this number of pixels.
SIDE_UNIT = 4


def mean_of_blocks(band: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Return the means of square blocks.

    Args:
        band: (rows, columns), multiples of ``step``.
        step: rows and columns of a block.

    Example:
        >>> mean_of_blocks(np.arange(8.0).reshape(2, 4), 2)
        array([[2.5, 4.5]])
    """
    rows, columns = band.shape
    return np.asarray(band.reshape(rows // step, step, columns // step, step).mean((1, 3)))
