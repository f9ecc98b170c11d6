"""The cases of the fuzz run. Each takes a scene and a generator, and must end or raise an NDSamplerError."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pathlib
import shutil
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from helpers_images import random_pixels, write_tiff
from helpers_mutations import VALUES, mutate_bytes

from ndsampler import CocoSampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends.label import EntryLabel, append_label, read_label
from ndsampler.cli.main import build_parser, main
from ndsampler.dataset.opening import open_dataset
from ndsampler.types import Target

BACKENDS = (None, "npy", "cog")

HEIGHT, WIDTH = 60, 80

#: Numbers that code trips over: at the ends of types, and around the size of an image.
NUMBERS = [0, 1, 2, 3, 7, 8, 9, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1, -5, 0.5, 1e9]

#: What keys of a target may sensibly hold.
SENSIBLE: dict[str, list[Any]] = {
    "gid": [1, 2, 3],
    "vidid": [1],
    "gids": [[1, 2], [3], [2, 1, 1]],
    "aid": [1, 2, 3, 4],
    "cx": [10, 40.5, -20],
    "cy": [10, 30.5, 1e6],
    "width": [1, 17, 500],
    "height": [1, 17, 500],
    "bbox": [[1, 2, 30, 20]],
    "window_dims": [(8, 9), "extent", "square", "full", None],
    "slices": [(slice(0, 5), slice(3, 9)), (slice(-4, 5), slice(70, 99)), (slice(5, 1), slice(0, 1))],
    "space_slice": [(slice(0, 5), slice(3, 9)), (slice(-4, 5), slice(70, 99))],
    "time_slice": [slice(0, 2), slice(-1, 9)],
    "pad": [0, 3, (1, 2), [(1, 2), (3, 4)], -1],
    "channels": ["r", "r|g|b", "<all>", "b,g", "zz"],
    "scale": [0.5, 2, (1, 0.25), 1e-3],
    "interpolation": ["nearest", "linear", "cubic", "area"],
    "antialias": [True, False, "auto"],
    "nodata": ["float", "ma", 0, "auto"],
    "dtype": ["float32", np.uint8, "int16", "datetime64", "O", "U5", "float128"],
    "finalize": [True, False],
    "as_xarray": [True, False],
    "use_native_scale": [True, False],
    "realign_native": ["largest", "smallest"],
}


def choose(rng: np.random.Generator, values: Any) -> Any:
    """Return one of some values of any type."""
    return copy.deepcopy(values[int(rng.integers(len(values)))])


def encoded_images() -> dict[str, bytes]:
    """Return small images as files of several formats, by the ending of their names."""
    pixels = random_pixels("uint8", 3, (HEIGHT, WIDTH))
    found = {}
    for ending in (".png", ".jpg", ".bmp", ".webp", ".ppm", ".pgm", ".hdr", ".pfm", ".jp2", ".ras", ".gif"):
        values = pixels[..., 0] if ending == ".pgm" else pixels
        values = (values / np.float32(255)).astype("f4") if ending in (".hdr", ".pfm") else values
        with contextlib.suppress(cv2.error):
            ok, data = cv2.imencode(ending, values)
            if ok:
                found[ending] = data.tobytes()
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return {**found, ".npy": buffer.getvalue()}


class Scene:
    """The files that the cases garble copies of.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        images = folder / "images"
        images.mkdir()
        self.files = encoded_images()
        pixels = random_pixels("uint8", 3, (HEIGHT, WIDTH))
        for compress in ("none", "deflate", "lzw", "packbits", "zstd", "lzma", "jpeg", "webp"):
            for tiled in (False, True):
                blocks: dict[str, Any] = {"blockxsize": 16, "blockysize": 16, "tiled": True} if tiled else {}
                path = write_tiff(images / f"{compress}{tiled}.tif", pixels, compress=compress, **blocks)
                self.files[f"_{compress}_{tiled}.tif"] = path.read_bytes()
        for gid, ending in ((1, ".png"), (2, "_deflate_True.tif"), (3, ".npy")):
            (images / f"{gid}{ending}").write_bytes(self.files[ending])
        self.document = self._document()
        (images / "data.kwcoco.json").write_text(json.dumps(self.document))
        self.samplers = [
            CocoSampler(open_dataset(images / "data.kwcoco.json"), workdir=folder / "work", backend=backend)
            for backend in BACKENDS
        ]
        self.good = {}
        for backend in BACKENDS[1:]:
            frames = self._frames(images / "1.png", folder / "labels", backend)
            frames.prepare()
            path = next(
                p for p in pathlib.Path(frames.cache_dpath).rglob("*") if p.suffix in (".npy", ".tiff")
            )
            self.good[backend] = (path, path.read_bytes(), read_label(str(path)))

    @staticmethod
    def _frames(path: pathlib.Path, workdir: pathlib.Path | None, backend: str | None) -> SimpleFrames:
        return SimpleFrames({1: str(path)}, workdir, backend)

    @staticmethod
    def _document() -> dict[str, Any]:
        """Return a dataset of a video, with annotations of each kind."""
        size = {"width": WIDTH, "height": HEIGHT}
        polygon = [[5, 5, 30, 6, 20, 40]]
        counts = {"size": [HEIGHT, WIDTH], "counts": [100, 50, HEIGHT * WIDTH - 150]}
        names = {1: "1.png", 2: "2_deflate_True.tif", 3: "3.npy"}
        place: dict[str, Any] = {"video_id": 1, "channels": "r|g|b", **size}
        return {
            "info": [],
            "videos": [{"id": 1, "name": "v", **size}],
            "categories": [
                {"id": 1, "name": "a"},
                {"id": 2, "name": "b", "supercategory": "a", "keypoints": ["x", "y"], "skeleton": [[1, 2]]},
            ],
            "images": [{"id": gid, "file_name": names[gid], "frame_index": gid, **place} for gid in names],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 30], "segmentation": polygon},
                {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 9, 9], "segmentation": counts},
                {"id": 3, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4], "keypoints": [1, 2, 2] * 2},
                {"id": 4, "image_id": 3, "category_id": 1, "bbox": [60, 50, 90, 90], "track_id": 7},
            ],
        }


