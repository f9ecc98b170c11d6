"""
The shapes of arrays in nested containers, for programs that print them.
"""

from __future__ import annotations

from typing import Any

from ndsampler.errors import ArgumentTypeError

__all__ = ["nestshape"]


def nestshape(data: Any) -> Any:
    """Replace each array or tensor in nested lists, tuples and dicts by its shape.

    Args:
        data: the container. Values without a shape are unchanged.

    Raises:
        ArgumentTypeError: for a set, whose items have no order.

    Example:
        >>> import numpy as np
        >>> nestshape({"im": np.zeros((2, 3)), "aids": [np.arange(4), 7]})
        {'im': (2, 3), 'aids': [(4,), 7]}
    """
    if isinstance(data, dict):
        return {key: nestshape(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        items = map(nestshape, data)
        return list(items) if isinstance(data, list) else tuple(items)
    if isinstance(data, (set, frozenset)):
        raise ArgumentTypeError(f"data contains the set {data!r}; expected lists, tuples, dicts and arrays")
    shape = getattr(data, "shape", None)
    return data if shape is None else tuple(shape)
