"""
Keeps forks and the insides of GDAL and OpenCV apart.

Both take locks of their own, of which Python's ``fork`` knows nothing. If one
thread forks while another holds such a lock, the child inherits it held, by a
thread that it does not have, and waits for ever as soon as it needs it. The
same goes for the locks of modules that are imported at that moment, as many
are here when they are first needed. So whoever loads a sample or a region, or
converts an image, passes a gate, and a fork waits until nobody is behind it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: Seconds between two looks at the gate.
POLL_SECONDS = 0.0005

#: Seconds after which a fork waits no longer: somebody converts a very large image, or an exception out of
#: a signal handler fell between two steps of the gate.
PATIENCE_SECONDS = 60.0


class ForkGate:
    """A block that no fork falls into. It may be entered again from inside, at a cost of 0.3 µs.

    Example:
        >>> gate = ForkGate()
        >>> with gate, gate:
        ...     len(gate)
        1
        >>> len(gate)
        0
    """

    def __init__(self) -> None:
        # Single operations on a dict or a list are atomic; a lock would be one more to inherit.
        self._depths: dict[int, int] = {}
        self._forking: list[int] = []

    def __len__(self) -> int:
        """How many threads are inside."""
        return len(self._depths)

    def __enter__(self) -> ForkGate:
        own = threading.get_ident()
        depth = self._depths.get(own, 0)
        self._depths[own] = depth + 1
        while depth == 0 and self._forking and own not in self._forking:
            # Step back: the fork is first.
            del self._depths[own]
            time.sleep(POLL_SECONDS)
            self._depths[own] = 1
        return self

    def __exit__(self, *error: object) -> None:
        own = threading.get_ident()
        depth = self._depths[own] - 1
        if depth:
            self._depths[own] = depth
        else:
            del self._depths[own]

    @contextlib.contextmanager
    def step_out(self) -> Iterator[None]:
        """Let forks happen during a block, however often this thread has entered."""
        own = threading.get_ident()
        depth = self._depths.pop(own, 0)
        try:
            yield
        finally:
            if depth:
                self.__enter__()
                self._depths[own] = depth

    def close(self) -> None:
        """Let nobody in, and wait until all others are out, or for as long as patience lasts."""
        own = threading.get_ident()
        self._forking.append(own)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self._depths) > (own in self._depths):
            if time.monotonic() > deadline:
                logger.warning("forked while another thread was reading or converting; the child may hang")
                break
            time.sleep(POLL_SECONDS)

    def reopen(self) -> None:
        """Let others in again."""
        self._forking.remove(threading.get_ident())

    def begin_child(self) -> None:
        """Forget the threads that a fork does not have."""
        own = threading.get_ident()
        self._depths = {own: self._depths[own]} if own in self._depths else {}
        self._forking = []
        # OpenCV's own threads are not behind the gate, and their locks are held while they go to sleep; a
        # fork has none of them. So it works alone, which is what workers of data loaders want anyway.
        set_threads = getattr(sys.modules.get("cv2"), "setNumThreads", None)
        if set_threads is not None:
            set_threads(0)


#: The gate of this process.
GATE = ForkGate()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=GATE.close, after_in_parent=GATE.reopen, after_in_child=GATE.begin_child)
