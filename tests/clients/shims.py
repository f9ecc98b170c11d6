"""What the clients need of newer packages than they were written for; nothing of it touches this library.

Importing this module puts everything in place, once per process: ``conftest.py`` does so for the tests,
``in_workers.py`` for the workers, which import it before they meet a client.
"""

from __future__ import annotations

import os
import sys

import numpy as np


def numpy_scalar_types() -> None:
    """imgaug 0.4, which netharn and geowatch augment with, reads ``np.sctypes``; numpy 2 lost it."""
    if not hasattr(np, "sctypes"):
        np.sctypes = {  # noqa: NPY201
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64],
        }


def box_corners() -> None:
    """netharn 0.6.2 asks boxes for ``to_tlbr``; kwimage 0.12 refuses the old name of ``to_ltrb``."""
    import kwimage

    kwimage.Boxes.to_tlbr = kwimage.Boxes.to_ltrb


def metrics_of_kwcoco() -> None:
    """netharn 0.6.2 reads ``kwcoco.metrics``, which is there once somebody has imported it."""
    import kwcoco.metrics  # noqa: F401


def torchvision_operators() -> None:
    """torchvision describes operators that its binary, built for CUDA's torch, cannot bring into CPU's."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_operators.library = library
        import torchvision  # noqa: F401


def preimports() -> None:
    """geowatch 0.20.0 imports GDAL's own Python before all else, wanted or not, unless it is told not to."""
    os.environ.setdefault("GEOWATCH_PREIMPORT", "0")


for shim in (numpy_scalar_types, box_corners, metrics_of_kwcoco, torchvision_operators, preimports):
    shim()
