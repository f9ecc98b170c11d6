"""The contents of a kwcoco dataset as columns, and the adapter to kwcoco's private interface."""

from __future__ import annotations
