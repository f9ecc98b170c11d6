"""Names and files from strangers run no code, decide nothing about where is written, and take no memory."""

from __future__ import annotations

import os
import pathlib
import pickle
import struct
import sys
import zlib

import kwcoco
import numpy as np
import pytest
from helpers_faults import differing, draw_scene, each_backend, entries, files, whole
from helpers_hosts import listening_host
from helpers_images import random_pixels, write_png, write_tiff
from helpers_processes import needs_fork, run_child

from ndsampler import CocoFrames, CocoSampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.errors import NDSamplerError, SourceError

PIXELS = random_pixels("uint8", 3, (40, 50))

#: File names that lead elsewhere, or that no file can have; HOST stands for a server.
BAD_NAMES = [
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "a\0b.png",
    "\0",
    "a\nb.png",
    "x" * 300 + ".png",
    "y/" * 3000 + "z.png",
    "\udcff\udcfe.png",
    "\ud800.png",
    " ",
    ".",
    "..",
    "/",
    "~/image.png",
    "$HOME/image.png",
    "`touch owned`.png",
    "; touch owned; .png",
    "| touch owned",
    "/vsicurl/http://HOST/image.tif",
    "/vsizip/a.zip/b.tif",
    "NETCDF:image.nc:band",
    "<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>",
    "http://HOST/image.png",
    "/vsicurl_streaming/http://HOST/image.tif",
    "/vsizip//vsicurl/http://HOST/a.zip/b.tif",
    "WMS:http://HOST/?SERVICE=WMS",
    '<GDAL_WMS><Service name="TMS"><ServerUrl>http://HOST/</ServerUrl></Service></GDAL_WMS>',
]

#: Names that files can have, odd as they are.
ODD_NAMES = ["a\nb", "-rf", "%s%n{0}", "ü字🙂", "x" * 240, "a;b|c`d`$(e)", " ", "\\..\\up", "'\"", "*?[a]"]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def make_frames(name, tmp_path: pathlib.Path, backend, mode: str = "PATH") -> CocoFrames:
    """Return frames of one image of some name."""
    dset = kwcoco.CocoDataset()
    dset.add_image(file_name="placeholder.png", id=1, hashid="given")
    dset.imgs[1]["file_name"] = name
    dset.fpath = str(tmp_path / "bundle" / "data.kwcoco.json")
    return CocoFrames(dset, mode, tmp_path / "work", backend=backend)


@pytest.fixture(scope="module", name="host")
def fixture_host():
    with listening_host() as host:
        yield host


@each_backend
class TestNames:
    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    @pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:30])
    def test_a_name_of_no_image_is_an_error_and_writes_nothing(
        self, backend, name, mode, tmp_path, monkeypatch, host
    ):
        (tmp_path / "bundle").mkdir()
        monkeypatch.chdir(tmp_path / "bundle")
        frames = make_frames(name.replace("HOST", host.address), tmp_path, backend, mode)
        for read in (frames.load_region, frames.load_region, frames.load_image, frames.load_frame):
            with pytest.raises(NDSamplerError):
                read(1)
        if backend:
            with pytest.raises(NDSamplerError):
                frames.prepare()
        assert files(tmp_path) == []
        assert host.connections == 0

    @pytest.mark.parametrize("mode", ["PATH", "PIXELS", "GIVEN"])
    @pytest.mark.parametrize("ending", [".png", ".tif"])
    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_an_odd_name_reads_and_writes_in_the_folder_of_entries_alone(
        self, backend, name, ending, mode, tmp_path
    ):
        (tmp_path / "bundle").mkdir()
        writer = write_png if ending == ".png" else write_tiff
        path = writer(tmp_path / f"plain{ending}", PIXELS)
        path = path.rename(tmp_path / "bundle" / (name + ending))
        frames = make_frames(name + ending, tmp_path, backend, mode)
        assert np.array_equal(whole(frames, 1), PIXELS)
        kept = entries(frames) if backend else []
        assert len(kept) == bool(backend)
        assert files(tmp_path) == sorted([path, *kept])

    def test_a_name_that_is_not_utf8_reads_where_the_format_allows(self, backend, tmp_path):
        (tmp_path / "bundle").mkdir()
        path = write_png(tmp_path / "plain.png", PIXELS)
        name = os.fsdecode(b"\xff\xfe.png")
        try:
            path.rename(tmp_path / "bundle" / name)
        except OSError:
            pytest.skip("no such names here")
        frames = make_frames(name, tmp_path, backend)
        assert np.array_equal(whole(frames, 1), PIXELS)

    @pytest.mark.parametrize("name", [b"a.png", 5, 5.0, ["a.png"], {"a": 1}, True, (), np.zeros(3)], ids=repr)
    def test_a_name_of_another_type_is_an_error(self, backend, name, tmp_path):
        with pytest.raises(NDSamplerError):
            whole(make_frames(name, tmp_path, backend), 1)
        assert files(tmp_path) == []


