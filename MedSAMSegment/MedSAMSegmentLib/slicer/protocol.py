"""Frames between Slicer and its worker process: a header as JSON, and bytes that go with it.

    MSSF 0000005b 00000a40\n          magic, length of the header, length of the payload (hexadecimal)
    {"id": 7, "reply": {...}}         header, JSON in ASCII
    eNpjYGBg...                       payload, Base64 (RFC 4648)

Everything on the pipe is printable: script bindings of Qt hand bytes over as C strings here and there, which end at the
first zero.  Payloads are small (masks cropped to their extent and compressed); voxels never go this way.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InferenceError

VERSION = 1
"""Raised when frames or verbs change; Slicer and the worker must agree."""

PROGRESS_SECONDS = 0.05
"""How often the worker says how far it is, at most."""

_MAGIC = b"MSSF"
_PREFIX_LENGTH = len(_MAGIC) + 1 + 8 + 1 + 8 + 1
_LARGEST = 1 << 28
"""Bytes of a header or a payload; more is a broken pipe, not a frame."""


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        header: plain values, fit for JSON.
        payload: bytes that belong to it.
    """

    header: Mapping[str, Any]
    payload: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The frame as it goes over the pipe."""
        header = json.dumps(self.header, separators=(",", ":"), allow_nan=False).encode("ascii")
        payload = base64.b64encode(self.payload)
        return b"%s %08x %08x\n%s%s" % (_MAGIC, len(header), len(payload), header, payload)


class FrameReader:
    """Puts frames together from bytes as they arrive, in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes.

        Returns:
            The frames that are complete now, in order.

        Raises:
            InferenceError: ``WORKER_GARBLED``: what came is not a frame; the connection is of no use any more.
        """
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._buffer) < _PREFIX_LENGTH:
            return None
        magic, _, lengths = bytes(self._buffer[:_PREFIX_LENGTH]).partition(b" ")
        try:
            header_length, payload_length = (int(part, 16) for part in lengths.split())
        except ValueError:
            raise _garbled() from None
        if magic != _MAGIC or max(header_length, payload_length) > _LARGEST:
            raise _garbled()
        start = _PREFIX_LENGTH + header_length
        end = start + payload_length
        if len(self._buffer) < end:
            return None
        try:
            header = json.loads(bytes(self._buffer[_PREFIX_LENGTH:start]))
            payload = base64.b64decode(bytes(self._buffer[start:end]), validate=True)
        except (ValueError, binascii.Error):
            raise _garbled() from None
        del self._buffer[:end]
        if not isinstance(header, dict):
            raise _garbled()
        return Frame(header, payload)


def pack_mask(mask: np.ndarray, offset: tuple[int, ...] | None = None) -> tuple[dict[str, Any], bytes]:
    """A boolean array cropped to what is set, as compressed bits.

    Args:
        mask: bool, any number of axes.
        offset: where its first element lies in the array it was cut from; zeros by default.

    Returns:
        ``{"offset": [...], "shape": [...]}`` of the cropped part, and its bytes.  An empty mask has the shape 0.
    """
    offset = (0,) * mask.ndim if offset is None else offset
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    part = mask[tuple(box)]
    where = {
        "offset": [int(first) + cut.start for first, cut in zip(offset, box, strict=True)],
        "shape": [int(length) for length in part.shape],
    }
    return where, zlib.compress(np.packbits(part).tobytes(), 1)


def unpack_mask(where: Mapping[str, Any], payload: bytes) -> np.ndarray:
    """The cropped part of :func:`pack_mask`, bool, of the shape ``where["shape"]``.

    Raises:
        InferenceError: ``WORKER_GARBLED``.
    """
    try:
        shape = tuple(int(length) for length in where["shape"])
        bits = np.frombuffer(zlib.decompress(payload), dtype=np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
    except (KeyError, TypeError, ValueError, zlib.error):
        raise _garbled() from None


def _garbled() -> InferenceError:
    return InferenceError(
        "WORKER_GARBLED", "The segmentation process sent something unreadable.", "It is started again; try once more."
    )
