"""How much of the fault suite runs: ``--faults=short``, ``whole`` or ``soak``."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from helpers_threads import PATIENCE

FOLDER = pathlib.Path(__file__).resolve().parent

#: Seconds that a test waits for a process at full length.
SOAK_PATIENCE = 3600.0


def name_of_function(item: pytest.Item) -> str:
    """Return the name that all parametrizations of a test share."""
    return item.nodeid.partition("[")[0]


def parameters_of(item: pytest.Function) -> dict[str, tuple[int, ...]]:
    """Return the identity of each parameter of a test; names that are parametrized together count as one."""
    given = item.callspec.params
    together = {name: name for name in given}
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        together.update({name.strip(): ",".join(names) for name in names})
    return {
        axis: tuple(id(given[name]) for name in given if together[name] == axis) for axis in together.values()
    }


def each_value_once(items: Iterable[pytest.Function]) -> Iterator[pytest.Function]:
    """Yield a few parametrizations of one test that together hold each value of each of its parameters."""
    found = {frozenset(parameters_of(item).items()): item for item in items}
    axes: dict[str, dict[Any, None]] = {}
    for item in items:
        for axis, value in parameters_of(item).items():
            axes.setdefault(axis, {})[value] = None
    values = {axis: list(known) for axis, known in axes.items()}
    steps = range(max(map(len, values.values())))
    diagonal = [frozenset((axis, known[n % len(known)]) for axis, known in values.items()) for n in steps]
    held: set[tuple[str, Any]] = set()
    for parameters in (*diagonal, *found):
        if parameters in found and not parameters <= held:
            held |= parameters
            yield found[parameters]


def short_form(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the tests of the short form: all of them, but not every combination of their parameters."""
    chosen: set[pytest.Item] = set()
    for _, group in itertools.groupby(sorted(items, key=name_of_function), name_of_function):
        parametrizations = list(group)
        if all(hasattr(item, "callspec") for item in parametrizations):
            parametrizations = list(each_value_once(parametrizations))
        chosen.update(parametrizations)
    return chosen


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the short form does without, and give tests at full length more time."""
    faults = [item for item in items if FOLDER in item.path.parents]
    if config.getoption("faults") == "short":
        spared = set(faults) - short_form(faults)
        config.hook.pytest_deselected(items=[item for item in faults if item in spared])
        items[:] = [item for item in items if item not in spared]
    if config.getoption("faults") == "soak":
        for item in faults:
            item.add_marker(pytest.mark.timeout(SOAK_PATIENCE + 2 * PATIENCE))


@pytest.fixture(scope="session")
def amount(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that picks one of its arguments ``short``, ``whole`` and ``soak``."""
    form = request.config.getoption("faults")
    return lambda **amounts: amounts[form]


@pytest.fixture(scope="session")
def patience(amount: Callable[..., Any]) -> float:
    """Return the seconds to wait for a process that does all its work."""
    return amount(short=PATIENCE, whole=PATIENCE, soak=SOAK_PATIENCE)
