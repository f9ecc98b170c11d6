"""The switch between a minute and twenty of faults."""

from __future__ import annotations

import pathlib
import sys

import pytest

# So that this folder can be run on its own.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the faults at full length, some twenty minutes")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether faults are sought at full length."""
    return bool(request.config.getoption("--soak", default=False))
