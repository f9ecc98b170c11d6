"""Entries of other users are told, or refused; a label that was made by hand is an error of the cache."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import struct
import zlib
from itertools import product

import numpy as np
import pytest
from helpers_cache import each_caching
from helpers_images import random_pixels, write_png, write_tiff

import ndsampler
from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends import label as labels
from ndsampler.cache.verify import verify
from ndsampler.errors import ArgumentError, CacheError

ME, OTHER = 1234, 4321

needs_user_ids = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")


@pytest.fixture
def image(tmp_path):
    return write_png(tmp_path / "image.png", random_pixels())


@pytest.fixture
def owned_by(monkeypatch, tmp_path):
    """Return a function that makes all entries those of a user, and the workdir that of another."""
    stat = os.stat

    def act(entries: int, workdir: int) -> None:
        def with_owner(path, *args, **kw):
            found = stat(path, *args, **kw)
            if not isinstance(path, str | os.PathLike):
                return found
            owner = entries if os.fspath(path).endswith((".npy", ".tiff")) else workdir
            return os.stat_result(
                (*found[:4], owner, *found[5:]),
                {name: getattr(found, name) for name in ("st_mtime_ns", "st_atime_ns", "st_ctime_ns")},
            )

        monkeypatch.setattr(os, "geteuid", lambda: ME)
        monkeypatch.setattr(os, "stat", with_owner)

    return act


def make(image, tmp_path, backend="npy", **kw) -> SimpleFrames:
    return SimpleFrames({1: str(image)}, workdir=tmp_path / "work", backend=backend, **kw)


@needs_user_ids
@each_caching
def test_entries_of_another_user_are_told_once_or_refused(backend, image, tmp_path, owned_by, caplog):
    make(image, tmp_path, backend).prepare()
    owned_by(OTHER, ME)
    frames = make(image, tmp_path, backend)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (frames.load_region(1) == random_pixels()).all()
            frames._cache._whole.clear()
            frames._cache._files.clear()
    assert caplog.text.count(f"belongs to user {OTHER}") == 1
    with pytest.raises(CacheError, match="belongs to user 4321.*workdir of your own"):
        make(image, tmp_path, backend, trust="strict").load_region(1)
    bypassing = make(image, tmp_path, backend, trust="strict", on_cache_error="bypass")
    assert (bypassing.load_region(1) == random_pixels()).all()


@needs_user_ids
@pytest.mark.parametrize(("entries", "workdir"), [(ME, OTHER), (0, OTHER), (OTHER, OTHER)])
def test_you_root_and_the_owner_of_the_workdir_are_trusted(
    entries, workdir, image, tmp_path, owned_by, caplog
):
    make(image, tmp_path).prepare()
    owned_by(entries, workdir)
    assert (make(image, tmp_path, trust="strict").load_region(1) == random_pixels()).all()
    assert "belongs to" not in caplog.text


def test_without_user_ids_nothing_is_checked(image, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "geteuid", raising=False)
    frames = make(image, tmp_path, trust="strict")
    frames.prepare()
    assert (make(image, tmp_path, trust="strict").load_region(1) == random_pixels()).all()


def test_trust_is_an_option_of_samplers_and_frames(image, tmp_path):
    dset = {"images": [{"id": 1, "file_name": str(image)}]}
    sampler = ndsampler.CocoSampler(dset, workdir=tmp_path, backend="npy", trust="strict")
    assert sampler.frames._cache._owners.mode == "strict"
    with pytest.raises(ArgumentError, match="trust is 'never'; expected one of 'warn', 'strict'"):
        make(image, tmp_path, trust="never")


POISON = {
    "source": [5, None, ["a"], "a\0b", "/dev/zero", ""],
    "size": ["x", None, 1.5, [], True],
    "mtime_ns": [[], "x", None],
    "content": [None, 5],
    "shape": [[1], [1, 2, "x"], [-1, 2, 3], [2, 3, 4, 5]],
    "dtype": [None, 5],
    "nodata": ["x", {}, [[1]]],
    "backend": [5, None],
    "sample": [5],
    "sides": [None],
    "form": [5],
}


@each_caching
@pytest.mark.parametrize("field", POISON)
def test_a_poisoned_label_is_an_error_of_the_cache(backend, field, image, tmp_path):
    frames = make(image, tmp_path, backend)
    frames.prepare()
    (entry,) = pathlib.Path(frames.cache_dpath).glob("*/*")
    good = dataclasses.asdict(labels.read_label(str(entry)))
    content = entry.read_bytes()
    _, length, _ = struct.unpack("<II12s", content[-20:])
    image_bytes = content[: -20 - length]
    for value in POISON[field]:
        text = json.dumps({**good, field: value}).encode()
        checksum = zlib.crc32(image_bytes + text)
        entry.write_bytes(image_bytes + text + struct.pack("<II12s", checksum, len(text), labels.MARK))
        verify(tmp_path / "work", pixels=True)
        assert (make(image, tmp_path, backend).load_region(1) == random_pixels()).all()


@pytest.mark.parametrize(
    ("backend", "kind"), [*product(["npy", "cog"], ["VRT", "GeoTIFF", "PNG"]), ("cog", "npy")]
)
def test_a_file_of_another_format_with_a_valid_label_is_no_entry(backend, kind, image, tmp_path):
    """The planted file refers to, or holds, pixels of the right shape and type that no read may return."""
    frames = make(image, tmp_path, backend)
    frames.prepare()
    (entry,) = pathlib.Path(frames.cache_dpath).glob("*/*")
    label = labels.read_label(str(entry))
    secret = 255 - random_pixels()
    write_tiff(tmp_path / "secret.tif", secret)
    sources = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{tmp_path}/secret.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    rows, columns = secret.shape[:2]
    (tmp_path / "VRT").write_text(
        f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">{sources}</VRTDataset>'
    )
    write_tiff(tmp_path / "a.tif", secret).rename(tmp_path / "GeoTIFF")
    write_png(tmp_path / "a.png", secret).rename(tmp_path / "PNG")
    np.save(tmp_path / "a.npy", secret)
    (tmp_path / "a.npy").rename(tmp_path / "npy")
    entry.write_bytes((tmp_path / kind).read_bytes())
    labels.append_label(str(entry), label)
    for read in (SimpleFrames.load_region, SimpleFrames.load_image):
        with pytest.raises(CacheError):
            read(make(image, tmp_path, backend), 1)
    report = verify(tmp_path / "work", pixels=True, remove=True)
    assert [item.path for item in report.damaged] == [str(entry)]
    assert (make(image, tmp_path, backend).load_region(1) == random_pixels()).all()
