"""
The old name of :mod:`ndsampler.utils.hash_identifiable`.
"""

from __future__ import annotations

from ndsampler.utils.hash_identifiable import HashIdentifiable

__all__ = ["HashIdentifiable"]
