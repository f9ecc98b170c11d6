"""The package as a stranger meets it: its names, how cheaply it loads, what it says when a part is absent."""

from __future__ import annotations

import ast
import importlib
import pathlib
import pickle
import re
import sys

import pytest
from helpers_processes import check_script

import ndsampler

ROOT = pathlib.Path(ndsampler.__file__).parent

DOCUMENTED = {
    "AbstractSampler": "abstract_sampler",
    "CategoryTree": "category_tree",
    "CocoFrames": "coco_frames",
    "CocoRegions": "coco_regions",
    "CocoSampler": "coco_sampler",
    "DynamicToySampler": "toydata",
    "FrameIntersectionIndex": "isect_indexer",
    "Frames": "abstract_frames",
    "HashIdentifiable": "utils.hash_identifiable",
    "MissingNegativePool": "coco_regions",
    "NDSamplerError": "errors",
    "SimpleFrames": "abstract_frames",
    "Targets": "coco_regions",
    "select_positive_regions": "coco_regions",
    "tabular_coco_targets": "coco_regions",
}

HEAVY = ("numpy", "kwcoco", "kwimage", "kwarray", "ubelt", "rasterio", "torch", "cv2", "pandas", "xarray")


def run_python(code: str) -> str:
    """Return what a new interpreter prints for ``code``."""
    return check_script(code, cwd=ROOT.parent).strip()


def static_imports() -> dict[str, str]:
    """Return the names that ``if TYPE_CHECKING:`` of the package imports, each with its module."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_each_documented_name_lives_in_the_room_its_module_names(name):
    home = importlib.import_module(f"ndsampler.{DOCUMENTED[name]}")
    assert getattr(ndsampler, name) is getattr(home, name)
    assert name in ndsampler.__all__


@pytest.mark.parametrize("module", sorted(set(DOCUMENTED.values())))
def test_a_star_import_of_a_module_brings_the_documented_names_that_live_there(module):
    names: dict[str, object] = {}
    exec(f"from ndsampler.{module} import *", names)
    assert {name for name, where in DOCUMENTED.items() if where == module} <= set(names)


def test_all_is_sorted_and_every_name_in_it_loads():
    assert ndsampler.__all__ == sorted(set(ndsampler.__all__))
    for name in ndsampler.__all__:
        assert getattr(ndsampler, name) is not None


def test_dir_shows_every_documented_name_before_it_is_loaded():
    shown = run_python("import ndsampler; print(*dir(ndsampler))").split()
    assert set(ndsampler.__all__) <= set(shown)


def test_static_checkers_see_the_same_names_as_all():
    assert set(static_imports()) | {"__version__"} == set(ndsampler.__all__)


def test_static_checkers_see_each_name_in_the_module_it_is_loaded_from():
    for name, module in static_imports().items():
        if module != "ndsampler":
            assert f"ndsampler.{DOCUMENTED[name]}" == module


def test_star_import_brings_every_name():
    code = "from ndsampler import *; import ndsampler; print(set(ndsampler.__all__) - set(globals()))"
    assert run_python(code) == "set()"


def test_a_submodule_is_an_attribute_without_being_imported():
    assert run_python("import ndsampler; print(ndsampler.coco_sampler.__name__)") == "ndsampler.coco_sampler"
    assert run_python("import ndsampler; print(ndsampler.windows.__name__)") == "ndsampler.windows"


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, ndsampler; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_an_unknown_name_is_an_attribute_error_that_says_which():
    with pytest.raises(AttributeError, match="module 'ndsampler' has no attribute 'no_such_name'"):
        ndsampler.no_such_name  # noqa: B018
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from ndsampler import no_such_name", {})


def test_a_submodule_that_misses_a_package_names_that_package(monkeypatch):
    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'absent'", name="absent")

    monkeypatch.setattr(ndsampler, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="absent"):
        ndsampler.__getattr__("preview")


def test_the_version_is_written_once_and_is_a_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+", ndsampler.__version__)
    changelog = (ROOT.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{ndsampler.__version__}]" in changelog
    assert ndsampler.__version__ not in (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT.parent / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {ndsampler.__version__}" in citation


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").is_file()


def test_errors_survive_pickling_with_their_message():
    from ndsampler import errors

    for name in errors.__all__:
        error = getattr(errors, name)("what was given\nand what was expected")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == "what was given\nand what was expected"


def test_a_missing_opencv_is_reported_with_the_two_commands_to_choose_from(monkeypatch):
    from ndsampler.errors import MissingDependencyError
    from ndsampler.utils.require import require_opencv

    monkeypatch.setitem(sys.modules, "cv2", None)
    require_opencv.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"ndsampler\[headless\].*ndsampler\[graphics\]"):
        require_opencv()


def test_an_opencv_that_misses_a_part_of_its_own_is_not_called_missing(monkeypatch):
    from ndsampler.utils import require

    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(require, "import_module", fail)
    require.require_opencv.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        require.require_opencv()


def test_a_sampler_is_made_without_what_pictures_and_worker_processes_need():
    names = ("multiprocessing", "ndsampler.preview.sample", "ndsampler.preview.sheet", "html")
    code = (
        "import sys, kwcoco; dset = kwcoco.CocoDataset(); known = set(sys.modules); "
        "import ndsampler; ndsampler.CocoSampler(dset); new = set(sys.modules) - known; "
        f"print([name for name in {names!r} if name in new])"
    )
    assert run_python(code) == "[]"


def test_names_of_previews_are_loaded_whichever_module_was_imported_first():
    code = (
        "import ndsampler.preview.description, ndsampler.preview.sample; from ndsampler import preview; "
        "print([name for name in preview.__all__ if 'module' in type(getattr(preview, name)).__name__])"
    )
    assert run_python(code) == "[]"
