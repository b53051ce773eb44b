"""Encoded slices on disk, so that a scan opened again tomorrow answers at once.

A large image encoder takes seconds a slice on a processor.  What it said is kept in files named by a hash of all that
it depends on (scan, slice, window, crop, weights, runtime); nothing in name or content tells whose scan it was, but the
numbers are derived from it, so the folder is the user's alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch

from ..models.sam2 import ImageFeatures
from ..version import SOFTWARE_VERSION

_SUFFIX, _PART, _CHANNELS_LAST = ".encoded", ".part-", ".channels_last"


def encoded_folder() -> Path:
    """The folder in the user's cache."""
    from ..checkpoints.folder import user_cache_folder

    return user_cache_folder() / "encoded"


class EncodedOnDisk:
    """Encoded slices in a folder, up to a number of bytes; the ones not asked for the longest go first.

    Several processes may share it: a file is there whole or not at all, and one that was removed or damaged is computed
    again.  What cannot be written is not kept; that is never an error.

    Args:
        folder: made where it is not there; only this user may look inside.
        limit_bytes: of all files together.
    """

    def __init__(self, folder: str | os.PathLike[str], limit_bytes: int) -> None:
        self.folder = Path(folder)
        self.limit_bytes = limit_bytes

    def read(self, key: Hashable) -> Any | None:
        """What was kept under a key, or ``None``."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._path(key)
        try:
            tensors = dict(_laid_out(name, tensor) for name, tensor in load_file(path).items())
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            self._remove(path)
            return None
        try:
            return _value(tensors)
        except KeyError:
            self._remove(path)
            return None

    def write(self, key: Hashable, value: Any) -> None:
        """Keep a value: a tensor or :class:`ImageFeatures` in the processor's memory; others are not kept."""
        from safetensors.torch import save_file

        tensors = _tensors(value)
        if tensors is None or any(tensor.device.type != "cpu" for tensor in tensors.values()):
            return
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.limit_bytes:
            return
        part = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(size)
            handle, part = tempfile.mkstemp(prefix=_PART, dir=self.folder)
            os.close(handle)
            save_file({_name(name, tensor): tensor.contiguous() for name, tensor in tensors.items()}, part)
            os.replace(part, self._path(key))
        except OSError:
            if part is not None:
                self._remove(Path(part))

    def clear(self) -> None:
        """Remove everything that was kept, and what interrupted processes left."""
        for path in self._files():
            self._remove(path)

    def _path(self, key: Hashable) -> Path:
        # Another version may cut or encode a slice otherwise: what it kept is not found, and goes when room is needed.
        name = hashlib.sha256(f"{SOFTWARE_VERSION} {torch.__version__} {key!r}".encode()).hexdigest()
        return self.folder / f"{name}{_SUFFIX}"

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.suffix == _SUFFIX or path.name.startswith(_PART)]

    @property
    def bytes(self) -> int:
        """Size of all that is kept."""
        return sum(size for _, size, _ in self._sizes())

    def _sizes(self) -> list[tuple[float, int, Path]]:
        """When each file was last asked for, its size, and the file; the longest unused first."""
        there = []
        for path in self._files():
            with contextlib.suppress(OSError):
                status = path.stat()
                there.append((status.st_mtime, status.st_size, path))
        return sorted(there)

    def _make_room(self, wanted: int) -> None:
        """Remove the files unused the longest until ``wanted`` more bytes fit."""
        there = self._sizes()
        surplus = sum(size for _, size, _ in there) + wanted - self.limit_bytes
        for _, size, path in there:
            if surplus <= 0:
                return
            self._remove(path)
            surplus -= size

    @staticmethod
    def _remove(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def _tensors(value: Any) -> dict[str, torch.Tensor] | None:
    """A value's tensors by name; ``None`` for a value of another kind."""
    if isinstance(value, torch.Tensor):
        return {"tensor": value}
    if isinstance(value, ImageFeatures):
        levels = {f"high_resolution.{number}": level for number, level in enumerate(value.high_resolution)}
        picture = {} if value.picture is None else {"picture": value.picture}
        return {"embedding": value.embedding, "position": value.position, **picture, **levels}
    return None


def _laid_out(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """A tensor as it lay in memory when it was computed: that decides the last bits of what is computed from it."""
    if name.endswith(_CHANNELS_LAST):
        return name.removesuffix(_CHANNELS_LAST), tensor.contiguous(memory_format=torch.channels_last)
    return name, tensor.clone()


def _name(name: str, tensor: torch.Tensor) -> str:
    """The name in the file; files do not keep how a tensor lay in memory."""
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return f"{name}{_CHANNELS_LAST}" if last else name


def _value(tensors: dict[str, torch.Tensor]) -> Any:
    """The inverse of :func:`_tensors`."""
    if "tensor" in tensors:
        return tensors["tensor"]
    count = sum(name.startswith("high_resolution.") for name in tensors)
    levels = tuple(tensors[f"high_resolution.{number}"] for number in range(count))
    return ImageFeatures(tensors["embedding"], tensors["position"], levels, tensors.get("picture"))
