"""Stored and decoded values: how many channels the dataset states decides which of them are read."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import rasterio
from helpers_cache import BACKENDS, each_backend
from helpers_images import DIMS, HEIGHT, WIDTH, assert_same, paletted, random_pixels, write_pillow, write_tiff
from helpers_optional import import_optional
from PIL import Image

import ndsampler
from ndsampler.backends.source import open_source
from ndsampler.backends.values import find_forms
from ndsampler.cache.verify import verify
from ndsampler.errors import DatasetMismatchError, SourceError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

BITS = random_pixels("uint8", 1)[..., 0] > 99

GRAY_ALPHA = random_pixels("uint8", 2)

FEW = random_pixels("uint8", 1)[..., 0] % 16


def png_of_bits(path, values, depth):
    """Write a gray PNG of few bits, which Pillow does not write."""
    height, width = values.shape
    shifts = np.arange(8 - depth, -1, -depth)
    padded = np.pad(values, ((0, 0), (0, -width % len(shifts))))
    packed = (padded.reshape(height, -1, len(shifts)) << shifts).sum(axis=2).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def text_of(kind, maximum, values):
    height, width = values.shape[:2]
    numbers = " ".join(map(str, values.ravel().tolist()))
    return f"{kind}\n# a comment\n{width} {height}\n{maximum}\n{numbers}\n".encode()


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def palette_tiff(folder, **options):
    path = write_tiff(folder / "classes.tif", FEW[..., None], **options)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {index: (9 * index, 200 - index, index, 255) for index in range(16)})
    return path, FEW


def indexes(image):
    return np.asarray(image)


#: Kinds of file that store other values than they decode to, each with the values that it stores.
KINDS = {
    "palette png": lambda d: (write_pillow(d / "a.png", paletted()), indexes(paletted())),
    "transparent palette png": lambda d: (
        write_pillow(d / "a.png", paletted(), transparency=3),
        indexes(paletted()),
    ),
    "palette gif": lambda d: (write_pillow(d / "a.gif", paletted()), indexes(paletted())),
    "palette bmp": lambda d: (write_pillow(d / "a.bmp", paletted()), indexes(paletted())),
    "palette tiff": palette_tiff,
    "tiled palette tiff": lambda d: palette_tiff(d, tiled=True, blockxsize=32, blockysize=32),
    "palette bigtiff": lambda d: palette_tiff(d, BIGTIFF="YES"),
    "1-bit png": lambda d: (write_pillow(d / "a.png", BITS), BITS),
    "2-bit png": lambda d: (png_of_bits(d / "a.png", FEW % 4, 2), FEW % 4),
    "4-bit png": lambda d: (png_of_bits(d / "a.png", FEW, 4), FEW),
    "1-bit bmp": lambda d: (write_pillow(d / "a.bmp", BITS), BITS),
    "pbm": lambda d: (write_pillow(d / "a.pbm", BITS), ~BITS),
    "pgm in text": lambda d: (write_bytes(d / "a.pgm", text_of("P2", 200, FEW * 13)), FEW * 13),
    "ppm in text": lambda d: (
        write_bytes(d / "a.ppm", text_of("P3", 100, random_pixels() % 101)),
        random_pixels() % 101,
    ),
    "gray png with alpha": lambda d: (
        write_pillow(d / "a.png", Image.fromarray(GRAY_ALPHA, "LA")),
        GRAY_ALPHA,
    ),
    "png with a transparent color": lambda d: (
        write_pillow(d / "a.png", random_pixels(), transparency=(1, 2, 3)),
        random_pixels(),
    ),
}

each_kind = pytest.mark.parametrize("kind", KINDS)


def stored_in(kind, folder):
    """Write a file of a kind, and return its path and the values, (height, width, channels)."""
    path, values = KINDS[kind](folder)
    values = values.astype(np.uint8)
    return path, values if values.ndim == 3 else values[..., None]


def names(count):
    return "|".join(f"c{index}" for index in range(count))


class TestStoredValues:
    @each_kind
    @each_backend
    def test_as_many_channels_as_are_stored_give_the_stored_values(self, kind, backend, bundle, make_coco):
        path, values = stored_in(kind, bundle)
        entry = {"file_name": path.name, "channels": names(values.shape[2]), "width": WIDTH, "height": HEIGHT}
        frames = make_coco(entry, backend=backend)
        assert_same(frames.load_region(1), values)
        window = np.s_[7:50, 11:140]
        last = f"c{values.shape[2] - 1}"
        assert_same(frames.load_region(1, window, channels=last), values[window][..., -1:])
        assert_same(np.asarray(frames.load_image(1)).reshape(values.shape), values)

    @each_kind
    def test_as_many_as_decoding_gives_or_none_give_the_decoded_pixels(self, kind, bundle, make_coco):
        path, values = stored_in(kind, bundle)
        reader = open_source(str(path))
        decoded = reader.read(0, HEIGHT, 0, WIDTH)
        assert not np.array_equal(decoded, values)
        for backend in BACKENDS:
            assert_same(make_coco({"file_name": path.name}, backend=backend).load_region(1), decoded)
            if decoded.shape[2] != values.shape[2]:
                entry = {"file_name": path.name, "channels": names(decoded.shape[2])}
                assert_same(make_coco(entry, backend=backend).load_region(1), decoded)

    @each_kind
    @pytest.mark.parametrize("backend", [None, "npy"])
    def test_any_other_number_is_a_mismatch(self, kind, backend, bundle, make_coco):
        path, _ = stored_in(kind, bundle)
        forms = find_forms(str(path))
        wrong = next(count for count in (2, 3, 5) if count not in {forms.stored, *forms.decoded})
        frames = make_coco({"file_name": path.name, "channels": names(wrong)}, backend=backend)
        with pytest.raises(DatasetMismatchError, match=rf"image 1: .*the dataset states {wrong} channels"):
            frames.load_region(1)
        with pytest.raises(DatasetMismatchError, match="image 1"):
            frames.load_region(1, channels="c1")

    @each_backend
    def test_two_images_of_one_file_may_state_different_numbers(self, backend, bundle, make_coco):
        path, classes = palette_tiff(bundle)
        images = [{"file_name": path.name, "name": name} for name in "abc"]
        images[1]["channels"], images[2]["channels"] = "classes", "r|g|b|a"
        frames = make_coco(*images, backend=backend)
        colors = frames.load_region(1)
        assert colors.shape == (*DIMS, 4)
        assert_same(frames.load_region(2), classes[..., None])
        assert_same(frames.load_region(3), colors)
        frames.dset.imgs[1]["channels"] = "classes"
        assert_same(frames.load_region(1), classes[..., None])

    @each_backend
    def test_samples_of_stills_and_videos_have_them(self, backend, tmp_path):
        path, classes = palette_tiff(tmp_path)
        image = {"file_name": str(path), "channels": "classes", "width": WIDTH, "height": HEIGHT}
        image.update(video_id=1, frame_index=0)
        data = {"images": [{"id": 1, **image}], "videos": [{"id": 1, "name": "v"}]}
        sampler = ndsampler.CocoSampler(data, workdir=tmp_path, backend=backend)
        still = sampler.load_sample({"gid": 1, "channels": "classes", "slices": np.s_[3:40, 5:60]})["im"]
        assert_same(still, classes[3:40, 5:60, None])
        video = sampler.load_sample({"vidid": 1, "gids": [1], "space_slice": np.s_[3:40, 5:60]})["im"]
        np.testing.assert_array_equal(video[0, ..., 0], classes[3:40, 5:60])

    def test_a_cmyk_jpeg_stores_four_channels(self, bundle, make_coco):
        inks = np.kron(random_pixels("uint8", 4, (4, 4)), np.ones((16, 16, 1), np.uint8))
        write_pillow(bundle / "a.jpg", Image.fromarray(inks, "CMYK"), quality=100, subsampling=0)
        with rasterio.Env(GDAL_JPEG_TO_RGB="NO"), rasterio.open(bundle / "a.jpg") as file:
            stored = file.read().transpose(1, 2, 0)
        for backend in BACKENDS:
            frames = make_coco({"file_name": "a.jpg", "channels": "c|m|y|k"}, backend=backend)
            assert_same(frames.load_region(1), stored)
            frames = make_coco({"file_name": "a.jpg", "channels": "r|g|b"}, backend=backend)
            assert frames.load_region(1).shape == (64, 64, 3)

    def test_a_color_table_beside_the_file_counts(self, bundle, make_coco):
        """GDAL keeps color tables of formats without one in a side file."""
        path = write_tiff(bundle / "a.tif", FEW[..., None])
        table = '<ColorTable><Entry c1="1" c2="2" c3="3" c4="255"/></ColorTable>'
        band = f'<PAMRasterBand band="1"><ColorInterp>Palette</ColorInterp>{table}</PAMRasterBand>'
        (bundle / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
        assert open_source(str(path)).shape == (*DIMS, 4)
        frames = make_coco({"file_name": "a.tif", "channels": "classes"})
        assert_same(frames.load_region(1), FEW[..., None])

    def test_entries_of_both_forms_are_compared_with_their_source(self, bundle, make_coco):
        path, _ = palette_tiff(bundle)
        images = [
            {"file_name": path.name, "name": "a"},
            {"file_name": path.name, "channels": "c", "name": "b"},
        ]
        frames = make_coco(*images, backend="npy")
        frames.prepare()
        report = verify(frames.workdir, pixels=True)
        assert (report.checked.count, report.compared, report.damaged) == (2, 2, ())


class TestGrayTiffs:
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "float32"])
    @each_backend
    def test_white_is_zero_gives_one_band_of_stored_values(self, dtype, backend, tmp_path):
        tifffile = import_optional("tifffile")
        values = np.abs(random_pixels(dtype, 1)) if dtype == "float32" else random_pixels(dtype, 1)
        tifffile.imwrite(tmp_path / "a.tif", values[..., 0], photometric="miniswhite")
        frames = ndsampler.SimpleFrames({1: tmp_path / "a.tif"}, tmp_path / "work", backend)
        assert_same(frames.load_region(1), values)

    @pytest.mark.parametrize("depth", [1, 2, 4])
    @each_backend
    def test_white_is_zero_of_few_bits_too(self, depth, backend, tmp_path):
        values = FEW[..., None] % 2**depth
        path = write_tiff(tmp_path / "a.tif", values, nbits=depth, photometric="MINISWHITE")
        frames = ndsampler.SimpleFrames({1: path}, tmp_path / "work", backend)
        assert_same(frames.load_region(1), values)

    @pytest.mark.parametrize("compression", [None, "group4"])
    @each_backend
    def test_one_bit_gives_0_and_1(self, compression, backend, tmp_path):
        options = {"compression": compression} if compression else {}
        path = write_pillow(tmp_path / "a.tif", BITS, **options)
        frames = ndsampler.SimpleFrames({1: path}, tmp_path / "work", backend)
        assert_same(frames.load_region(1), BITS[..., None].astype(np.uint8))

    def test_a_palette_of_black_and_white_is_still_one(self, tmp_path):
        path = write_tiff(tmp_path / "a.tif", BITS[..., None].astype(np.uint8), nbits=1)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 255, 255, 255)})
        data = path.read_bytes()
        if struct.pack("<HHIHH", 262, 3, 1, 3, 0) in data:
            assert open_source(str(path)).shape == (*DIMS, 4)

    @pytest.mark.parametrize("tiled", [False, True])
    @each_backend
    def test_a_palette_tiff_without_a_table_is_gray(self, tiled, backend, tmp_path):
        values = random_pixels("uint8", 1)
        options = {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {}
        path = write_tiff(tmp_path / "a.tif", values, **options)
        data = path.read_bytes()
        photometric = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
        assert photometric in data
        path.write_bytes(data.replace(photometric, struct.pack("<HHIHH", 262, 3, 1, 3, 0)))
        frames = ndsampler.SimpleFrames({1: path}, tmp_path / "work", backend)
        assert_same(frames.load_region(1), values)


class TestIndexesBeyondTheTable:
    @each_backend
    def test_they_are_an_error_of_the_source_unless_the_indexes_are_read(self, backend, bundle, make_coco):
        write_tiff(bundle / "a.tif", FEW[..., None])
        table = "".join(f'<Entry c1="{i}" c2="2" c3="3" c4="255"/>' for i in range(15))
        source = '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
        band = (
            '<VRTRasterBand dataType="Byte" band="1"><ColorInterp>Palette</ColorInterp>'
            f"<ColorTable>{table}</ColorTable>{source}</VRTRasterBand>"
        )
        vrt = f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{band}</VRTDataset>'
        (bundle / "a.vrt").write_text(vrt)
        with pytest.raises(SourceError, match="image 1: .*has the index 15 and its color table has 15"):
            make_coco({"file_name": "a.vrt"}, backend=backend).load_region(1)
        frames = make_coco({"file_name": "a.vrt", "channels": "classes"}, backend=backend)
        assert_same(frames.load_region(1), FEW[..., None])

    @each_backend
    def test_a_png_with_one_is_damaged(self, backend, bundle, make_coco):
        write_pillow(bundle / "a.png", paletted(20))
        data = (bundle / "a.png").read_bytes()
        position = data.index(b"PLTE") - 4
        (length,) = struct.unpack_from(">I", data, position)
        colors = data[position + 8 : position + 8 + 30]
        shorter = struct.pack(">I", 30) + b"PLTE" + colors + struct.pack(">I", zlib.crc32(b"PLTE" + colors))
        (bundle / "a.png").write_bytes(data[:position] + shorter + data[position + 12 + length :])
        with pytest.raises(SourceError, match="image 1: .*color table"):
            make_coco({"file_name": "a.png"}, backend=backend).load_region(1)
        frames = make_coco({"file_name": "a.png", "channels": "classes"}, backend=backend)
        assert_same(frames.load_region(1), indexes(paletted(20))[..., None])

    @each_backend
    def test_a_bmp_with_one_is_damaged(self, backend, bundle, make_coco):
        values = random_pixels("uint8", 1)
        image = Image.fromarray(values[..., 0]).convert("P")
        image.putpalette([*range(255), *range(255), *range(255), 1, 2, 3])
        data = bytearray(write_pillow(bundle / "a.bmp", image).read_bytes())
        struct.pack_into("<I", data, 46, 250)  # the entries that the header states
        (bundle / "a.bmp").write_bytes(data)
        with pytest.raises(SourceError, match="image 1: .*color table has 250"):
            make_coco({"file_name": "a.bmp"}, backend=backend).load_region(1)


@each_backend
def test_fewer_bands_than_stated_are_a_mismatch_whatever_is_read(backend, bundle, make_coco):
    write_pillow(bundle / "a.png", random_pixels("uint8", 1))
    frames = make_coco({"file_name": "a.png", "channels": "r|g|b"}, backend=backend)
    for channels in (None, "r", "b"):
        with pytest.raises(DatasetMismatchError, match=r"image 1: .*has 1 bands; the dataset states r\|g\|b"):
            frames.load_region(1, channels=channels)
