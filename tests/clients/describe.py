"""Values of any kind as flat, comparable text: one line per leaf."""

from __future__ import annotations

import builtins
import hashlib
from typing import Any

import numpy as np

#: Arrays up to this many items are written out; longer ones are hashed.
MAX_SHOWN = 24

#: Decimal places that two runs must share.
DECIMALS = 4


def describe(value: Any, path: str = "") -> dict[str, str]:
    """A flat mapping from the path of each leaf to its class and value.

    Args:
        value: what a public call returned.
        path: prefix of the keys.

    Returns:
        Paths, such as ``annots/frame_dets/0/data/boxes``, in the order of the value.

    Example:
        >>> describe({"a": (1, 2.5)})
        {'': "dict ['a']", 'a': 'tuple of 2', 'a/0': 'int 1', 'a/1': 'float 2.5'}
    """
    if isinstance(value, dict) or type(value).__name__ in {"DetectionsData", "odict"}:
        return _describe_items(value, path, f"{type(value).__name__} {list(value)}")
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        if len(value) > 12 and all(isinstance(v, (int, float, np.number)) for v in value):
            return {path: f"{type(value).__name__} of {_array(np.asarray(value))}"}
        return _describe_items(dict(enumerate(value)), path, f"{type(value).__name__} of {len(value)}")
    special = _SPECIAL.get(type(value).__name__)
    if special is not None:
        return special(value, path)
    return {path: _leaf(value)}


def describe_error(ex: BaseException) -> dict[str, str]:
    """The builtin class that a caller would catch, and the message apart from it."""
    builtin = next(c for c in type(ex).__mro__ if getattr(builtins, c.__name__, None) is c)
    return {"error": builtin.__name__, "error_message": f"{type(ex).__name__}: {ex}"[:300]}


def _describe_items(value: Any, path: str, head: str) -> dict[str, str]:
    out = {path: head}
    for key in value:
        out.update(describe(value[key], f"{path}/{key}" if path else str(key)))
    return out


def _array(value: np.ndarray) -> str:
    rounded = np.round(value, DECIMALS) + 0 if value.dtype.kind == "f" else value
    shown: object = rounded.tolist()
    if value.size > MAX_SHOWN:
        shown = hashlib.sha1(np.ascontiguousarray(rounded).tobytes()).hexdigest()[:12]
    return f"{value.dtype}{list(value.shape)} {shown}"


def _leaf(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return f"{'ndarray' if name == 'memmap' else name} {_array(value)}"
    if isinstance(value, np.ndarray):
        return f"{name} object{list(value.shape)} {[describe(v) for v in value.ravel().tolist()]}"
    if isinstance(value, np.generic):
        return f"{name} {np.round(value, DECIMALS) if value.dtype.kind == 'f' else value}"
    if isinstance(value, (bool, int, str, slice, type(None))):
        return f"{name} {value}"
    if isinstance(value, float):
        return f"float {round(value, DECIMALS)}"
    return name


def _boxes(value: Any, path: str) -> dict[str, str]:
    return {path: f"Boxes {value.format} {_leaf(np.asarray(value.data))}"}


def _detections(value: Any, path: str) -> dict[str, str]:
    return {
        path: f"Detections of {len(value)}",
        **describe(dict(value.data), f"{path}/data"),
        **describe(dict(value.meta), f"{path}/meta"),
    }


def _geometry(value: Any, path: str) -> dict[str, str]:
    coco = _round(value.to_coco(style="new"))
    return {
        path: f"{type(value).__name__} {coco}",
        f"{path}/meta": f"{sorted(getattr(value, 'meta', None) or {})}",
    }


def _object_list(value: Any, path: str) -> dict[str, str]:
    items = _describe_items(dict(enumerate(value.data)), path, f"{type(value).__name__} of {len(value)}")
    return {**items, **describe(dict(value.meta or {}), f"{path}/meta")}


def _mask(value: Any, path: str) -> dict[str, str]:
    return {path: f"Mask {value.format} area {float(value.area):.0f}"}


def _affine(value: Any, path: str) -> dict[str, str]:
    return {path: f"Affine {_array(np.asarray(value.matrix))}"}


def _xarray(value: Any, path: str) -> dict[str, str]:
    coords = {key: np.asarray(c.values).tolist() for key, c in value.coords.items()}
    return {
        path: f"DataArray {_array(np.asarray(value.values))}",
        f"{path}/dims": str(value.dims),
        f"{path}/coords": str({k: (v if len(v) <= MAX_SHOWN else [v[0], v[-1]]) for k, v in coords.items()}),
        f"{path}/indexes": str(list(value.indexes)),
        f"{path}/attrs": str(sorted(value.attrs)),
    }


def _table(value: Any, path: str) -> dict[str, str]:
    columns = {key: np.asarray(value[key]) for key in value.columns}
    return _describe_items(columns, path, f"{type(value).__name__} {list(value.columns)} rows {len(value)}")


def _classes(value: Any, path: str) -> dict[str, str]:
    return {path: f"{type(value).__name__} {list(value)}"}


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _round(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round(v) for v in value]
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return round(float(value), DECIMALS) + 0.0
    return value.item() if isinstance(value, np.generic) else value


_SPECIAL = {
    "Boxes": _boxes,
    "Box": _boxes,
    "Detections": _detections,
    "Polygon": _geometry,
    "MultiPolygon": _geometry,
    "Points": _geometry,
    "PolygonList": _object_list,
    "PointsList": _object_list,
    "SegmentationList": _object_list,
    "MaskList": _object_list,
    "Mask": _mask,
    "Affine": _affine,
    "DataArray": _xarray,
    "DataFrameArray": _table,
    "CategoryTree": _classes,
    "KeypointCategoryTree": _classes,
}
