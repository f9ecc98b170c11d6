"""What a kwcoco dataset says, as columns."""

from __future__ import annotations
