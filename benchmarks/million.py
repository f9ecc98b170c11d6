"""A benchmark of a million annotations from the file to the workers: seconds, and memory of all processes.

``python -m benchmarks.million`` makes a dataset of 1,000,000 annotations, each a box and a polygon, in
10,000 images, and an sqlite view of it (both once, kept in ``--data-dir``). Then, for the view
(``kwcoco.CocoSqlDatabase``) and for the plain dataset (``kwcoco.CocoDataset``), a new process

1. opens the dataset,
2. makes a sampler,
3. preselects positives by coverage, a tenth of the number of annotations, and equally many negatives,
4. loads 1000 random samples of the pools, 64² windows with annotations, and
5. spawns two workers, which get a pickle of the sampler and load 1000 samples each.

The memory of a stage is the peak sum over all its processes of their proportional set size (which counts
shared pages once) on Linux, and of their unique set size elsewhere. It is read every 20 ms. The exit code is
1 if the view needs more than ``--limit`` gigabytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Number of rows and columns of an image.
IMAGE_SIZE = 512

#: Number of rows and columns of a sample.
WINDOW = 64

#: Number of image files; all images of the dataset are links to these files.
N_FILES = 16

#: Seconds between two readings of the memory.
PAUSE = 0.02

#: Prefix of the output lines that are for the watching process.
MARK = "@stage "


@dataclass(frozen=True)
class Scale:
    """The numbers of annotations, images, samples and workers."""

    n_annots: int
    """Number of annotations of the dataset."""

    n_images: int
    """Number of images of the dataset."""

    n_samples: int
    """Number of samples that each process loads."""

    n_workers: int
    """Number of worker processes."""


@dataclass(frozen=True)
class Stage:
    """The time and memory of one step."""

    name: str
    """Name of the step."""

    seconds: float
    """Duration in seconds."""

    gigabytes: float
    """Peak memory of all processes together during the step."""


# --- the dataset --------------------------------------------------------------


def make_dataset(dpath: Path, scale: Scale) -> Path:
    """Write images and a kwcoco file unless they exist; return the path of the file."""
    import numpy as np

    fpath = dpath / f"data_{scale.n_annots}_{scale.n_images}.kwcoco.json"
    if fpath.exists():
        return fpath
    names = link_images(dpath / "images", scale.n_images)
    rng = np.random.default_rng(0)
    dsize = rng.integers(6, 20, (scale.n_annots, 2))
    corner = rng.integers(0, IMAGE_SIZE - dsize)
    boxes = np.concatenate([corner, dsize], axis=1).tolist()
    per_image = -(-scale.n_annots // scale.n_images)
    images = [
        {"id": gid, "file_name": name, "width": IMAGE_SIZE, "height": IMAGE_SIZE}
        for gid, name in enumerate(names, start=1)
    ]
    anns = (annotation(aid, 1 + aid // per_image, box) for aid, box in enumerate(boxes))
    partial = fpath.with_suffix(".partial")
    with partial.open("w") as file:
        categories = [{"id": cid, "name": f"class{cid}"} for cid in (1, 2, 3)]
        file.write(f'{{"categories": {json.dumps(categories)}, "images": {json.dumps(images)}')
        file.write(',\n"annotations": [\n')
        for number, ann in enumerate(anns):
            file.write((",\n" if number else "") + json.dumps(ann))
        file.write("\n]}")
    os.replace(partial, fpath)
    return fpath


def annotation(index: int, gid: int, box: list[int]) -> dict[str, Any]:
    """Return an annotation with a box, and a rhombus inside it as its polygon."""
    x, y, width, height = box
    rhombus = [x + width / 2, y, x + width, y + height / 2, x + width / 2, y + height, x, y + height / 2]
    return {
        "id": index + 1,
        "image_id": gid,
        "category_id": 1 + index % 3,
        "bbox": box,
        "segmentation": [rhombus],
    }


def link_images(dpath: Path, num: int) -> list[str]:
    """Write a few images and make links to them; return the names relative to the parent folder."""
    import cv2
    import numpy as np

    dpath.mkdir(parents=True, exist_ok=True)
    sources = [dpath / f"source{k}.png" for k in range(N_FILES)]
    for k, source in enumerate(sources):
        cells = np.random.default_rng(k).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(source), np.kron(cells, np.ones((IMAGE_SIZE // 8, IMAGE_SIZE // 8, 1), np.uint8)))
    names = [f"image{k:06d}.png" for k in range(num)]
    for k, name in enumerate(names):
        fpath = dpath / name
        if not fpath.exists():
            try:
                os.link(sources[k % N_FILES], fpath)
            except OSError:  # the file system has no hard links, or allows only a few of them
                shutil.copy(sources[k % N_FILES], fpath)
    return [f"{dpath.name}/{name}" for name in names]


def make_view(fpath: Path) -> Path:
    """Write an sqlite view of a dataset unless it exists; return its path."""
    import kwcoco

    view = view_path(fpath)
    if not view.exists():
        partial = view.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        kwcoco.CocoDataset(str(fpath)).view_sql(sql_db_fpath=str(partial)).disconnect()
        os.replace(partial, view)
    return view


def view_path(fpath: Path) -> Path:
    """Return the path of the sqlite view of a dataset."""
    return fpath.with_suffix(".sqlite")


# --- the measured steps, which run in separate processes -------------------------


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Report the duration of a step to the watching process."""
    start = time.perf_counter()
    yield
    print(MARK + json.dumps([name, time.perf_counter() - start]), flush=True)


