"""Packages that only some tests need; those tests are skipped by name without them."""

from __future__ import annotations

from types import ModuleType

import pytest

#: Extras of this package, by the packages that they install. All others come with the extra ``tests``.
EXTRAS = {"torch": "torch"}


def import_optional(name: str) -> ModuleType:
    """Return a package; without it, skip the test or the test module and say how to install it."""
    extra = EXTRAS.get(name, "tests")
    return pytest.importorskip(name, reason=f'needs {name}: pip install "ndsampler[{extra}]"')