@each_backend
class TestCode:
    @pytest.mark.parametrize("ending", [".npy", ".png", ".tif", ".pkl"])
    def test_a_pickle_that_poses_as_an_image_is_not_run(self, backend, ending, tmp_path):
        path, owned = tmp_path / f"image{ending}", tmp_path / "owned"
        path.write_bytes(pickle.dumps(Trap(str(owned))))
        with pytest.raises(SourceError):
            whole(SimpleFrames({1: path}, tmp_path / "work", backend), 1)
        assert not owned.exists()

    def test_an_array_of_objects_is_not_unpickled(self, backend, tmp_path):
        path, owned = tmp_path / "image.npy", tmp_path / "owned"
        array = np.empty((4, 5), object)
        array[:] = Trap(str(owned))
        np.save(path, array, allow_pickle=True)
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        for read in (frames.load_image, frames.load_region, frames.load_frame):
            with pytest.raises(SourceError, match=r"image.npy holds object"):
                read(1)
        assert not owned.exists()

    def test_a_type_that_is_code_is_not_run(self, backend, tmp_path):
        path, owned = tmp_path / "image.npy", tmp_path / "owned"
        for descr in (
            f"__import__('os').mknod({str(owned)!r})",
            "'|O'",
            "'O8'",
            "'|V8'",
            "'<U9'",
            "[('a','|O')]",
        ):
            header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (4, 5), }}\n".encode()
            path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(999))
            with pytest.raises(SourceError):
                whole(SimpleFrames({1: path}, tmp_path / "work", backend), 1)
        assert not owned.exists()

    def test_what_is_planted_in_the_work_folder_is_never_run(self, backend, tmp_path, monkeypatch):
        scene = draw_scene(tmp_path / "images", 4)
        owned = tmp_path / "owned"
        scene.sampler(tmp_path / "work", backend).frames.prepare()
        workdir = tmp_path / "work"
        workdir.mkdir(exist_ok=True)
        folders = [workdir, *(path for path in workdir.rglob("*") if path.is_dir())]
        code = f"open({str(owned)!r}, 'w').close()\n"
        names = ["stamp.pkl", "prepare.stamp", "_stamp", "cache.pickle", "index.shelf", "numpy.py", "cv2.py"]
        for folder in folders:
            for name in [*names, "sitecustomize.py", "conftest.py", "gdal_plugin.py", "__init__.py", "x.pth"]:
                planted = code.encode() if name.endswith((".py", ".pth")) else pickle.dumps(Trap(str(owned)))
                (folder / name).write_bytes(planted)
        if backend:
            kept = entries(scene.frames(workdir, backend))
            (kept[0].parent / (kept[0].name + ".aux.xml")).write_text("<PAMDataset></PAMDataset>")
            kept[0].write_bytes(pickle.dumps(Trap(str(owned))))
            array = np.empty((60, 110, 3), object)
            array[:] = Trap(str(owned))
            with open(kept[1], "wb") as file:
                np.save(file, array, allow_pickle=True)
        monkeypatch.chdir(workdir)
        sampler = scene.sampler(workdir, backend)
        sampler.frames.prepare()
        assert differing(sampler.frames, scene) == []
        assert sampler.load_sample({"gid": 1})["im"].shape == scene.pixels[1].shape
        assert not owned.exists()


