"""The header of ``.npy`` files, compared with what numpy reads."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ndsampler.backends.formats.npy_header import MAGIC, read_npy_header
from ndsampler.backends.npy import NpyBackend
from ndsampler.errors import CacheError

PLAIN = (
    arrays.integer_dtypes()
    | arrays.unsigned_integer_dtypes()
    | arrays.floating_dtypes()
    | arrays.boolean_dtypes()
)


def stored(text: str, version: tuple[int, int] = (1, 0)) -> io.BytesIO:
    """Return a file with a header of this text."""
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return io.BytesIO(MAGIC + bytes(version) + length + text.encode("latin1"))


@given(
    dtype=PLAIN | arrays.complex_number_dtypes(),
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    order=st.sampled_from("CF"),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_the_header_says_what_numpy_wrote(dtype, shape, order, version):
    file = io.BytesIO()
    pixels = np.zeros(shape, dtype, order=order)
    np.lib.format.write_array(file, pixels, version)
    file.seek(0)
    header = read_npy_header(file)
    assert (header.shape, header.dtype) == (shape, dtype)
    assert header.order == "C" or not pixels.flags.c_contiguous
    assert header.start == file.tell() == len(file.getvalue()) - pixels.nbytes


def test_a_header_of_python_2_is_read():
    header = read_npy_header(stored("{'shape': (3L, 4L), 'descr': \"<u2\", 'fortran_order': True}\n"))
    assert header[:3] == ((3, 4), "F", np.dtype("<u2"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1, 2]",
        "{'descr': '|O', 'fortran_order': False}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, x), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), 'more': 'x'}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), } + 1",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3 4), }",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': '<u3', 'fortran_order': False, 'shape': (3, 4), }",
        "(" * 5000,
    ],
)
def test_other_headers_are_refused(text, tmp_path):
    with pytest.raises(ValueError, match="header"):
        read_npy_header(stored(text))
    path = tmp_path / "image.npy"
    path.write_bytes(stored(text).getvalue())
    with pytest.raises(CacheError, match=r"not a \.npy file of numbers"):
        NpyBackend().open(str(path))


@pytest.mark.parametrize(
    "data", [b"", MAGIC, MAGIC + b"\1", MAGIC + b"\1\0\xff", MAGIC + b"\2\0\xff\xff\xff\xff"]
)
def test_a_header_that_is_cut_off_is_refused(data):
    with pytest.raises(ValueError, match="magic bytes|cut off"):
        read_npy_header(io.BytesIO(data))


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match=r"version 9\.0 is not known"):
        read_npy_header(stored("{}", (9, 0)))


def test_headers_are_read_without_the_parser_of_python(monkeypatch, tmp_path):
    def parse(*args, **kwargs):
        raise SystemError("AST constructor recursion depth mismatch")

    np.save(tmp_path / "image.npy", np.arange(12, dtype=np.uint8).reshape(3, 4))
    monkeypatch.setattr("ast.parse", parse)
    reader = NpyBackend().open(str(tmp_path / "image.npy"))
    assert reader.read(0, 3, 0, 4)[:, :, 0].tolist() == np.arange(12).reshape(3, 4).tolist()
