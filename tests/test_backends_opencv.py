"""Formats that OpenCV decodes: pixels as kwimage reads them, sizes from headers, and headers that lie."""

from __future__ import annotations

import struct

import cv2
import kwimage
import numpy as np
import pytest
from helpers_images import quiet_rasterio, random_pixels, write_tiff

from ndsampler import SimpleFrames
from ndsampler.backends.dims import read_dims
from ndsampler.backends.formats.avif_header import read_avif_size
from ndsampler.backends.formats.plain_headers import read_stated_size
from ndsampler.backends.headers import read_claim
from ndsampler.backends.source import open_source, spans_files
from ndsampler.errors import SourceError

DIMS = (37, 53)


def pixels_of(kind):
    """Return random pixels of a kind such as ``'uint8 gray'``, channels in the order of OpenCV."""
    dtype, channels = kind.split()
    pixels = random_pixels(
        "uint8" if dtype == "bit" else dtype, {"gray": 1, "bgr": 3, "bgra": 4}[channels], DIMS
    )
    pixels = pixels[..., 0] if channels == "gray" else pixels
    if dtype == "float32":
        return np.abs(pixels)
    return np.where(pixels > 100, np.uint8(255), np.uint8(0)) if dtype == "bit" else pixels


#: Endings that OpenCV writes, and the kinds of pixels that each can hold.
WRITTEN = {
    "avif": ["uint8 gray", "uint8 bgr", "uint8 bgra"],
    "pbm": ["bit gray"],
    "pam": ["uint8 gray", "uint8 bgr"],
    "pfm": ["float32 gray", "float32 bgr"],
    "ras": ["uint8 bgr"],
    "sr": ["uint8 bgr", "uint8 bgra"],
    "hdr": ["float32 gray", "float32 bgr", "uint8 bgr"],
    "pic": ["float32 bgr"],
    "pgm": ["uint8 gray", "uint16 gray"],
    "ppm": ["uint8 bgr", "uint16 bgr"],
    "pnm": ["uint8 gray", "uint16 bgr"],
    "dib": ["uint8 gray", "uint8 bgr", "uint8 bgra"],
    "apng": ["uint8 gray", "uint16 bgr", "uint8 bgra"],
    "tiff": ["uint8 bgr", "uint16 gray", "float32 gray"],
}

# What an older OpenCV cannot write is left out.
WRITTEN = {ending: kinds for ending, kinds in WRITTEN.items() if cv2.haveImageWriter(f"a.{ending}")}

CASES = [(ending, kind) for ending, kinds in WRITTEN.items() for kind in kinds]

needs_avif = pytest.mark.skipif("avif" not in WRITTEN, reason="needs an OpenCV with AVIF")

#: Formats whose files hold exactly the pixels that were written.
EXACT = {"pbm", "pam", "pfm", "ras", "pgm", "ppm", "pnm", "dib", "apng", "tiff"}


def read_all(path):
    reader = open_source(str(path))
    pixels = reader.read(0, reader.shape[0], 0, reader.shape[1])
    reader.close()
    return pixels


def as_opencv_reads(path):
    """Return the pixels as :func:`kwimage.imread` gives them, with an axis of channels."""
    pixels = kwimage.imread(str(path), backend="cv2")
    return pixels if pixels.ndim == 3 else pixels[..., None]


def assert_read_as_by_kwimage(path):
    found, expected = read_all(path), as_opencv_reads(path)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)
    assert read_dims(str(path)) == found.shape[:2]
    assert spans_files(str(path)) is False
    return found


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize(("ending", "kind"), CASES)
def test_a_format_is_read_as_kwimage_reads_it(tmp_path, ending, kind, upper):
    pixels = pixels_of(kind)
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), pixels)
    if upper:
        path = path.rename(tmp_path / f"A.{ending.upper()}")
    found = assert_read_as_by_kwimage(path)
    if ending in EXACT:
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
@pytest.mark.parametrize("ending", sorted({"avif", "pbm", "pam", "pfm", "ras", "hdr"} & WRITTEN.keys()))
def test_each_backend_gives_the_pixels_of_each_format(tmp_path, backend, ending):
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), pixels_of(WRITTEN[ending][-1]))
    frames = SimpleFrames({1: path}, tmp_path / "work", backend)
    expected = as_opencv_reads(path)
    np.testing.assert_array_equal(frames.load_region(1, np.s_[3:30, 5:50]), expected[3:30, 5:50])
    np.testing.assert_array_equal(np.asarray(frames.load_image(1)).reshape(expected.shape), expected)


