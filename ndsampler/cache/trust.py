"""
Checks the owners of entries: only this user, root, and the owner of the workdir are trusted.

The label of an entry holds a checksum and no signature, so any user who may write to a workdir can store
false pixels in it. On systems without user ids, such as Windows, the owner is not checked.
"""

from __future__ import annotations

import os

from ndsampler.errors import CacheError
from ndsampler.utils.logs import get_logger

logger = get_logger(__name__)


class TrustedOwners:
    """Distinguishes entries of trusted users from those of other users.

    Args:
        workdir: the folder that the user passed in; its owner is trusted. None for a backend without a cache.
        mode: ``'warn'`` logs one warning about entries of other users; ``'strict'`` rejects such entries.
    """

    def __init__(self, workdir: str | None, mode: str) -> None:
        self.mode = mode
        self._workdir = workdir
        self._has_warned = False

    def check(self, path: str, stat: os.stat_result) -> None:
        """Check the owner of an entry.

        Args:
            path: path of the entry.
            stat: file status of the entry.

        Raises:
            CacheError: if the entry belongs to another user and the mode is ``'strict'``.
        """
        if self._trusts(stat):
            return
        text = f"{path} belongs to user {stat.st_uid}, not to you, to root, or to the owner of the workdir"
        if self.mode == "strict":
            raise CacheError(f"{text}; use a workdir of your own, or trust='warn'")
        if not self._has_warned:
            self._has_warned = True
            logger.warning("%s; trust='strict' rejects such entries", text)

    def _trusts(self, stat: os.stat_result) -> bool:
        """Whether a file belongs to a trusted user."""
        if not hasattr(os, "geteuid") or stat.st_uid in (0, os.geteuid()):
            return True
        try:
            return self._workdir is not None and os.stat(self._workdir).st_uid == stat.st_uid
        except OSError:
            return False
