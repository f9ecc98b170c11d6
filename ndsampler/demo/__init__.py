"""
Synthetic landscapes with annotations, and the comparison of backends on them.

:func:`landscape_dataset` makes a dataset of still images, a film and multispectral images.
"""

from __future__ import annotations

from ndsampler.demo.dataset import landscape_dataset

__all__ = ["landscape_dataset"]