# --- files written by hand -----------------------------------------------------------------------


def sun_raster(pixels, depth, colors=b""):
    """Return a Sun raster; rows are padded to 16 bits."""
    height, width = pixels.shape[:2]
    content = b"".join(row.tobytes() + bytes(len(row.tobytes()) % 2) for row in pixels)
    head = struct.pack(">8I", 0x59A66A95, width, height, depth, len(content), 1, bool(colors), len(colors))
    return head + colors + content


GRAY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
COLOR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
FLOATS = np.linspace(-1, 2, 18, dtype=np.float32).reshape(2, 3, 3)


def text(array):
    return " ".join(map(str, array.ravel().tolist())).encode()


#: The color map of gray pixels in a Sun raster.
GRAYS = bytes(range(256)) * 3

#: Name to (content, the pixels in it). OpenCV, and so kwimage, swaps the channels of a PAM.
BY_HAND = {
    "text.pbm": (b"P1\n# a comment\n3 2\n1 0 1\n0 1 0\n", np.array([[0, 255, 0], [255, 0, 255]], np.uint8)),
    "text.pgm": (b"P2 3 2 255\n" + text(GRAY) + b"\n", GRAY),
    "text.ppm": (b"P3 3 2\n255\n" + text(COLOR) + b"\n", COLOR),
    "comments.ppm": (b"P6\n# one\n3 # two\n2\n255\n" + COLOR.tobytes(), COLOR),
    "gray.pam": (
        b"P7\nWIDTH 3\nHEIGHT 2\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n" + GRAY.tobytes(),
        GRAY,
    ),
    "order.pam": (
        b"P7\n# any order\nMAXVAL 255\nDEPTH 3\nHEIGHT 2\nTUPLTYPE RGB\nWIDTH 3\nENDHDR\n" + COLOR.tobytes(),
        COLOR[..., ::-1],
    ),
    "big endian.pfm": (b"PF\n3 2\n1.0\n" + FLOATS[::-1].astype(">f4").tobytes(), FLOATS),
    "little endian.pfm": (b"PF\n3 2\n-1.0\n" + FLOATS[::-1].astype("<f4").tobytes(), FLOATS),
    "gray.ras": (sun_raster(GRAY, 8, GRAYS), GRAY),
    "colors.sr": (sun_raster(COLOR[..., ::-1], 24), COLOR),
    "palette.ras": (
        sun_raster(np.array([[0, 1], [1, 0]], np.uint8), 8, bytes([10, 20, 30, 40, 50, 60])),
        np.array([[[10, 30, 50], [20, 40, 60]], [[20, 40, 60], [10, 30, 50]]], np.uint8),
    ),
    "flat.hdr": (
        b"#?RGBE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 2\n" + bytes([128, 64, 32, 129, 0, 0, 0, 0]),
        np.array([[[1, 0.5, 0.25], [0, 0, 0]]], np.float32),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_file_of_another_program_is_read(tmp_path, name):
    content, pixels = BY_HAND[name]
    path = tmp_path / name
    path.write_bytes(content)
    found = assert_read_as_by_kwimage(path)
    np.testing.assert_array_equal(found, pixels if pixels.ndim == 3 else pixels[..., None])


@needs_avif
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("frames", [1, 3])
def test_images_and_sequences_of_avif_state_their_size(tmp_path, mode, frames):
    image = pytest.importorskip("PIL.Image")
    if not pytest.importorskip("PIL.features").check("avif"):
        pytest.skip("pillow was built without AVIF")
    images = [image.fromarray(random_pixels("uint8", 4, DIMS)).convert(mode) for _ in range(frames)]
    images[0].save(tmp_path / "a.avif", save_all=True, append_images=images[1:], quality=90)
    assert_read_as_by_kwimage(tmp_path / "a.avif")
    assert read_avif_size((tmp_path / "a.avif").read_bytes()) == DIMS


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.sun", "ras"), ("b.rgbe", "hdr"), ("c", "avif"), ("d.dat", "pfm"), ("e.raw", "pam")],
)
def test_a_format_is_known_by_its_content_where_the_ending_says_nothing(tmp_path, name, written):
    if written not in WRITTEN:
        pytest.skip(f"OpenCV cannot write {written}")
    assert cv2.imwrite(str(tmp_path / f"a.{written}"), pixels_of(WRITTEN[written][-1]))
    assert_read_as_by_kwimage((tmp_path / f"a.{written}").rename(tmp_path / name))


@pytest.mark.parametrize("written", ["png", "jpg", "bmp", "webp"])
def test_common_formats_with_other_endings_have_the_pixels_of_kwimage(tmp_path, written):
    image = pytest.importorskip("PIL.Image")
    pixels = random_pixels("uint8", 3, DIMS)
    picture = image.fromarray(pixels).quantize(16) if written in {"png", "bmp"} else image.fromarray(pixels)
    picture.save(tmp_path / f"a.{written}")
    assert_read_as_by_kwimage((tmp_path / f"a.{written}").rename(tmp_path / "image"))


def test_the_header_file_of_an_envi_image_is_left_to_gdal(tmp_path):
    import rasterio

    pixels = random_pixels("uint8", 1, DIMS)
    size = {"width": DIMS[1], "height": DIMS[0], "count": 1, "dtype": "uint8"}
    with quiet_rasterio(), rasterio.open(tmp_path / "a.img", "w", driver="ENVI", **size) as file:
        file.write(pixels.transpose(2, 0, 1))
    assert (tmp_path / "a.hdr").exists()
    np.testing.assert_array_equal(read_all(tmp_path / "a.img"), pixels)
    assert spans_files(str(tmp_path / "a.img"))
    with pytest.raises(SourceError, match=r"a.hdr cannot be opened"):
        open_source(str(tmp_path / "a.hdr"))


# --- headers that lie ----------------------------------------------------------------------------


def lie(name, content):
    """Return a file whose header states 30000 x 20000 pixels."""
    if name.endswith("avif"):
        data = bytearray(content)
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", 30_000, 20_000)
        return bytes(data)
    if name.endswith(("ras", "sr")):
        return content[:4] + struct.pack(">II", 30_000, 20_000) + content[12:]
    for old, new in (
        (b"WIDTH 53", b"WIDTH 30000"),
        (b"HEIGHT 37", b"HEIGHT 20000"),
        (b"-Y 37 +X 53", b"-Y 20000 +X 30000"),
        (b"\n53 37", b"\n30000 20000"),
    ):
        content = content.replace(old, new)
    return content


@pytest.mark.parametrize("ending", sorted(WRITTEN.keys() - {"pnm", "dib", "apng", "tiff"}))
def test_a_header_that_states_more_than_the_file_holds_is_refused_before_decoding(
    tmp_path, monkeypatch, ending
):
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), pixels_of(WRITTEN[ending][0]))
    path.write_bytes(lie(ending, path.read_bytes()))

    def refuse(*args):
        raise AssertionError("the file was decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(SourceError, match=rf"a.{ending} .*(cannot hold as much|frames in it have fewer)"):
        open_source(str(path))


@pytest.mark.parametrize("ending", WRITTEN)
def test_a_file_that_is_cut_off_is_an_error(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), pixels_of(WRITTEN[ending][0]))
    data = path.read_bytes()
    for size in (len(data) - 2, len(data) // 2, 12):
        path.write_bytes(data[:size])
        with pytest.raises(SourceError, match=f"a.{ending}"):
            read_all(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P6 \n3 x", "a number is missing in its header"),
        (b"P6 " + b" " * 100_000 + b"3 2 255\n", "a number is missing"),
        (b"P6 " + b"#\n" * 1000 + b"x", "a number is missing"),
        (b"P7\nWIDTH 3\nHEIGHT 2\nENDHDR\n", "lacks one of WIDTH"),
        (b"P7\nWIDTH 3\nHEIGHT 2\nDEPTH 1\nMAXVAL 9\n", "lacks one of WIDTH"),
        (b"\x59\xa6\x6a\x95\0\0", "cut off within its header"),
        (b"\x59\xa6\x6a\x95" + struct.pack(">7I", 3, 2, 16, 0, 1, 0, 0), "pixels have 16 bits"),
        (sun_raster(GRAY, 8), "no color map, and OpenCV decodes such Sun rasters to black; convert it"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n+X 5 -Y 3\n", "no size of the form"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "its header has no size"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1\0\0\0\x04free", "smaller than its header"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1\0\0\0\x0cispe\0\0\0\0", "cut off or malformed"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1\0\0\0\x0ciloc\0\0\0\0", "cut off or malformed"),
    ],
)
def test_a_malformed_header_is_an_error_that_says_what_is_wrong(tmp_path, content, words):
    path = tmp_path / "a.ppm"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"a.ppm cannot be decoded: .*{words}"):
        open_source(str(path))
    with pytest.raises(SourceError, match="a.ppm"):
        read_dims(str(path))


