"""Decodes the pixels of a stack of slices into rescaled voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ..common import rescaled, silent_stderr
from .headers import SliceHeader

#: JPEG lossless, processes 14 and 14 SV1: decoded by the GDCM inside SimpleITK, as pydicom has no permissive decoder.
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")

#: Start of frame of lossless JPEG (ITU-T T.81, B.1.1.3), and the two bytes that end every JPEG stream.
_JPEG_LOSSLESS_FRAME = b"\xff\xc3"
_JPEG_END = b"\xff\xd9"


def decode_stack(slices: list[SliceHeader]) -> NDArray[Any]:
    """Rescaled voxels [k, j, i] of slices of one matrix size.

    The type is the smallest that holds every slice exactly: the stored one without rescaling, else int16, int32 or
    float32.

    Raises:
        InputError: ``UNREADABLE``, ``TRUNCATED``, ``PIXELS``.
    """
    voxels: NDArray[Any] | None = None
    for number, header in enumerate(slices):
        plane = _decode(header, f"Image {number + 1} of {len(slices)}")
        if voxels is None:
            voxels = np.empty((len(slices), *plane.shape), plane.dtype)
        elif not np.can_cast(plane.dtype, voxels.dtype):
            wider = np.promote_types(plane.dtype, voxels.dtype)
            voxels = voxels.astype(np.float32 if wider.kind == "f" else wider)
        voxels[number] = plane
    assert voxels is not None
    return voxels


def _decode(header: SliceHeader, who: str) -> NDArray[Any]:
    """One slice [row, column], rescaled."""
    import pydicom

    try:
        data = pydicom.dcmread(header.path)
        syntax = data.file_meta.TransferSyntaxUID
        stored = int(data.BitsAllocated) * header.rows * header.columns // 8
    except Exception:
        raise InputError("UNREADABLE", f"{who} cannot be read completely.", "Copy the folder again.") from None
    if "PixelData" not in data or (not syntax.is_encapsulated and len(data.PixelData) < stored):
        raise InputError("TRUNCATED", f"{who} has fewer pixels than its header says.", "Copy the folder again.")
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    try:
        if syntax in _JPEG_LOSSLESS:
            plane = _decode_jpeg_lossless(header, data)
            slope, intercept = 1.0, 0.0  # GDCM has applied them
        elif syntax.is_encapsulated:
            with silent_stderr():
                plane = data.pixel_array
        else:
            plane = data.pixel_array
    except Exception:
        plane = None
    if plane is None or plane.shape != (header.rows, header.columns):
        raise InputError(
            "PIXELS",
            f"The pixels of {who.lower()} cannot be decoded.",
            "The file is damaged, or compressed in a way this installation cannot read; export it uncompressed.",
        )
    return rescaled(plane[None], slope, intercept)[0]


def _decode_jpeg_lossless(header: SliceHeader, data: Any) -> NDArray[Any]:
    """Rescaled values of a JPEG lossless slice.

    GDCM fills what is missing of a damaged stream with zeros and says nothing, so the stream must be whole and of the
    size the header gives.
    """
    import SimpleITK as sitk
    from pydicom.encaps import generate_frames

    stream = next(generate_frames(data.PixelData, number_of_frames=1))
    start = stream.find(_JPEG_LOSSLESS_FRAME)
    rows, columns = (int.from_bytes(stream[start + n : start + n + 2], "big") for n in (5, 7))
    if start < 0 or (rows, columns) != (header.rows, header.columns) or not stream.rstrip(b"\0").endswith(_JPEG_END):
        raise ValueError("not a whole lossless JPEG stream of this size")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(header.path))
    with silent_stderr():
        image = reader.Execute()
    return sitk.GetArrayFromImage(image).reshape(header.rows, header.columns)
