"""Files that are damaged, animated, or larger than OpenCV decodes."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import rasterio
from helpers_cache import BACKENDS, each_backend
from helpers_images import DIMS, HEIGHT, WIDTH, assert_same, random_pixels, write_pillow, write_tiff
from PIL import Image

import ndsampler
from ndsampler import SimpleFrames
from ndsampler.backends import large_image
from ndsampler.backends.formats.png_check import find_png_damage
from ndsampler.backends.opencv import decode_image
from ndsampler.backends.source import open_source
from ndsampler.errors import SourceError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def scene(kind="noisy", dims=(200, 300)):
    """Return a picture with much detail, with little, of one color in its upper half, or of one color."""
    y, x = np.mgrid[0 : dims[0], 0 : dims[1]]
    smooth = np.stack([128 + 100 * np.sin(x / 50), 128 + 90 * np.cos(y / 70), (x + y) / 3], -1).astype(
        np.uint8
    )
    noise = np.random.default_rng(0).integers(0, 60, smooth.shape)
    noisy = (smooth / 2 + noise).astype(np.uint8)
    half = noisy.copy()
    half[: dims[0] // 2] = 90
    return {"noisy": noisy, "smooth": smooth, "half": half, "flat": np.full_like(noisy, 128)}[kind]


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write(path, content):
    path.write_bytes(content)
    return str(path)


def with_hole(data, size, where):
    """Return a content of which some bytes, at a fraction of its length, are zeros."""
    first = int(len(data) * where) - size // 2
    return data[:first] + bytes(size) + data[first + size :]


JPEGS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "fine": {"quality": 95, "subsampling": 0},
    "coarse": {"quality": 40, "optimize": True},
    "restarts": {"restart_marker_blocks": 20},
    "progressive": {"progressive": True, "quality": 90},
}

each_jpeg = pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)


class TestDamagedJpegs:
    @each_jpeg
    @pytest.mark.parametrize(("size", "channels"), [(200, 3), (1000, 1), (4096, 3)])
    def test_a_hole_of_zeros_is_found(self, options, size, channels, tmp_path):
        options = options if channels == 3 else {k: v for k, v in options.items() if k != "subsampling"}
        pixels = scene()[..., 0] if channels == 1 else scene()
        data = encode(pixels, "JPEG", **options)
        for where in (0.5, 0.7):
            if len(data) < 3 * size:
                continue
            path = write(tmp_path / "a.jpg", with_hole(data, size, where))
            with pytest.raises(SourceError, match=r"a.jpg (is damaged|cannot be decoded)"):
                open_source(path)

    @each_jpeg
    @pytest.mark.parametrize("kind", ["noisy", "smooth", "half", "flat"])
    def test_a_whole_file_is_never_called_damaged(self, options, kind, tmp_path):
        pixels = scene(kind)
        for image in (pixels, pixels[:37, :53], pixels[..., 0]):
            given = options if image.ndim == 3 else {k: v for k, v in options.items() if k != "subsampling"}
            data = encode(image, "JPEG", **given)
            for rest in (b"", bytes(100), data):
                assert decode_image(write(tmp_path / "a.jpg", data + rest)).shape == image.shape

    def test_other_bytes_and_a_missing_end_are_found(self, tmp_path):
        data = encode(scene(), "JPEG", quality=90)
        middle = len(data) // 2
        noise = np.random.default_rng(0).bytes(2000)
        with pytest.raises(SourceError, match=r"a.jpg (is damaged|is cut off|cannot be decoded)"):
            open_source(write(tmp_path / "a.jpg", data[:middle] + noise + data[middle + 2000 :]))
        with pytest.raises(SourceError, match="a.jpg is damaged: Corrupt JPEG data: premature end"):
            open_source(write(tmp_path / "a.jpg", data[:middle] + b"\xff\xd9"))

    @each_backend
    def test_it_is_an_error_of_every_backend(self, backend, tmp_path):
        path = write(tmp_path / "a.jpg", with_hole(encode(scene(), "JPEG"), 1000, 0.5))
        with pytest.raises(SourceError, match=r"image 1: .*a.jpg is damaged"):
            SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1, np.s_[:5, :5])


class TestDamagedWebps:
    @pytest.mark.parametrize(
        "options", [{"lossless": True}, {"lossless": True, "method": 0}, {"quality": 80}]
    )
    @pytest.mark.parametrize(("size", "backend"), [(1000, None), (4096, "npy"), (2000, "cog")])
    def test_a_hole_of_zeros_is_found(self, options, size, backend, tmp_path):
        data = encode(scene(), "WEBP", **options)
        path = write(tmp_path / "a.webp", with_hole(data, size, 0.5))
        with pytest.raises(SourceError, match=r"image 1: .*a.webp (is damaged|cannot be decoded)"):
            SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1, np.s_[:5, :5])

    @pytest.mark.parametrize(
        "options", [{"lossless": True}, {"lossless": True, "method": 0}, {"quality": 80}]
    )
    @pytest.mark.parametrize("kind", ["noisy", "smooth", "half", "flat"])
    def test_a_whole_file_is_never_called_damaged(self, options, kind, tmp_path):
        pixels = scene(kind)
        alpha = np.dstack([pixels, pixels[..., 0]])
        for image in (pixels, pixels[:37, :53], alpha):
            data = encode(image, "WEBP", **options)
            assert decode_image(write(tmp_path / "a.webp", data)).shape == image.shape


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
@each_backend
def test_a_file_that_is_cut_off_is_an_error(kind, options, backend, tmp_path):
    data = encode(scene(dims=(60, 80)), kind, **options)
    path = write(tmp_path / f"a.{kind.lower()}", data[: len(data) * 2 // 3])
    with pytest.raises(SourceError, match="image 1"):
        SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1)


#: Compression of a TIFF, and the number of channels it is tried with.
CODECS = {
    "none": 3,
    "deflate": 3,
    "lzw": 1,
    "zstd": 3,
    "packbits": 1,
    "lzma": 1,
    "lerc": 1,
    "jpeg": 1,
    "webp": 3,
    "ccittfax4": 1,
    "ccittrle": 1,
}

#: A block of these tests; the image has three blocks below each other.
BLOCK = (32, 64)


def write_blocks(path, codec, tiled, rows=BLOCK[0], count=3):
    """Write a TIFF of blocks below each other, and return its pixels."""
    pixels = random_pixels("uint8", CODECS[codec], (rows * count, BLOCK[1])) // 8 + 100
    options = {} if codec == "none" else {"compress": codec}
    if codec.startswith("ccitt"):
        pixels, options = pixels % 2, {**options, "nbits": 1}
    if tiled:
        options |= {"tiled": True, "blockxsize": BLOCK[1]}
    write_tiff(path, pixels, blockysize=rows, interleave="pixel", **options)
    with rasterio.open(path) as file:
        return file.read().transpose(1, 2, 0)


def locate_blocks(data):
    """Return where a little-endian TIFF keeps the offsets and the sizes of its blocks, and their formats."""
    (start,) = struct.unpack_from("<I", data, 4)
    found = {}
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * entry
        tag, kind, count, value = struct.unpack_from("<HHII", data, place)
        width = {3: 2, 4: 4}.get(kind, 8)
        found[tag] = (place + 8 if count * width <= 4 else value, {2: "<H", 4: "<I"}.get(width), width)
    return found.get(324, found.get(273)), found.get(325, found.get(279))


def block_of(data, index):
    """Return the stored bytes of a block."""
    (offset, size) = (
        struct.unpack_from(form, data, place + index * width)[0] for place, form, width in locate_blocks(data)
    )
    return data[offset : offset + size]


def with_block(data, index, stored=None, offset=None, size=None):
    """Return a TIFF in which a block has other bytes, or another place or size."""
    if stored is not None:
        offset, size = len(data), len(stored)
    changed = bytearray(data) + (stored or b"")
    for value, (place, form, width) in zip((offset, size), locate_blocks(data), strict=True):
        if value is not None:
            struct.pack_into(form, changed, place + index * width, value)
    return bytes(changed)


class TestDamagedTiffs:
    @each_backend
    @pytest.mark.parametrize(
        ("codec", "tiled"),
        [(codec, tiled) for codec in CODECS for tiled in (True, False) if not (tiled and "ccitt" in codec)],
    )
    def test_a_block_that_is_not_whole_is_an_error(self, codec, tiled, backend, tmp_path):
        pixels = write_blocks(tmp_path / "a.tif", codec, tiled)
        write_blocks(tmp_path / "half.tif", codec, tiled, rows=BLOCK[0] // 2)
        data, half = ((tmp_path / name).read_bytes() for name in ("a.tif", "half.tif"))
        stored = block_of(data, 1)
        damaged = {
            "of fewer rows": with_block(data, 1, block_of(half, 0)),
            "cut": with_block(data, 1, stored[: len(stored) // 2]),
            "beyond the end": with_block(data, 1, offset=len(data) + 5000),
            "of the end of a file": with_block(data, 1, stored)[: -len(stored) // 2],
        }
        for name, content in damaged.items():
            path = write(tmp_path / f"{name}.tif", content)
            frames = SimpleFrames({1: path}, workdir=tmp_path / "work", backend=backend)
            for _ in range(2):  # GDAL keeps blocks that it has decoded
                with pytest.raises(SourceError, match=name):
                    frames.load_region(1)
            if backend is None:
                region = (slice(0, BLOCK[0]), slice(0, BLOCK[1]))
                assert_same(frames.load_region(1, region), pixels[: BLOCK[0]])

    @each_backend
    @pytest.mark.parametrize("nodata", [None, 7])
    @pytest.mark.parametrize("codec", ["none", "deflate", "jpeg"])
    def test_a_block_that_was_never_written_is_zero(self, codec, nodata, backend, tmp_path):
        pixels = write_blocks(tmp_path / "a.tif", codec, True).copy()
        if nodata is not None:
            with rasterio.open(tmp_path / "a.tif", "r+") as file:
                file.nodata = nodata
        data = (tmp_path / "a.tif").read_bytes()
        pixels[BLOCK[0] : 2 * BLOCK[0]] = nodata or 0
        for name, content in {
            "no place": with_block(data, 1, offset=0, size=0),
            "no size": with_block(data, 1, size=0),
        }.items():
            path = write(tmp_path / f"{name}.tif", content)
            frames = SimpleFrames({1: path}, workdir=tmp_path / "work", backend=backend)
            assert_same(frames.load_region(1), pixels)

    @pytest.mark.parametrize("level", [0, 9], ids=["stored", "packed"])
    def test_zlib_fills_blocks_that_hold_more_than_their_pixels(self, level, tmp_path):
        """The C library fills new memory with a pattern, which would show in memory that is not set."""
        pixels = write_blocks(tmp_path / "a.tif", "deflate", True)
        longer = b"".join(bytes([value]) * 1000 for value in range(20))
        data = with_block((tmp_path / "a.tif").read_bytes(), 1, zlib.compress(longer, level))
        write(tmp_path / "long.tif", data)
        block = np.frombuffer(longer, np.uint8)[: BLOCK[0] * BLOCK[1] * 3].reshape(*BLOCK, 3)
        pixels = np.concatenate([pixels[: BLOCK[0]], block, pixels[2 * BLOCK[0] :]])
        program = (
            "import numpy, ndsampler; frames = ndsampler.SimpleFrames({1: 'long.tif'}); "
            "numpy.save('out.npy', frames.load_region(1))"
        )
        given = {"MALLOC_PERTURB_": "85", "GDAL_TIFF_DEFLATE_SUBCODEC": "ZLIB"}
        root = str(pathlib.Path(ndsampler.__file__).parents[1])
        environment = {**os.environ, **given, "PYTHONPATH": root}
        command = [sys.executable, "-W", "ignore", "-c", program]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=100)
        assert_same(np.load(tmp_path / "out.npy"), pixels)


@pytest.fixture
def logging_as_before():
    """Undo what a test configures."""
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, logger.disabled, logger.handlers[:]) for logger in loggers]
    disabled = logging.root.manager.disable
    yield
    logging.disable(disabled)
    for logger, level, off, handlers in before:
        logger.setLevel(level)
        logger.disabled, logger.handlers = off, handlers


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    "configure",
    [
        lambda: None,
        lambda: logging.config.dictConfig({"version": 1}),
        lambda: logging.disable(logging.CRITICAL),
        lambda: logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1),
        lambda: logging.getLogger("rasterio._env").setLevel(logging.CRITICAL + 1),
    ],
    ids=["default", "dictConfig", "disable", "level", "level of the logger"],
)
@each_backend
def test_damage_is_found_whatever_the_program_logs(configure, backend, tmp_path):
    write_blocks(tmp_path / "a.tif", "jpeg", True)
    data = (tmp_path / "a.tif").read_bytes()
    path = write(tmp_path / "a.tif", with_block(data, 1, block_of(data, 1)[:-100]))
    configure()
    frames = SimpleFrames({1: path}, workdir=tmp_path / "work", backend=backend)
    with pytest.raises(SourceError, match="Premature end"):
        frames.load_region(1)


class TestAnimations:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
    @each_backend
    def test_an_animated_png_gives_its_default_image(self, mode, backend, tmp_path):
        frames = [Image.fromarray(random_pixels(seed=seed)).convert(mode) for seed in range(3)]
        still, animated = tmp_path / "still.png", tmp_path / "animated.png"
        frames[0].save(still)
        frames[0].save(animated, save_all=True, append_images=frames[1:], default_image=True)
        assert b"acTL" in animated.read_bytes()
        expected = SimpleFrames({1: still}, tmp_path / "work", backend).load_region(1)
        assert_same(SimpleFrames({1: animated}, tmp_path / "work", backend).load_region(1), expected)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_other_animations_give_their_first_frame(self, kind, tmp_path):
        frames = [Image.fromarray(scene(name)) for name in ("noisy", "smooth")]
        options = {"lossless": True} if kind == "WEBP" else {}
        path = tmp_path / f"a.{kind.lower()}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        with Image.open(path) as image:
            assert image.n_frames == 2
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(decode_image(str(path))[..., :3], expected)

    @pytest.mark.skipif(not cv2.haveImageWriter("a.avif"), reason="needs an OpenCV with AVIF")
    def test_an_animated_avif_gives_its_first_frame(self, tmp_path):
        pytest.importorskip("PIL._avif")
        frames = [Image.fromarray(scene(name)) for name in ("noisy", "smooth")]
        frames[0].save(tmp_path / "a.avif", save_all=True, append_images=frames[1:])
        found = decode_image(str(tmp_path / "a.avif"))[..., :3].astype(int)
        assert np.abs(found - scene("noisy")).mean() < np.abs(found - scene("smooth").astype(int)).mean()


#: Kinds of file that GDAL reads where OpenCV does not; GDAL decodes JPEG to slightly other colors.
LARGE = {
    "png": lambda d: write_pillow(d / "a.png", random_pixels()),
    "rgba png": lambda d: write_pillow(d / "a.png", random_pixels("uint8", 4)),
    "16-bit png": lambda d: write_pillow(d / "a.png", Image.fromarray(random_pixels("uint16", 1)[..., 0])),
    "1-bit png": lambda d: write_pillow(d / "a.png", random_pixels()[..., 0] > 99),
    "gray png with alpha": lambda d: write_pillow(d / "a.png", random_pixels("uint8", 2)),
    "palette png": lambda d: write_pillow(d / "a.png", Image.fromarray(random_pixels()).convert("P")),
    "palette gif": lambda d: write_pillow(d / "a.gif", Image.fromarray(random_pixels()).convert("P")),
    "transparent gif": lambda d: write_pillow(
        d / "a.gif", Image.fromarray(random_pixels()).convert("P"), transparency=7
    ),
    "gray bmp": lambda d: write_pillow(d / "a.bmp", random_pixels("uint8", 1)),
    "palette bmp": lambda d: write_pillow(d / "a.bmp", Image.fromarray(random_pixels()).convert("P")),
    "gray jpeg": lambda d: write_pillow(d / "a.jpg", random_pixels("uint8", 1)),
    "webp": lambda d: write_pillow(d / "a.webp", random_pixels(), lossless=True),
    "ppm": lambda d: write_pillow(d / "a.ppm", random_pixels()),
}


class TestLargeImages:
    @pytest.mark.parametrize("kind", LARGE)
    def test_gdal_gives_the_pixels_of_opencv(self, kind, tmp_path, monkeypatch):
        path = str(LARGE[kind](tmp_path))
        expected = {backend: self.read(path, backend, tmp_path / "small") for backend in BACKENDS}
        monkeypatch.setattr(large_image, "OPENCV_MAX_PIXELS", HEIGHT * WIDTH - 1)
        monkeypatch.setattr("ndsampler.backends.source.decode_image", None)
        for backend in BACKENDS:
            assert_same(self.read(path, backend, tmp_path / "large"), expected[backend])

    @staticmethod
    def read(path, backend, workdir):
        return SimpleFrames({1: path}, workdir, backend).load_region(1, np.s_[3:80, 5:140])

    @pytest.mark.parametrize("ending", ["ppm", "bmp"])
    def test_a_side_beyond_the_limit_is_read(self, ending, tmp_path):
        width = large_image.OPENCV_MAX_SIDE + 5
        pixels = np.arange(6 * width, dtype=np.uint32).astype(np.uint8).reshape(2, width, 3)
        path = write_pillow(tmp_path / f"a.{ending}", pixels)
        found = SimpleFrames({1: path}, tmp_path).load_region(1, np.s_[:, width - 9 :])
        assert_same(found, pixels[:, width - 9 :])

    def test_a_png_with_a_side_beyond_that_of_its_library_says_so(self, tmp_path):
        path = str(write_pillow(tmp_path / "a.png", np.zeros((1, large_image.PNG_MAX_SIDE + 1, 1), np.uint8)))
        with pytest.raises(SourceError, match=r"a side of more than 1000000, .*Convert it to a tiled TIFF"):
            open_source(path)

    def test_what_only_opencv_reads_says_so(self, tmp_path, monkeypatch):
        path = str(write_pillow(tmp_path / "a.pbm", random_pixels()[..., 0] > 99))
        monkeypatch.setattr(large_image, "OPENCV_MAX_PIXELS", 99)
        with pytest.raises(SourceError, match="a.pbm has more than 99 pixels, .*Convert it to a tiled TIFF"):
            open_source(path)

    def test_damage_is_still_found(self, tmp_path, monkeypatch):
        monkeypatch.setattr(large_image, "OPENCV_MAX_PIXELS", 99)
        data = encode(scene(), "PNG")
        for content in (data[: len(data) // 2], with_hole(data, 500, 0.5)):
            with pytest.raises(SourceError, match=r"a.png (is cut off|is damaged|.*cannot be decoded)"):
                open_source(write(tmp_path / "a.png", content))
        data = encode(scene(), "JPEG")
        for content in (data[: len(data) // 2], with_hole(data, 500, 0.5)):
            with pytest.raises(SourceError, match=r"a.jpg"):
                open_source(write(tmp_path / "a.jpg", content))

    def test_a_gif_that_opencv_refuses_is_read(self, tmp_path):
        """Its background is a color beyond the end of its table, which other programs ignore."""
        data = bytearray(encode(random_pixels()[..., 0] % 4, "GIF"))
        assert data[10] & 0x80
        data[11] = 255
        path = write(tmp_path / "a.gif", bytes(data))
        with Image.open(path) as image, rasterio.open(path) as file:
            assert (file.height, file.width) == DIMS
            assert_same(open_source(path).read(0, HEIGHT, 0, WIDTH), np.asarray(image.convert("RGB")))


class TestPngCheck:
    @pytest.mark.parametrize("mode", ["RGB", "LA", "P", "1", "I;16"])
    def test_whole_files_pass_and_parts_do_not(self, mode, tmp_path):
        pixels = scene(dims=(31, 45))
        gray = Image.fromarray(pixels[..., 0].astype(np.uint16))
        (gray if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        assert find_png_damage(data) == ""
        for end in range(33, len(data), max(1, len(data) // 40)):
            assert find_png_damage(data[:end])

    def test_an_interlaced_file_passes(self, tmp_path):
        for dims in [(1, 1), (3, 2), (9, 17)]:
            rows = 0
            for x0, y0, step_x, step_y in [
                *[
                    (0, 0, 8, 8),
                    (4, 0, 8, 8),
                    (0, 4, 4, 8),
                    (2, 0, 4, 4),
                    (0, 2, 2, 4),
                    (1, 0, 2, 2),
                    (0, 1, 1, 2),
                ]
            ]:
                part = np.zeros(dims)[y0::step_y, x0::step_x]
                rows += part.shape[0] * (1 + part.shape[1]) if part.size else 0
            chunks = [
                (b"IHDR", struct.pack(">IIBBBBB", dims[1], dims[0], 8, 0, 0, 0, 1)),
                (b"IDAT", zlib.compress(bytes(rows))),
                (b"IEND", b""),
            ]
            content = b"".join(
                struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
                for kind, body in chunks
            )
            path = write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + content)
            assert find_png_damage((tmp_path / "a.png").read_bytes()) == ""
            assert decode_image(path).shape == dims