def png_header(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    import cv2

    data = bytearray(cv2.imencode(".jpg", PIXELS)[1].tobytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff_header(
    width: int, height: int, *, tiled: bool = False, compression: int = 1, bits: int = 8
) -> bytes:
    """Return a TIFF with a few bytes of pixels that claims many."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, compression),
        (262, 3, 1),
        (277, 3, 1),
    ]
    if tiled:
        tags += [(322, 4, min(width, 2**31 - 16) // 16 * 16), (323, 4, min(height, 2**31 - 16) // 16 * 16)]
        tags += [(324, 4, 8), (325, 4, 200)]
    else:
        tags += [(273, 4, 8), (278, 4, height), (279, 4, 200)]
    tags.sort()
    body = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 208) + zlib.compress(bytes(9999)).ljust(200, b"\0") + body + bytes(4)


def npy_header(shape: str, descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(500)


def bmp_header(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 999, 0, 0, 54) + head + bytes(900)


def avif_header(width: int, height: int) -> bytes:
    import cv2

    if not cv2.haveImageWriter("a.avif"):
        return b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + struct.pack(">I4sIII", 20, b"ispe", 0, width, height)
    data = bytearray(cv2.imencode(".avif", PIXELS)[1].tobytes())
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", width, height)
    return bytes(data)


#: Small files that claim to be large, by name.
ABSURD = {
    "a.png": png_header(2**31 - 1, 2**31 - 1),
    "b.png": png_header(60_000, 60_000),
    "c.png": png_header(20_000, 20_000, 16, 6),
    "d.png": png_header(0, 0),
    "a.jpg": jpeg_header(65_500, 65_500),
    "b.jpg": jpeg_header(30_000, 30_000),
    "a.tif": tiff_header(2**31 - 1, 2**31 - 1),
    "b.tif": tiff_header(60_000, 60_000, compression=8),
    "c.tif": tiff_header(70_000, 70_000, compression=8, bits=32),
    "d.tif": tiff_header(2**30, 2**30, tiled=True, compression=8),
    "e.tif": tiff_header(60_000, 60_000, tiled=True),
    "f.tif": tiff_header(2**31 - 1, 1, compression=8),
    "g.tif": tiff_header(0, 0),
    "a.npy": npy_header("(1000000000, 1000000000, 3)"),
    "b.npy": npy_header("(4294967296, 4294967296, 4294967296)"),
    "c.npy": npy_header("(60000, 60000)"),
    "d.npy": npy_header("(-1, -60)"),
    "e.npy": npy_header(f"({10**40}, 1)"),
    "f.npy": npy_header("(True, 5)"),
    "g.npy": npy_header("()"),
    "h.npy": npy_header("(" + "1," * 60 + ")"),
    "a.bmp": bmp_header(60_000, 60_000),
    "b.bmp": bmp_header(30_000, 30_000),
    "a.gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(25),
    "b.gif": b"GIF89a" + struct.pack("<HH", 30_000, 30_000) + bytes(25),
    "a.webp": b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6 + bytes(26),
    "a.ppm": b"P6 60000 60000 255\n" + bytes(99),
    "b.ppm": b"P6 30000 30000 255\n" + bytes(99),
    "a.pgm": b"P5 4000000000 4000000000 255\n" + bytes(99),
    "a.pbm": b"P4 60000 60000\n" + bytes(99),
    "a.pam": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(99),
    "a.pfm": b"PF\n20000 20000\n-1\n" + bytes(99),
    "a.ras": struct.pack(">8I", 0x59A66A95, 60_000, 60_000, 24, 99, 1, 0, 0) + bytes(99),
    "b.ras": struct.pack(">8I", 0x59A66A95, 60_000, 60_000, 8, 99, 2, 1, 3) + bytes(99),
    "a.hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 20000\n" + bytes(99),
    "a.avif": avif_header(16_000, 16_000),
}

#: Files of which GDAL reads single rows, so that only who asks for all of them needs the memory.
REFUSALS = {"b.tif": (SourceError, MemoryError)}

#: More than any reader needs for an image that fits into its file.
ROOM = 200 * 2**20


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak of a process's memory")
@each_backend
@pytest.mark.parametrize("name", ABSURD)
def test_a_file_that_claims_absurd_dimensions_fails_before_memory_is_taken(backend, name, tmp_path):
    import resource

    path = tmp_path / name
    path.write_bytes(ABSURD[name])
    good = draw_scene(tmp_path / "good", 3)
    # All packages are loaded, so that what is taken from here on is taken for the image.
    assert differing(good.frames(tmp_path / "work", backend), good) == []

    def used() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def work() -> int:
        frames = SimpleFrames({1: path}, tmp_path / "work", backend)
        before = used()
        with pytest.raises(SourceError, match=r"image 1"):
            frames.load_region(1, None)
        with pytest.raises(SourceError, match=r"image 1"):
            frames.load_image(1, cache=False)
        assert used() - before < ROOM
        # Nor is memory reserved that is not touched.
        size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        with pytest.raises(REFUSALS.get(name, SourceError)):
            SimpleFrames({1: path}, tmp_path / "work", backend).load_region(1, None)
        return used() - before

    run_child(work)
    assert [file for file in files(tmp_path / "work") if name[0] == file.name[0]] == []


@each_backend
def test_a_dataset_cannot_ask_for_a_window_that_takes_the_memory(backend, tmp_path):
    scene = draw_scene(tmp_path / "images", 1)
    dset = scene.dset()
    dset.imgs[1]["width"] = dset.imgs[1]["height"] = 10**9
    sampler = CocoSampler(dset, workdir=tmp_path / "work", backend=backend)
    with pytest.raises(NDSamplerError):
        sampler.load_sample({"gid": 1})
    with pytest.raises(NDSamplerError):
        sampler.load_sample({"gid": 1, "slices": (slice(0, 10), slice(0, 10))})
