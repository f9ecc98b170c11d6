"""Building blocks of the category tree: hierarchies of categories, and operations on class scores."""

from __future__ import annotations
