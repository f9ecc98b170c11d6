"""
Detects damage in WebP files that the decoder does not report.

The format has no checksums, so a part that was overwritten with zeros still decodes to pixels. The decoder
then consumes either more bytes than the file has, which it reports as an error, or fewer. A file with a long
run of zeros is therefore decoded again without its last bytes. If that succeeds, the decoder did not need
them, and the file is damaged.

References:
    RFC 9649, WebP image format, section 2 (chunks).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A run of zeros at least this long in compressed data is examined. Regions of one color may contain one too.
SUSPICIOUS_ZEROS = bytes(32)

#: Number of bytes at the end that the decoder needs if the file is undamaged.
TAIL_BYTES = 8


def find_webp_damage(data: bytes, decodes: Callable[[bytes], bool]) -> str:
    """Return how a decoded WebP is damaged; an empty string if it is not.

    The text completes a sentence that starts with the path of the file.

    Args:
        data: content of the file; a file of another format counts as undamaged.
        decodes: returns whether the decoder accepts a file's content.
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
    """Return a WebP in which another chunk replaces bytes first:stop."""
    chunk = struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)
    rest = data[8:first] + chunk + data[stop:]
    return b"RIFF" + struct.pack("<I", len(rest)) + rest
