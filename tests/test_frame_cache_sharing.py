"""Threads, copies, forks and other processes share one cache."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from helpers_cache import each_backend, read_at_random
from helpers_images import random_pixels, write_png, write_tiff
from helpers_processes import Child, check_script, forks_beside_threads, needs_fork
from helpers_threads import PATIENCE, in_threads


@pytest.fixture
def images(tmp_path) -> dict[str, np.ndarray]:
    """Return twelve images of several formats, by path."""
    found = {}
    for n in range(12):
        pixels = random_pixels("uint8" if n % 3 else "uint16", 3, (40 + n, 60 - n), seed=n)
        if n % 2:
            path = write_png(tmp_path / f"{n}.png", pixels)
        else:
            options = (
                {"tiled": True, "blockxsize": 16, "blockysize": 16} if n % 4 else {"compress": "deflate"}
            )
            path = write_tiff(tmp_path / f"{n}.tif", pixels, **options)
        found[str(path)] = pixels
    return found


@each_backend
class TestSharing:
    @pytest.mark.parametrize("max_handles", [2, 48])
    def test_many_threads_read_mixed_images_right(self, backend, max_handles, make_cache, images):
        cache = make_cache(backend)
        cache.handles.max_handles = max_handles
        assert sum(in_threads(lambda seed: read_at_random(cache, images, seed), range(20), threads=10)) == 0
        assert len(cache.handles) <= max_handles

    @pytest.mark.parametrize(
        "clone", [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))]
    )
    def test_copies_read_the_same_through_handles_of_their_own(self, backend, clone, make_cache, images):
        cache = make_cache(backend)
        assert read_at_random(cache, images, 0) == 0
        other = clone(cache)
        assert read_at_random(other, images, 1) == 0
        assert read_at_random(cache, images, 2) == 0

    def test_a_pickle_is_small_and_holds_no_pixels(self, backend, make_cache, images):
        cache = make_cache(backend)
        read_at_random(cache, images, 0)
        assert len(pickle.dumps(cache)) < 5_000
        assert len(pickle.loads(pickle.dumps(cache)).handles) == 0

    @needs_fork
    @forks_beside_threads
    def test_a_fork_reads_and_converts_after_its_parent_did(self, backend, make_cache, images):
        cache = make_cache(backend)
        converted = dict(itertools.islice(images.items(), 6))
        assert read_at_random(cache, converted, 0) == 0
        children = [Child(lambda seed=seed: read_at_random(cache, images, seed, 200)) for seed in range(3)]
        assert read_at_random(cache, converted, 9, 200) == 0
        assert [child.join(PATIENCE) for child in children] == [(0, "0")] * 3

    def test_a_process_of_its_own_reads_a_pickled_cache(self, backend, make_cache, images, tmp_path):
        cache = make_cache(backend)
        read_at_random(cache, images, 0)
        (tmp_path / "state").write_bytes(pickle.dumps((cache, images)))
        script = """
            import pathlib, pickle, sys
            from helpers_cache import read_at_random
            cache, images = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
            assert read_at_random(cache, images, 5) == 0
        """
        check_script(script, tmp_path / "state")

    @needs_fork
    def test_300_images_need_few_open_files(self, backend, tmp_path):
        pixels = random_pixels("uint8", 1, (20, 30))
        for n in range(300):
            if n % 2:
                write_tiff(tmp_path / f"{n}.tif", pixels, tiled=True, blockxsize=16, blockysize=16)
            else:
                np.save(tmp_path / f"{n}.npy", pixels)
        script = """
            import pathlib, resource, sys
            import numpy as np, rasterio
            from concurrent.futures import ThreadPoolExecutor
            from helpers_images import random_pixels
            from ndsampler.backends import make_backend
            from ndsampler.cache.frame_cache import FrameCache
            from ndsampler.cache.identity import Source
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
            backend = make_backend(sys.argv[1] if sys.argv[1] != 'None' else None)
            folder = pathlib.Path(sys.argv[2])
            cache = FrameCache(backend, str(folder / 'cache') if backend.caches else None)
            paths = sorted(map(str, folder.glob('*.*')))
            expected = random_pixels('uint8', 1, (20, 30))
            def read(path):
                return np.array_equal(cache.read(Source(path), (0, 20, 0, 30)), expected)
            held = [cache.read(Source(path), (0, 20, 0, 30)) for path in paths]
            assert all(np.array_equal(one, expected) for one in held)
            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(read, paths))
        """
        check_script(script, backend, tmp_path)


@needs_fork
@pytest.mark.parametrize("prepared", [True, False])
def test_a_fork_works_where_the_user_has_given_gdal_threads(prepared, tmp_path):
    """GDAL's threads do not survive a fork, so a child that waits for them never returns."""
    for seed in (0, 1):
        write_png(tmp_path / f"{seed}.png", random_pixels("uint8", 3, (700, 700), seed=seed))
    script = """
        import os, sys
        os.environ['GDAL_NUM_THREADS'] = 'ALL_CPUS'
        import numpy as np
        from helpers_images import random_pixels
        from helpers_processes import run_child
        from ndsampler.backends import make_backend
        from ndsampler.cache.frame_cache import FrameCache
        from ndsampler.cache.identity import Source
        folder, prepared = sys.argv[1], sys.argv[2] == 'True'
        cache = FrameCache(make_backend('cog'), folder + '/cache')
        whole = (0, 700, 0, 700)
        cache.read(Source(folder + '/0.png'), whole)
        if prepared:
            cache.ensure(Source(folder + '/1.png'))
        expected = random_pixels('uint8', 3, (700, 700), seed=1)
        read = lambda: np.array_equal(cache.read(Source(folder + '/1.png'), whole), expected)
        assert run_child(read, 60) == 'True'
    """
    check_script(script, tmp_path, prepared)
