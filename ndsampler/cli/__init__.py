"""The commands of ``ndsampler``. :mod:`ndsampler.cli.main` starts them."""

from __future__ import annotations
