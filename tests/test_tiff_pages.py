"""TIFFs of several pages: which pages are the image, whatever the backend, and which a warning names."""

from __future__ import annotations

import logging
import pathlib
import struct

import numpy as np
import pytest
from helpers_cache import each_backend
from helpers_images import assert_same, write_pillow, write_tiff
from helpers_optional import import_optional

from ndsampler import CocoSampler
from ndsampler.backends.base import UNSTATED, Stated
from ndsampler.backends.formats.tiff_header import read_pages
from ndsampler.backends.formats.tiff_writers import read_stack
from ndsampler.backends.pages import is_reduced_size
from ndsampler.backends.source import open_form, open_source
from ndsampler.backends.values import choose_form
from ndsampler.dataset.sizes import SizeSource
from ndsampler.errors import DatasetMismatchError, NDSamplerError, SourceError

HEIGHT, WIDTH = DIMS = (30, 44)

RNG = np.random.default_rng(3)

#: Five planes of one image, and the image with its channels last.
PLANES = RNG.integers(0, 255, (5, *DIMS), np.uint8)
IMAGE = np.ascontiguousarray(PLANES.transpose(1, 2, 0))

#: Four axes and more, and color planes.
SERIES = RNG.integers(0, 255, (2, 3, 4, *DIMS), np.uint8)
COLORS = RNG.integers(0, 255, (2, *DIMS, 3), np.uint8)


def write_pages(path: pathlib.Path, pixels: np.ndarray, **options) -> str:
    """Write an array with tifffile and return the path."""
    import_optional("tifffile").imwrite(path, pixels, **options)
    return str(path)


def channels_last(planes: np.ndarray) -> np.ndarray:
    """Return planes as an image with its channels last."""
    return np.ascontiguousarray(planes.reshape(-1, *DIMS).transpose(1, 2, 0))


def codes(count: int) -> str:
    """Return the names of so many channels."""
    return "|".join(f"c{number}" for number in range(count))