# Targets


def try_target(scene: Scene, rng: np.random.Generator) -> None:
    """Ask for a sample by a target with garbled fields."""
    base = choose(
        rng, [{"gid": 1}, {"aid": 2}, {"vidid": 1, "gids": [1, 2]}, {"vidid": 1, "time_slice": slice(0, 3)}]
    )
    keys = [*Target.__annotations__, "image_id", "nonsense", 3, None]
    for _ in range(int(rng.integers(0, 6))):
        key = choose(rng, keys)
        values = SENSIBLE.get(key, VALUES) if rng.random() < 0.7 else [*VALUES, *NUMBERS]
        base[key] = choose(rng, values)
    sampler = scene.samplers[int(rng.integers(len(BACKENDS)))]
    with_annots = choose(rng, [True, False, "segmentation", ["boxes", "keypoints"]])
    before = repr(base)
    # A program that asks for gigabytes itself may run out of memory.
    with contextlib.suppress(MemoryError):
        sampler.load_sample(base, with_annots=with_annots)
    assert repr(base) == before, "the target was changed"


# Datasets


def garble_node(node: Any, rng: np.random.Generator, values: list[Any]) -> Any:
    """Return a document with one node at a random depth replaced, removed or repeated."""
    if not isinstance(node, (dict, list)) or not node or rng.random() < 0.15:
        return choose(rng, values)
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = choose(rng, keys)
    if rng.random() < 0.1:
        del node[key]
    elif rng.random() < 0.1 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = garble_node(node[key], rng, values)
    return node


def json_values() -> list[Any]:
    """Return strange values that JSON can hold."""
    found: list[Any] = [*NUMBERS, [[0] * 7], "x" * 300, [1, 2, 3, 4], [-1e300, 0, 1e300, 1]]
    for value in VALUES:
        with contextlib.suppress(TypeError, ValueError):
            json.dumps(value).encode()
            found.append(value)
    return found


JSON_VALUES = json_values()


def try_dataset(scene: Scene, rng: np.random.Generator) -> None:
    """Open a garbled dataset, and read from it."""
    document = copy.deepcopy(scene.document)
    for _ in range(int(rng.integers(1, 4))):
        document = garble_node(document, rng, JSON_VALUES)
    data = json.dumps(document).encode()
    if rng.random() < 0.15:
        data = mutate_bytes(data, rng)
    path = scene.folder / "images" / "garbled.kwcoco.json"
    path.write_bytes(data)
    sampler = CocoSampler(open_dataset(path), workdir=scene.folder / "work", backend=choose(rng, BACKENDS))
    corner = (slice(0, 9), slice(0, 9))
    calls = [
        lambda: sampler.n_positives,
        lambda: sampler.load_positive(0),
        lambda: sampler.load_negative(0, rng=1),
        lambda: sampler.load_item(0),
        lambda: sampler.load_sample({"gid": 1, "slices": corner}),
        lambda: sampler.load_sample({"aid": int(rng.integers(1, 5)), "window_dims": "square"}),
        lambda: sampler.load_sample({"vidid": 1, "gids": [1, 2]}),
        lambda: sampler.load_sample({"vidid": 1, "time_slice": slice(0, 2), "space_slice": corner}),
        lambda: sampler.load_annotations(1),
        lambda: sampler.load_image_with_annots(2),
        lambda: sampler.new_sample_grid("image_detection", (20, 20), (10, 10)),
        lambda: sampler.new_sample_grid("video_detection", (2, 20, 20), (2, 10, 10)),
        lambda: sampler.preselect(n_neg=4, rng=0),
        lambda: sampler.frames.prepare(),
        lambda: sampler.classes,
        lambda: sampler.kp_classes,
    ]
    for place in rng.permutation(len(calls))[:4]:
        calls[int(place)]()


