"""A picture that notebooks display and that can be saved to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.whole_file import open_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: File name extensions to which a picture can be saved.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Picture:
    """An 8-bit RGB picture. Notebooks display it; :meth:`save` writes it to a file.

    ``numpy.asarray(picture)`` returns its pixels.

    Args:
        pixels: (height, width, 3) uint8 RGB.

    Example:
        >>> picture = Picture(np.zeros((20, 30, 3), np.uint8))
        >>> picture
        <Picture 30 x 20>
        >>> picture.pixels.shape
        (20, 30, 3)
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"<{type(self).__name__} {width} x {height}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.pixels, dtype=dtype) if copy else np.asarray(self.pixels, dtype=dtype)

    def _repr_png_(self) -> bytes:
        return self._encode(".png")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, which appears only once it is complete.

        Args:
            path: path of the file. Its extension selects the format: ``.png``, ``.jpg`` or ``.webp``. Without
                an extension, a PNG file is written.

        Returns:
            The path of the file.

        Raises:
            ArgumentError: for any other extension.
            OSError: if the file cannot be written.
        """
        path = Path(path)
        suffix = path.suffix.lower() or ".png"
        if suffix not in SUFFIXES:
            raise ArgumentError(f"path is {path}; expected a file name that ends with {', '.join(SUFFIXES)}")
        encoded = self._encode(suffix)
        with open_whole(path) as file:
            file.write(encoded)
        return path

    @fork_safe
    def _encode(self, suffix: str) -> bytes:
        """Return the picture encoded in the format of a file name extension."""
        import cv2

        # Level 9 would save 3 % of the bytes and take five times as long.
        small = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
        done, encoded = cv2.imencode(suffix, self.pixels[..., ::-1], small if suffix == ".png" else [])
        if not done:
            raise ArgumentError(f"{self!r} cannot be saved as {suffix}; OpenCV cannot write it")
        return encoded.tobytes()
