"""What stands in for everything that only some operating systems or file systems have.

Each primitive is taken away on Linux. docs/source/concepts/platforms.rst lists them all.
"""

from __future__ import annotations

import ast
import errno
import os
import pathlib
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers_faults import Scene, differing, draw_scene, each_caching, entries, entry_of, files, flip, whole
from helpers_platforms import MODULES, NAMES, SIGNALS, refuse_open_files, windows_error
from helpers_systems import have_locks

import ndsampler
from ndsampler.backends import label
from ndsampler.cache import handles, locks, partial, writer
from ndsampler.cache.partial import PartialFiles
from ndsampler.cache.prune import prune
from ndsampler.cache.usage import Sources
from ndsampler.cache.verify import verify
from ndsampler.errors import CacheError

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(ndsampler.__file__).resolve().parent

#: What the package uses although Windows lacks it, each behind a check: see the page on platforms.
GUARDED = {
    *("fcntl", "resource", "O_DIRECTORY", "O_NOFOLLOW", "geteuid", "preadv", "register_at_fork"),
    "posix_fallocate",
}

reads_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/maps"), reason="finds the files that are open in /proc"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    return draw_scene(tmp_path_factory.mktemp("images"), 4)


def refuse_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


#: Two ways not to have locks: the operating system lacks them, or the file system does.
LOCKLESS = {
    "no flock": None,
    "refused by the file system": types.SimpleNamespace(flock=refuse_locks, LOCK_EX=2, LOCK_NB=4),
}


@pytest.fixture(params=list(LOCKLESS))
def lockless(request, monkeypatch) -> None:
    if LOCKLESS[request.param] is not None and not have_locks():
        pytest.skip("this system has no flock that a file system could refuse")
    monkeypatch.setattr(locks, "fcntl", LOCKLESS[request.param])


@pytest.mark.usefixtures("lockless")
class TestLocks:
    def test_two_writers_of_one_entry_work_in_folders_of_their_own(self, tmp_path):
        partials = PartialFiles(str(tmp_path))
        with partials.claim("token") as first, partials.claim("token") as second:
            assert pathlib.Path(first).parent != pathlib.Path(second).parent
            pathlib.Path(first).write_bytes(b"first")
            pathlib.Path(second).write_bytes(b"second")
        assert os.listdir(partials.dpath) == []

    def test_a_folder_is_stale_when_its_lock_file_is_a_day_old(self, tmp_path):
        partials = PartialFiles(str(tmp_path))
        young, old = "a" * 32, "b" * 32
        for name, age in ((young, 0.0), (old, partial.STALE_SECONDS + 60)):
            lock = pathlib.Path(partials.dpath, name, partial.LOCK)
            lock.parent.mkdir(parents=True)
            lock.touch()
            os.utime(lock, (lock.stat().st_mtime - age,) * 2)
            (lock.parent / "entry.partial").write_bytes(b"half")
        assert [partials.is_stale(name) for name in (young, old)] == [False, True]
        assert partials.clean_up() == 1
        assert os.listdir(partials.dpath) == [young]

    @each_caching
    def test_threads_that_write_the_same_entries_leave_nothing_else(self, backend, scene, tmp_path):
        def work(_: int) -> list[int]:
            return differing(scene.frames(tmp_path, backend), scene)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4), timeout=100)) == [[]] * 4
        assert files(tmp_path) == entries(scene.frames(tmp_path, backend))


