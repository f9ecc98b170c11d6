"""The cache of converted images: one entry for each source file, whole or absent."""

from __future__ import annotations
