"""The commands of ``python -m ndsampler``. :mod:`ndsampler.cli.main` starts them."""

from __future__ import annotations
