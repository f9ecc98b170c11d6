"""The files that make up an image, and reading their pixels on a common grid."""

from __future__ import annotations
