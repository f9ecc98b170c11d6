"""The contents of a kwcoco dataset, as columns, and the adapter to kwcoco itself."""

from __future__ import annotations
