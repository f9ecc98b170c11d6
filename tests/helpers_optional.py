"""Packages that only some tests need; those tests are skipped by name without them."""

from __future__ import annotations

from types import ModuleType

import pytest

#: Extras of this package, by the packages that they install. All others come with the extra ``tests``.
EXTRAS = {"torch": "torch"}


def import_optional(name: str) -> ModuleType:
    """Return a package or a module of one; without it, skip the test and say how to install the package."""
    package = name.partition(".")[0]
    extra = EXTRAS.get(package, "tests")
    return pytest.importorskip(name, reason=f'needs {package}: pip install "ndsampler[{extra}]"')
