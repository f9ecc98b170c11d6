"""
The dataset of the demo: made-up aerial pictures with annotated objects, one picture very large, and
a short film.

Everything is made a block of rows at a time. A file appears under its name
when it is whole, and the file that describes the dataset appears last, so a
dataset that can be opened is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.demo.landscape import CATEGORIES, KEYPOINTS, Film, Scene, Seen, Thing, make_scene
from ndsampler.demo.landscape.canvas import TILE
from ndsampler.demo.landscape.film import FRAMES
from ndsampler.demo.striped_tiff import StripedTiff, encode_strips
from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Sides that the large picture may have, in pixels.
SIZES = (256, 32768)

#: Changes whenever equal settings would give other pictures.
EDITION = 2

#: The pictures beside the large one: name, width, height.
ORDINARY = (
    ("village.jpg", 3000, 2000),
    ("fields.png", 2048, 2048),
    ("harbour.tif", 2400, 1600),
    ("suburb.jpg", 1920, 1280),
    ("depot.png", 1600, 1200),
    ("park.jpg", 1024, 1024),
)

#: Name of the film, and the side of its frames in pixels.
FILM = ("traffic", 512)

#: Options of OpenCV's encoders, by suffix: quality 93 of JPEG, level 3 of PNG.
ENCODINGS = {".jpg": [1, 93], ".png": [16, 3]}


@dataclass(frozen=True)
class DemoSettings:
    """What distinguishes one demo dataset from another.

    Raises:
        ArgumentError: if the size is out of range, or the seed negative.
    """

    size: int = 16384
    """Side of the large picture in pixels; the others, and the frames of the film, are no larger."""

    seed: int = 0
    edition: int = EDITION

    def __post_init__(self) -> None:
        low, high = SIZES
        if not low <= self.size <= high:
            raise ArgumentError(f"the size is {self.size}; expected a number of pixels from {low} to {high}")
        if self.seed < 0:
            raise ArgumentError(f"the seed is {self.seed}; expected a number from 0 up")

    def pictures(self) -> list[tuple[str, int, int]]:
        """Return name, width and height of every picture, the large one last."""
        small = [(name, min(width, self.size), min(height, self.size)) for name, width, height in ORDINARY]
        return [*small, (f"city_{self.size}.tif", self.size, self.size)]


def ensure_demodata(
    folder: str | os.PathLike[str],
    settings: DemoSettings,
    progress: Callable[[str, float], object] = lambda name, share: None,
) -> Path:
    """Return the path of the demo dataset, making it where it is missing or incomplete.

    Args:
        folder: where datasets lie, each in a folder of its own.
        settings: of the dataset.
        progress: is told what is being made and how much of it is done, from 0 to 1.

    Returns:
        The path of its ``.kwcoco.json`` file.

    Raises:
        ArgumentError: if there is too little space on the disk.
        OSError: if a file cannot be written.
    """
    home = Path(folder).absolute() / f"data_{settings.size}_{settings.seed}"
    path = home / "demo.kwcoco.json"
    if is_complete(path, settings):
        return path
    home.mkdir(parents=True, exist_ok=True)
    _check_space(home, settings)
    path.unlink(missing_ok=True)
    images, annotations = [], []
    for number, (name, width, height) in enumerate(settings.pictures(), 1):
        scene = make_scene(width, height, (settings.seed, number))
        with whole_file(home / name) as file:
            write_picture(file, scene, Path(name).suffix, partial(progress, name))
        image = {"id": number, "name": Path(name).stem, "file_name": name, "width": width, "height": height}
        images.append({**image, "num_bytes": (home / name).stat().st_size})
        annotations += [describe(thing, number) for thing in scene.annotated]
    film = write_film(home, settings, len(images) + 1, progress)
    dataset = _dataset(settings, images + film["images"], annotations + film["annotations"])
    with whole_file(path) as file:
        file.write(json.dumps({**dataset, "videos": film["videos"], "tracks": film["tracks"]}).encode())
    return path


def is_complete(path: Path, settings: DemoSettings) -> bool:
    """Whether a demo dataset of these settings lies at a path, all of its pictures with it.

    Args:
        path: of its ``.kwcoco.json`` file.
        settings: what it must have been made with.
    """
    if not path.is_file():
        return False
    try:
        dataset = json.loads(path.read_bytes())
        made_with = dataset["info"][0]["settings"]
        files = [(path.parent / image["file_name"], image["num_bytes"]) for image in dataset["images"]]
    except (ValueError, LookupError, TypeError):
        logger.warning("%s is no demo dataset, and is made anew", path)
        return False
    return made_with == asdict(settings) and all(
        file.is_file() and file.stat().st_size == size for file, size in files
    )


def _check_space(home: Path, settings: DemoSettings) -> None:
    """Pictures, their COGs and their npy files take some two and a half times the raw pixels."""
    raw = sum(3 * width * height for _, width, height in settings.pictures())
    free = shutil.disk_usage(home).free
    if free < 2.5 * raw:
        raise ArgumentError(
            f"{home} has {free / 1e9:.1f} GB left, and the demo needs {2.5 * raw / 1e9:.1f} GB: choose "
            f"another folder with --out, or a smaller picture, such as --size {settings.size // 4}"
        )


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at a path only if the block ends well.

    Args:
        path: where it is to appear, in place of what is there.
    """
    sibling = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(sibling, "wb") as file:
            yield file
        os.replace(sibling, path)
    except BaseException:
        sibling.unlink(missing_ok=True)
        raise


