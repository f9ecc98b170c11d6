"""
The header of a ``.npy`` file.

numpy parses it with ``ast.literal_eval``. Up to Python 3.12, two threads that parse at the same time can get
a ``SystemError`` for a valid text (``AST constructor recursion depth mismatch``, CPython issue 106905). This
library reads windows in threads, so this module parses the header with regular expressions instead.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = b"\x93NUMPY"

#: Maximum length of the header text in bytes; the same as numpy's limit.
MAX_LENGTH = 10_000

#: How the length of the text is stored in each major version of the format.
LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}

#: A field of the dictionary: a string, a flag, or a tuple of numbers, which Python 2 wrote as ``3L``.
FIELD = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>\w+)(?P=quote)\s*:\s*
    (?:(?P<mark>['"])(?P<text>[^'"]*)(?P=mark) | (?P<flag>True|False) | \((?P<sides>[\d\sL,]*)\))
    \s*(?:,|$)""",
    re.VERBOSE,
)

#: Pattern of a number's type. The type of a record is a list, and that of a date has a unit.
PLAIN_TYPE = re.compile(r"[<>|=]?[?a-zA-Z]\d*")


class NpyHeader(NamedTuple):
    """The contents of the header of a ``.npy`` file."""

    shape: tuple[int, ...]
    """Length of each axis."""

    order: Literal["C", "F"]
    """Order of the values in the file: with ``'C'`` the last axis varies fastest, with ``'F'`` the first."""

    dtype: np.dtype[Any]
    """Type of a value."""

    start: int
    """Position of the first value in the file, in bytes."""


def read_npy_header(file: BinaryIO) -> NpyHeader:
    """Read the header of a ``.npy`` file of numbers, and leave the file position at the first value.

    Args:
        file: the file, at its beginning.

    Returns:
        The parsed header. The shape is not checked against the size of the file.

    Raises:
        ValueError: if the file does not start with a valid header, or does not hold plain numbers.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> np.save(file, np.zeros((4, 6), np.uint8))
        >>> file.seek(0)
        0
        >>> read_npy_header(file)
        NpyHeader(shape=(4, 6), order='C', dtype=dtype('uint8'), start=128)
    """
    fields = _parse(_read_text(file))
    try:
        sides = [int(side.strip().rstrip("L")) for side in fields["shape"].split(",") if side.strip()]
        dtype = np.dtype(fields["descr"])
    except (KeyError, TypeError, ValueError) as ex:
        raise ValueError(f"its header has no usable type or shape: {fields}") from ex
    order: Literal["C", "F"] = "F" if fields.get("fortran_order") == "True" else "C"
    return NpyHeader(tuple(sides), order, dtype, file.tell())


def _read_text(file: BinaryIO) -> str:
    """Return the text of the header."""
    start = file.read(len(MAGIC) + 2)
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + 2:
        raise ValueError("it does not start with the format's magic bytes")
    length = LENGTHS.get(start[-2])
    if length is None:
        raise ValueError(f"its format version {start[-2]}.{start[-1]} is not known")
    stored = file.read(length.size)
    count = length.unpack(stored)[0] if len(stored) == length.size else MAX_LENGTH + 1
    text = file.read(count) if count <= MAX_LENGTH else b""
    if len(text) < count:
        raise ValueError(f"its header is cut off, or longer than {MAX_LENGTH} bytes")
    return text.decode("latin1")


def _parse(text: str) -> dict[str, str]:
    """Return the text of each field of the header."""
    body = text.strip()
    inner = body[1:-1].rstrip() if body[:1] == "{" and body[-1:] == "}" else ""
    fields: dict[str, str] = {}
    position = 0
    while position < len(inner):
        match = FIELD.match(inner, position)
        if match is None:
            break
        fields[match["key"]] = match["text"] or match["flag"] or match["sides"] or ""
        position = match.end()
    plain = PLAIN_TYPE.fullmatch(fields.get("descr", "")) is not None
    if position < len(inner) or set(fields) != {"descr", "fortran_order", "shape"} or not plain:
        raise ValueError(f"its header does not describe an array of numbers: {body[:200]!r}")
    return fields
