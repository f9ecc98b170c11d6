"""Options of GDAL's configuration while a file is opened: one thread at a time, and never left behind."""

from __future__ import annotations

import threading

import pytest
import rasterio
from rasterio.env import get_gdal_config

from ndsampler.backends.gdal_env import open_quietly

NAME = "GDAL_DISABLE_READDIR_ON_OPEN"


def find_option() -> str | None:
    """Return the option's value as a file would be opened now."""
    return open_quietly(lambda: get_gdal_config(NAME, normalize=False))


def test_an_option_holds_while_the_file_is_opened():
    assert open_quietly(lambda: get_gdal_config(NAME, normalize=False), **{NAME: "EMPTY_DIR"}) == "EMPTY_DIR"
    assert find_option() is None


def test_no_other_thread_opens_a_file_with_the_options_of_this_one():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(find_option()), daemon=True)

    def open_beside() -> None:
        thread.start()
        thread.join(0.1)
        assert not seen

    open_quietly(open_beside, **{NAME: "EMPTY_DIR"})
    thread.join(60)
    assert seen == [None]


def test_an_option_of_the_user_stays():
    with rasterio.Env(**{NAME: "TRUE"}):
        assert (
            open_quietly(lambda: get_gdal_config(NAME, normalize=False), **{NAME: "EMPTY_DIR"}) == "EMPTY_DIR"
        )
        assert find_option() == "TRUE"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_option_is_removed_when_opening_fails(error):
    def fail() -> None:
        raise error

    with pytest.raises(error):
        open_quietly(fail, **{NAME: "EMPTY_DIR"})
    assert find_option() is None


@pytest.mark.parametrize("where", ["__enter__", "__exit__"])
def test_an_option_that_an_interruption_leaves_is_removed_before_the_next_file(where, monkeypatch):
    complete = getattr(rasterio.Env, where)

    def interrupt(self, *args):
        if where == "__enter__":
            complete(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rasterio.Env, where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_quietly(lambda: None, **{NAME: "EMPTY_DIR"})
    assert get_gdal_config(NAME, normalize=False) == "EMPTY_DIR"
    assert find_option() is None
    rasterio.env.delenv()
