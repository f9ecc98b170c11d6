"""The kwcoco records of a landscape dataset: its videos, images, tracks and annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndsampler.demo.landscape import CATEGORIES, KEYPOINTS, LandscapeObject, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Record = dict[str, Any]


@dataclass
class Records:
    """Records that are added one by one; their ids start at 1."""

    videos: list[Record] = field(default_factory=list)
    images: list[Record] = field(default_factory=list)
    tracks: list[Record] = field(default_factory=list)
    annotations: list[Record] = field(default_factory=list)
    _track_ids: dict[tuple[int, int], int] = field(default_factory=dict)

    def add_video(self, name: str, size: tuple[int, int]) -> int:
        """Add a video and return its id.

        Args:
            name: name of the video.
            size: (width, height) in pixels.
        """
        self.videos.append({"id": len(self.videos) + 1, "name": name, "width": size[0], "height": size[1]})
        return len(self.videos)

    def add_image(self, image: Record, objects: Iterable[LandscapeObject | Seen], step: float = 1) -> None:
        """Add an image with its annotations.

        Args:
            image: record of the image, without an id.
            objects: objects to annotate, in pixels of the landscape or of the frame.
            step: side of an image pixel in these pixels.
        """
        gid = len(self.images) + 1
        self.images.append({"id": gid, **image})
        for obj in objects:
            annotation = {"id": len(self.annotations) + 1, "image_id": gid, **describe(obj, step)}
            if isinstance(obj, Seen):
                annotation["track_id"] = self._track_of(obj, image["video_id"])
            self.annotations.append(annotation)

    def _track_of(self, seen: Seen, video_id: int) -> int:
        """Return the id of an object's track, which is added if it is new."""
        number = self._track_ids.setdefault((video_id, seen.track), len(self.tracks) + 1)
        if number > len(self.tracks):
            self.tracks.append({"id": number, "name": f"{seen.category} {number}"})
        return number

    def to_coco(self, info: Record) -> Record:
        """Return the dataset as a dictionary.

        Args:
            info: the first entry of the section ``info``.
        """
        return {
            "info": [info],
            "categories": [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)],
            "keypoint_categories": [{"id": number, "name": name} for number, name in enumerate(KEYPOINTS, 1)],
            "videos": self.videos,
            "images": self.images,
            "tracks": self.tracks,
            "annotations": self.annotations,
        }


def describe(obj: LandscapeObject | Seen, step: float = 1) -> Record:
    """Return the category, box, polygon and keypoints of an object in the format of annotations.

    Args:
        obj: the object.
        step: side of an image pixel in units of the object's coordinates.
    """
    outline = _rounded(obj.outline, step)
    low, high = outline.min(0), outline.max(0)
    annotation: Record = {
        "category_id": CATEGORIES.index(obj.category) + 1,
        "bbox": [*low.tolist(), *(high - low).round(DIGITS).tolist()],
        "segmentation": {
            "exterior": outline.tolist(),
            "interiors": [_rounded(hole, step).tolist() for hole in obj.holes],
        },
    }
    if obj.keypoints:
        annotation["keypoints"] = [
            {
                "xy": _rounded(xy, step).tolist(),
                "visible": 2,
                "keypoint_category_id": KEYPOINTS.index(name) + 1,
            }
            for name, xy in obj.keypoints.items()
        ]
    return annotation


#: Number of decimal places of coordinates.
DIGITS = 1


def _rounded(points: NDArray[Any], step: float) -> NDArray[Any]:
    result: NDArray[Any] = (points / step).round(DIGITS)
    return result
