"""
Channel specifications that can be pickled.

A process shares one ``FusedChannelSpec`` for each code. ``as_list`` and other methods of a specification
store a function with their result in the ``__dict__`` of the object, and functions cannot be pickled. A
sample with such a specification could not be sent from the worker process of a data loader.
"""

from __future__ import annotations

import copyreg
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delayed_image.channel_spec import BaseChannelSpec, FusedChannelSpec


@functools.cache
def spec_classes() -> tuple[type[BaseChannelSpec], type[FusedChannelSpec]]:
    """Return the classes ``BaseChannelSpec`` and ``FusedChannelSpec``.

    The first call registers the pickling and copying of specifications in this process.

    Example:
        >>> import pickle
        >>> _, FusedChannelSpec = spec_classes()
        >>> spec = FusedChannelSpec.coerce('r|g|b')
        >>> spec.as_list()
        ['r', 'g', 'b']
        >>> pickle.loads(pickle.dumps(spec)) == spec
        True
    """
    from delayed_image.channel_spec import BaseChannelSpec, FusedChannelSpec

    copyreg.pickle(FusedChannelSpec, _reduce_spec)
    return BaseChannelSpec, FusedChannelSpec


def _reduce_spec(spec: FusedChannelSpec) -> tuple[Any, ...]:
    """Reduce a specification for pickling, without the functions that cache results of its methods."""
    state = {key: value for key, value in vars(spec).items() if not callable(value)}
    return copyreg.__newobj__, (type(spec),), state  # type: ignore[attr-defined]


def fused_spec(names: Sequence[str]) -> FusedChannelSpec:
    """Return the specification of channels.

    Args:
        names: the channels, in order.

    Example:
        >>> fused_spec(['nir', 'red']).spec
        'nir|red'
    """
    return spec_classes()[1].coerce("|".join(names))
