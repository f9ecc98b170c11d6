"""
Writes a batch of arrays and tensors into shared memory, and reads it from there without a copy.

The bytes of arrays are stored directly. All other values, which are small, are pickled after them.
"""

from __future__ import annotations

import io
import sys
import traceback
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ndsampler.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from ndsampler.training.shared_buffer import SharedBuffer

#: Arrays smaller than this number of bytes are pickled too, which takes less time.
SMALL_BYTES = 1024

#: Positions of arrays are multiples of this number of bytes.
ALIGNMENT = 64

#: Factor by which more memory than needed is reserved, because later batches may be slightly larger.
GROWTH = 1.25


class Packed(NamedTuple):
    """The position of the pickled part of a batch in a buffer."""

    start: int
    """Position of its first byte. The arrays are stored before it."""
    stop: int
    """Position after its last byte."""


class BatchWriter:
    """Writes one batch into a buffer.

    Args:
        buffer: the memory, which grows if needed.

    Example:
        >>> from ndsampler.training.shared_buffer import SharedBuffer
        >>> buffer = SharedBuffer()
        >>> packed = BatchWriter(buffer).write({'image': np.eye(100), 'name': 'eye'})
        >>> read_batch(buffer, packed)['image'].trace()
        np.float64(100.0)
    """

    def __init__(self, buffer: SharedBuffer) -> None:
        self._buffer = buffer
        self._used = 0
        # First and last address of each allocated array, and its position in the buffer.
        self._places: list[tuple[int, int, int]] = []

    def allocate(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array in the buffer. It is not copied when a batch that contains it is written.

        Args:
            shape: shape of the array.
            dtype: type of its values.
        """
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            return np.empty(shape, kind)
        start, view = self._take(count * kind.itemsize)
        array = np.frombuffer(view, kind, count).reshape(shape)
        self._places.append((*_addresses(array), start))
        return array

    def _take(self, size: int) -> tuple[int, memoryview]:
        """Reserve memory in the buffer, and return its position and a view of it."""
        start = -(-self._used // ALIGNMENT) * ALIGNMENT
        self._used = start + size
        if self._used > self._buffer.size:
            self._buffer.reserve(int(self._used * GROWTH))
        return start, self._buffer.view(start, start + size)

    def write(self, batch: Any) -> Packed:
        """Write a batch.

        Args:
            batch: any object that can be pickled.
        """
        table: list[tuple[int, int]] = []
        file = io.BytesIO()
        _Packer(file, self._make_storer(table)).dump(batch)
        content = ForkingPickler.dumps((table, file.getvalue()))
        start, view = self._take(len(content))
        view[:] = content
        return Packed(start, start + len(content))

    def _make_storer(self, table: list[tuple[int, int]]) -> Callable[[Any], bool]:
        """Return a function that copies an array into the buffer, and adds its position to a table."""

        def store(picklable: Any) -> bool:
            raw = picklable.raw()
            if raw.nbytes < SMALL_BYTES:
                return True
            start = self._find(raw)
            if start is None:
                start, view = self._take(raw.nbytes)
                view[:] = raw
            table.append((start, start + raw.nbytes))
            return False

        return store

    def _find(self, raw: memoryview) -> int | None:
        """Return the position of memory in the buffer; None if it lies outside of the buffer."""
        first, last = _addresses(np.frombuffer(raw, np.uint8))
        for begin, end, start in self._places:
            if begin <= first and last <= end:
                return start + first - begin
        return None


def read_batch(buffer: SharedBuffer, packed: Packed, copy: bool = False) -> Any:
    """Return a batch whose arrays are views of a buffer.

    Args:
        buffer: the memory.
        packed: position of the batch.
        copy: whether to copy the arrays to new memory.
    """
    table, content = ForkingPickler.loads(buffer.view(*packed))
    memory = buffer.view(0, packed.start)
    if copy:
        memory = memoryview(bytearray(memory))
    return ForkingPickler.loads(content, buffers=[memory[start:stop] for start, stop in table])


class _Packer(ForkingPickler):
    """Pickles tensors, and arrays with permuted axes, as their underlying memory."""

    def __init__(self, file: io.BytesIO, place: Callable[[Any], bool]) -> None:
        super().__init__(file, 5, True, place)

    def reducer_override(self, value: Any) -> Any:
        """Return the function and arguments that restore a value; NotImplemented for the default."""
        if type(value) is np.ndarray:
            flags = value.flags
            if flags.c_contiguous or flags.f_contiguous or value.dtype.hasobject:
                return NotImplemented
            axes = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
            ordered = np.ascontiguousarray(value.transpose(axes))
            return _transpose, (ordered, tuple(np.argsort(axes).tolist()))
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return _reduce_tensor(value, torch)
        return NotImplemented


def _transpose(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return an array with permuted axes."""
    result: NDArray[Any] = array.transpose(axes)
    return result


def _reduce_tensor(value: Any, torch: Any) -> Any:
    """Return the function and arguments that restore a tensor from a numpy array."""
    if type(value) is not torch.Tensor:
        return _as_subclass, (type(value), value.as_subclass(torch.Tensor), value.__dict__)
    plain = value.detach()
    try:
        return _as_tensor, (plain.numpy(),)
    except TypeError:  # numpy does not support the type
        array = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
        return _as_typed_tensor, (array, value.dtype, tuple(value.shape))


def _as_tensor(array: NDArray[Any]) -> Any:
    """Return a tensor that shares the memory of an array."""
    import torch

    return torch.from_numpy(array)


def _as_typed_tensor(array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return a tensor of a type that numpy lacks."""
    return _as_tensor(array).view(dtype).reshape(shape)


def _as_subclass(kind: Any, tensor: Any, state: dict[str, Any]) -> Any:
    """Return a tensor of a class that derives from torch's."""
    made = tensor.as_subclass(kind)
    made.__dict__.update(state)
    return made


def _addresses(array: NDArray[Any]) -> tuple[int, int]:
    """Return the address of an array's first byte, and the address after its last byte."""
    first = array.__array_interface__["data"][0]
    return first, first + array.nbytes


class Failure(NamedTuple):
    """An error that occurred in a worker."""

    error: Exception | None
    """The exception; None if it cannot be pickled."""
    text: str
    """Its traceback in the worker."""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return a description of an exception for another process.

        Args:
            error: the exception that was caught.
        """
        text = "".join(traceback.format_exception(error))
        try:
            ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:
            return cls(None, text)
        return cls(error, text)

    def as_exception(self) -> Exception:
        """Return an exception of the same type, whose cause is the traceback in the worker."""
        reported = WorkerError(f"in a worker of the loader:\n\n{self.text}")
        if self.error is None:
            return reported
        self.error.__cause__ = reported
        return self.error
