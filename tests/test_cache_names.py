"""Names of entries: stable between versions, safe everywhere, and read back as they were built."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from helpers_images import random_pixels, write_tiff
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.backends import make_backend
from ndsampler.cache import names
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.identity import Source, SourceIdentity

BY_PATH = SourceIdentity("/data/Big city.v2.png", 123, 456789, sample="0f")
BY_CONTENT = SourceIdentity("/data/a.png", 1, 2, "abc")
JPEG = {"type": "cog", "config": {"compress": "JPEG", "quality": 90}}

#: Names as earlier versions of this format gave them: a change would orphan the caches of all users.
GOLDEN = [
    (BY_PATH, "npy", "npy_ffde837b69d7/e1/Big_city_e184c9ccc9539d7d9d88ec86b0f64c2a.npy"),
    (BY_PATH, "cog", "cog_487c18c539ff/e1/Big_city_e184c9ccc9539d7d9d88ec86b0f64c2a.cog.tiff"),
    (BY_PATH, JPEG, "cog_ff9fb1abbfaf/e1/Big_city_e184c9ccc9539d7d9d88ec86b0f64c2a.cog.tiff"),
    (BY_CONTENT, "npy", "npy_ffde837b69d7/56/563ff17e20f51b4be9f4533f94bdf6de.npy"),
]


@pytest.mark.parametrize(("identity", "spec", "expected"), GOLDEN)
def test_names_are_those_of_earlier_versions_of_the_format(identity, spec, expected):
    backend = make_backend(spec)
    folder = os.path.join(names.entries_root("/workdir"), names.config_folder(backend))
    entry = names.entry_path(folder, identity, backend.suffix)
    assert pathlib.PurePath(entry).relative_to(names.entries_root("/workdir")).as_posix() == expected


def hash_sample(path):
    """Return the hash of four pieces of 2048 bytes of a file, the first and the last included."""
    data = path.read_bytes()
    offsets = [n * (len(data) - 2048) // 3 for n in range(4)]
    pieces = data if len(data) <= 8192 else b"".join(data[start : start + 2048] for start in offsets)
    return hashlib.sha256(pieces).hexdigest()[:32]


def test_the_bytes_of_an_npy_entry_are_an_array_and_its_label(tmp_path):
    pixels = random_pixels("uint16", 3)
    path = write_tiff(tmp_path / "image.tif", pixels)
    os.utime(path, ns=(0, 12_345_678_901))
    cache = FrameCache(make_backend("npy"), str(tmp_path / "cache"))
    entry = pathlib.Path(cache.ensure(Source(str(path))))

    np.save(tmp_path / "plain.npy", pixels)
    content = entry.read_bytes()
    with open(entry, "rb") as file:
        assert np.array_equal(np.load(file), pixels)
        end = file.tell()
    label = {
        "source": str(path),
        "size": path.stat().st_size,
        "mtime_ns": 12_345_678_901,
        "content": "",
        "shape": [*pixels.shape],
        "dtype": "uint16",
        "nodata": None,
        "backend": "npy",
        "sample": hash_sample(path),
        "sides": "",
        "form": "",
    }
    text = json.dumps(label, sort_keys=True).encode()
    checksum = zlib.crc32(content[:end] + text)
    assert content[end:] == text + struct.pack("<II12s", checksum, len(text), b"NDSAMPLER-3\n")
    assert entry.stat().st_mtime_ns % 10**9 == checksum % 10**6 * 1000


@given(
    st.text(min_size=1), st.integers(0, 2**40), st.integers(0, 2**62), st.sampled_from(["", "abc", "é/.."])
)
def test_a_name_is_read_back_as_it_was_built(path, size, mtime_ns, content):
    identity = SourceIdentity(path, size, mtime_ns, content)
    entry = names.entry_path("/workdir", identity, ".npy")
    inner = pathlib.PurePath(entry).relative_to("/workdir")
    assert re.fullmatch(r"[0-9a-f]{2}/[A-Za-z0-9_-]{0,41}[0-9a-f]{32}\.npy", inner.as_posix())
    assert names.token_of_entry(inner.name) == identity.token
    assert names.is_shard(inner.parent.name)
    assert inner.parent.name == identity.token[:2]
    assert names.is_named_for(entry, identity)
    assert not names.is_named_for(entry, SourceIdentity(path + "x", size, mtime_ns, content + "x"))


@pytest.mark.parametrize("spec", ["npy", "cog", JPEG])
def test_a_config_folder_names_its_backend_and_tells_settings_and_versions_apart(spec):
    backend = make_backend(spec)
    assert names.backend_of_folder(names.config_folder(backend)) == backend.name
    folders = {names.config_folder(make_backend(other)) for other in ("npy", "cog", JPEG)}
    assert len(folders) == 3
    assert names.config_folder(backend, 1) != names.config_folder(backend)
    assert names.config_folder(backend) not in names.outdated_config_folders()
    assert names.config_folder(make_backend("npy"), 1) in names.outdated_config_folders()


@pytest.mark.parametrize("name", ["", "x", "city.npy", "g" * 32 + ".npy", "0" * 31 + ".npy", "0" * 32])
def test_other_names_are_not_entries(name):
    assert names.token_of_entry(name) is None


@pytest.mark.parametrize("name", ["npy", "cog_", "cog_0123", "_partial", "npy_0123456789ag"])
def test_other_folders_are_not_config_folders(name):
    assert names.backend_of_folder(name) is None
