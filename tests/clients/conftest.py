"""The client suite runs by itself, through ``.ci/clients``, in an environment that holds the clients."""

from __future__ import annotations

import pathlib

import kwarray
import kwcoco
import pytest
import shims  # noqa: F401
import torch


def pytest_configure(config: pytest.Config) -> None:
    """Leave the processors to the workers."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Some examples write into the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def same_numbers():
    """Some clients draw from the generators that everybody shares."""
    kwarray.seed_global(0)


@pytest.fixture(scope="session")
def video_dset() -> kwcoco.CocoDataset:
    """Two films of four small frames."""
    return kwcoco.CocoDataset.demo("vidshapes2", num_frames=4, image_size=(96, 80), verbose=0)


@pytest.fixture(scope="session")
def still_dset() -> kwcoco.CocoDataset:
    """Eight small pictures."""
    return kwcoco.CocoDataset.demo("shapes8", image_size=(96, 80), verbose=0)


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    """An empty folder for frame caches."""
    return tmp_path / "work"