def boxes(*parts):
    """Return boxes of the ISO base media file format, from their names and contents."""
    return b"".join(struct.pack(">I4s", len(content) + 8, kind) + content for kind, content in parts)


def grid_of_tiles(tile, tiles, stated):
    """Return an AVIF that states a size and has tiles, each a copy of the coded frame of an AVIF."""
    media = tile[tile.index(b"mdat") + 4 :]
    stated_box = (b"ispe", bytes(4) + struct.pack(">II", *stated[::-1]))

    def build(start):
        entries = [(9, 1, 8)] + [(n + 1, 0, start) for n in range(tiles)]
        location = b"\1\0\0\0\x44\0" + struct.pack(">H", len(entries))
        for item, method, offset in entries:
            location += struct.pack(">HHHHII", item, method, 0, 1, offset, len(media))
        meta = bytes(4) + boxes((b"iloc", location), (b"iprp", boxes((b"ipco", boxes(stated_box)))))
        return boxes((b"ftyp", b"avif\0\0\0\0avifmif1"), (b"meta", meta), (b"mdat", media))

    return build(build(0).index(b"mdat") + 4)


@needs_avif
def test_a_grid_may_state_as_many_pixels_as_its_tiles_have():
    tile = cv2.imencode(".avif", pixels_of("uint8 bgr"))[1].tobytes()
    assert read_avif_size(grid_of_tiles(tile, 6, (74, 159))) == (74, 159)
    assert read_avif_size(grid_of_tiles(tile, 1, DIMS)) == DIMS
    with pytest.raises(ValueError, match=r"states .*\(74, 160\); the frames in it have fewer"):
        read_avif_size(grid_of_tiles(tile, 6, (74, 160)))


