"""Run the examples of the gallery on large images for its pictures: python docs/figures/gallery.py FOLDER."""

from __future__ import annotations

import doctest
import os
import pathlib
import shutil
import sys
import tempfile

PAGE = pathlib.Path(__file__).resolve().parents[1] / "source" / "gallery.rst"

#: The numbers of the page, and those for its pictures.
SMALL, LARGE = "SIZE, COUNT = 512, 2", "SIZE, COUNT = 1536, 5"


def run_examples(text: str) -> None:
    """Run the examples of a page in the current folder, and raise the first error."""
    names: dict[str, object] = {}
    for example in doctest.DocTestParser().get_examples(text):
        exec(example.source, names)


def main(out: pathlib.Path) -> None:
    """Write the pictures to a folder."""
    text = PAGE.read_text(encoding="utf-8")
    assert SMALL in text
    home = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            run_examples(text.replace(SMALL, LARGE))
        finally:
            os.chdir(home)
        for path in pathlib.Path(folder).glob("gallery_*.jpg"):
            shutil.copy(path, out / path.name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
