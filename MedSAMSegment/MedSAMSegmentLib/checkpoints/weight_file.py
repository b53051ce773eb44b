"""Opening a file of weights: what kind it is, whether it is whole, and nothing in it is ever executed.

Two formats are read: safetensors, and PyTorch's own with ``weights_only=True`` (an unpickler that builds tensors and
plain containers only and refuses everything else).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_GET_AGAIN = "Get the file again."
_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state")
_HTML = re.compile(rb"^\s*(<!doctype|<html|<head|<\?xml)", re.IGNORECASE)
_LARGEST_SAFETENSORS_HEADER = 100_000_000


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file by name, on the CPU, floating-point ones as float32.

    A wrapping dictionary (``{"model": ...}``) and the prefix ``module.`` are taken off.

    Raises:
        CheckpointError: ``CHECKPOINT_MISSING``, ``CHECKPOINT_UNREADABLE``, ``CHECKPOINT_TRUNCATED``,
            ``CHECKPOINT_DAMAGED``, ``CHECKPOINT_IS_WEB_PAGE``, ``CHECKPOINT_IS_POINTER``, ``CHECKPOINT_NOT_WEIGHTS``,
            ``CHECKPOINT_UNSAFE``.
    """
    start, size = _first_bytes(path)
    if not start:
        raise _error("CHECKPOINT_TRUNCATED", path, "is empty")
    if _HTML.match(start.removeprefix(b"\xef\xbb\xbf")):
        hint = "The server sent a page instead of the file: open the address in a browser and save the file itself."
        raise _error("CHECKPOINT_IS_WEB_PAGE", path, "is a web page, not weights", hint)
    if start.startswith(b"version https://git-lfs"):
        hint = "Run 'git lfs pull', or download the file itself."
        raise _error("CHECKPOINT_IS_POINTER", path, "is a Git LFS pointer, not the weights", hint)
    if _looks_like_safetensors(start):
        content = _read_safetensors(path, start, size)
    elif start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        content = _read_torch(path, is_zip=start.startswith(b"PK"))
    else:
        raise _error("CHECKPOINT_NOT_WEIGHTS", path, "is neither a PyTorch nor a safetensors file", _FORMATS)
    return _clean(path, content)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


_FORMATS = "Give the .pt, .pth or .safetensors file that the model's authors published."


def _error(code: str, path: Path, problem: str, hint: str = _GET_AGAIN) -> CheckpointError:
    return CheckpointError(code, f"The weight file '{path.name}' {problem}.", hint)


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """The first bytes of the file and its size."""
    if path.is_dir():
        raise _error("CHECKPOINT_UNREADABLE", path, "is a folder", _FORMATS)
    try:
        with path.open("rb") as file:
            return file.read(512), path.stat().st_size
    except FileNotFoundError as error:
        hint = "Check the path, or leave it out to use the model's own file."
        raise CheckpointError("CHECKPOINT_MISSING", f"There is no weight file '{path}'.", hint) from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise _error("CHECKPOINT_UNREADABLE", path, problem, "Check the permissions of the file.") from error


def _looks_like_safetensors(start: bytes) -> bool:
    """Eight bytes of header length, then a JSON object."""
    return len(start) > 8 and start[8:9] == b"{" and _header_length(start) <= _LARGEST_SAFETENSORS_HEADER


def _header_length(start: bytes) -> int:
    return int(struct.unpack("<Q", start[:8])[0])


def _read_safetensors(path: Path, start: bytes, size: int) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header_end = 8 + _header_length(start)
    if size < header_end:
        raise _error("CHECKPOINT_TRUNCATED", path, f"ends after {size:,} bytes, inside its header")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(header_end)[8:])
        expected = header_end + max(
            (item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"), default=0
        )
        if size < expected:
            raise _error("CHECKPOINT_TRUNCATED", path, f"has {size:,} of {expected:,} bytes")
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _error("CHECKPOINT_DAMAGED", path, "is damaged: its header cannot be read") from error


def _read_torch(path: Path, is_zip: bool) -> Any:
    import torch

    if is_zip:
        try:
            with zipfile.ZipFile(path) as archive:
                names, broken = archive.namelist(), archive.testzip()
        except zipfile.BadZipFile as error:
            raise _error("CHECKPOINT_TRUNCATED", path, "ends too early (its table of contents is missing)") from error
        except (ValueError, NotImplementedError, OSError, EOFError, RuntimeError) as error:
            raise _error("CHECKPOINT_DAMAGED", path, "is damaged: its table of contents cannot be read") from error
        if not any(name.endswith("data.pkl") for name in names):
            raise _error("CHECKPOINT_NOT_WEIGHTS", path, "is an archive, but not one of PyTorch's", _FORMATS)
        if broken is not None:  # torch itself does not compare checksums
            raise _error("CHECKPOINT_DAMAGED", path, f"is damaged: the checksum of '{broken}' is wrong")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd pickle protocol is a sign of damage, which is reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, struct.error) as error:
        raise _error("CHECKPOINT_TRUNCATED", path, "ends too early") from error
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise _error("CHECKPOINT_TRUNCATED", path, "ends too early") from error
        if "unsupported" not in str(error).lower():
            raise _error("CHECKPOINT_DAMAGED", path, "is damaged") from error
        hint = "Ask for the bare weights: a state dictionary or a safetensors file."
        raise _error(
            "CHECKPOINT_UNSAFE", path, "holds program code or objects beside the weights; it was not opened", hint
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes can make the reader fail in any way
        raise _error("CHECKPOINT_DAMAGED", path, "is damaged") from error


def _clean(path: Path, content: Any) -> dict[str, Tensor]:
    """A flat dictionary of finite tensors under their plain names."""
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise _error("CHECKPOINT_NOT_WEIGHTS", path, "holds no dictionary of weights", _FORMATS)
    weights: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _error("CHECKPOINT_NOT_WEIGHTS", path, "holds something else beside tensors", _FORMATS)
        if value.is_floating_point():
            value = value.float()
            if not torch.isfinite(value).all():
                raise _error("CHECKPOINT_DAMAGED", path, f"holds values that are not finite ('{name}')")
        weights[name.removeprefix("module.")] = value
    return weights
