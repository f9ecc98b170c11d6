"""Writing files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextlib.contextmanager
def open_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing. It replaces the file at a path if the block ends without an error.

    Until then the bytes are in a ``.partial`` file beside it, which is removed if the block raises an error.

    Args:
        path: the file to write.

    Raises:
        OSError: if the file cannot be written.
    """
    dest = Path(path)
    partial = dest.with_name(f"{dest.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, dest)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
