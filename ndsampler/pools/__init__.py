"""Pools of positive and negative targets, and grids of windows over whole datasets."""

from __future__ import annotations
