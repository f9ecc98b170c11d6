"""One sampler, pickled to the workers of torch, loky and dask, gives there the samples it gives here."""

from __future__ import annotations

import pickle

import dask
import joblib
import pytest
from in_workers import BACKENDS, STARTS, Samples, loaded, sample_content

import ndsampler

distributed = pytest.importorskip("distributed")

#: What is asked of stills, and of films.
STILLS = [{"gid": gid, "cx": 40, "cy": 35, "width": 50, "height": 44} for gid in (1, 3, 5)] + [{"aid": 2}]
FILMS = [
    {"vidid": 1, "gids": [1, 3], "space_slice": (slice(-4, 30), slice(8, 60))},
    {"vidid": 2, "scale": 0.5},
]

ASKED = {"stills": STILLS, "films": FILMS}


@pytest.fixture(params=ASKED)
def asked(request):
    return request.param


@pytest.fixture(params=BACKENDS, ids=str)
def samples(asked, request, workdir, still_dset, video_dset):
    dset = still_dset if asked == "stills" else video_dset
    sampler = ndsampler.CocoSampler(dset, workdir=workdir, backend=request.param)
    sampler.frames.prepare(workers=0)
    return Samples(sampler, ASKED[asked])


@pytest.fixture
def expected(samples):
    return [samples[index] for index in range(len(samples))]


def test_the_samples_of_a_copy_are_the_same(samples, expected):
    copy = pickle.loads(pickle.dumps(samples))
    assert [copy[index] for index in range(len(copy))] == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", STARTS)
def test_torch_workers_give_the_same_samples(samples, expected, start, workers):
    assert loaded(samples, start, workers) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_loky_workers_give_the_same_samples(samples, expected, jobs):
    parallel = joblib.Parallel(n_jobs=jobs, backend="loky")
    calls = [joblib.delayed(sample_content)(samples.sampler, target) for target in samples.targets]
    assert parallel(calls) == expected


def test_dask_without_workers_gives_the_same_samples(samples, expected):
    tasks = [dask.delayed(sample_content)(samples.sampler, target) for target in samples.targets]
    assert list(dask.compute(*tasks, scheduler="synchronous")) == expected


@pytest.mark.parametrize("start", STARTS)
def test_dask_workers_give_the_same_samples(samples, expected, start):
    settings = {"distributed.worker.multiprocessing-method": start}
    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with dask.config.set(settings), distributed.Client(**cluster) as client:
        futures = client.map(sample_content, [samples.sampler] * len(samples), samples.targets)
        assert client.gather(futures) == expected