def test_solid_images_do_not_look_like_lies():
    for ending, pixels in {
        ".hdr": np.full((2000, 1500, 3), 0.5, np.float32),
        ".pbm": np.zeros((4000, 3000), np.uint8),
        ".avif": np.zeros((1000, 900, 3), np.uint8),
    }.items():
        if ending[1:] not in WRITTEN:
            continue
        data = cv2.imencode(ending, pixels)[1].tobytes()
        claim = read_claim(data)
        assert claim.pixel_bytes >= pixels.nbytes
        assert claim.max_ratio is None or claim.pixel_bytes <= claim.max_ratio * len(data)
    assert read_stated_size(b"no image") is None


def test_a_tiff_that_opencv_could_read_is_still_read_by_windows(tmp_path):
    path = write_tiff(tmp_path / "a.TIFF", random_pixels("uint8", 3, (600, 500)), tiled=True)
    reader = open_source(str(path))
    assert type(reader).__name__ == "RasterReader"
    reader.close()


@needs_avif
def test_a_damaged_sequence_header_of_avif_is_no_size():
    data = bytearray(cv2.imencode(".avif", pixels_of("uint8 bgr"))[1].tobytes())
    start = data.index(b"mdat") + 4
    data[start:] = bytes(len(data) - start)
    with pytest.raises(ValueError, match="frames in it have fewer"):
        read_avif_size(bytes(data))
