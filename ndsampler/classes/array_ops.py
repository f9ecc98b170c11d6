"""
The operations on class scores, for numpy arrays and for torch tensors.

Both namespaces have the same functions and give the same results. Reductions are over the last axis. torch is
imported only if a tensor is passed, and its results can be differentiated.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ndsampler.errors import ArgumentError

__all__ = ["Array", "NumpyOps", "TorchOps", "as_array", "ops_for"]

#: A numpy array or a torch tensor.
Array = Any

#: Targets with this value do not contribute to a loss, as in torch.
IGNORED_TARGET = -100


def as_array(data: Any) -> Array:
    """Return a tensor unchanged, and anything else as a numpy array.

    Args:
        data: a tensor, an array, or nested lists.

    Example:
        >>> as_array([1, 2])
        array([1, 2])
    """
    return data if _is_tensor(data) else np.asarray(data)


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
    """Return half precision as single precision, in which sums do not overflow; torch does the same."""
    return data.astype(np.promote_types(data.dtype, np.float32), copy=False)


class NumpyOps:
    """The operations on numpy arrays."""

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
            log_probs: (N, C), (N, C, ...) or (C,) log-probabilities.
            targets: true categories, in the same shape without C; -100 does not contribute.
            reduction: ``'mean'``, ``'sum'`` or ``'none'``.

        Raises:
            ArgumentError: if a target is not a category, or the shapes do not match.
        """
        log_probs = np.moveaxis(as_array(log_probs), min(1, np.ndim(log_probs) - 1), -1)
        targets = as_array(targets)
        if targets.shape != log_probs.shape[:-1]:
            raise ArgumentError(
                f"targets have the shape {targets.shape}; expected one index for each item, "
                f"{log_probs.shape[:-1]}"
            )
        counted = targets != IGNORED_TARGET
        if np.any(counted & ((targets < 0) | (targets >= log_probs.shape[-1]))):
            raise ArgumentError(
                f"targets range from {targets.min()} to {targets.max()}; expected indexes of categories, "
                f"from 0 to {log_probs.shape[-1] - 1}, or {IGNORED_TARGET} for items that do not contribute"
            )
        places = np.where(counted, targets, 0)[..., None]
        losses = np.where(counted, -np.take_along_axis(log_probs, places, axis=-1)[..., 0], 0)
        losses = losses.astype(log_probs.dtype, copy=False)
        if reduction == "none":
            return losses
        with np.errstate(invalid="ignore"):
            return losses.sum() / (counted.sum(dtype=log_probs.dtype) if reduction == "mean" else 1)


class TorchOps:
    """The operations on torch tensors, on whatever device they are."""

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
            log_probs: (N, C), (N, C, ...) or (C,) log-probabilities.
            targets: true categories, in the same shape without C; -100 does not contribute.
            reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        """
        import torch

        targets = torch.as_tensor(targets, device=log_probs.device)
        return torch.nn.functional.nll_loss(
            log_probs, targets, reduction=reduction, ignore_index=IGNORED_TARGET
        )
