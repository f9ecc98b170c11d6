"""The examples in the docstrings of the clients that use this library."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

import client_examples
import matplotlib as mpl
import pytest

import ndsampler
from ndsampler import coerce_data
from ndsampler.utils import util_sklearn

mpl.use("agg")

EXAMPLES = client_examples.client_examples()

#: Where the clients come in.
DOORS: tuple[tuple[Any, str], ...] = (
    (ndsampler.CocoSampler, "__init__"),
    (ndsampler.CategoryTree, "__init__"),
    (coerce_data, "coerce_datasets"),
    (util_sklearn.StratifiedGroupKFold, "__init__"),
)

DEMAND = re.compile(r"# *xdoc(?:test)?: *\+?(.+)")


class ClientFaultError(Exception):
    """An example failed in the way that is known of it."""


def marks_of(name: str) -> list[Any]:
    """Return the mark of an example that fails by a fault of its own, and only by that."""
    if name not in client_examples.FAULTS:
        return []
    reason = f"the client {client_examples.FAULTS[name].reason}"
    return [pytest.mark.xfail(strict=True, raises=ClientFaultError, reason=reason)]


@contextlib.contextmanager
def known_fault(name: str) -> Iterator[None]:
    """Raise a ClientFaultError instead of the error that an example is known to end with."""
    try:
        yield
    except Exception as ex:
        fault = client_examples.FAULTS.get(name)
        if fault is not None and type(ex) is fault.error and fault.words in str(ex):
            raise ClientFaultError(fault.reason) from ex
        raise


each_example = pytest.mark.parametrize(
    "name", [pytest.param(name, id=name, marks=marks_of(name)) for name in EXAMPLES]
)


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The names of the doors that are used, from now on."""
    found: list[str] = []

    def watch(owner: Any, name: str) -> None:
        call = getattr(owner, name)

        @functools.wraps(call)
        def noted(*args: Any, **kwargs: Any) -> Any:
            found.append(f"{owner.__name__}.{name}")
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in DOORS:
        watch(owner, name)
    return found


@each_example
def test_an_example_of_a_client_runs(name, calls, monkeypatch):
    download = ["--download"] if name in client_examples.WITHOUT_DOWNLOAD else []
    monkeypatch.setattr(sys, "argv", [sys.argv[0], *client_examples.FLAGS, *download])
    for variable, value in client_examples.ENVIRONMENT.get(name, {}).items():
        monkeypatch.setenv(variable, value)
    example = EXAMPLES[name]
    try:
        with known_fault(name):
            example.run(on_error="raise", verbose=0)
    except pytest.skip.Exception:
        demands = ", ".join(DEMAND.findall(example.docsrc))
        pytest.skip(f"the example asks for more than the suite gives: {demands}")
    if name.split("::")[1] in client_examples.INDIRECT.get(name.split("::")[0], ()):
        assert calls, "the example is listed as one that reaches this library"


def test_what_is_listed_exists():
    listed = {f"{path}::{call}" for path, calls in client_examples.INDIRECT.items() for call in calls}
    listed |= {*client_examples.FAULTS, *client_examples.WITHOUT_DOWNLOAD, *client_examples.ENVIRONMENT}
    assert listed <= set(EXAMPLES)
