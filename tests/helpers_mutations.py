"""Random changes of bytes and values, for tests that read damaged data."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


def flip_bits(data: bytearray, rng) -> bytearray:
    for place in rng.integers(len(data), size=int(rng.integers(1, 20))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def overwrite(data: bytearray, rng) -> bytearray:
    start, size = int(rng.integers(len(data))), int(10 ** rng.uniform(0, 4))
    fill = [bytes(size), b"\xff" * size, rng.bytes(size)][rng.integers(3)]
    data[start : start + size] = fill[: len(data) - start]
    return data


def remove(data: bytearray, rng) -> bytearray:
    start, size = int(rng.integers(len(data))), int(10 ** rng.uniform(0, 4))
    del data[start : start + size]
    return data


def insert(data: bytearray, rng) -> bytearray:
    start = int(rng.integers(len(data)))
    data[start:start] = rng.bytes(int(10 ** rng.uniform(0, 3)))
    return data


def cut(data: bytearray, rng) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def repeat(data: bytearray, rng) -> bytearray:
    start, size = int(rng.integers(len(data))), int(10 ** rng.uniform(0, 4))
    return data + data[start : start + size]


def near_the_ends(data: bytearray, rng) -> bytearray:
    """Change bytes of a header or label, where each byte has a meaning."""
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(min(200, len(data))))
        data[place if rng.random() < 0.5 else -1 - place] = int(rng.integers(256))
    return data


MUTATIONS: list[Callable[[bytearray, Any], bytearray]] = [
    flip_bits,
    overwrite,
    remove,
    insert,
    cut,
    repeat,
    near_the_ends,
]


def mutate_bytes(data: bytes, rng) -> bytes:
    """Return bytes with one random change."""
    return bytes(MUTATIONS[rng.integers(len(MUTATIONS))](bytearray(data), rng))


def mutate(path: pathlib.Path, rng, *, keep_times: bool = False) -> None:
    """Change the bytes of a file, in place or by replacing the file."""
    stat = path.stat()
    data = mutate_bytes(path.read_bytes(), rng)
    if rng.random() < 0.5:
        path.with_name("new").write_bytes(data)
        os.replace(path.with_name("new"), path)
    else:
        with open(path, "rb+") as file:
            file.write(data)
            file.truncate()
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


#: Values that no valid dataset contains, and some that a dataset might contain.
VALUES: list[Any] = [
    *[None, "", " ", 0, -1, 1, 2, 7, 10**9, 10**400, -(10**20), 1.5, -0.0, float("nan"), float("inf"), True],
    *[
        "abc",
        "12",
        "-3",
        "é\ud800",
        b"x",
        [],
        {},
        (),
        [None],
        [[]],
        [{}],
        {"a": 1},
        [1, 2, 3],
        object(),
        set(),
    ],
    *[
        "r|g|b",
        "b|g|r",
        "r|r",
        "r|g",
        "a|b|c|d|e",
        "*",
        ",",
        "|",
        "r,g",
        "x.0:3",
        "x.0:99999999",
        "<all>",
        "r:2",
    ],
    *[[[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]], [[1, 0], [0, 1]], np.eye(3), np.eye(3) * 1e-320],
    *[
        {"scale": 2},
        {"scale": 0},
        {"scale": "x"},
        {"theta": 1},
        {"matrix": 5},
        {"type": "affine"},
        {"offset": []},
    ],
    *[[[1e308, 0, 0], [0, 1e308, 0]], [[np.nan, 0, 0], [0, 1, 0]], [[1, 0, 1e9], [0, 1, -1e9], [0, 0, 1]]],
    *[[[1, 0, 0], [0, 1, 0], [1, 1, 1]], {"scale": 1e-9}, {"scale": 1e9}, "[[1,0,0],[0,1,0]]", np.int64(5)],
    *[
        "../other.png",
        "/",
        ".",
        "..",
        "a\0b",
        "nothing.png",
        "x" * 5000,
        pathlib.Path("1.png"),
        np.array("1.png"),
    ],
]

#: Keys of an image, and of a file of one.
KEYS = [
    *[
        "file_name",
        "width",
        "height",
        "channels",
        "warp_aux_to_img",
        "warp_img_to_vid",
        "hashid",
        "auxiliary",
    ],
    *[
        "assets",
        "video_id",
        "frame_index",
        "nodata",
        "id",
        "name",
        "timestamp",
        "dtype",
        "num_bands",
        "sensor",
    ],
]
