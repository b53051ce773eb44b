"""A least-recently-used store of what the image encoder said about slices.

Encoding is most of the work.  What it gives depends on no prompt, so a correction, a second object on the same
picture or the other direction of tracking takes it from here.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from .crop import CropFrame
from .encoded_on_disk import EncodedOnDisk

# Reading a slice from disk takes some hundredths of a second.
_WORTH_KEEPING_SECONDS = 0.15


class SliceKey(NamedTuple):
    """Everything an encoded slice depends on."""

    volume: str
    axis: int
    slice_index: int
    window: tuple[float, float]
    frame: CropFrame
    model: str


class EmbeddingCache:
    """Holds values up to a number of bytes; the ones not asked for the longest go first.

    It starts no thread and takes no lock: whoever shares one between threads brings their own.

    Args:
        limit_bytes: of all values together; a single larger value is passed through and not kept.
        disk: also keeps what took long to compute, beyond the end of the process.
    """

    def __init__(self, limit_bytes: int = 384 * 2**20, disk: EncodedOnDisk | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.disk = disk
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value of ``key``; computed and kept when it is not there."""
        if key in self._values:
            self.hits += 1
            self._values.move_to_end(key)
            return self._values[key][0]
        self.misses += 1
        value = None if self.disk is None else self.disk.read(key)
        if value is None:
            begun = time.perf_counter()
            value = compute()
            if self.disk is not None and time.perf_counter() - begun > _WORTH_KEEPING_SECONDS:
                self.disk.write(key, value)
        self.put(key, value)
        return value

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value that was computed elsewhere, as the latest one."""
        size = size_in_bytes(value)
        if key in self._values:
            self.bytes -= self._values.pop(key)[1]
        if size > self.limit_bytes:
            return
        self._values[key] = (value, size)
        self.bytes += size
        while self.bytes > self.limit_bytes:
            _, (_, freed) = self._values.popitem(last=False)
            self.bytes -= freed

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self.bytes = 0


def size_in_bytes(value: Any) -> int:
    """Bytes of all tensors and arrays in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, torch.Tensor):
        return value.element_size() * value.nelement()
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(size_in_bytes(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return sum(size_in_bytes(item) for item in value)
    if is_dataclass(value):
        return sum(size_in_bytes(getattr(value, field.name)) for field in fields(value))
    return 0