def open_dataset(kind: str, fpath: Path) -> Any:
    """Open the dataset, as an sqlite view or in memory."""
    import kwcoco

    if kind == "plain":
        return kwcoco.CocoDataset(str(fpath))
    return kwcoco.CocoSqlDatabase(str(view_path(fpath)), img_root=str(fpath.parent)).connect(readonly=True)


def load_samples(sampler: Any, num: int, seed: int) -> None:
    """Load random items of the pools."""
    import numpy as np

    for index in np.random.default_rng(seed).integers(0, len(sampler), num).tolist():
        sample = sampler.load_item(index, target={"window_dims": (WINDOW, WINDOW)})
        if sample["im"].shape != (WINDOW, WINDOW, 3):
            raise ValueError(f"item {index} has the shape {sample['im'].shape}")


def run(kind: str, fpath: Path, scale: Scale) -> None:
    """Run all stages for one kind of dataset."""
    import ndsampler

    with stage("open"):
        dset = open_dataset(kind, fpath)
    with stage("sampler, its columns and index"):
        sampler = ndsampler.CocoSampler(dset, workdir=str(fpath.parent / "workdir"))
        sampler.regions.isect_index.overlapping_aids(1, sampler_box())
    n_pos = scale.n_annots // 10
    with stage("preselect"):
        counts = sampler.preselect(n_pos=n_pos, neg_to_pos_ratio=1, window_dims=(WINDOW, WINDOW), rng=0)
    if counts != (n_pos, n_pos):
        raise ValueError(f"preselect gave {counts}, expected {n_pos} of both")
    with stage(f"{scale.n_samples} samples"):
        load_samples(sampler, scale.n_samples, seed=0)
    print(f"the sampler's pickle has {len(pickle.dumps(sampler, -1)) / 1e6:.0f} MB", flush=True)
    context = multiprocessing.get_context("spawn")
    with stage(f"{scale.n_workers} spawned workers, {scale.n_samples} samples each"):
        workers = [
            context.Process(target=load_samples, args=(sampler, scale.n_samples, seed))
            for seed in range(1, scale.n_workers + 1)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed:
        raise SystemExit(f"workers ended with the exit codes {failed}")


def sampler_box() -> Any:
    """Return a box for the first query."""
    import kwimage

    return kwimage.Boxes([[0, 0, WINDOW, WINDOW]], "ltrb")


# --- the watcher ----------------------------------------------------------------


class Watcher(threading.Thread):
    """Records the memory of a process and all its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        import psutil

        self._psutil = psutil
        self._root = psutil.Process(pid)
        self._peak = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(PAUSE):
            self._peak = max(self._peak, self.total())

    def total(self) -> int:
        """Return the current memory of all processes in bytes; a process that has just ended counts as 0."""
        gone = (self._psutil.NoSuchProcess, self._psutil.AccessDenied)
        processes = [self._root]
        with suppress(*gone):
            processes += self._root.children(recursive=True)
        total = 0
        for process in processes:
            with suppress(*gone):
                info = process.memory_full_info()
                total += getattr(info, "pss", info.uss)
        return total

    def take_peak(self) -> int:
        """Return the peak number of bytes since the last call."""
        peak, self._peak = max(self._peak, self.total()), 0
        return peak

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def watch(step: str, args: argparse.Namespace) -> list[Stage]:
    """Run a step in a new process; return and print the time and memory of its stages."""
    command = [sys.executable, "-m", "benchmarks.million", "--step", step, *arguments_of(args)]
    stages = []
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        watcher = Watcher(process.pid)
        watcher.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                name, seconds = json.loads(line.removeprefix(MARK))
                stages.append(Stage(name, seconds, watcher.take_peak() / 1e9))
                print(f"  {name:48} {seconds:8.1f} s {stages[-1].gigabytes:8.2f} GB", flush=True)
            elif line.startswith("the "):
                print(f"  {line.rstrip()}", flush=True)
        watcher.stop()
    if process.returncode:
        raise SystemExit(f"the step {step!r} ended with the exit code {process.returncode}")
    return stages


# --- the command line -------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--annots", type=int, default=1_000_000, help="annotations of the dataset")
    parser.add_argument("--images", type=int, default=10_000, help="images of the dataset")
    parser.add_argument("--samples", type=int, default=1000, help="samples that each process loads")
    parser.add_argument("--workers", type=int, default=2, help="spawned processes")
    parser.add_argument("--kinds", default="sqlite,plain", help="kinds of datasets to measure")
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes that the sqlite view may take")
    parser.add_argument(
        "--data-dir",
        default=str(Path(tempfile.gettempdir()) / "ndsampler_million"),
        help="folder in which the dataset is kept between runs",
    )
    parser.add_argument("--step", help="run one step in this process: make, sqlite or plain")
    return parser.parse_args(argv)


def arguments_of(args: argparse.Namespace) -> list[str]:
    """Return the arguments for a step as text."""
    names = ("annots", "images", "samples", "workers", "data_dir")
    return [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]


def run_step(step: str, dpath: Path, scale: Scale) -> None:
    """Run one step in this process."""
    dpath.mkdir(parents=True, exist_ok=True)
    if step != "make":
        run(step, make_dataset(dpath, scale), scale)
        return
    with stage("write the dataset"):
        fpath = make_dataset(dpath, scale)
    with stage("write its sqlite view"):
        make_view(fpath)


def main(argv: list[str] | None = None) -> int:
    """Make the data, measure, and print the results; return the exit code."""
    args = parse(argv)
    args.data_dir = str(Path(args.data_dir).resolve())
    scale = Scale(args.annots, args.images, args.samples, args.workers)
    if args.step:
        run_step(args.step, Path(args.data_dir), scale)
        return 0
    print(f"{args.annots} annotations, {args.images} images; made once, with all of it in memory:")
    watch("make", args)
    code = 0
    for kind in args.kinds.split(","):
        print(f"{kind}:", flush=True)
        stages = watch(kind, args)
        peak = max(part.gigabytes for part in stages)
        total = sum(part.seconds for part in stages)
        over = kind == "sqlite" and peak > args.limit
        verdict = f", more than {args.limit} GB" if over else ""
        print(f"  {'in all':48} {total:8.1f} s {peak:8.2f} GB{verdict}", flush=True)
        code = 1 if over else code
    return code


if __name__ == "__main__":
    sys.exit(main())