# Headers of images


def garble_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Return an image with large or small numbers written over parts of its first or last bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    header = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        span = min(len(header) - 8, 300)
        place = int(rng.integers(span))
        if rng.random() < 0.3:
            place = len(header) - 8 - place
        width = int(choose(rng, [1, 2, 4, 8]))
        number = int(choose(rng, NUMBERS)) % 2 ** (8 * width)
        header[place : place + width] = number.to_bytes(width, choose(rng, ["little", "big"]))
    return bytes(header)


def try_header(scene: Scene, rng: np.random.Generator) -> None:
    """Read an image with a garbled header; a cache must give what the source gives."""
    kind = choose(rng, sorted(scene.files))
    ending = kind if rng.random() < 0.9 else choose(rng, sorted(scene.files))
    folder = scene.folder / "headers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / f"image{ending}"
    path.write_bytes(garble_header(scene.files[kind], rng))
    region = (slice(0, 40), slice(5, 30))
    decoder = choose(rng, ["LIBDEFLATE", "ZLIB"])
    os.environ["GDAL_TIFF_DEFLATE_SUBCODEC"] = decoder
    expected = scene._frames(path, None, None).load_region(1, region)
    found = scene._frames(path, folder / "work", choose(rng, BACKENDS)).load_region(1, region)
    # libdeflate leaves memory unset if a block holds more than the header says: no two reads agree.
    if "deflate" not in kind or decoder == "ZLIB":
        same = np.array_equal(expected, found, equal_nan=expected.dtype.kind in "fc")
        assert same, "a cache gives other pixels"


# Labels of entries


def garbled_label(label: EntryLabel, rng: np.random.Generator) -> EntryLabel:
    """Return a label with some fields of other values, or of other types."""
    fields = asdict(label)
    for _ in range(int(rng.integers(1, 4))):
        key = choose(rng, list(fields))
        changed = garble_node(fields[key], rng, JSON_VALUES)
        fields[key] = choose(rng, JSON_VALUES) if rng.random() < 0.7 else changed
    return EntryLabel(**fields)


def try_label(scene: Scene, rng: np.random.Generator) -> None:
    """Read by an entry with a garbled label, and run the commands of the cache on it."""
    backend = choose(rng, BACKENDS[1:])
    path, data, label = scene.good[backend]
    if rng.random() < 0.3:
        path.write_bytes(mutate_bytes(data, rng))
    else:
        path.write_bytes(data[: len(data) - int(rng.integers(0, 2)) * int(rng.integers(400))])
        append_label(str(path), garbled_label(label, rng))
    workdir = scene.folder / "labels"
    try:
        for command in ("info", "verify", "prune"):
            if rng.random() < 0.5:
                run([command, str(workdir), *(["--dry-run"] if command == "prune" else [])])
        scene._frames(scene.folder / "images" / "1.png", workdir, backend).load_region(1)
    finally:
        path.write_bytes(data)


# Command lines


def run(words: list[str]) -> None:
    """Run a command; it ends with an exit code, or as argparse ends for wrong arguments."""
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            code = main(words)
    except SystemExit as ex:
        code = ex.code
    assert code in (0, 1, 2), f"exit code {code} of {words}"


def try_command(scene: Scene, rng: np.random.Generator) -> None:
    """Run a random command line on a copy of the scene."""
    folder = scene.folder / "commands"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scene.folder / "images", folder)
    commands = ["info", "verify", "prune", "prepare", "demo"]
    switches = (
        "--json --quiet --dry_run --dry-run --unused_by --unreachable --force --pixels --remove --images"
    )
    switches += " --backend --workers --workdir --verbose --hash --json= --json=maybe"
    paths = ["commands", "commands/1.png", "commands/data.kwcoco.json", "commands/work", "nowhere"]
    words = [
        *switches.split(),
        *paths,
        "/dev/null",
        "npy",
        "cog",
        "raw",
        "0",
        "1",
        "-1",
        "x=y",
        "=",
        "",
        "--",
        "-",
        "a\0b",
    ]
    words += ["images=commands", "backend=", "\ud800", "é", "x" * 5000, "\x1b[31m"]
    line = [choose(rng, commands), *(choose(rng, words) for _ in range(int(rng.integers(0, 6))))]
    if rng.random() < 0.5:
        line.insert(1, choose(rng, paths[:4]))
    if line[0] == "demo":  # it makes large images: its arguments are parsed only
        with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            build_parser().parse_args(line)
        return
    run(line)
