"""Each module imports from the rows above its own only, so that no part can be entangled with a later one."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import ndsampler

ROOT = pathlib.Path(ndsampler.__file__).parent

#: The rooms from the ground up: top-level modules and subpackages. A module may import from its own room
#: and from the rows before its own; within a row, from the rooms that stand before it.
#: docs/source/concepts/layout.rst says what each room is for.
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "types", "windows", "utils"),
    ("backends", "dataset", "classes"),
    ("cache", "pools"),
    ("frames",),
    ("abstract_frames", "coco_frames", "isect_indexer", "category_tree", "coco_regions"),
    ("sampling",),
    ("preview",),
    ("abstract_sampler", "coco_sampler", "toydata"),
    ("training",),
    ("demo",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)

#: Modules at the places of earlier releases, thin and above all layers: each may import what holds its
#: content now, and no module but those of this set imports one.
OLD_PLACES = frozenset(
    {
        "coco_dataset",
        "coerce_data",
        "frame_cache",
        "util",
        "util_futures",
        "utils/util_futures",
        "utils/util_gdal",
        "utils/util_misc",
        "utils/util_shape",
        "utils/util_sklearn",
        "utils/validate_cog",
    }
)

RANK = {name: (row, place) for row, names in enumerate(ORDER) for place, name in enumerate(names)}

MODULES = sorted(ROOT.rglob("*.py"))


def room_of(path: pathlib.Path, root: pathlib.Path = ROOT) -> str:
    """Return the first part of a module's name below ``ndsampler``."""
    return path.relative_to(root).with_suffix("").parts[0]


def place_of(path: pathlib.Path, root: pathlib.Path = ROOT) -> str:
    """Return the name of a module below ``ndsampler``, with slashes."""
    return path.relative_to(root).with_suffix("").as_posix()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run, imports within functions included."""
    yield node
    children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from walk_runtime(child)


def imports_of_ours(path: pathlib.Path, root: pathlib.Path = ROOT) -> Iterator[tuple[int, list[str]]]:
    """Yield line and parts of each name of this package that is imported, ``ndsampler`` left out."""
    package = ["ndsampler", *path.relative_to(root).parts[:-1]]
    for node in walk_runtime(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ndsampler":
                yield node.lineno, parts[1:] or ["__init__"]


def wrong_imports(path: pathlib.Path, root: pathlib.Path = ROOT) -> list[str]:
    room = room_of(path, root)
    return [
        f"{path.name}:{line} imports ndsampler.{parts[0]}"
        for line, parts in imports_of_ours(path, root)
        if parts[0] != room and RANK.get(parts[0], (99, 0)) >= RANK[room]
    ]


def old_imports(path: pathlib.Path, root: pathlib.Path = ROOT) -> list[str]:
    return [
        f"{path.name}:{line} imports ndsampler.{'.'.join(parts)}"
        for line, parts in imports_of_ours(path, root)
        if not OLD_PLACES.isdisjoint({parts[0], "/".join(parts[:2])})
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_from_lower_layers_only(path):
    if place_of(path) in OLD_PLACES:
        return
    assert old_imports(path) == []
    assert room_of(path) in RANK, "say in ORDER, and in docs/source/concepts/layout.rst, where it belongs"
    if room_of(path) != "__init__":
        assert wrong_imports(path) == []


def test_the_layout_page_names_every_module_of_the_package():
    page = ROOT.parent / "docs" / "source" / "concepts" / "layout.rst"
    text = page.read_text(encoding="utf-8")
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert [room for room in sorted(rooms) if f"``{room}" not in text] == []


def test_every_old_place_exists():
    assert {place_of(path) for path in MODULES} >= OLD_PLACES


def test_an_import_from_an_old_place_is_found(tmp_path):
    path = tmp_path / "windows.py"
    path.write_text(
        "from ndsampler.utils import require, util_gdal\n"
        "from ndsampler.utils.util_misc import HashIdentifiable\n"
        "import ndsampler.coerce_data\n"
    )
    assert old_imports(path, tmp_path) == [
        "windows.py:1 imports ndsampler.utils.util_gdal",
        "windows.py:2 imports ndsampler.utils.util_misc.HashIdentifiable",
        "windows.py:3 imports ndsampler.coerce_data",
    ]


def test_an_import_from_a_higher_layer_is_found(tmp_path):
    path = tmp_path / "windows.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from .errors import WindowError\n"
        "if TYPE_CHECKING:\n"
        "    from ndsampler.coco_frames import CocoFrames\n"
        "def late():\n"
        "    from . import cli\n"
        "    import ndsampler.pools.negatives\n"
    )
    assert wrong_imports(path, tmp_path) == [
        "windows.py:6 imports ndsampler.cli",
        "windows.py:7 imports ndsampler.pools",
    ]