#: For each way to write pages: the name of the file, the array, the options of tifffile, what the dataset
#: states, and the pixels that are read.
ARRANGEMENTS = {
    "planes of tifffile": ("a.tif", PLANES, {"photometric": "minisblack"}, {}, IMAGE),
    "channels last of tifffile": ("a.tif", IMAGE, {}, {}, IMAGE),
    "channels last, with the size stated": ("a.tif", IMAGE, {}, {"height": HEIGHT, "width": WIDTH}, IMAGE),
    "many channels last, with the size stated": (
        *("a.tif", np.repeat(IMAGE, 5, axis=2), {}),
        *({"height": HEIGHT, "width": WIDTH}, np.repeat(IMAGE, 5, axis=2)),
    ),
    "many channels last, with their number stated": (
        *("a.tif", np.repeat(IMAGE, 5, axis=2), {}),
        *({"channels": codes(25)}, np.repeat(IMAGE, 5, axis=2)),
    ),
    "named axes": ("a.tif", IMAGE, {"metadata": {"axes": "YXC"}}, {}, IMAGE),
    "slices": ("a.tif", PLANES, {"metadata": {"axes": "ZYX"}}, {}, IMAGE[..., :1]),
    "slices, stated as channels": (
        *("a.tif", PLANES, {"metadata": {"axes": "ZYX"}}),
        *({"channels": codes(5)}, IMAGE),
    ),
    "channels, of which one is stated": (
        *("a.tif", PLANES, {"metadata": {"axes": "CYX"}}),
        *({"channels": "gray"}, IMAGE[..., :1]),
    ),
    "OME": ("a.ome.tif", PLANES, {"metadata": {"axes": "CYX"}}, {}, IMAGE),
    "OME, tiled and compressed": (
        *("a.ome.tif", PLANES, {"metadata": {"axes": "CYX"}, "tile": (16, 16), "compression": "zlib"}),
        *({}, IMAGE),
    ),
    "OME of five axes": (
        *("a.ome.tif", SERIES, {"metadata": {"axes": "TZCYX"}}),
        *({}, channels_last(SERIES[0, 0])),
    ),
    "OME with the channels first": (
        *("a.ome.tif", SERIES, {"metadata": {"axes": "CTZYX"}}),
        *({}, channels_last(SERIES[:, 0, 0])),
    ),
    "OME of five axes, all stated": (
        *("a.ome.tif", SERIES, {"metadata": {"axes": "TZCYX"}}),
        *({"channels": codes(24)}, channels_last(SERIES)),
    ),
    "OME of color planes": (
        *("a.ome.tif", COLORS, {"metadata": {"axes": "CYXS"}, "photometric": "rgb"}),
        *({}, np.concatenate(list(COLORS), axis=-1)),
    ),
    "ImageJ": ("a.tif", PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}, {}, IMAGE),
    "hyperstack of ImageJ": (
        *("a.tif", SERIES, {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        *({}, channels_last(SERIES[0, 0])),
    ),
    "slices of ImageJ": ("a.tif", PLANES, {"imagej": True, "metadata": {"axes": "ZYX"}}, {}, IMAGE[..., :1]),
    "color pages": ("a.tif", COLORS, {"photometric": "rgb"}, {}, COLORS[0]),
    "color pages, stated as channels": (
        *("a.tif", COLORS, {"photometric": "rgb"}),
        *({"channels": codes(6)}, np.concatenate(list(COLORS), axis=-1)),
    ),
    "big-endian BigTIFF of 16 bits": (
        *("a.tif", (PLANES * np.uint16(7)).astype(">u2"), {"photometric": "minisblack", "bigtiff": True}),
        *({}, IMAGE * np.uint16(7)),
    ),
    "floating point planes": (
        *("a.tif", PLANES.astype(np.float32) / 3, {"photometric": "minisblack"}),
        *({}, IMAGE.astype(np.float32) / 3),
    ),
    "gray planes of which nothing is said": ("a.tif", PLANES, {"metadata": None}, {}, IMAGE),
    "1-bit pages": (
        "a.tif",
        PLANES > 99,
        {"metadata": None},
        {"channels": codes(5)},
        (IMAGE > 99) * np.uint8(1),
    ),
}


@each_backend
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_the_pages_of_the_image_are_read(name, backend, bundle, make_coco):
    file_name, pixels, options, stated, expected = ARRANGEMENTS[name]
    path = write_pages(bundle / file_name, pixels, **options)
    frames = make_coco({"file_name": path, **stated}, backend=backend)
    assert_same(frames.load_region(1), expected)
    assert_same(frames.load_region(1, (slice(3, 17), slice(5, None))), expected[3:17, 5:])
    assert_same(np.atleast_3d(frames.load_image(1)), expected)
    assert frames.image_dims(1) == DIMS
    if "width" not in stated:
        # The size is read from the header and written into the dataset.
        SizeSource(frames.dset).fill([1])
        assert (frames.dset.imgs[1]["height"], frames.dset.imgs[1]["width"]) == DIMS
        assert_same(frames.load_region(1), expected)


@each_backend
def test_a_cube_is_not_transposed(backend, bundle, make_coco):
    cube = RNG.integers(0, 255, (24, 24, 24), np.uint8)
    path = write_pages(bundle / "cube.tif", cube)
    for stated in ({}, {"height": 24, "width": 24}):
        assert_same(
            make_coco({"file_name": path, **stated}, backend=backend).load_region(1), cube.transpose(1, 2, 0)
        )


@each_backend
def test_pages_of_pillow_are_channels_if_the_dataset_states_their_number(backend, bundle, make_coco):
    from PIL import Image

    images = [Image.fromarray(page) for page in PLANES]
    write_pillow(bundle / "pages.tif", images[0], save_all=True, append_images=images[1:])
    for count in (5, 1):
        image = {"file_name": "pages.tif", "channels": codes(count), "width": WIDTH, "height": HEIGHT}
        assert_same(make_coco(image, backend=backend).load_region(1), IMAGE[..., :count])


@pytest.mark.parametrize("backend", ["npy", "cog"])
def test_each_way_to_read_a_file_has_an_entry_of_its_own(backend, bundle, make_coco):
    path = write_pages(bundle / "a.tif", PLANES, metadata={"axes": "ZYX"})
    for _ in range(2):
        for count in (5, 1, 5):
            frames = make_coco({"file_name": path, "channels": codes(count)}, backend=backend)
            frames.prepare()
            assert_same(frames.load_region(1), IMAGE[..., :count])
    stated, unstated = (
        make_coco({"file_name": path, **s}, backend=backend) for s in ({"channels": "gray"}, {})
    )
    entries = [frames._cache.entry_path(frames.sources(1)[0]) for frames in (stated, unstated)]
    assert entries[0] == entries[1], "a statement that makes no difference makes no second entry"


def test_a_sample_has_the_channels_that_are_asked_for(bundle, make_coco, tmp_path):
    path = write_pages(bundle / "a.ome.tif", PLANES, metadata={"axes": "CYX"})
    dset = make_coco({"file_name": path, "channels": codes(5), "width": WIDTH, "height": HEIGHT}).dset
    for backend in (None, "npy", "cog"):
        sampler = CocoSampler(dset, workdir=tmp_path / "work", backend=backend)
        window = {"gid": 1, "slices": (slice(2, 20), slice(4, 30)), "channels": "c3|c1"}
        assert_same(sampler.load_sample(window)["im"], IMAGE[2:20, 4:30, [3, 1]])


class TestWarnings:
    """Pages that are not read are named once for each file."""

    def read(self, path: str, caplog, stated: Stated = UNSTATED) -> list[str]:
        """Open a file twice and return what was warned of."""
        with caplog.at_level(logging.WARNING, "ndsampler"):
            for _ in range(2):
                open_form(path, choose_form(path, stated)).close()
        return [record.getMessage() for record in caplog.records]

    def test_other_pages_are_named_once(self, tmp_path, caplog):
        path = write_pages(tmp_path / "a.tif", COLORS, photometric="rgb")
        (message,) = self.read(path, caplog)
        assert "a.tif is read as the image; not read: page 2 (30 x 44, 3 channels)" in message

    def test_of_many_pages_the_first_are_named(self, tmp_path, caplog):
        path = write_pages(tmp_path / "a.tif", SERIES, imagej=True, metadata={"axes": "TZCYX"})
        (message,) = self.read(path, caplog)
        assert "and 3 more are the image; not read: page 5 (30 x 44, 1 channel)" in message
        assert "and 12 more" in message

    def test_a_file_whose_pages_are_all_read_warns_nobody(self, tmp_path, caplog):
        path = write_pages(tmp_path / "a.tif", PLANES, photometric="minisblack")
        assert self.read(path, caplog) == []
        assert self.read(path, caplog, Stated(5)) == []

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_overviews_and_masks_are_no_other_pages(self, tmp_path, caplog):
        import rasterio

        path = write_tiff(
            tmp_path / "a.tif", np.repeat(IMAGE[..., :3], 8, axis=0), tiled=True, blockxsize=16, blockysize=16
        )
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(True)
            file.build_overviews([2, 4])
        assert len(read_pages(str(path))) > 3
        assert self.read(str(path), caplog) == []


class TestTruncated:
    """Planes without pages: tifffile and ImageJ store those of large stacks behind the first page."""

    @pytest.mark.parametrize(
        "options", [{"photometric": "minisblack"}, {"imagej": True, "metadata": {"axes": "CYX"}}]
    )
    def test_they_are_an_error_unless_the_first_page_is_stated(self, options, bundle, make_coco):
        path = write_pages(bundle / "a.tif", PLANES, truncate=True, **options)
        with pytest.raises(SourceError, match="a.tif states more channels than it has pages"):
            make_coco({"file_name": path}).load_region(1)
        assert_same(make_coco({"file_name": path, "channels": "gray"}).load_region(1), IMAGE[..., :1])


def test_a_slide_with_a_label_is_read_by_window(tmp_path):
    tifffile = import_optional("tifffile")
    slide = RNG.integers(0, 255, (300, 400, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(slide, photometric="rgb", tile=(64, 64))
        file.write(slide[:50, :70], photometric="rgb")
    reader = open_source(str(tmp_path / "slide.tif"))
    assert reader.nbytes == 0, "the image is held in memory"
    assert_same(reader.read(10, 74, 20, 84), slide[10:74, 20:84])


def test_the_stated_size_is_compared_with_the_pages(bundle, make_coco):
    path = write_pages(bundle / "a.tif", PLANES, photometric="minisblack")
    with pytest.raises(DatasetMismatchError, match=r"has \(height, width\) \(30, 44\)"):
        make_coco({"file_name": path, "width": 7, "height": 9}).load_region(1)


class TestHeader:
    """The directories of a TIFF, compared with what tifffile reads."""

    @pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}])
    def test_pages_are_those_that_tifffile_lists(self, options, tmp_path):
        tifffile = import_optional("tifffile")
        path = write_pages(tmp_path / "a.tif", COLORS, photometric="rgb", **options)
        with tifffile.TiffFile(path) as file:
            expected = [
                (page.offset, page.shape[:2], page.samplesperpixel, page.is_tiled) for page in file.pages
            ]
            text = file.pages[0].description
        pages = read_pages(path)
        assert [(page.offset, page.dims, page.samples, page.tiled) for page in pages] == expected
        assert pages[0].description == text

    def test_pages_below_a_page_are_found(self, tmp_path):
        tifffile = import_optional("tifffile")
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(COLORS[0], photometric="rgb", subifds=1)
            file.write(COLORS[0, ::2, ::2], photometric="rgb", subfiletype=1)
        (page,) = read_pages(str(tmp_path / "a.tif"))
        assert [below.dims for below in page.subpages] == [(15, 22)]
        assert page.subpages[0].is_reduced

    def test_a_chain_that_comes_back_to_itself_ends(self, tmp_path):
        path = pathlib.Path(write_pages(tmp_path / "a.tif", PLANES, photometric="minisblack"))
        data = bytearray(path.read_bytes())
        (start,) = struct.unpack_from("<I", data, 4)
        for page in read_pages(str(path)):
            (count,) = struct.unpack_from("<H", data, page.offset)
            struct.pack_into("<I", data, page.offset + 2 + 12 * count, start)
        path.write_bytes(data)
        assert len(read_pages(str(path))) == 1

    def test_damaged_headers_end_in_an_error_of_this_library_or_in_pixels(self, tmp_path):
        path = pathlib.Path(write_pages(tmp_path / "a.ome.tif", PLANES, metadata={"axes": "CYX"}))
        data, rng = path.read_bytes(), np.random.default_rng(0)
        directories = [page.offset for page in read_pages(str(path))]
        for _ in range(60):
            damaged = bytearray(data)
            at = int(rng.choice(directories)) + int(rng.integers(0, 180))
            damaged[at : at + 2] = rng.integers(0, 256, 2, np.uint8).tobytes()
            path.write_bytes(damaged)
            try:
                open_source(str(path)).read(0, 1, 0, 1)
            except NDSamplerError:
                continue

    @pytest.mark.parametrize("name", ["none.tif", "."])
    def test_what_is_no_tiff_has_no_pages(self, name, tmp_path):
        assert read_pages(str(tmp_path / name)) == ()

    @pytest.mark.parametrize(
        "text",
        [
            '{"shape": [1]}',
            '{"shape": null}',
            '{"shape": [5, 30, 44]',
            '{"shape": [-5, 30, 44]}',
            "ImageJ=1\nimages=x",
            "<OME>",
            '<!DOCTYPE a [<!ENTITY b "c">]><OME/>',
            "<OME><Image><Pixels SizeC='5'/></Image></OME>",
        ],
    )
    def test_a_description_that_makes_no_sense_says_nothing(self, text, tmp_path):
        path = write_pages(
            tmp_path / "a.tif", PLANES, metadata=None, description=text, photometric="minisblack"
        )
        assert read_stack(read_pages(path)) is None
        assert open_source(path).shape[:2] == DIMS


@pytest.mark.parametrize("full", [(1003, 1401), (64, 64), (37, 5001)])
@pytest.mark.parametrize("factor", [2, 3, 4, 7.5, 16])
def test_sizes_rounded_up_or_down_fit(full, factor):
    for rounded in (np.floor, np.ceil, np.round):
        assert is_reduced_size(tuple(int(max(1, rounded(side / factor))) for side in full), full)
    assert not is_reduced_size(full, full)
    assert not is_reduced_size((full[1] + 1, full[0] // 2), full)
    assert not is_reduced_size((full[0] // 2, full[1] // 8), full)
