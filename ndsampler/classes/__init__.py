"""What the category tree is built on: hierarchies of categories, and operations on arrays of class scores."""

from __future__ import annotations
