"""Open entries of the cache stay within bounds on their number and memory."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from helpers_cache import WHOLE
from helpers_images import assert_same, random_pixels, write_tiff
from helpers_processes import Child, check_script, needs_fork
from helpers_threads import PATIENCE, results, start_thread

from ndsampler.backends import gdal, make_backend
from ndsampler.cache import handles
from ndsampler.cache.frame_cache import FrameCache
from ndsampler.cache.handles import HandlePool
from ndsampler.cache.identity import Source


class FakeReader:
    """An open file that notes when it is closed."""

    def __init__(self, shareable: bool = False, nbytes: int = 0) -> None:
        self.shareable = shareable
        self.nbytes = nbytes
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def lend(pool: HandlePool, key: object, reader: FakeReader | None = None) -> FakeReader:
    """Return the reader that a pool lends; the pool opens the given one, or a new one, if it has none."""
    return pool.lend(key, lambda: reader or FakeReader(), lambda lent: lent)


class TestHandles:
    def test_the_least_recently_used_is_closed_beyond_the_bound(self):
        pool = HandlePool(max_handles=2)
        readers = [FakeReader() for _ in range(4)]
        for key, reader in enumerate(readers):
            lend(pool, key, reader)
        assert [reader.closed for reader in readers] == [1, 1, 0, 0]
        assert lend(pool, 2) is readers[2]
        lend(pool, 9)
        assert [reader.closed for reader in readers] == [1, 1, 0, 1]

    def test_what_is_on_loan_is_lent_to_nobody_else(self):
        pool = HandlePool()
        lend(pool, "a")
        first, second = pool.lend("a", FakeReader, lambda outer: (outer, lend(pool, "a")))
        assert first is not second
        assert len(pool) == 1
        assert [first.closed, second.closed] == [0, 1]

    def test_a_thread_never_gets_the_handle_of_another(self):
        pool = HandlePool()
        mine = FakeReader()
        lend(pool, "a", mine)
        assert results([start_thread(lend, pool, "a")])[0] is not mine
        assert lend(pool, "a") is mine

    def test_what_is_shareable_is_lent_to_all(self):
        pool = HandlePool()
        shared = FakeReader(shareable=True, nbytes=5)
        lend(pool, "a", shared)
        assert lend(pool, "a") is shared
        assert results([start_thread(lend, pool, "a")])[0] is shared
        assert shared.closed == 0
        assert len(pool) == 1

    def test_memory_is_bounded_and_the_latest_is_kept(self):
        pool = HandlePool(max_bytes=10)
        readers = [FakeReader(shareable=True, nbytes=size) for size in (4, 4, 4, 50)]
        for key, reader in enumerate(readers[:3]):
            lend(pool, key, reader)
        assert len(pool) == 2
        lend(pool, 3, readers[3])
        assert len(pool) == 1
        assert lend(pool, 3) is readers[3]
        assert [reader.closed for reader in readers] == [0] * 4

    def test_clearing_closes_all_that_is_idle(self):
        pool = HandlePool()
        readers = [FakeReader(), FakeReader(shareable=True)]
        for key, reader in enumerate(readers):
            lend(pool, key, reader)
        pool.clear()
        assert len(pool) == 0
        assert [reader.closed for reader in readers] == [1, 0]

    def test_a_pickle_keeps_the_bounds_and_no_handles(self):
        pool = HandlePool(max_handles=3, max_bytes=99)
        lend(pool, "a")
        other = pickle.loads(pickle.dumps(pool))
        assert (other.max_handles, other.max_bytes, len(other)) == (3, 99, 0)

    @needs_fork
    @pytest.mark.parametrize(
        "use",
        [
            lambda pool: lend(pool, "0"),
            lambda pool: lend(pool, "b"),
            lambda pool: pool.set_size(1),
            lambda pool: pool.clear(),
        ],
        ids=["lend an inherited one", "lend a new one", "set the size", "clear"],
    )
    def test_a_fork_leaves_inherited_handles_alone(self, use):
        pool = HandlePool()
        readers = [FakeReader() for _ in range(3)]
        for n, reader in enumerate(readers):
            lend(pool, str(n), reader)

        def work() -> list[int]:
            inherited = len(pool)
            use(pool)
            return [inherited, *(reader.closed for reader in readers)]

        # As if another thread of the parent were using the pool just now.
        with handles._lock:
            child = Child(work)
        assert child.join(PATIENCE) == (0, "[0, 0, 0, 0]")
        assert len(pool) == 3

    def test_a_handle_that_failed_is_closed_and_not_lent_again(self, make_cache, image):
        tiled = write_tiff(image.parent / "t.tif", random_pixels(), tiled=True, blockxsize=16, blockysize=16)
        cache = make_cache("cog")
        used = []

        def fail(reader):
            used.append(reader)
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            cache.visit(Source(str(tiled)), fail)
        assert [reader.dataset.closed for reader in used] == [True]
        assert len(cache.handles) == 0
        assert np.array_equal(cache.read(Source(str(tiled)), WHOLE), random_pixels())


def test_the_block_cache_of_gdal_is_bounded_unless_the_user_says_otherwise(tmp_path):
    path = write_tiff(tmp_path / "a.tif", random_pixels())
    script = """
        import sys
        from ndsampler.backends import gdal
        gdal.open_dataset(sys.argv[1])
        from rasterio.env import get_gdal_config
        print(get_gdal_config('GDAL_CACHEMAX'))
    """
    assert int(check_script(script, path)) <= gdal.BLOCK_CACHE_BYTES


@pytest.mark.parametrize("backend", [None, "npy", "cog"])
def test_the_file_of_a_replaced_source_is_closed(backend, tmp_path):
    path = tmp_path / "image.tif"
    cache = FrameCache(make_backend(backend), str(tmp_path / "cache"))
    for seed in range(3):
        write_tiff(path, random_pixels(seed=seed), tiled=True, blockxsize=16, blockysize=16)
        os.utime(path, ns=(10**18 + seed, 10**18 + seed))
        assert_same(cache.read(Source(str(path)), (0, 5, 0, 9)), random_pixels(seed=seed)[:5, :9])
        assert len(cache.handles) == 1
