"""What an image is made of, and its pixels on a grid."""

from __future__ import annotations
