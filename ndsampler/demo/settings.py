"""The settings of a landscape dataset, and values that are computed from them."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ndsampler.demo.landscape.film import FRAMES, LARGEST_SIDE
from ndsampler.demo.landscape.spectrum import SENSORS, SIDE_UNIT
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

#: Smallest and largest side of the large image, in pixels.
SIZES = (64, 32768)

#: Maximum number of still images of a dataset.
MAX_IMAGES = 1000

#: Version of the generator. Increase it if equal settings give other files than before.
EDITION = 3

#: Upper estimate of the size of a dataset's files relative to the size of the pixels.
COMPRESSED = 0.6


class Picture(NamedTuple):
    """Name and size of a still image."""

    file_name: str
    width: int
    height: int


#: The images other than the large one. If there are more, the list is repeated.
ORDINARY = (
    Picture("village.jpg", 3000, 2000),
    Picture("fields.png", 2048, 2048),
    Picture("harbour.tif", 2400, 1600),
    Picture("suburb.jpg", 1920, 1280),
    Picture("depot.png", 1600, 1200),
    Picture("park.jpg", 1024, 1024),
)


@dataclass(frozen=True)
class LandscapeSettings:
    """The settings that determine a landscape dataset.

    Raises:
        ArgumentError: if a number is out of range, a sensor is unknown, or nothing would be made.
    """

    size: int = 2048
    """Side of the large image in pixels. No other image is larger."""

    images: int = 3
    """Number of still images, including the large one."""

    frames: int = 8
    """Number of frames of each video."""

    film: bool = True
    """Whether there is an RGB video."""

    sensors: tuple[str, ...] = ()
    """The sensors that alternate in the multispectral video; if empty, there is no such video."""

    seed: int = 0
    edition: int = EDITION

    def __post_init__(self) -> None:
        _check_range("size", self.size, SIZES)
        _check_range("images", self.images, (0, MAX_IMAGES))
        _check_range("frames", self.frames, FRAMES)
        if self.seed < 0:
            raise ArgumentError(f"seed is {self.seed}; expected a number from 0 up")
        unknown = [name for name in self.sensors if name not in SENSORS]
        if unknown:
            raise ArgumentError(f"sensors has {unknown[0]!r}; expected names among {', '.join(SENSORS)}")
        if not (self.images or self.film or self.sensors):
            raise ArgumentError("images is 0, film is False and sensors is empty; expected one of them")

    @property
    def name(self) -> str:
        """Name of the folder of the dataset."""
        parts = ["landscape", f"{self.size}px", f"{self.images}images", f"{self.frames}frames"]
        parts += ["film"] * self.film + list(self.sensors)
        return "_".join([*parts, f"seed{self.seed}"])

    @property
    def film_side(self) -> int:
        """Side of the frames of the RGB video in pixels."""
        return min(LARGEST_SIDE, self.size)

    @property
    def sensor_side(self) -> int:
        """Side of a frame of the multispectral video, in pixels of the video."""
        return self.film_side // SIDE_UNIT * SIDE_UNIT

    def pictures(self) -> list[Picture]:
        """Return the still images, the large one last."""
        small = [_ordinary(number, self.size) for number in range(self.images - 1)]
        return [*small, Picture(f"city_{self.size}.tif", self.size, self.size)][: self.images]

    def pixel_bytes(self) -> int:
        """Return an upper limit for the bytes of all pixels of the dataset before compression."""
        stills = sum(3 * picture.width * picture.height for picture in self.pictures())
        return stills + self.frames * 3 * self.film_side**2 * (self.film + 2 * bool(self.sensors))

    def check_space(self, folder: Path) -> None:
        """Raise an error if a folder has too little space for the dataset.

        Raises:
            ArgumentError: if the space is too small.
        """
        free, needed = shutil.disk_usage(folder).free, COMPRESSED * self.pixel_bytes()
        if free < needed:
            raise ArgumentError(
                f"{folder} has {free / 1e9:.1f} GB of free space, but {needed / 1e9:.1f} GB are needed; "
                "choose another folder, or a smaller size"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings in the form that is stored in the dataset."""
        return {**asdict(self), "sensors": list(self.sensors)}


def _ordinary(number: int, largest: int) -> Picture:
    """Return one of the images other than the large one."""
    name, width, height = ORDINARY[number % len(ORDINARY)]
    stem, dot, suffix = name.partition(".")
    turn = number // len(ORDINARY)
    unique = f"{stem}_{turn + 1}{dot}{suffix}" if turn else name
    return Picture(unique, min(width, largest), min(height, largest))


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise ArgumentError(f"{name} is {value}; expected a number from {low} to {high}")
