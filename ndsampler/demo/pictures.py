"""Writing painted landscapes to image files."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.demo.landscape.canvas import TILE
from ndsampler.demo.striped_tiff import StripedTiff, encode_strips
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

    from ndsampler.demo.landscape import Scene

#: Options of OpenCV's encoders by suffix: quality 93 of JPEG, level 3 of PNG.
ENCODINGS = {".jpg": [1, 93], ".png": [16, 3]}

#: Number of blocks of rows that are painted at the same time.
WORKERS = 2


def write_scene(file: BinaryIO, scene: Scene, suffix: str, progress: Callable[[float], object]) -> None:
    """Paint a landscape and write it to a file.

    Args:
        file: file that is open for writing.
        scene: the landscape.
        suffix: ``.tif``, which is written while it is painted, ``.png`` or ``.jpg``.
        progress: called with the completed fraction, 0 to 1.

    Raises:
        ArgumentError: for any other suffix.
    """
    if suffix == ".tif":
        tiff = StripedTiff(file, scene.width, scene.height)
        for done, strips in _paint_blocks(scene, encode_strips):
            tiff.write(strips)
            progress(done)
        tiff.finish()
        return
    pixels = np.concatenate([rows for _, rows in _paint_blocks(scene, np.asarray)])
    file.write(encode_image(pixels, suffix))
    progress(1.0)


def encode_image(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """Return an image in a compressed format.

    Args:
        pixels: (height, width, 3) RGB.
        suffix: ``.png`` or ``.jpg``.

    Raises:
        ArgumentError: for any other suffix.
    """
    import cv2

    if suffix not in ENCODINGS:
        raise ArgumentError(f"the suffix is {suffix!r}; expected .tif or one of {', '.join(ENCODINGS)}")
    _, encoded = cv2.imencode(suffix, pixels[..., ::-1], ENCODINGS[suffix])
    return encoded.tobytes()


def write_tiff(file: BinaryIO, pixels: NDArray[Any]) -> None:
    """Write pixels as a TIFF in compressed strips.

    Args:
        file: an empty file, open for writing.
        pixels: (height, width, bands), uint8 or uint16.
    """
    height, width, bands = pixels.shape
    tiff = StripedTiff(file, width, height, bands, bits=8 * pixels.itemsize)
    tiff.write(encode_strips(pixels))
    tiff.finish()


def _paint_blocks(scene: Scene, finish: Callable[[NDArray[np.uint8]], Any]) -> Iterator[tuple[float, Any]]:
    """Yield the completed fraction and the result of ``finish`` for each block of rows, from the top.

    Several threads paint one block each, and at most one finished block waits, so memory is limited.
    """

    def paint(top: int) -> Any:
        return finish(scene.rows(top, min(top + TILE, scene.height)))

    tops = range(0, scene.height, TILE)
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=WORKERS) as executor:
        for count, top in enumerate(tops, 1):
            waiting.append(executor.submit(paint, top))
            if len(waiting) > WORKERS:
                yield (count - WORKERS) / len(tops), waiting.popleft().result()
        while waiting:
            yield 1 - (len(waiting) - 1) / len(tops), waiting.popleft().result()
