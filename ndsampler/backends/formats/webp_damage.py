"""
Damage in WebP files that the decoder does not report.

The format has no checksums, and a part of a file that was overwritten with zeros decodes to some pixels.
The decoder then needs fewer bytes than there are, or more; the latter is an error. A file with a long run
of zeros is decoded once more without its last bytes: if that succeeds, it did not need them, and is
damaged.

References:
    RFC 9649, WebP image format, section 2 (chunks).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A run of zeros in compressed data is looked into if it is this long. A flat region may have such runs.
SUSPICIOUS_ZEROS = bytes(32)

#: Bytes at the end without which a whole file cannot be decoded.
TAIL_BYTES = 8


def find_webp_damage(data: bytes, decodes: Callable[[bytes], bool]) -> str:
    """Return what is wrong with a WebP that was decoded; an empty string if nothing is.

    The answer is the predicate of a sentence about the file.

    Args:
        data: content of the file; any other file is not looked at.
        decodes: whether the decoder accepts a content.
    """
    if not data.startswith(b"RIFF") or data[8:12] != b"WEBP":
        return ""
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        first, stop = position + 8, position + 8 + size
        if kind in (b"VP8 ", b"VP8L"):
            # Zeros at the end may have been appended.
            written = len(data[first:stop].rstrip(b"\0"))
            if data.find(SUSPICIOUS_ZEROS, first, first + written) < 0:
                return ""
            shorter = data[first : stop - TAIL_BYTES]
            if decodes(_with_chunk(data, position, stop + size % 2, kind, shorter)):
                return "is damaged: compressed data are left over after its last pixel"
        position = stop + size % 2
    return ""


def _with_chunk(data: bytes, first: int, stop: int, kind: bytes, body: bytes) -> bytes:
    """Return a WebP with another chunk in the place of bytes first:stop."""
    chunk = struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)
    rest = data[8:first] + chunk + data[stop:]
    return b"RIFF" + struct.pack("<I", len(rest)) + rest
