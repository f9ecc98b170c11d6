"""Packages that only some tests need; these tests are skipped if the packages are missing."""

from __future__ import annotations

from types import ModuleType

import pytest

#: Package to the extra that installs it. All other packages are installed by the extra ``tests``.
EXTRAS = {"torch": "torch"}

#: Packages that no extra installs. Tests with them run only if they are installed.
OTHERS = ("albumentations", "torchdata", "torchvision")


def import_optional(name: str) -> ModuleType:
    """Import a package or module. If it is missing, skip the test; the reason says how to install it."""
    package = name.partition(".")[0]
    source = package if package in OTHERS else f'"ndsampler[{EXTRAS.get(package, "tests")}]"'
    return pytest.importorskip(name, reason=f"needs {package}: pip install {source}")