@pytest.mark.parametrize("has_flag", [True, False], ids=["O_NOFOLLOW", "no O_NOFOLLOW"])
@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_lock_file_that_is_a_link_is_not_followed(has_flag, target, tmp_path, monkeypatch):
    if not has_flag:
        monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    (tmp_path / "precious").write_bytes(b"precious")
    try:
        (tmp_path / "lock").symlink_to(tmp_path / target)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(OSError) as caught:
        locks.LockFile(str(tmp_path / "lock"))
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@reads_proc
class TestOpenFiles:
    """Windows neither replaces nor removes a file that is open."""

    @pytest.fixture(autouse=True)
    def windows(self, monkeypatch) -> None:
        refuse_open_files(monkeypatch.setattr)
        monkeypatch.setattr(writer, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(locks, "fcntl", None)

    def test_the_lock_file_of_a_writer_is_removed(self, tmp_path):
        partials = PartialFiles(str(tmp_path))
        with partials.claim("token") as file:
            pathlib.Path(file).write_bytes(b"half")
        assert os.listdir(partials.dpath) == []

    @each_caching
    def test_a_whole_entry_that_is_open_stays(self, backend, scene, tmp_path):
        first, second = (scene.frames(tmp_path / name, backend) for name in ("first", "second"))
        first.prepare([1])
        second.prepare([1])
        before = os.stat(entry_of(first))
        with open(entry_of(first), "rb"):
            writer.publish(str(entry_of(second)), str(entry_of(first)))
        assert os.path.samestat(os.stat(entry_of(first)), before)
        assert np.array_equal(whole(first, 1), scene.pixels[1])

    def test_the_entry_of_another_source_does_not_stay(self, scene, tmp_path):
        frames = scene.frames(tmp_path, "npy")
        frames.prepare([1, 2])
        with open(entry_of(frames, 1), "rb"), pytest.raises(CacheError, match="while a program has it open"):
            writer.publish(str(entry_of(frames, 2)), str(entry_of(frames, 1)))

    @each_caching
    def test_a_damaged_entry_that_a_program_has_open_is_an_error(self, backend, scene, tmp_path):
        frames = scene.frames(tmp_path, backend)
        frames.prepare()
        flip(entry_of(frames), 200)
        before = files(tmp_path)
        with open(entry_of(frames), "rb"):
            with pytest.raises(CacheError, match=r"1\.png cannot be made.* while a program has it open"):
                whole(frames, 1)
            bypassing = scene.frames(tmp_path, backend, on_cache_error="bypass")
            assert differing(bypassing, scene) == []
        assert files(tmp_path) == before
        assert differing(frames, scene) == []

    @each_caching
    def test_a_damaged_entry_that_this_process_has_open_is_made_anew(self, backend, scene, tmp_path):
        frames, others = (scene.frames(tmp_path, backend) for _ in range(2))
        assert (differing(frames, scene), differing(others, scene)) == ([], [])
        for gid in (1, 3):
            flip(entry_of(frames, gid), 200)
        assert (differing(frames, scene), differing(others, scene)) == ([], [])
        assert verify(tmp_path).ok

    def test_a_file_that_is_open_for_a_moment_is_moved_afterwards(self, tmp_path, monkeypatch):
        (tmp_path / "partial").write_bytes(b"entry")
        replace, refusals = os.replace, [1, 2, 3]

        def scan_for_viruses(source: str, dest: str) -> None:
            if refusals:
                refusals.pop()
                raise windows_error(source)
            replace(source, dest)

        monkeypatch.setattr(os, "replace", scan_for_viruses)
        writer.publish(str(tmp_path / "partial"), str(tmp_path / "folder" / "entry"))
        assert [path.name for path in files(tmp_path)] == ["entry"]

    def test_a_folder_in_the_place_of_an_entry_is_an_error_at_once(self, tmp_path, monkeypatch):
        (tmp_path / "partial").write_bytes(b"entry")
        (tmp_path / "entry" / "mine").mkdir(parents=True)

        def refuse(source: str, dest: str) -> None:
            raise windows_error(dest)

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(PermissionError, match="used by another process"):
            writer.publish(str(tmp_path / "partial"), str(tmp_path / "entry"))

    @each_caching
    def test_an_open_entry_that_cannot_be_pruned_is_a_failure(self, backend, scene, tmp_path):
        frames = scene.frames(tmp_path, backend)
        frames.prepare()
        whole(frames, 1)
        total = len(entries(frames))
        handles.close_idle_readers()
        with open(entry_of(frames), "rb"):
            report = prune(tmp_path, unused_by=Sources([]))
        assert [pathlib.Path(failure.item.path) for failure in report.failures] == [entry_of(frames)]
        assert report.failures[0].error == "The file is used by another process"
        assert report.total.count == total - 1
        assert np.array_equal(whole(frames, 1), scene.pixels[1])

    def test_a_mapped_entry_that_is_damaged_is_told_and_stays(self, scene, tmp_path):
        frames = scene.frames(tmp_path, "npy")
        frames.prepare()
        mapped = frames.load_image(1)
        flip(entry_of(frames), 200)
        report = verify(tmp_path, remove=True)
        assert [pathlib.Path(item.path) for item in report.damaged] == [entry_of(frames)]
        assert (report.removed, entry_of(frames).exists()) == (0, True)
        del mapped


class TestTimes:
    def test_an_entry_is_sealed_by_its_path_where_descriptors_are_not_taken(
        self, scene, tmp_path, monkeypatch
    ):
        utime = os.utime

        def of_paths(path: object, *args: object, **kw: object) -> None:
            assert not isinstance(path, int), "this system sets times by path only"
            utime(path, *args, **kw)

        monkeypatch.setattr(os, "utime", of_paths)
        monkeypatch.setattr(os, "supports_fd", set())
        frames = scene.frames(tmp_path, "npy")
        frames.prepare()
        monkeypatch.setattr(label, "_verify", None)
        assert differing(scene.frames(tmp_path, "npy"), scene) == []

    @each_caching
    def test_on_a_file_system_with_coarse_times_a_process_reads_each_entry_whole_once(
        self, backend, scene, tmp_path, monkeypatch
    ):
        utime, checked = os.utime, []

        def to_seconds(path: object, ns: tuple[int, int]) -> None:
            utime(path, ns=tuple(stamp // 10**9 * 10**9 for stamp in ns))

        verify_whole = label._verify

        def count(file: object, checksum: int) -> None:
            checked.append(checksum)
            verify_whole(file, checksum)

        monkeypatch.setattr(os, "utime", to_seconds)
        frames = scene.frames(tmp_path, backend)
        frames.prepare()
        monkeypatch.setattr(label, "_verify", count)
        fresh = scene.frames(tmp_path, backend)
        assert differing(fresh, scene) == []
        assert len(checked) == len(set(checked)) == len(entries(frames))
        assert differing(fresh, scene) == []
        assert len(checked) == len(entries(frames))


def test_without_limits_on_resources_a_pool_is_bounded_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert handles.affordable_handles() == handles.MAX_FILES
    assert handles.affordable_files() == handles.MAX_FILES


class TestWithoutPosix:
    """Everything at once, in a process in which it is gone before the library is imported."""

    @staticmethod
    def run(*command: object, timeout: float = 240.0) -> str:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT.parent), str(TESTS)])}
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            check=False,
        )
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    @reads_proc
    @each_caching
    def test_a_sampler_prepares_reads_verifies_and_prunes(self, backend, tmp_path):
        script = """
            import without_posix
            import os, pathlib, pickle, sys
            import numpy as np
            from helpers_faults import differing, draw_scene, entries, files, read_both
            from ndsampler.abstract_frames import SimpleFrames
            from ndsampler.cache.prune import prune
            from ndsampler.cache.usage import Sources
            from ndsampler.cache.verify import verify
            assert not hasattr(os, 'register_at_fork')
            backend, folder = sys.argv[1], pathlib.Path(sys.argv[2])
            scene = draw_scene(folder / 'images')
            sampler = scene.sampler(folder / 'work', backend)
            sampler.frames.prepare(workers=4)
            assert read_both(sampler.frames, sampler, scene, 0, 60) == 0
            copy = pickle.loads(pickle.dumps(sampler))
            assert read_both(copy.frames, copy, scene, 1, 60) == 0
            made = entries(sampler.frames)
            assert made and files(folder / 'work') == made
            report = verify(folder / 'work', pixels=True)
            assert report.ok and report.compared == len(made)
            assert prune(folder / 'work').total.count == 0
            del sampler, copy
            os.unlink(scene.paths[1])
            report = prune(folder / 'work')
            assert (report.total.count, report.failures) == (1, ())
            print('done')
        """
        assert self.run("-c", textwrap.dedent(script), backend, tmp_path) == "done\n"

    def test_every_module_of_tests_can_be_imported(self):
        script = f"""
            import importlib, pathlib, sys
            import without_posix
            tests = pathlib.Path({str(TESTS)!r})
            sys.path.append(str(tests / 'faults'))
            for path in [*tests.glob('test_*.py'), *tests.glob('faults/test_*.py')]:
                try:
                    importlib.import_module(path.stem)
                except BaseException as ex:
                    if type(ex).__name__ != 'Skipped':
                        raise
            print('done')
        """
        assert self.run("-c", textwrap.dedent(script)) == "done\n"


def uses(path: pathlib.Path) -> set[str]:
    """Return the names of what Windows lacks that a module refers to, as text or in code."""
    lacking = {*MODULES, *NAMES, *SIGNALS}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in {"os", "signal"}:
                found.add(node.attr)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
    return found & lacking


def test_the_package_uses_nothing_else_that_windows_lacks():
    found = {path.relative_to(ROOT).as_posix(): uses(path) for path in ROOT.rglob("*.py")}
    assert {name: names - GUARDED for name, names in found.items() if names - GUARDED} == {}
    assert [name for name, names in found.items() if "fcntl" in names] == ["cache/locks.py"]
    assert [name for name, names in found.items() if "resource" in names] == ["cache/handles.py"]
