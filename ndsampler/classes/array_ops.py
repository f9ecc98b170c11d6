"""
Operations on class scores, for numpy arrays and for torch tensors.

Both namespaces have the same functions, which return the same results. Reductions apply to the last axis.
torch is imported only if a tensor is passed, and its results are differentiable.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError, OutOfRangeError

__all__ = ["Array", "NumpyOps", "TorchOps", "as_array", "as_axis", "as_targets", "ops_for"]

#: A numpy array or a torch tensor.
Array = Any

#: Targets with this value do not contribute to a loss, as in torch.
IGNORED_TARGET = -100


def as_array(data: Any) -> Array:
    """Return a tensor unchanged, and anything else as a numpy array.

    Args:
        data: a tensor, an array, or nested lists.

    Raises:
        ArgumentError: if the lists are not of equal length.

    Example:
        >>> as_array([1, 2])
        array([1, 2])
    """
    try:
        return data if _is_tensor(data) else np.asarray(data)
    except ValueError as ex:
        raise ArgumentError(f"the lists do not form an array: {ex}; expected rows of equal length") from ex


def as_axis(dim: Any, data: Array) -> int:
    """Return the number of an axis, counted from 0.

    Args:
        dim: number of the axis; a negative one counts from the end.
        data: a tensor or an array.

    Raises:
        ArgumentTypeError: if ``dim`` is not a whole number.
        OutOfRangeError: if the array has no such axis.

    Example:
        >>> as_axis(-1, np.zeros((2, 3)))
        1
    """
    shape = tuple(data.shape)
    if not shape:
        raise OutOfRangeError("got a single number; expected an array with one entry for each category")
    if not isinstance(dim, (int, np.integer)) or isinstance(dim, bool):
        raise ArgumentTypeError(f"dim is {dim!r}; expected the number of an axis of the shape {shape}")
    if not -len(shape) <= dim < len(shape):
        raise OutOfRangeError(f"dim is {dim}; expected an axis of the shape {shape}, that of the categories")
    return int(dim) % len(shape)


def as_targets(targets: Any, log_probs: Array) -> Array:
    """Return true categories as an int64 array or tensor, of the same library as the log-probabilities.

    Args:
        targets: indexes of categories, of any integer type.
        log_probs: (..., C) log-probabilities, with categories on the last axis.

    Raises:
        ArgumentError: if the targets are not whole numbers, one for each item.
        OutOfRangeError: if one of them is not the index of a category.

    Example:
        >>> as_targets([1, 0], np.zeros((2, 3)))
        array([1, 0])
    """
    given, items, total = as_array(targets), tuple(log_probs.shape[:-1]), log_probs.shape[-1]
    if not ops_for(given).is_integer(given) or tuple(given.shape) != items:
        raise ArgumentError(
            f"targets have the shape {tuple(given.shape)} and the type {given.dtype}; expected one index "
            f"for each item, {items}, a whole number that selects its category"
        )
    indexes = ops_for(log_probs).as_indexes(given, log_probs)
    if bool(((indexes != IGNORED_TARGET) & ((indexes < 0) | (indexes >= total))).any()):
        raise OutOfRangeError(
            f"targets range from {indexes.min()} to {indexes.max()}; expected indexes of categories, "
            f"from 0 to {total - 1}, or {IGNORED_TARGET} for items that do not contribute"
        )
    return indexes


def ops_for(data: Array) -> type[NumpyOps] | type[TorchOps]:
    """Return the namespace with the functions for an array.

    Args:
        data: a tensor or an array.

    Example:
        >>> ops_for(np.zeros(3)).__name__
        'NumpyOps'
    """
    return TorchOps if _is_tensor(data) else NumpyOps


def _is_tensor(data: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)


def _at_least_single(data: Array) -> Array:
    """Convert half precision to single precision, as torch does, so that sums do not overflow."""
    return data.astype(np.promote_types(data.dtype, np.float32), copy=False)


class NumpyOps:
    """The operations on numpy arrays."""

    @staticmethod
    def is_real(data: Array) -> bool:
        """Whether the values are real numbers."""
        return data.dtype.kind in "biuf"

    @staticmethod
    def is_integer(data: Array) -> bool:
        """Whether the values are whole numbers by their type."""
        return data.dtype.kind in "iu"

    @staticmethod
    def as_indexes(data: Array, like: Array) -> Array:
        """Return whole numbers as an int64 array."""
        return np.asarray(data.cpu() if _is_tensor(data) else data).astype(np.int64)

    @staticmethod
    def as_floating(data: Array) -> Array:
        """Return the array itself if it is floating point, else in double precision."""
        return data if np.issubdtype(data.dtype, np.floating) else data.astype(np.float64)

    @staticmethod
    def to_numpy(data: Array) -> Array:
        """Return the array in double precision."""
        return data.astype(np.float64, copy=False)

    @staticmethod
    def moveaxis(data: Array, source: int, destination: int) -> Array:
        """Return a view with an axis moved."""
        return np.moveaxis(data, source, destination)

    @staticmethod
    def take(data: Array, idxs: Array) -> Array:
        """Return the given entries of the last axis."""
        return data[..., idxs]

    @staticmethod
    def take_per_row(data: Array, idxs: Array) -> Array:
        """Return one entry of each row of a 2-D array."""
        return data[np.arange(len(data)), idxs]

    @staticmethod
    def concat(parts: list[Array]) -> Array:
        """Return the parts end to end along the last axis."""
        return np.concatenate(parts, axis=-1)

    @staticmethod
    def exp(data: Array) -> Array:
        """Return e to the power of each entry."""
        return np.exp(data)

    @staticmethod
    def entropy_terms(probs: Array) -> Array:
        """Return p log2 p, which is 0 for p = 0."""
        # Replacing 0 by 1 gives the limit, because log2(1) is 0.
        return probs * np.log2(np.where(probs == 0, np.ones_like(probs), probs))

    @staticmethod
    def logsumexp(data: Array) -> Array:
        """Return the logarithm of the sum of exponentials; the last axis has length 1."""
        wide = _at_least_single(data)
        highest = wide.max(axis=-1, keepdims=True, initial=-np.inf)
        # If all values are -inf, or one is +inf, a shift cannot prevent an overflow.
        shift = np.where(np.isfinite(highest), highest, 0)
        with np.errstate(divide="ignore"):
            total = np.log(np.exp(wide - shift).sum(axis=-1, keepdims=True)) + shift
        return total.astype(data.dtype, copy=False)

    @staticmethod
    def log_softmax(data: Array) -> Array:
        """Return the logarithm of softmax; NaN where it is undefined because of an infinity."""
        wide = _at_least_single(data)
        with np.errstate(invalid="ignore", divide="ignore"):
            shifted = wide - wide.max(axis=-1, keepdims=True, initial=-np.inf)
            logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return logs.astype(data.dtype, copy=False)

    @staticmethod
    def nll_loss(log_probs: Array, targets: Array, reduction: str) -> Array:
        """Return the negative log-likelihood of the true categories.

        Args:
            log_probs: (..., C) log-probabilities.
            targets: (...) int64 true categories; -100 does not contribute.
            reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        """
        counted = targets != IGNORED_TARGET
        places = np.where(counted, targets, 0)[..., None]
        losses = np.where(counted, -np.take_along_axis(log_probs, places, axis=-1)[..., 0], 0)
        losses = losses.astype(log_probs.dtype, copy=False)
        if reduction == "none":
            return losses
        with np.errstate(invalid="ignore"):
            return losses.sum() / (counted.sum(dtype=log_probs.dtype) if reduction == "mean" else 1)


class TorchOps:
    """The operations on torch tensors, on any device."""

    @staticmethod
    def is_real(data: Array) -> bool:
        """Whether the values are real numbers."""
        return not data.is_complex()

    @staticmethod
    def is_integer(data: Array) -> bool:
        """Whether the values are whole numbers by their type."""
        import torch

        return not (data.is_floating_point() or data.is_complex() or data.dtype == torch.bool)

    @staticmethod
    def as_indexes(data: Array, like: Array) -> Array:
        """Return whole numbers as an int64 tensor on the device of another tensor."""
        import torch

        whole = data.long() if _is_tensor(data) else torch.from_numpy(data.astype(np.int64))
        return whole.to(like.device)

    @staticmethod
    def as_floating(data: Array) -> Array:
        """Return the tensor itself if it is floating point, else in double precision."""
        return data if data.is_floating_point() else data.double()

    @staticmethod
    def to_numpy(data: Array) -> Array:
        """Return an array in double precision."""
        return data.detach().cpu().double().numpy()

    @staticmethod
    def moveaxis(data: Array, source: int, destination: int) -> Array:
        """Return a view with an axis moved."""
        return data.movedim(source, destination)

    @staticmethod
    def take(data: Array, idxs: Array) -> Array:
        """Return the given entries of the last axis."""
        import torch

        return data.index_select(-1, torch.as_tensor(idxs, device=data.device))

    @staticmethod
    def take_per_row(data: Array, idxs: Array) -> Array:
        """Return one entry of each row of a 2-D tensor."""
        import torch

        return data.gather(1, torch.as_tensor(idxs, device=data.device)[:, None])[:, 0]

    @staticmethod
    def concat(parts: list[Array]) -> Array:
        """Return the parts end to end along the last axis."""
        import torch

        return torch.cat(parts, dim=-1)

    @staticmethod
    def exp(data: Array) -> Array:
        """Return e to the power of each entry."""
        return data.exp()

    @staticmethod
    def entropy_terms(probs: Array) -> Array:
        """Return p log2 p, which is 0 for p = 0."""
        return probs * probs.masked_fill(probs == 0, 1).log2()

    @staticmethod
    def logsumexp(data: Array) -> Array:
        """Return the logarithm of the sum of exponentials; the last axis has length 1."""
        return data.logsumexp(-1, keepdim=True)

    @staticmethod
    def log_softmax(data: Array) -> Array:
        """Return the logarithm of softmax."""
        return data.log_softmax(-1)

    @staticmethod
    def nll_loss(log_probs: Array, targets: Array, reduction: str) -> Array:
        """Return the negative log-likelihood of the true categories.

        Args:
            log_probs: (..., C) log-probabilities.
            targets: (...) int64 true categories; -100 does not contribute.
            reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        """
        import torch

        # The backward pass of nll_loss for images cannot handle views with moved axes; that for rows can.
        losses = torch.nn.functional.nll_loss(
            log_probs.reshape(-1, log_probs.shape[-1]),
            targets.reshape(-1),
            reduction=reduction,
            ignore_index=IGNORED_TARGET,
        )
        return losses.reshape(targets.shape) if reduction == "none" else losses
