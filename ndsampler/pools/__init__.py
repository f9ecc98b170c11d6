"""Pools of positive and negative targets, and grids of windows."""

from __future__ import annotations
