"""Decodes the planes of a stack into rescaled voxels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ..common import rescaled
from .decoding import decode_frames
from .frames import FrameError, FrameRequest, read_frames, requests_of
from .headers import SliceHeader

#: Transfer syntaxes without compression of pixels (PS3.5 A.1 to A.3, A.5): their pixels are bytes in the file.
_NATIVE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)

_REFUSALS = {
    "UNREADABLE": ("{} cannot be read completely.", "Copy the folder again."),
    "TRUNCATED": ("{} has fewer pixels than its header says.", "Copy the folder again."),
    "PIXELS": (
        "The pixels of {} cannot be decoded.",
        "The file is damaged, or compressed in a way this installation cannot read; export it uncompressed.",
    ),
    "LIMIT": (
        "Decoding {} took more time or memory than an image of its size may.",
        "The file is damaged or hostile; export it uncompressed from where it came.",
    ),
    "NO_DECODER": (
        "The program that decodes {} could not be started.",
        "Install this program again, or export the series uncompressed.",
    ),
}
_CODES = {"LIMIT": "DECODING_LIMIT", "NO_DECODER": "DECODING_FAILED"}


class DamagedSlice(InputError):
    """The pixels of one slice cannot be had.

    Attributes:
        header: the slice.
    """

    def __init__(self, code: str, message: str, hint: str, header: SliceHeader) -> None:
        super().__init__(code, message, hint)
        self.header = header


def decode_stack(slices: list[SliceHeader]) -> tuple[NDArray[Any], int]:
    """Rescaled voxels [k, j, i] of planes of one matrix size.

    Uncompressed pixels are taken from the files; compressed ones are decoded in a child process. The type is the
    smallest that holds every plane exactly: the stored one without rescaling, else int16, int32 or float32.

    Returns:
        The voxels, and how many of them were padding: they have the lowest value of all others.

    Raises:
        DamagedSlice: ``UNREADABLE``, ``TRUNCATED``, ``PIXELS``, ``DECODING_LIMIT``, ``DECODING_FAILED``.
    """
    voxels: NDArray[Any] | None = None
    padding: dict[int, NDArray[np.bool_]] = {}
    lowest: float | None = None
    for k, stored in _stored_planes(slices):
        header = slices[k]
        plane = rescaled(stored[None], header.slope or 1.0, header.intercept or 0.0)[0]
        outside = _padded(stored, header)
        if outside is not None and outside.any():
            padding[k] = outside
        if header.padding is not None:
            inside = plane if outside is None else plane[~outside]
            if inside.size:
                lowest = float(inside.min()) if lowest is None else min(lowest, float(inside.min()))
        if voxels is None:
            voxels = np.empty((len(slices), *plane.shape), plane.dtype.newbyteorder("="))
        elif not np.can_cast(plane.dtype, voxels.dtype):
            wider = np.promote_types(plane.dtype, voxels.dtype)
            voxels = voxels.astype(np.float32 if wider.kind == "f" else wider)
        voxels[k] = plane
    assert voxels is not None
    if lowest is None:
        return voxels, 0
    for k, outside in padding.items():
        voxels[k][outside] = lowest
    return voxels, sum(int(np.count_nonzero(outside)) for outside in padding.values())


def _padded(stored: NDArray[Any], header: SliceHeader) -> NDArray[np.bool_] | None:
    if header.padding is None:
        return None
    first, last = header.padding
    outside: NDArray[np.bool_] = (stored >= first) & (stored <= last)
    return outside


def _stored_planes(slices: list[SliceHeader]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Number and stored values of each slice, file by file."""
    requests = requests_of(slices)
    native = [slices[numbers[0]].transfer_syntax in _NATIVE for _, numbers in requests]
    packed = [request for request, plain in zip(requests, native, strict=True) if not plain]
    for (request, numbers), plain in zip(requests, native, strict=True):
        if plain:
            yield from _planes([(request, numbers)], read_frames(request), slices)
    if packed:
        syntaxes = {slices[numbers[0]].transfer_syntax for _, numbers in packed}
        yield from _planes(packed, decode_frames([request for request, _ in packed], syntaxes), slices)


def _planes(
    requests: list[tuple[FrameRequest, list[int]]], planes: Iterator[NDArray[Any]], slices: list[SliceHeader]
) -> Iterator[tuple[int, NDArray[Any]]]:
    for _, numbers in requests:
        for k in numbers:
            try:
                plane = next(planes)
            except FrameError as error:
                raise _refusal(error.code, k, slices) from None
            except StopIteration:
                raise _refusal("TRUNCATED", k, slices) from None
            yield k, plane


def _refusal(code: str, k: int, slices: list[SliceHeader]) -> DamagedSlice:
    message, hint = _REFUSALS[code]
    text = message.format(f"image {k + 1} of {len(slices)}")
    return DamagedSlice(_CODES.get(code, code), text[0].upper() + text[1:], hint, slices[k])
