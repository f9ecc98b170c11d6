"""The comparison of loaders, on tiny images."""

from __future__ import annotations

import json

import pytest
from helpers_optional import import_optional

from benchmarks import loader

torch = import_optional("torch")


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Arguments for two batches of two windows."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return ["--smoke", "--batch", "2", "--workers", "1", "--rounds", "1", "--data-dir", str(tmp_path)]


def test_each_side_loads_all_samples_and_reports_what_they_took(options, capsys):
    for side in loader.SIDES:
        assert loader.main([*options, "--act", side]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["count"] == 4
        assert found["rate"] > 0
        assert found["used"] > 0


@pytest.mark.parametrize(
    ("rates", "seconds", "met"),
    [((100, 300), (3e-3, 2e-3), True), ((100, 100), (3e-3, 1e-3), False), ((100, 200), (2e-3, 1e-3), False)],
)
def test_the_goal_is_met_by_samples_a_second_alone(options, capsys, monkeypatch, rates, seconds, met):
    results = {side: {"rate": r, "used": s} for side, r, s in zip(loader.SIDES, rates, seconds)}
    monkeypatch.setattr(loader, "run", lambda args, side: results[side])
    assert loader.report(loader.parse(options)) is met
    lines = capsys.readouterr().out.splitlines()
    assert f"{rates[1] / rates[0]:.2f} x the samples/s" in lines[-1]
