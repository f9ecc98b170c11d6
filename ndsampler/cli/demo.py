"""
The command ``demo``: samples of large images as a picture, and what each backend costs.

Without ``--data`` it makes a dataset to sample from: see :mod:`ndsampler.demo.dataset`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndsampler.cli.console import say
from ndsampler.dataset.opening import open_dataset
from ndsampler.errors import ArgumentError
from ndsampler.preview import GAP
from ndsampler.utils.formatting import folder_bytes, format_bytes, format_duration, format_rate, format_table

if TYPE_CHECKING:
    import numpy as np

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.demo.speed import Speed

#: What can be measured, by the name it is typed and printed with.
BACKENDS: dict[str, str | None] = {"none": None, "npy": "npy", "cog": "cog"}

#: Windows given to each backend; few computers use them up in the time that is theirs.
MOST_WINDOWS = 30_000

#: Side of a sample on the sheet, in pixels, and the most frames of a video on it.
SIDE = 240
STRIP = 5

#: The share of samples on the sheet that are positives.
POSITIVES = 0.75


def add_parser(commands: Any) -> None:
    """Describe the command to argparse.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "demo",
        help="make a picture of samples, and a table of speeds",
        description="Draw random samples, with their annotations, into one picture, and measure how many "
        "samples a second each backend gives. Without --data, a dataset with one very "
        "large image is made first.",
    )
    add = parser.add_argument
    add("--out", default="ndsampler_demo", metavar="DIR", help="folder for all that is made (%(default)s)")
    add("--data", metavar="FILE", help="a kwcoco dataset of your own, instead of making one")
    add("--workdir", metavar="DIR", help="folder for converted images (cache, in --out)")
    add(
        "--backend",
        default="cog",
        choices=list(BACKENDS),
        help="what the picture is sampled with (%(default)s)",
    )
    add("--samples", type=_count, default=8, metavar="N", help="samples in the picture (%(default)s)")
    add("--window", type=_count, default=256, metavar="PIXELS", help="side of a sample (%(default)s)")
    add("--size", type=_count, default=16384, metavar="PIXELS", help="side of the image made (%(default)s)")
    add(
        "--images", type=int, default=16, metavar="N", help="images of --data to use, 0 for all (%(default)s)"
    )
    add(
        "--seconds",
        type=float,
        default=4.0,
        metavar="S",
        help="time for each backend, 0 for none (%(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="another gives other images, samples (%(default)s)")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


@dataclass
class Demo:
    """One run of the command."""

    args: argparse.Namespace
    out: Path
    workdir: Path
    data: Path
    gids: list[int]
    """The images in use, sorted."""
    samplers: dict[str, CocoSampler] = field(default_factory=dict)
    """Those that were made, by the name of their backend."""

    def sampler(self, dset: Any, name: str) -> CocoSampler:
        """Return a sampler with the backend of that name, its cache prepared."""
        from ndsampler.coco_sampler import CocoSampler

        if name in self.samplers:
            return self.samplers[name]
        sampler = self.samplers[name] = CocoSampler(dset, workdir=self.workdir, backend=BACKENDS[name])
        if BACKENDS[name] is not None:
            begin = time.perf_counter()
            sampler.frames.prepare(verbose=1)
            seconds = time.perf_counter() - begin
            size = format_bytes(folder_bytes(sampler.frames.cache_dpath))
            say(f"  {name} cache: {size} in {sampler.frames.cache_dpath} ({seconds:.1f} s)")
        return sampler

    def without_film(self, dset: Any, sampler: CocoSampler) -> CocoSampler:
        """Return a sampler of the demo's own still images; of other data, the one that is given."""
        from ndsampler.coco_sampler import CocoSampler

        if self.args.data:
            return sampler
        stills = [gid for gid in self.gids if "video_id" not in dset.imgs[gid]]
        return CocoSampler(dset.subset(stills), workdir=self.workdir, backend=BACKENDS[self.args.backend])


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Args:
        args: as parsed by the options of :func:`add_parser`.

    Raises:
        ArgumentError: for an option out of range.
        NDSamplerError: if the data or the cache cannot be used.
    """
    import numpy as np

    begin = time.perf_counter()
    if args.seed < 0 or args.images < 0 or not 0 <= args.seconds < 3600:
        raise ArgumentError(
            f"--seed is {args.seed}, --images {args.images}, --seconds {args.seconds}; expected none of them "
            "below 0, and less than an hour"
        )
    out = Path(args.out).absolute()
    workdir = Path(args.workdir).absolute() if args.workdir else out / "cache"
    dset = open_dataset(args.data) if args.data else None
    say(f"Everything is written to {out}")
    out.mkdir(parents=True, exist_ok=True)
    workdir.mkdir(parents=True, exist_ok=True)
    data = Path(args.data).absolute() if args.data else make_data(args, out)
    dset = open_dataset(data) if dset is None else dset
    rng = np.random.default_rng(args.seed)
    dset = choose_images(dset, args.images if args.data else 0, rng)
    demo = Demo(args, out, workdir, data, sorted(int(gid) for gid in dset.imgs))
    sizes = [(img.get("width") or 0, img.get("height") or 0) for img in dset.imgs.values()]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    say(f"  {dset.n_images} images, the largest {width} x {height}; {dset.n_annots} annotations")
    sheet = draw(demo, dset, rng)
    if args.seconds:
        compare(demo, dset, rng)
    say_goodbye(demo, sheet, time.perf_counter() - begin)
    return 0


def make_data(args: argparse.Namespace, out: Path) -> Path:
    """Return the path of the demo's own dataset, made now if it is not there yet."""
    import ubelt as ub

    from ndsampler.demo.dataset import DemoSettings, ensure_demodata

    settings = DemoSettings(args.size, args.seed)
    say(f"Dataset with an image of {args.size} x {args.size} pixels")
    done = 0
    bar = ub.ProgIter(total=100, desc="painting", verbose=1)
    began = False

    def progress(name: str, share: float) -> None:
        nonlocal done, began
        if not began:
            bar.begin()
            began = True
        percent = int(100 * share) if name.startswith("city") else 0
        bar.step(max(0, percent - done))
        done = max(done, percent)

    path = ensure_demodata(out, settings, progress)
    if began:
        bar.end()
    say(f"  {path}, {format_bytes(folder_bytes(path.parent))}" + ("" if began else ", from an earlier run"))
    return path


def choose_images(dset: Any, most: int, rng: np.random.Generator) -> Any:
    """Return a dataset with no more than some images, annotated ones first.

    Args:
        dset: a kwcoco dataset.
        most: how many images; 0 for all.
        rng: decides which.
    """
    gids = sorted(dset.imgs)
    if not most or len(gids) <= most:
        return dset
    shuffled = [gids[index] for index in rng.permutation(len(gids))]
    chosen = sorted(shuffled, key=lambda gid: not dset.index.gid_to_aids[gid])[:most]
    say(f"  using {most} of {len(gids)} images; --images 0 uses all")
    return dset.subset(sorted(chosen))


def draw(demo: Demo, dset: Any, rng: np.random.Generator) -> Path:
    """Write the sheet of samples and return its path."""
    from ndsampler.preview import write_sheet

    args = demo.args
    say(f"Samples with backend {args.backend}")
    sampler = demo.sampler(dset, args.backend)
    begin = time.perf_counter()
    samples = draw_samples(demo.without_film(dset, sampler), args.samples, args.window, rng)
    whole = overview_target(sampler)
    overview = sampler.load_sample(whole, with_annots="boxes") if whole else None
    strip = load_strip(sampler, args.window)
    path = demo.out / "samples.png"
    where = "the demo dataset" if not args.data else demo.data.name
    title = f"ndsampler: {len(samples)} random windows of {where}, {args.window} x {args.window} pixels each"
    title += ", an image as a whole" * bool(overview) + ", a film" * bool(strip)
    write_sheet(path, samples, sampler.classes, side=SIDE, title=title, overview=overview, strip=strip)
    say(f"  {len(samples)} samples drawn to {path} ({time.perf_counter() - begin:.1f} s)")
    return path


def overview_target(sampler: CocoSampler) -> dict[str, Any] | None:
    """Return a target that scales the largest image down to the room of four; None if it is no larger."""
    dims = {int(gid): sampler.frames.image_dims(gid) for gid in sampler.image_ids}
    gid = max(dims, key=lambda gid: dims[gid][0] * dims[gid][1])
    scale = (2 * SIDE + GAP) / max(dims[gid])
    return {"gid": gid, "scale": scale} if scale < 1 else None


def time_overview(sampler: CocoSampler) -> float | None:
    """Return the seconds that the overview takes when it is read again; None without one."""
    target = overview_target(sampler)
    if target is None:
        return None
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        sampler.load_sample(target, with_annots=False)
        times.append(time.perf_counter() - begin)
    return min(times)


def load_strip(sampler: CocoSampler, window: int) -> Any:
    """Return a sample of the video with most frames, around its middle; None without a video.

    Args:
        sampler: where it comes from.
        window: side of the sample in pixels, if the video is that large.
    """
    frames = {vidid: len(gids) for vidid, gids in sampler.dset.index.vidid_to_gids.items()}
    video: dict[str, Any] = max(sampler.dset.videos().objs, key=lambda video: frames[video["id"]], default={})
    count = min(frames.get(video.get("id"), 0), STRIP)
    if count < 2 or not (video.get("width") and video.get("height")):
        return None
    first = (frames[video["id"]] - count) // 2
    sides = [(extent // 2, min(window, extent)) for extent in (video["height"], video["width"])]
    rows, columns = (slice(middle - side // 2, middle - side // 2 + side) for middle, side in sides)
    target = {"vidid": video["id"], "time_slice": slice(first, first + count), "space_slice": (rows, columns)}
    return sampler.load_sample(target)


def draw_samples(sampler: CocoSampler, count: int, window: int, rng: np.random.Generator) -> list[Any]:
    """Return random positives, of each category in turn, and then random negatives.

    Args:
        sampler: where they come from.
        count: how many; where a dataset lacks annotations, or room for negatives, the others are more.
        window: side of a sample in pixels.
        rng: decides which.
    """
    dims = (window, window)
    wished = round(count * POSITIVES) if sampler.n_positives else 0
    _, n_neg = sampler.preselect(n_neg=count - wished, window_dims=dims, rng=int(rng.integers(1 << 31)))
    n_pos = count - n_neg if sampler.n_positives else 0
    rows = by_turns(sampler.regions.targets["category_id"], n_pos, rng)
    samples = [sampler.load_positive(row, target={"window_dims": dims}) for row in rows]
    samples += [sampler.load_negative(index) for index in range(n_neg)]
    return samples or [sampler.load_sample(target) for target in anywhere(sampler, count, window, rng)]


def by_turns(kinds: Any, count: int, rng: np.random.Generator) -> list[int]:
    """Return random rows such that every kind comes up before one comes up again.

    Args:
        kinds: the kind of each row.
        count: how many rows to return, if there are as many.
        rng: decides which.
    """
    import numpy as np

    order = rng.permutation(len(kinds))
    shuffled = np.asarray(kinds)[order]
    turn = np.empty(len(order), np.int64)
    for kind in np.unique(shuffled):
        (where,) = np.nonzero(shuffled == kind)
        turn[where] = np.arange(len(where))
    return [int(row) for row in order[np.argsort(turn, kind="stable")[:count]]]


def anywhere(sampler: CocoSampler, count: int, window: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return targets of windows inside the images, each pixel of which is as likely as any other."""
    import numpy as np

    gids = sampler.image_ids
    sizes = np.array([sampler.frames.image_dims(gid)[::-1] for gid in gids], float)
    area = sizes.prod(1)
    chosen = rng.choice(len(gids), count, p=area / area.sum())
    margin = np.minimum(window, sizes[chosen]) / 2
    centers = rng.uniform(margin, sizes[chosen] - margin)
    return [
        {"gid": int(gids[index]), "cx": float(x), "cy": float(y), "window_dims": [window, window]}
        for index, (x, y) in zip(chosen, centers)
    ]


def compare(demo: Demo, dset: Any, rng: np.random.Generator) -> None:
    """Measure each backend, and print a table."""
    from ndsampler.demo.speed import Task, measure

    args = demo.args
    say(f"Speed: {args.window} x {args.window} windows with annotations, each backend for {args.seconds:g} s")
    rows = []
    targets: list[dict[str, Any]] = []
    for name, backend in BACKENDS.items():
        sampler = demo.sampler(dset, name)
        targets = targets or speed_targets(sampler, args.window, rng)
        task = Task(str(demo.data), demo.gids, str(demo.workdir), backend, args.seconds, targets)
        rows.append(_row(name, measure(task), sampler))
    head = ["backend", "samples/s", "first sample", "whole image", "cache on disk", "memory", "mapped files"]
    say()
    say(format_table(head, rows))
    say()
    say("Whole image is the time to read the largest one again, scaled down as in the picture.")
    say("Memory is the most that a new process had to itself while sampling, Python and its libraries")
    say("included. Mapped files are pages of files, which the system takes back when it needs room.")


def _row(name: str, speed: Speed, sampler: CocoSampler) -> list[str]:
    size = folder_bytes(sampler.frames.cache_dpath)
    whole = time_overview(sampler)
    return [
        name,
        format_rate(speed.rate),
        format_duration(speed.first),
        "-" if whole is None else format_duration(whole),
        format_bytes(size) if size else "-",
        format_bytes(speed.own_bytes),
        format_bytes(speed.mapped_bytes),
    ]


def speed_targets(sampler: CocoSampler, window: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return windows in random order: one half on annotations, the other half anywhere."""
    count = MOST_WINDOWS // 2
    targets = anywhere(sampler, count, window, rng)
    table = sampler.regions.targets
    if len(table):
        rows = rng.integers(len(table), size=count)
        columns = [table[name] for name in ("gid", "cx", "cy")]
        targets += [
            {"gid": int(columns[0][row]), "cx": float(columns[1][row]), "cy": float(columns[2][row]),
             "window_dims": [window, window]}
            for row in rows
        ]  # fmt: skip
    return [targets[index] for index in rng.permutation(len(targets))]


def say_goodbye(demo: Demo, sheet: Path, seconds: float) -> None:
    """Say where the results are, what to type next, and how to be rid of them."""
    found = shutil.which("python")
    python = "python" if found and os.path.samefile(found, sys.executable) else sys.executable
    say()
    say(f"Done in {seconds:.0f} s. Look at {sheet}")
    say()
    if not demo.args.data:
        say("What to type next, for the same on your own dataset:")
        say(f"  {python} -m ndsampler demo --data my.kwcoco.json")
    say("To go on in Python:")
    say("    import kwcoco, ndsampler")
    say(f"    dset = kwcoco.CocoDataset({str(demo.data)!r})")
    say(f"    sampler = ndsampler.CocoSampler(dset, workdir={str(demo.workdir)!r}, backend='cog')")
    say("    sample = sampler.load_positive(target={'window_dims': (256, 256)})")
    say("    sample['im'].shape, sample['annots']['frame_dets'][0]")
    say(f"All of it takes {format_bytes(folder_bytes(demo.out))}; delete {demo.out} to be rid of it.")
