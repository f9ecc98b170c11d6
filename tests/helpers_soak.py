"""
Sampling while the dataset is edited, images are replaced, and the cache is verified and pruned.

``python tests/helpers_soak.py 600`` runs for ten minutes and prints its counts.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import kwcoco
import numpy as np
from helpers_processes import Child
from helpers_threads import results, start_thread

from ndsampler import CocoSampler
from ndsampler.cache.inventory import scan
from ndsampler.cache.prune import prune
from ndsampler.cache.reports import ENTRIES
from ndsampler.cache.verify import verify

HEIGHT, WIDTH = 90, 120

#: Ids of the images that stay unchanged, and of the one that is replaced repeatedly.
STABLE, REPLACED = (1, 2, 3, 4), 5

ANNOTS = 200

#: Maximum number of seconds for a fork, and for a thread after the end of the run.
PATIENCE = 120.0


def box_of(aid: int) -> list[float]:
    """Return the box of an annotation, which depends on its id."""
    return [aid % (WIDTH - 20), aid // 7 % (HEIGHT - 20), 5 + aid % 11, 5 + aid % 13]


def pixels_of(gid: int, version: int = 0) -> np.ndarray:
    """Return the pixels of a version of an image."""
    return np.random.default_rng([gid, version]).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


class Soak:
    """The dataset, the sampler, and the actions that threads repeat.

    Args:
        folder: an empty folder.
        backend: backend of the sampler.
    """

    def __init__(self, folder: pathlib.Path, backend: str) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: list[str] = []
        self.folder, self.workdir = folder, folder / "work"
        self.versions = [0]
        self.dset = kwcoco.CocoDataset()
        self.dset.fpath = str(folder / "data.kwcoco.json")
        self.dset.add_category("thing", id=1)
        for gid in (*STABLE, REPLACED):
            self._write(gid, 0)
            self.dset.add_image(file_name=f"{gid}.png", id=gid, width=WIDTH, height=HEIGHT)
        self._next = 1
        self._add()
        self.sampler = CocoSampler(self.dset, workdir=self.workdir, backend=backend)
        self.sampler.frames.prepare()
        self._lock = threading.Lock()

    def _write(self, gid: int, version: int) -> None:
        new = self.folder / "new.png"
        new.write_bytes(cv2.imencode(".png", pixels_of(gid, version)[:, :, ::-1])[1].tobytes())
        os.replace(new, self.folder / f"{gid}.png")

    def _add(self) -> None:
        while self.dset.n_annots < ANNOTS:
            aid, self._next = self._next, self._next + 1
            self.dset.add_annotation(image_id=self.home(aid), category_id=1, bbox=box_of(aid), id=aid)

    @staticmethod
    def home(aid: int) -> int:
        """Return the image of an annotation, which depends on its id."""
        return aid % (len(STABLE) + 1) + 1

    def count(self, what: str) -> None:
        """Increase a counter, from any thread."""
        with self._lock:
            self.counts[what] += 1

    def read(self, rng: random.Random, gids: Sequence[int] = (*STABLE, REPLACED)) -> None:
        """Read a window of a random image, and check its pixels and annotations."""
        gid = rng.choice(gids)
        y, x = rng.randrange(HEIGHT - 30), rng.randrange(WIDTH - 30)
        place = (slice(y, y + 30), slice(x, x + 30))
        first = len(self.versions) - 1
        sample = self.sampler.load_sample({"gid": gid, "slices": place}, with_annots="boxes")
        versions = [0] if gid != REPLACED else range(first, len(self.versions) + 1)
        right = any(np.array_equal(sample["im"], pixels_of(gid, version)[place]) for version in versions)
        self.count("samples" if right else "wrong pixels")
        boxes = sample["annots"]["rel_boxes"].to_xywh().data
        for aid, box in zip(map(int, sample["annots"]["aids"]), boxes):
            bx, by, width, height = box_of(aid)
            if self.home(aid) != gid or not np.allclose(box, [bx - x, by - y, width, height]):
                self.count("wrong annotations")

    def edit(self, rng: random.Random) -> None:
        """Remove some annotations, and add others."""
        aids = list(self.dset.anns)
        self.dset.remove_annotations(aids[: rng.randrange(1, 5)])
        self._add()
        self.count("edits")
        time.sleep(0.005)

    def replace(self, rng: random.Random) -> None:
        """Replace the file of an image by a new version."""
        self._write(REPLACED, len(self.versions))
        self.versions.append(len(self.versions))
        self.count("replaced images")
        time.sleep(rng.uniform(0, 0.2))

    def maintain(self, rng: random.Random) -> None:
        """Verify the cache, prune it, or remove an entry."""
        way = rng.randrange(3)
        if way == 0 and not verify(self.workdir).ok:
            self.count("damaged entries")
        if way == 1:
            prune(self.workdir)
        if way == 2:
            entries = [item.path for item in scan(self.workdir) if item.status in ENTRIES]
            if entries:
                pathlib.Path(rng.choice(entries)).unlink(missing_ok=True)
        self.count(("verified", "pruned", "removed entries")[way])
        time.sleep(0.02)

    def fork(self, rng: random.Random) -> None:
        """Read windows in two threads of a forked process."""
        seeds = [rng.random() for _ in range(2)]

        def work() -> str:
            self.counts.clear()
            self._lock = threading.Lock()
            results([start_thread(self._read_stable, seed) for seed in seeds], PATIENCE)
            return json.dumps(self.counts)

        code, told = Child(work).join(PATIENCE)
        if code:
            raise AssertionError(f"a fork ended with {code}: {told}")
        with self._lock:
            self.counts.update(json.loads(told))
        self.count("forks")

    def _read_stable(self, seed: float) -> None:
        """Read images that are not replaced, because a fork does not know of new versions."""
        rng = random.Random(seed)
        for _ in range(20):
            self.read(rng, STABLE)

    def work(self, act: Callable[[random.Random], None], seed: int, deadline: float) -> None:
        """Repeat an action until the time is over, and count its errors."""
        rng = random.Random(seed)
        while time.monotonic() < deadline:
            try:
                act(rng)
            except Exception:
                self.count("errors")
                self.errors.append(traceback.format_exc(limit=-8))

    def leftovers(self) -> list[str]:
        """Prune the workdir, and return files that are neither intact entries nor locks, and processes left
        over."""
        prune(self.workdir)
        report = prune(self.workdir, dry_run=True)
        removed = [f"prune would remove {reason}" for reason, tally in report.removed.items() if tally.count]
        partial = [str(path) for path in self.workdir.rglob("_partial/*")]
        return [*removed, *partial, *[f"process {child.pid}" for child in Child.running]]


def soak(folder: pathlib.Path, backend: str, seconds: float) -> tuple[dict[str, int], list[str]]:
    """Use a sampler in threads and forks while its dataset and cache change.

    Args:
        folder: an empty folder.
        backend: backend of the sampler.
        seconds: duration of the run.

    Returns:
        The counts, and descriptions of errors and leftovers.
    """
    scene = Soak(folder, backend)
    deadline = time.monotonic() + seconds
    acts = [scene.read, scene.read, scene.edit, scene.replace, scene.maintain, scene.fork]
    threads = [start_thread(scene.work, act, seed, deadline) for seed, act in enumerate(acts)]
    results(threads, seconds + PATIENCE)
    left = scene.leftovers()
    scene.counts["leftovers"] = len(left)
    return dict(scene.counts), [*scene.errors, *left]


def main() -> int:
    """Run for the number of seconds on the command line, half of the time with each backend."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    status = 0
    for backend in ("npy", "cog"):
        with tempfile.TemporaryDirectory(prefix="ndsampler-soak.") as folder:
            counts, words = soak(pathlib.Path(folder), backend, float(sys.argv[1]) / 2)
        print(backend, counts)
        print(*words[:3], sep="\n")
        status |= bool(words or any(counts.get(name) for name in WRONG))
    return status


#: Counts that must be 0.
WRONG = ("wrong pixels", "wrong annotations", "damaged entries", "errors", "leftovers")


def expect_nothing_wrong(counts: dict[str, int], words: list[Any]) -> None:
    """Assert that nothing went wrong, and that each kind of action happened."""
    assert {name: counts[name] for name in WRONG if counts.get(name)} == {}, words[:3]
    for name in ("samples", "edits", "replaced images", "forks"):
        assert counts.get(name), counts


if __name__ == "__main__":
    sys.exit(main())
