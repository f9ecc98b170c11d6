"""
Synthetic landscapes with annotations, and a comparison of backends that uses them.

:func:`landscape_dataset` makes a dataset of still images, an RGB video and a multispectral video.
"""

from __future__ import annotations

from ndsampler.demo.dataset import landscape_dataset

__all__ = ["landscape_dataset"]
