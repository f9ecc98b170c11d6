"""Synthetic landscapes with annotations, and what the demo command measures on them."""

from __future__ import annotations
