"""Stored pixel values of the frames of one file, checked against what its header promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Lossless JPEG and lossy JPEG of twelve bits (PS3.5 A.4.1): pydicom has no permissive decoder for them, so the GDCM
#: inside SimpleITK decodes them.
BY_GDCM = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.51")

#: Start of frame of baseline, extended and lossless JPEG (ITU-T T.81, B.1.1.3), and the bytes that end a stream.
_JPEG_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3")
_JPEG_END = b"\xff\xd9"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class FrameRequest:
    """Frames wanted of one file, and what its header said when the stack was checked.

    Attributes:
        path: the file.
        frames: their numbers, counted from 0, ascending.
        of: how many frames the file has.
    """

    path: str
    frames: tuple[int, ...]
    of: int
    rows: int
    columns: int
    bits: int

    @property
    def bytes_a_frame(self) -> int:
        """Uncompressed size of one frame."""
        return self.rows * self.columns * self.bits // 8

    def as_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> FrameRequest:
        """The inverse of :meth:`as_plain`."""
        return cls(**{**plain, "frames": tuple(plain["frames"])})


class FrameError(Exception):
    """Pixels that are not as promised; ``code`` is UNREADABLE, TRUNCATED or PIXELS."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read_frames(request: FrameRequest, scratch: Path | None = None) -> Iterator[NDArray[Any]]:
    """Stored values (rows, columns) of the requested frames, in their order.

    Args:
        request: what to read.
        scratch: a private folder for single JPEG streams on their way to a decoder that reads files only; nothing that
            tells of the patient goes there.

    Raises:
        FrameError: the file cannot be read, is too short, cannot be decoded, or is not what its header was.
    """
    import pydicom

    try:
        data = pydicom.dcmread(request.path)
        syntax = data.file_meta.TransferSyntaxUID
        alike = (int(data.Rows), int(data.Columns), int(data.BitsAllocated)) == (
            request.rows,
            request.columns,
            request.bits,
        )
    except MemoryError:
        raise
    except Exception:
        raise FrameError("UNREADABLE") from None
    if not alike or "PixelData" not in data:
        raise FrameError("TRUNCATED" if alike else "PIXELS")
    if not syntax.is_encapsulated and len(data.PixelData) < request.bytes_a_frame * request.of:
        raise FrameError("TRUNCATED")
    try:
        for plane in _decoded(data, str(syntax), request, scratch):
            if plane.shape != (request.rows, request.columns):
                raise FrameError("PIXELS")
            yield plane
    except (FrameError, MemoryError):
        raise
    except Exception:
        raise FrameError("PIXELS") from None


def _decoded(data: Any, syntax: str, request: FrameRequest, scratch: Path | None) -> Iterator[NDArray[Any]]:
    if syntax in BY_GDCM:
        assert scratch is not None  # compressed files are decoded by the child process only, which has one
        return _decoded_by_gdcm(data, request, scratch)
    from pydicom.pixels import iter_pixels

    # Without indices the library goes through the fragments once; with them, it looks for each one anew.
    everything = len(request.frames) == request.of
    frames: Iterator[NDArray[Any]] = iter_pixels(data, raw=True, indices=None if everything else request.frames)
    return frames


def _decoded_by_gdcm(data: Any, request: FrameRequest, scratch: Path) -> Iterator[NDArray[Any]]:
    """Each stream as a file of its own that says nothing but the format of its pixels.

    GDCM rescales what has a rescale, and fills what is missing of a damaged stream with zeros without a word: so the
    file has none, and the stream must be whole and of the size the header gives.
    """
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import generate_uid

    wanted = set(request.frames)
    for number, stream in enumerate(generate_frames(data.PixelData, number_of_frames=request.of)):
        if number not in wanted:
            continue
        starts = [at for at in (stream.find(mark) for mark in _JPEG_FRAMES) if at >= 0]
        if not starts or not stream.rstrip(b"\0").endswith(_JPEG_END):
            raise FrameError("PIXELS")
        rows, columns = (int.from_bytes(stream[min(starts) + n : min(starts) + n + 2], "big") for n in (5, 7))
        if (rows, columns) != (request.rows, request.columns):
            raise FrameError("PIXELS")
        single = Dataset()
        single.file_meta = FileMetaDataset()
        single.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
        single.SOPClassUID, single.SOPInstanceUID = _SECONDARY_CAPTURE, generate_uid()
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
            single[keyword] = data[keyword]
        single.SamplesPerPixel, single.PhotometricInterpretation = 1, "MONOCHROME2"
        single.PixelData = encapsulate([stream])
        single["PixelData"].VR = "OB"
        file = scratch / "frame.dcm"
        single.save_as(file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        plane = sitk.GetArrayFromImage(reader.Execute()).reshape(request.rows, request.columns)
        kind = np.dtype(f"{'i' if data.PixelRepresentation else 'u'}{request.bits // 8}")
        file.unlink()
        yield plane.astype(kind, copy=False)


def requests_of(headers: Sequence[Any]) -> list[tuple[FrameRequest, list[int]]]:
    """What to read for slices: one request a file, with the numbers of the slices that its frames are.

    Args:
        headers: a :class:`~.headers.SliceHeader` each.
    """
    by_file: dict[Path, list[int]] = {}
    for k, header in enumerate(headers):
        by_file.setdefault(header.path, []).append(k)
    requests = []
    for path, slices in by_file.items():
        slices.sort(key=lambda k: headers[k].frame or 1)
        first = headers[slices[0]]
        frames = tuple((headers[k].frame or 1) - 1 for k in slices)
        requests.append((FrameRequest(str(path), frames, first.frames, first.rows, first.columns, first.bits), slices))
    return requests
