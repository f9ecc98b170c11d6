"""
Read windows with their annotations out of large images.

Start with :class:`CocoSampler`. Submodules and names are imported when they are first used, so importing the
package takes almost no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndsampler import (
        abstract_frames,
        abstract_sampler,
        category_tree,
        coco_frames,
        coco_regions,
        coco_sampler,
        errors,
        isect_indexer,
        toydata,
        utils,
    )
    from ndsampler.abstract_frames import Frames, SimpleFrames
    from ndsampler.abstract_sampler import AbstractSampler
    from ndsampler.category_tree import CategoryTree
    from ndsampler.coco_frames import CocoFrames
    from ndsampler.coco_regions import (
        CocoRegions,
        MissingNegativePool,
        Targets,
        select_positive_regions,
        tabular_coco_targets,
    )
    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.errors import NDSamplerError
    from ndsampler.isect_indexer import FrameIntersectionIndex
    from ndsampler.toydata import DynamicToySampler
    from ndsampler.utils.hash_identifiable import HashIdentifiable

__version__ = "1.0.0"

__all__ = [
    "AbstractSampler",
    "CategoryTree",
    "CocoFrames",
    "CocoRegions",
    "CocoSampler",
    "DynamicToySampler",
    "FrameIntersectionIndex",
    "Frames",
    "HashIdentifiable",
    "MissingNegativePool",
    "NDSamplerError",
    "SimpleFrames",
    "Targets",
    "__version__",
    "abstract_frames",
    "abstract_sampler",
    "category_tree",
    "coco_frames",
    "coco_regions",
    "coco_sampler",
    "errors",
    "isect_indexer",
    "select_positive_regions",
    "tabular_coco_targets",
    "toydata",
    "utils",
]

#: Name to the module that defines it. Other names are looked up as submodules.
_HOMES = {
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

#: Names that have moved to other packages.
_MOVED = {"CocoDataset": "kwcoco.CocoDataset"}


if not TYPE_CHECKING:  # because type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Load a documented name or a submodule when it is first used, and warn if a name has moved."""
        if name in _MOVED:
            return _submodule("utils.deprecation").load_moved(f"{__name__}.{name}", _MOVED[name])
        home = _HOMES.get(name)
        value = _submodule(name) if home is None else getattr(_submodule(home), name)
        globals()[name] = value
        return value


def _submodule(name: str) -> object:
    qualified = f"{__name__}.{name}"
    if not name.startswith("_"):
        try:
            return import_module(qualified)
        except ModuleNotFoundError as ex:
            if ex.name != qualified:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all documented names, including those that have not been imported yet."""
    return list(__all__)
