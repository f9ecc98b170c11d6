"""The measured code of new processes: ``python -m benchmarks.probe KIND ARGS``. Some kinds print seconds."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

WINDOW = 64


def sample(dataset: str, workdir: str) -> None:
    """Open a dataset and load one sample."""
    import kwcoco

    import ndsampler

    sampler = ndsampler.CocoSampler(kwcoco.CocoDataset(dataset), workdir=workdir, backend="npy")
    target = {"gid": 1, "cx": 100, "cy": 100, "width": WINDOW, "height": WINDOW}
    sampler.load_sample(target, with_annots=False)


def sample_limit(dataset: str, array: str) -> None:
    """Open a dataset, copy one window of a memory-mapped file, and make the other values of a sample."""
    import kwcoco
    import kwimage
    import numpy as np

    dset = kwcoco.CocoDataset(dataset)
    np.array(np.load(array, mmap_mode="r")[68:132, 68:132])
    kwimage.Boxes(np.array([68, 68, 132, 132]), "ltrb")
    dset.object_categories()


def made(dataset: str) -> float:
    """Return the seconds that it takes to make a sampler of a loaded dataset."""
    import kwcoco

    import ndsampler

    dset = kwcoco.CocoDataset(dataset)
    start = time.perf_counter()
    ndsampler.CocoSampler(dset, workdir=None, backend=None)
    return time.perf_counter() - start


def query(dataset: str) -> float:
    """Return the seconds from a loaded dataset to the first overlap query."""
    import kwcoco
    import kwimage

    import ndsampler

    dset = kwcoco.CocoDataset(dataset)
    box = kwimage.Boxes([[100.0, 100.0, 356.0, 356.0]], "ltrb")
    regions_class = ndsampler.CocoRegions
    start = time.perf_counter()
    regions_class(dset, verbose=0).overlapping_aids(1, box)
    return time.perf_counter() - start


def query_limit(dataset: str) -> float:
    """Return the seconds from a loaded dataset to columns and one comparison."""
    import kwcoco
    import numpy as np

    from benchmarks import limits

    dset = kwcoco.CocoDataset(dataset)
    start = time.perf_counter()
    columns = limits.gather_columns(dset)
    limits.overlapping(
        columns["boxes"][: columns["starts"][1] if len(columns["starts"]) > 1 else None],
        np.array([100.0, 100.0, 356.0, 356.0]),
    )
    return time.perf_counter() - start


def memory(dataset: str, workdir: str, backend: str, side: str, count: str) -> float:
    """Most memory in MB while random windows of an image are loaded; pages of mapped files do not count."""
    import kwcoco
    import numpy as np

    import ndsampler

    sampler = ndsampler.CocoSampler(
        kwcoco.CocoDataset(dataset), workdir=workdir if backend else None, backend=backend or None
    )
    corners = np.random.default_rng(0).integers(0, int(side) - 256, (int(count), 2)).tolist()
    most = 0.0
    for index, (top, left) in enumerate(corners):
        target = {"gid": 1, "slices": (slice(top, top + 256), slice(left, left + 256))}
        sampler.load_sample(target, with_annots=False)
        if index % 100 == 0 or index == len(corners) - 1:
            most = max(most, _private_mb())
    return most


def _private_mb() -> float:
    """Memory of this process without the pages of files, which the system takes back when it needs them."""
    with open("/proc/self/status", encoding="ascii") as file:
        found = dict(line.split(":", 1) for line in file)
    return sum(int(found[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024


KINDS: dict[str, Callable[..., float | None]] = {
    "sample": sample,
    "sample-limit": sample_limit,
    "made": made,
    "memory": memory,
    "query": query,
    "query-limit": query_limit,
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    seconds = KINDS[sys.argv[1]](*sys.argv[2:])
    if seconds is not None:
        print(seconds)
