"""
Making a dataset of synthetic landscapes.

Images are painted in blocks of rows, so that memory does not grow with their size. Each file appears
under its name when it is complete, and the kwcoco file is written last.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.dataset.opening import open_dataset
from ndsampler.demo.landscape import Film, Scene, make_scene
from ndsampler.demo.landscape.spectrum import SENSORS, Asset, Sensor, measure_bands
from ndsampler.demo.pictures import encode_image, write_scene, write_tiff
from ndsampler.demo.records import Records
from ndsampler.demo.settings import LandscapeSettings
from ndsampler.utils.logs import get_logger
from ndsampler.utils.whole_file import open_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    import kwcoco
    from numpy.typing import NDArray

    from ndsampler.demo.landscape import Shot
    from ndsampler.demo.settings import Picture

    Progress = Callable[[str, float], object]

logger = get_logger(__name__)

#: Names of the videos.
FILM, SURVEY = "traffic", "survey"

#: Second numbers of the seeds of the videos, after the seed of the dataset; those of images start at 1.
FILM_SEED, SURVEY_SEED = 0, 1 << 16


def landscape_dataset(
    folder: str | os.PathLike[str] | None = None,
    *,
    size: int = 2048,
    images: int = 3,
    frames: int = 8,
    film: bool = True,
    sensors: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> kwcoco.CocoDataset:
    """Return a dataset of synthetic aerial images with annotations, and make it unless it exists.

    The still images show towns, farms, forests, lakes and roads. The annotations are buildings,
    cars, trucks, boats, trees and pools, each with a box and a polygon, and some with keypoints. The
    large image is a TIFF in strips of rows, from which windows are read slowly; the others are JPEG,
    PNG and TIFF files.

    The videos show traffic on a road, in frames of at most 512 x 512 pixels, and every object has a
    track. The camera moves; ``warp_img_to_vid`` aligns the frames. The video ``'traffic'`` has RGB
    frames. The video ``'survey'`` has 16-bit frames, in which the ``sensors`` alternate:

    * ``'airborne'``: three files per frame. ``pan`` has full resolution,
      ``red|green|blue|nir`` one half and ``swir`` one quarter; ``warp_aux_to_img`` aligns them.
    * ``'satellite'``: one file per frame, ``red|green|blue|nir|swir``. Its images have a quarter of
      the video's resolution.

    Args:
        folder: folder in which the folder of the dataset is made; by default in the user's cache folder.
        size: side of the large image in pixels, 64 to 32768. No other image is larger.
        images: number of still images, including the large one; 0 for none.
        frames: number of frames of each video, 1 to 32.
        film: whether to make the RGB video.
        sensors: the sensors of the multispectral video; if empty, there is no such video.
        seed: random seed. Equal arguments give equal files.
        progress: called with the name of a file or video and the completed fraction, 0 to 1.

    Returns:
        A ``kwcoco.CocoDataset``; its ``fpath`` is the path of its file.

    Raises:
        ArgumentError: if an argument is out of range, or the disk has too little space.
        OSError: if a file cannot be written.

    Example:
        >>> import ndsampler.demo
        >>> import ubelt as ub
        >>> folder = ub.Path.appdir('ndsampler/doctest')
        >>> dset = ndsampler.demo.landscape_dataset(folder, size=256, images=2, frames=3)
        >>> [image['file_name'] for image in dset.images().objs]
        ['village.jpg', 'city_256.tif', 'traffic_0.jpg', 'traffic_1.jpg', 'traffic_2.jpg']
        >>> options = {'images': 0, 'film': False, 'frames': 2, 'sensors': ['airborne', 'satellite']}
        >>> survey = ndsampler.demo.landscape_dataset(folder, size=128, **options)
        >>> sampler = ndsampler.CocoSampler(survey, workdir=folder)
        >>> window = (slice(0, 64), slice(0, 80))
        >>> target = {'vidid': 1, 'space_slice': window, 'channels': 'red|nir|swir'}
        >>> sampler.load_sample(target)['im'].shape
        (2, 64, 80, 3)
    """
    settings = LandscapeSettings(int(size), int(images), int(frames), bool(film), tuple(sensors), int(seed))
    if folder is None:
        import ubelt as ub

        folder = ub.Path.appdir("ndsampler", "landscapes")
    home = Path(folder).absolute() / settings.name
    path = home / "landscape.kwcoco.json"
    if not is_complete(path, settings):
        home.mkdir(parents=True, exist_ok=True)
        settings.check_space(home)
        _Writer(home, progress or (lambda name, share: None)).write(path, settings)
    return open_dataset(path)


def is_complete(path: Path, settings: LandscapeSettings) -> bool:
    """Whether a dataset of these settings exists with all of its image files.

    Args:
        path: path of the kwcoco file.
        settings: the settings that it must have been made with.
    """
    if not path.is_file():
        return False
    try:
        dataset = json.loads(path.read_bytes())
        made_with = dataset["info"][0]["settings"]
        assets = [asset for image in dataset["images"] for asset in image.get("assets", [image])]
        files = [(path.parent / asset["file_name"], asset["num_bytes"]) for asset in assets]
    except (ValueError, LookupError, TypeError):
        logger.warning("%s is not a landscape dataset, and is replaced", path)
        return False
    return made_with == settings.to_json() and all(
        file.is_file() and file.stat().st_size == size for file, size in files
    )


class _Writer:
    """Writes the files of a dataset into its folder."""

    def __init__(self, home: Path, progress: Progress) -> None:
        self.home = home
        self.progress = progress
        self.records = Records()

    def write(self, path: Path, settings: LandscapeSettings) -> None:
        """Write all image files, and then the kwcoco file."""
        for picture, scene in _plan_ahead(settings):
            self.write_picture(picture, scene)
        if settings.film:
            film = Film(settings.film_side, settings.frames, (settings.seed, FILM_SEED))
            self.write_film(film)
        if settings.sensors:
            film = Film(settings.sensor_side, settings.frames, (settings.seed, SURVEY_SEED))
            self.write_survey(film, settings.sensors)
        dataset = self.records.to_coco({"type": "ndsampler_landscape", "settings": settings.to_json()})
        with open_whole(path) as file:
            file.write(json.dumps(dataset).encode())

    def write_picture(self, picture: Picture, scene: Scene) -> None:
        """Write a still image."""
        path = self.home / picture.file_name
        self.progress(path.name, 0.0)
        with open_whole(path) as file:
            write_scene(file, scene, path.suffix, functools.partial(self.progress, path.name))
        size = {"width": picture.width, "height": picture.height, "num_bytes": path.stat().st_size}
        self.records.add_image({"name": path.stem, "file_name": path.name, **size}, scene.annotated)

    def write_film(self, film: Film) -> None:
        """Write the frames of the film, each as one RGB file."""
        vidid = self.records.add_video(FILM, film.size)
        self.progress(FILM, 0.0)
        for frame, shot in enumerate(film.shots()):
            encoded = encode_image(shot.painting.pixels, ".jpg")
            name = f"{FILM}_{frame}"
            with open_whole(self.home / f"{name}.jpg") as file:
                file.write(encoded)
            files = {"file_name": f"{name}.jpg", "num_bytes": len(encoded)}
            image = {"name": name, **files, "video_id": vidid, "frame_index": frame}
            self.records.add_image({**image, **_frame_grid(shot, film.side, 1)}, shot.seen)
            self.progress(FILM, (frame + 1) / len(film.offsets))

    def write_survey(self, film: Film, sensors: Sequence[str]) -> None:
        """Write the frames of the multispectral video, in which the sensors alternate."""
        vidid = self.records.add_video(SURVEY, film.size)
        self.progress(SURVEY, 0.0)
        for frame, shot in enumerate(film.shots()):
            sensor = sensors[frame % len(sensors)]
            step = SENSORS[sensor].step
            name = f"{SURVEY}_{frame}"
            image = {"name": name, "sensor_coarse": sensor, "video_id": vidid, "frame_index": frame}
            image |= self._write_assets(name, SENSORS[sensor], measure_bands(shot.painting))
            self.records.add_image({**image, **_frame_grid(shot, film.side, step)}, shot.seen, step)
            self.progress(SURVEY, (frame + 1) / len(film.offsets))

    def _write_assets(self, name: str, sensor: Sensor, bands: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Write the files of a frame, and return the keys of the image's record that describe them."""
        assets = [self._write_asset(name, asset, sensor.step, bands) for asset in sensor.assets]
        if len(assets) == 1:
            keys = ("file_name", "channels", "num_bytes")
            return {key: assets[0][key] for key in keys}
        return {"file_name": None, "assets": assets}

    def _write_asset(
        self, name: str, asset: Asset, image_step: int, bands: dict[str, NDArray[Any]]
    ) -> dict[str, Any]:
        pixels = asset.pixels(bands)
        path = self.home / f"{name}_{asset.name}.tif"
        with open_whole(path) as file:
            write_tiff(file, pixels)
        size = {"width": pixels.shape[1], "height": pixels.shape[0], "num_bytes": path.stat().st_size}
        warp = {"type": "affine", "scale": asset.step / image_step}
        return {"file_name": path.name, "channels": "|".join(asset.channels), "warp_aux_to_img": warp, **size}


def _plan_ahead(settings: LandscapeSettings) -> Iterator[tuple[Picture, Scene]]:
    """Yield the still images with their landscapes, and plan the next ones while one is painted."""
    pictures = settings.pictures()

    def plan(number: int, picture: Picture) -> Scene:
        return make_scene(picture.width, picture.height, (settings.seed, number))

    executor = ThreadPoolExecutor(max_workers=1)
    try:
        planned = deque(executor.submit(plan, *pair) for pair in enumerate(pictures, 1))
        for picture in pictures:
            yield picture, planned.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _frame_grid(shot: Shot, side: int, step: int) -> dict[str, Any]:
    """Return the size of a frame, and its position in the video.

    Args:
        shot: the frame.
        side: side of the frame in pixels of the video.
        step: side of an image pixel in pixels of the video.
    """
    warp: dict[str, Any] = {"type": "affine", "offset": shot.offset}
    if step != 1:
        warp["scale"] = step
    return {"width": side // step, "height": side // step, "warp_img_to_vid": warp}
