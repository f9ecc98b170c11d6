"""What the category tree is built on: hierarchies and arrays of class scores."""

from __future__ import annotations
