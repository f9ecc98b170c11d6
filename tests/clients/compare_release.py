"""Compare this library with another release of it, call by call, as a black box.

Run once with each interpreter, then compare the two answers::

    python tests/clients/compare_release.py dump theirs.json     # in a venv with a release
    python tests/clients/compare_release.py dump ours.json       # here
    python tests/clients/compare_release.py diff theirs.json ours.json

It is no part of the test suite. Every case is one public call on a tiny dataset
that this program makes; the answer is written down as keys, dtypes, shapes and
values, an error as the builtin class that a caller would catch.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import functools
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


class Context:
    """Datasets and samplers that the cases share, made when first asked for."""

    def __init__(self, dpath: Path):
        self.dpath = dpath

    def sampler(self, dset: Any, backend: Any = None) -> Any:
        """A sampler whose cache lies beside the data."""
        import ndsampler

        return ndsampler.CocoSampler(dset, workdir=str(self.dpath / "work"), backend=backend)

    @functools.cached_property
    def dset(self) -> Any:
        """Three stills with annotations of every kind."""
        import release_data

        return release_data.stills(self.dpath)

    @functools.cached_property
    def stills(self) -> Any:
        """A sampler of the three stills, without a backend."""
        return self.sampler(self.dset)

    @functools.cached_property
    def many(self) -> Any:
        """A sampler of four stills with many boxes."""
        return self.fresh()

    def fresh(self) -> Any:
        """As ``many``, with pools that nobody has touched."""
        import release_data

        return self.sampler(release_data.many_stills(self.dpath))

    @functools.cached_property
    def video(self) -> Any:
        """A sampler of a video with two files a frame."""
        import release_data

        return self.sampler(release_data.video(self.dpath))

    @functools.cached_property
    def auxiliary_video(self) -> Any:
        """The same, its files listed under the older key."""
        import release_data

        return self.sampler(release_data.video(self.dpath, "auxiliary"))

    @functools.cached_property
    def simple_video(self) -> Any:
        """A sampler of a video with one file a frame."""
        import release_data

        return self.sampler(release_data.simple_video(self.dpath))

    @functools.cached_property
    def nameless_video(self) -> Any:
        """The same, its images without names for their channels."""
        import release_data

        return self.sampler(release_data.simple_video(self.dpath, channels=None))

    @functools.cache  # noqa: B019 -- the context lives as long as the program
    def unsized(self, backend: Any) -> Any:
        """A sampler with a backend of three stills whose sizes the dataset does not state."""
        import release_data

        return self.sampler(release_data.unsized(self.dpath), backend=backend)

    @functools.cache  # noqa: B019 -- the context lives as long as the program
    def frames(self, backend: Any) -> Any:
        """The frames of the three stills with a backend."""
        return self.sampler(self.dset, backend=backend).frames

    def demo(self, key: str) -> Any:
        """A demo sampler of the library itself."""
        import ndsampler

        return ndsampler.CocoSampler.demo(key, workdir=str(self.dpath / "demo"))

    def box(self, *ltrb: float) -> Any:
        """One box, as index queries take it."""
        import kwimage

        return kwimage.Boxes([list(ltrb)], "ltrb")


def all_cases(ctx: Context) -> Iterator[Any]:
    """Every case of every group."""
    import release_cases_doors as doors
    import release_cases_names as names
    import release_cases_pools as pools
    import release_cases_stills as stills
    import release_cases_video as videos

    groups = [
        stills.target_cases,
        stills.annot_cases,
        stills.call_cases,
        stills.frame_cases,
        pools.region_cases,
        pools.preselect_cases,
        pools.index_cases,
        pools.selection_cases,
        pools.grid_cases,
        videos.video_cases,
        doors.door_cases,
        names.name_cases,
        names.format_cases,
        names.tree_cases,
        names.seed_cases,
        names.mistake_cases,
    ]
    for group in groups:
        try:
            yield from group(ctx)
        except Exception as ex:  # what the cases share cannot be made: that is an answer too
            yield f"group/{group.__name__}", functools.partial(_raise, ex)


def _raise(ex: Exception) -> None:
    raise ex


def run_case(call: Any) -> dict[str, str]:
    """The description of what a call returns or raises, and the warnings it gives."""
    from describe import describe, describe_error

    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("always")
        try:
            out = describe(call())
        except Exception as ex:  # the error is the answer
            out = describe_error(ex)
    kinds = sorted({w.category.__name__ for w in caught if "ndsampler" in f"{w.filename} {w.message}"})
    return {**out, "warnings": ", ".join(kinds)}


def dump(fpath: str, only: str) -> None:
    """Run the cases and write their answers."""
    dpath = (
        Path(tempfile.gettempdir()) / "ndsampler_compare" / f"py{os.getuid() if hasattr(os, 'getuid') else 0}"
    )
    dpath.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(dpath / "cache")  # both releases see the same demo data
    ctx = Context(dpath)
    answers: dict[str, Any] = {}
    for name, call in all_cases(ctx):
        if fnmatch.fnmatch(name, only):
            start = time.perf_counter()
            answers[name] = run_case(call)
            print(f"{time.perf_counter() - start:8.3f} s  {name}", file=sys.stderr)
    answers["meta"] = {"release": importlib.metadata.version("ndsampler")}
    Path(fpath).write_text(json.dumps(answers, indent=1))


def show(fpath: str, only: str) -> None:
    """Print the answers of a dump, one leaf a line."""
    for name, leaves in json.loads(Path(fpath).read_text()).items():
        if fnmatch.fnmatch(name, only):
            print(f"## {name}")
            for path, text in leaves.items():
                print(f"    {path}: {text}")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = parser.add_subparsers(dest="action", required=True)
    for action in ("dump", "show"):
        cmd = sub.add_parser(action)
        cmd.add_argument("fpath")
        cmd.add_argument("--only", default="*", help="pattern of case names")
    cmd = sub.add_parser("diff")
    cmd.add_argument("theirs")
    cmd.add_argument("ours")
    cmd.add_argument("--only", default="*", help="pattern of case names")
    cmd.add_argument("--all", action="store_true", help="expected differences too")
    args = parser.parse_args(argv)
    if args.action == "dump":
        dump(args.fpath, args.only)
    elif args.action == "show":
        show(args.fpath, args.only)
    else:
        from release_diff import report

        return report(args.theirs, args.ours, args.only, everything=args.all)
    return 0


if __name__ == "__main__":
    sys.exit(main())
