"""Draws annotations on a picture: filled areas, edges, points and names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Color = tuple[int, int, int]

#: Color of the text on labels, and of the dark edges around lines.
INK: Color = (18, 18, 20)

#: Minimum visible width and height of a box, in pixels, for its name to be written.
MIN_VISIBLE = 6

#: Size of the names beside boxes.
LABEL_SCALE = 0.36

#: Opacity of the color inside polygons, and of the dark edges that separate lines from the pixels.
FILL_OPACITY, EDGE_OPACITY = 0.15, 0.4

#: Radius in pixels and color of the disks that make up a keypoint; None for the color of the category.
DOT: tuple[tuple[float, Color | None], ...] = ((3.4, INK), (2.6, (255, 255, 255)), (1.6, None))

#: Fractional bits of the coordinates given to OpenCV.
_SHIFT = 4


class Drawing:
    """Draws annotations on the enlarged or reduced picture of a sample.

    Args:
        picture: (height, width, 3) uint8 RGB. It is changed in place.
        scale: number of picture pixels for each pixel of the sample.
    """

    def __init__(self, picture: NDArray[np.uint8], scale: float) -> None:
        self.picture = picture
        self.scale = scale
        self._labels: list[tuple[int, int, int, int]] = []

    def _place(self, points: NDArray[Any]) -> NDArray[np.int32]:
        # Clipping keeps distant corners of large annotations within 32 bits.
        placed = np.clip(np.asarray(points, float) * self.scale - 0.5, -1e5, 1e5)
        return np.rint(placed * (1 << _SHIFT)).astype(np.int32)

    def polygons(self, polygons: Sequence[tuple[list[NDArray[Any]], Color]]) -> None:
        """Tint the inside of polygons and draw their edges.

        Args:
            polygons: for each polygon, its rings (the outline, then the holes) and its color.
        """
        import cv2

        placed = [([self._place(ring) for ring in rings], color) for rings, color in polygons]
        with self._blended(FILL_OPACITY) as layer:
            for rings, color in placed:
                cv2.fillPoly(layer, rings, color, cv2.LINE_AA, _SHIFT)
        for rings, color in placed:
            cv2.polylines(self.picture, rings, True, color, 1, cv2.LINE_AA, _SHIFT)

    def boxes(self, boxes: Sequence[tuple[tuple[float, float, float, float], Color]]) -> None:
        """Draw the edges of boxes, one pixel wide, with a faint dark edge around them.

        Args:
            boxes: for each box, its left, top, right and bottom, and its color.
        """
        import cv2

        placed = [(self._place(corners_of(ltrb)), color) for ltrb, color in boxes]
        with self._blended(EDGE_OPACITY) as layer:
            cv2.polylines(layer, [corners for corners, _ in placed], True, INK, 3, cv2.LINE_AA, _SHIFT)
        for corners, color in placed:
            cv2.polylines(self.picture, [corners], True, color, 1, cv2.LINE_AA, _SHIFT)

    def outlines(self, outlines: Sequence[NDArray[Any]], color: Color) -> None:
        """Draw closed lines of one color."""
        import cv2

        placed = [self._place(outline) for outline in outlines]
        cv2.polylines(self.picture, placed, True, color, 1, cv2.LINE_AA, _SHIFT)

    @contextlib.contextmanager
    def _blended(self, opacity: float) -> Iterator[NDArray[np.uint8]]:
        """Yield a copy of the picture to draw on, and blend it with the picture afterwards."""
        import cv2

        layer = self.picture.copy()
        yield layer
        cv2.addWeighted(layer, opacity, self.picture, 1 - opacity, 0, dst=self.picture)

    def dot(self, point: NDArray[Any], color: Color) -> None:
        """Draw a keypoint."""
        import cv2

        x, y = (int(part) for part in self._place(point))
        for radius, fill in DOT:
            size = int(radius * (1 << _SHIFT))
            cv2.circle(self.picture, (x, y), size, fill or color, -1, cv2.LINE_AA, _SHIFT)

    def label(self, text: str, ltrb: tuple[float, float, float, float], color: Color) -> None:
        """Write a name beside a box, unless other names leave no space for it."""
        width, height = text_size(text, LABEL_SCALE)
        width, height = width + 4, height + 5
        rows, cols = self.picture.shape[:2]
        left, top, right, bottom = (round(part * self.scale) for part in ltrb)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, cols), min(bottom, rows)
        if min(x1 - x0, y1 - y0) < MIN_VISIBLE:
            return
        columns = [min(max(x, 0), cols - width) for x in (x0, x1 - width)]
        # Above the box; otherwise inside a large box, or below a small one, which the name would hide.
        rows_of_text = (y0 - height, y0, y1) if y1 - y0 > 3 * height else (y0 - height, y1, y0)
        spots = [(x, y) for y in (*rows_of_text, y1 - height) for x in columns]
        for x, y in spots:
            spot = (x, y, x + width, y + height)
            inside = x >= 0 and 0 <= y <= rows - height
            if inside and not any(overlap(spot, other) for other in self._labels):
                self._labels.append(spot)
                self.picture[y : y + height, x : x + width] = color
                write_text(self.picture, text, (x + 2, y + height - 3), LABEL_SCALE, INK)
                return


def corners_of(ltrb: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Return the four corners of a box."""
    left, top, right, bottom = ltrb
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two rectangles, given as left, top, right, bottom, share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def readable(text: str) -> str:
    """Replace the letters in a text that OpenCV's fonts lack."""
    return text.encode("ascii", "replace").decode()


def text_size(text: str, scale: float) -> tuple[int, int]:
    """Return the width and height of a line of text in pixels."""
    import cv2

    (width, height), _ = cv2.getTextSize(readable(text), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return width, height


def fit_text(text: str, width: int, scale: float) -> str:
    """Return a text, truncated if it is wider than a number of pixels."""
    while text and text_size(text, scale)[0] > width:
        text = text.removesuffix("..")[:-1] + ".." if len(text) > 3 else ""
    return text


def write_text(
    picture: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float, color: Color
) -> None:
    """Write a line of text, with its lower left corner at a pixel (x, y)."""
    import cv2

    cv2.putText(picture, readable(text), at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