def write_picture(file: BinaryIO, scene: Scene, suffix: str, progress: Callable[[float], object]) -> None:
    """Paint a landscape into a file.

    Args:
        file: open for writing.
        scene: the landscape.
        suffix: ``.tif``, which is written as it is painted, ``.png`` or ``.jpg``.
        progress: is told the share that is done, 0 to 1.

    Raises:
        ArgumentError: for any other suffix.
    """
    if suffix == ".tif":
        tiff = StripedTiff(file, scene.width, scene.height)
        for done, strips in _in_order(scene, encode_strips):
            tiff.write(strips)
            progress(done)
        tiff.finish()
        return
    if suffix not in ENCODINGS:
        raise ArgumentError(f"the suffix is {suffix!r}; expected .tif or one of {', '.join(ENCODINGS)}")
    import cv2

    picture = np.concatenate([rows for _, rows in _in_order(scene, lambda rows: rows)])
    _, encoded = cv2.imencode(suffix, picture[..., ::-1], ENCODINGS[suffix])
    file.write(encoded.tobytes())
    progress(1.0)


def write_film(
    home: Path, settings: DemoSettings, first_id: int, progress: Callable[[str, float], object]
) -> dict[str, list[dict[str, Any]]]:
    """Paint the frames of the film into files.

    Args:
        home: the folder of the dataset.
        settings: of the dataset.
        first_id: of the first frame among the images.
        progress: is told the name of the film and the share that is done, 0 to 1.

    Returns:
        The film's part of the dataset: its video, images, annotations and tracks.
    """
    import cv2

    name = FILM[0]
    film = Film(min(FILM[1], settings.size), (settings.seed, 0))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    tracks: dict[int, str] = {}
    for number, shot in enumerate(film.shots()):
        height, width = shot.pixels.shape[:2]
        _, encoded = cv2.imencode(".jpg", shot.pixels[..., ::-1], ENCODINGS[".jpg"])
        file_name = f"{name}_{number}.jpg"
        with whole_file(home / file_name) as file:
            file.write(encoded.tobytes())
        image = {"id": first_id + number, "name": f"{name}_{number}", "file_name": file_name}
        place = {"video_id": 1, "frame_index": number}
        warp = {"warp_img_to_vid": {"type": "affine", "offset": shot.offset}}
        size = {"width": width, "height": height, "num_bytes": len(encoded)}
        images.append({**image, **size, **place, **warp})
        annotations += [describe(seen, first_id + number) for seen in shot.seen]
        tracks.update({seen.track: f"{seen.category} {seen.track + 1}" for seen in shot.seen})
        progress(name, (number + 1) / FRAMES)
    video = {"id": 1, "name": name, "width": film.size[0], "height": film.size[1]}
    return {
        "videos": [video],
        "images": images,
        "annotations": annotations,
        "tracks": [{"id": track + 1, "name": tracks[track]} for track in sorted(tracks)],
    }


def _in_order(scene: Scene, finish: Callable[[NDArray[np.uint8]], Any]) -> Iterator[tuple[float, Any]]:
    """Yield, for each block of rows from the top, the share that is done and the finished block.

    Two blocks are painted at a time, and no more than that many wait to be taken.
    """

    def paint(top: int) -> Any:
        return finish(scene.rows(top, min(top + TILE, scene.height)))

    tops = range(0, scene.height, TILE)
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=2) as executor:
        for count, top in enumerate(tops, 1):
            waiting.append(executor.submit(paint, top))
            if len(waiting) == 3:
                yield (count - 2) / len(tops), waiting.popleft().result()
        while waiting:
            yield 1 - (len(waiting) - 1) / len(tops), waiting.popleft().result()


def describe(thing: Thing | Seen, image_id: int) -> dict[str, Any]:
    """Return the annotation of a thing.

    Args:
        thing: what is annotated.
        image_id: of its picture.

    Returns:
        An annotation in kwcoco's form, without an id: box, polygon, keypoints where it has any, and
        its track in a film.
    """
    outline = thing.outline.round(1)
    low, high = outline.min(0), outline.max(0)
    annotation: dict[str, Any] = {
        "image_id": image_id,
        "category_id": CATEGORIES.index(thing.category) + 1,
        "bbox": [*low.tolist(), *(high - low).round(1).tolist()],
        "segmentation": {
            "exterior": outline.tolist(),
            "interiors": [h.round(1).tolist() for h in thing.holes],
        },
    }
    if thing.keypoints:
        annotation["keypoints"] = [
            {"xy": xy.round(1).tolist(), "visible": 2, "keypoint_category_id": KEYPOINTS.index(name) + 1}
            for name, xy in thing.keypoints.items()
        ]
    if isinstance(thing, Seen):
        annotation["track_id"] = thing.track + 1
    return annotation


def _dataset(
    settings: DemoSettings, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "info": [{"type": "ndsampler_demo", "settings": asdict(settings)}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)],
        "keypoint_categories": [{"id": number, "name": name} for number, name in enumerate(KEYPOINTS, 1)],
        "images": images,
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
    }
