"""Packages that only some tests need; those tests are skipped by name without them."""

from __future__ import annotations

from types import ModuleType

import pytest

#: Extras of this package, by the packages that they install. All others come with the extra ``tests``.
EXTRAS = {"torch": "torch"}

#: Packages that no extra installs, since none of ours needs them: they are tried where they are installed.
OTHERS = ("albumentations", "torchdata", "torchvision")


def import_optional(name: str) -> ModuleType:
    """Return a package or a module of one; without it, skip the test and say how to install the package."""
    package = name.partition(".")[0]
    source = package if package in OTHERS else f'"ndsampler[{EXTRAS.get(package, "tests")}]"'
    return pytest.importorskip(name, reason=f"needs {package}: pip install {source}")
