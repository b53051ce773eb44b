"""Arrays of ``.npz`` files from anywhere, read without ever running what is in them.

The challenges keep boxes and clicks as arrays of Python objects, which NumPy stores as pickles; ``np.load`` reads these
only with ``allow_pickle=True``, which lets a file run any program.  Here a pickle may hold dictionaries, lists, texts,
numbers and NumPy arrays, and is refused as soon as it asks for anything else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError
from ..volume.readers.common import check_size, check_stored_bytes, reading, truncated

# NumPy 2 renamed its inner package; files name the one they were written with.
_NUMPY_PACKAGES = ("numpy.core.", "numpy._core.")
_NUMPY_PARTS = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
}
_NUMPY_TYPES = {("numpy", "ndarray"), ("numpy", "dtype")}

# Boxes and clicks of a case are a few kilobytes.
_LARGEST_PICKLE = 1 << 24


class _PlainUnpickler(pickle.Unpickler):
    """Plain data and NumPy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_TYPES:
            return getattr(np, name)
        for package in _NUMPY_PACKAGES:
            part = module.removeprefix(package)
            if module.startswith(package) and (part, name) in _NUMPY_PARTS:
                return super().find_class(f"numpy._core.{part}", name)
        raise pickle.UnpicklingError("not plain data")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file by name.

    Raises:
        InputError: ``FILE_NOT_FOUND``, ``WRONG_FORMAT`` (no ``.npz``), ``UNSAFE_FILE`` (a pickle that is more than
            plain data), ``TRUNCATED_FILE``, ``UNREADABLE_FILE``, ``TOO_BIG``.
    """
    if not path.is_file():
        raise InputError("FILE_NOT_FOUND", f"There is no file {path.name}.", "Check the path.")
    with reading(path, ".npz"):
        try:
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if name.endswith(".npy")]
                return {name.removesuffix(".npy"): _read_member(path, archive, name) for name in members}
        except zipfile.BadZipFile:
            with path.open("rb") as stream:
                if stream.read(2) == b"PK":
                    raise truncated(path) from None
            raise InputError(
                "WRONG_FORMAT", f"{path.name} is no .npz file.", "Save the case with numpy.savez_compressed."
            ) from None


def _read_member(path: Path, archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as stream:
        shape, kind = _header(stream)
    check_size(path, shape)
    with archive.open(member) as stream:
        if not kind.hasobject:
            check_stored_bytes(path, int(np.prod(shape, dtype=np.int64)) * kind.itemsize, compressed=True)
            return np.lib.format.read_array(stream, allow_pickle=False)
        _header(stream)
        content = stream.read(_LARGEST_PICKLE + 1)
    if len(content) > _LARGEST_PICKLE:
        raise _unsafe(path, member)
    return _plain_objects(path, member, content)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, leaving the stream at its values."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    return tuple(shape), kind


def _plain_objects(path: Path, member: str, content: bytes) -> np.ndarray:
    try:
        array = _PlainUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError:
        raise _unsafe(path, member) from None
    if not isinstance(array, np.ndarray):
        raise _unsafe(path, member)
    return array


def _unsafe(path: Path, member: str) -> InputError:
    return InputError(
        "UNSAFE_FILE",
        f"{path.name}: {member.removesuffix('.npy')!r} holds more than boxes and clicks; it was not opened.",
        "Save boxes and clicks as lists of dictionaries of numbers.",
    )
