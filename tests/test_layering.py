"""Each module imports from the rows above its own only, so that no part can be entangled with a later one."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import ndsampler

ROOT = pathlib.Path(ndsampler.__file__).parent

#: Modules and subpackages from the ground up. One of a row may import those of earlier rows, and those
#: standing before it in its own. docs/source/concepts/layout.rst tells what each is for.
LAYERS: dict[int, tuple[str, ...]] = {
    0: ("errors", "types", "windows", "utils"),
    1: ("backends", "resample", "annot_table", "box_tree", "window_grid", "category_tree"),
    2: (
        "frame_layout",
        "frame_cache",
        "positives",
        "free_space",
        "negatives",
        "isect_indexer",
        "sample_grid",
        "target_pools",
    ),
    3: ("frame_view", "frame_reader", "prepare", "abstract_frames", "coco_frames", "coco_regions"),
    4: ("sampling",),
    5: ("abstract_sampler", "coco_sampler", "toydata"),
    6: ("preview",),
    7: ("__init__", "cli", "__main__"),
}

RANK = {name: (layer, place) for layer, row in LAYERS.items() for place, name in enumerate(row)}

MODULES = sorted(ROOT.rglob("*.py"))


def room_of(path: pathlib.Path, root: pathlib.Path = ROOT) -> str:
    """Return the first part of a module's name below ``ndsampler``."""
    return path.relative_to(root).with_suffix("").parts[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run, imports within functions included."""
    yield node
    children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from walk_runtime(child)


def imported_rooms(path: pathlib.Path, root: pathlib.Path = ROOT) -> Iterator[tuple[int, str]]:
    """Yield line and room of each import of a part of this package."""
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
                yield node.lineno, parts[1] if len(parts) > 1 else "__init__"


def wrong_imports(path: pathlib.Path, root: pathlib.Path = ROOT) -> list[str]:
    room = room_of(path, root)
    return [
        f"{path.name}:{line} imports ndsampler.{other}"
        for line, other in imported_rooms(path, root)
        if other != room and RANK.get(other, (99, 0)) >= RANK[room]
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_from_lower_layers_only(path):
    assert room_of(path) in RANK, "say in LAYERS, and in docs/source/concepts/layout.rst, where it belongs"
    if room_of(path) != "__init__":
        assert wrong_imports(path) == []


def test_the_layout_page_names_every_module_of_the_package():
    page = ROOT.parent / "docs" / "source" / "concepts" / "layout.rst"
    text = page.read_text(encoding="utf-8")
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert [room for room in sorted(rooms) if f"``{room}" not in text] == []


def test_an_import_from_a_higher_layer_is_found(tmp_path):
    path = tmp_path / "windows.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from .errors import WindowError\n"
        "if TYPE_CHECKING:\n"
        "    from ndsampler.coco_frames import CocoFrames\n"
        "def late():\n"
        "    from . import cli\n"
        "    import ndsampler.negatives\n"
    )
    assert wrong_imports(path, tmp_path) == [
        "windows.py:6 imports ndsampler.cli",
        "windows.py:7 imports ndsampler.negatives",
    ]
