"""Which examples in the docstrings of the clients use this library, and which of them fail by themselves."""

from __future__ import annotations

import importlib.metadata
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from xdoctest.core import parse_doctestables
from xdoctest.doctest_example import DocTest

#: Distributions whose examples are run.
CLIENTS = ("netharn", "kwcoco_dataloader", "geowatch", "kwcoco", "kwimage")

#: Examples that name the library are found in the sources; these reach it through their own package.
INDIRECT = {
    "kwcoco_dataloader/tasks/fusion/datamodules/batch_visualization.py": [
        "BatchVisualizationBuilder:0",
        "BatchVisualizationBuilder:1",
    ],
    "kwcoco_dataloader/tasks/fusion/datamodules/kwcoco_datamodule.py": [
        "KWCocoVideoDataModule:0",
        "KWCocoVideoDataModule.draw_batch:0",
        "KWCocoVideoDataModule.draw_batch:2",
    ],
    "kwcoco_dataloader/tasks/fusion/datamodules/kwcoco_dataset.py": [
        "__doc__:2",
        "__doc__:3",
        "GetItemMixin.getitem:0",
        "GetItemMixin._robust_normalize_frame_items:0",
        "GetItemMixin._robust_normalize_frame_items:1",
        "GetItemMixin._robust_normalize_frame_items:2",
        "IntrospectMixin.draw_item:0",
        "IntrospectMixin.draw_item:1",
        "PreprocessMixin.compute_dataset_stats:0",
        "PreprocessMixin.compute_dataset_stats:1",
        "PreprocessMixin.compute_dataset_stats:2",
        "MiscMixin.make_loader:0",
        "KWCocoVideoDataset.__getitem__:0",
    ],
    "kwcoco_dataloader/tasks/fusion/datamodules/network_io.py": [
        "HeterogeneousBatchItem:0",
        "HeterogeneousBatchItem.summarize:0",
        "HomogeneousBatchItem:0",
        "HomogeneousBatchItem._frame_collated:0",
        "RGBImageBatchItem:0",
    ],
    "geowatch/tasks/fusion/coco_stitcher.py": ["__doc__:0"],
    "geowatch/tasks/fusion/fit_lightning.py": ["main:0", "main:1"],
    "geowatch/tasks/fusion/methods/channelwise_transformer.py": [
        "MultimodalTransformer:0",
        "MultimodalTransformer.forward_step:0",
    ],
    "geowatch/tasks/fusion/methods/noop_model.py": ["NoopModel.save_package:1"],
    "geowatch/tasks/fusion/predict.py": ["predict:0"],
    "geowatch/tasks/invariants/data/datasets.py": ["GriddedDataset:0", "GriddedDataset.draw_item:0"],
    "netharn/examples/classification.py": ["ClfModel:0", "ClfHarn.on_epoch:0"],
    "netharn/examples/object_detection.py": [
        "DetectDataset:0",
        "DetectDataset.__getitem__:0",
        "DetectDataset.make_loader:0",
        "DetectHarn.run_batch:0",
        "DetectHarn.on_batch:0",
        "DetectHarn.on_epoch:0",
        "DetectHarn.draw_batch:0",
    ],
    "netharn/examples/segmentation.py": ["SegmentationDataset.__getitem__:0"],
}


@dataclass(frozen=True)
class Fault:
    """What an example does wrong by itself, whatever release of this library it runs on."""

    error: type[Exception]
    """The exact type of its error."""
    words: str
    """A part of the error's message."""
    reason: str
    """What the client does."""


#: The detector's examples use another name for an option than its configuration does.
BSIZE = Fault(KeyError, "'bsize'", "calls batch_size bsize, which its own configuration does not know")

#: Examples that fail by themselves.
FAULTS: dict[str, Fault] = {
    "netharn/examples/object_detection.py::DetectDataset.make_loader:0": Fault(
        AttributeError,
        "'str' object has no attribute 'shape'",
        "takes all parts of its own batch for tensors, and one is a string",
    ),
    "netharn/examples/object_detection.py::DetectHarn.run_batch:0": BSIZE,
    "netharn/examples/object_detection.py::DetectHarn.on_batch:0": BSIZE,
    "netharn/examples/object_detection.py::DetectHarn.on_epoch:0": BSIZE,
    "netharn/examples/object_detection.py::DetectHarn.draw_batch:0": BSIZE,
    "kwcoco_dataloader/tasks/fusion/datamodules/kwcoco_dataset.py::BalanceMixin:1": Fault(
        Exception,  # kwcoco raises this very class
        "from a non-existing file: fpath='/media/joncrall/",
        "reads a file from its author's own disk",
    ),
    "kwimage/structs/detections.py::Detections.from_coco_annots:0": Fault(
        NotImplementedError,
        "pure python version",
        "wants masks that kwimage's compiled companion draws, without asking for it",
    ),
    "kwimage/structs/detections.py::Detections.from_coco_annots:3": Fault(
        NameError, "name 'kwcoco' is not defined", "forgets to import kwcoco"
    ),
}

#: What examples ask for on the command line, and can be had without a network or a screen.
FLAGS = ("--mask", "--bench", "--module:ndsampler")

#: Examples that ask for ``--download`` and download nothing.
WITHOUT_DOWNLOAD = frozenset(
    f"netharn/models/yolo2/yolo2.py::{call}"
    for call in ("Yolo2:0", "YoloCoder.decode_batch:0", "YoloLoss.forward:1", "YoloLoss.build_targets:1")
)

#: Environment variables that examples ask for.
ENVIRONMENT = {
    "kwcoco_dataloader/tasks/fusion/datamodules/spacetime_grid_builder.py::__doc__:0": {"LINE_PROFILE": "1"},
}


def client_sources() -> Iterator[tuple[str, pathlib.Path]]:
    """Yield the clients' modules that name the library or are listed: the name in site-packages, the path."""
    for client in CLIENTS:
        for file in importlib.metadata.files(client) or []:
            path = pathlib.Path(str(file.locate()))
            name = file.as_posix()
            if name.endswith(".py") and (
                name in INDIRECT or "ndsampler" in path.read_text(encoding="utf-8", errors="replace")
            ):
                yield name, path


def client_examples() -> dict[str, DocTest]:
    """Return the examples that use this library, by names such as ``netharn/api.py::Datasets.coerce:0``."""
    found = {}
    for name, path in client_sources():
        for example in parse_doctestables(str(path), analysis="static"):
            call = f"{example.callname}:{example.num}"
            if call in INDIRECT.get(name, ()) or "ndsampler" in (example.docsrc or ""):
                found[f"{name}::{call}"] = example
    return found
