"""The few header elements that decide where an image lies and whether it may be used, one record an image or frame."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import InputError
from ...geometry import FloatArray
from ..common import too_big
from .medium import MEDIA_DIRECTORY

#: SOP classes of single-frame slices and of multi-frame objects (PS3.4 B.5), with the modality each stands for.
SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
}
MULTI_FRAME_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
    "1.2.840.10008.5.1.4.1.1.128.1": "PT",
}

LARGEST_FILE = 2 << 30
#: A deflated data set is inflated in one piece by the library, so its size is measured first.
LARGEST_INFLATED = 64 << 20
MOST_FRAMES = 20_000

#: Tag, representation and length of the element that holds the pixels.
_PIXELS_HEADER = 8
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*\Z")

#: Elements that tell the phases, echoes or reconstructions of one series apart.
PHASE_ELEMENTS = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "EchoTime",
    "DiffusionBValue",
    "StackID",
    "ImageType",
    "AcquisitionTime",
)

_ELEMENTS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "FrameOfReferenceUID",
    "Modality",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PHASE_ELEMENTS,
]

#: Where enhanced objects keep an element (PS3.3 C.7.6.16, C.8.13.5, C.8.15.3): its functional group and its name there.
_IN_GROUPS = {
    "ImagePositionPatient": (("PlanePositionSequence", "ImagePositionPatient"),),
    "ImageOrientationPatient": (("PlaneOrientationSequence", "ImageOrientationPatient"),),
    "PixelSpacing": (("PixelMeasuresSequence", "PixelSpacing"),),
    "SliceThickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "SpacingBetweenSlices": (("PixelMeasuresSequence", "SpacingBetweenSlices"),),
    "RescaleSlope": (("PixelValueTransformationSequence", "RescaleSlope"),),
    "RescaleIntercept": (("PixelValueTransformationSequence", "RescaleIntercept"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "AcquisitionTime": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "TriggerTime": (
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        ("CardiacTriggerSequence", "NominalCardiacTriggerDelayTime"),
    ),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "ImageType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
    ),
}


@dataclass(frozen=True)
class SliceHeader:
    """One image, or one frame of a multi-frame object. A geometric value it lacks, or that is no number, is None.

    Attributes:
        frame: number of the frame, counted from 1; None in a single-frame object.
        frames: number of frames of the object; 1 in a single-frame object unless it claims otherwise.
        padding: stored values, lowest and highest, that mark pixels outside what was imaged.
        phase: what may tell phases apart, by element, as text.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    modality: str
    transfer_syntax: str
    frame: int | None
    frames: int
    rows: int
    columns: int
    bits: int
    is_grey: bool
    is_localizer: bool
    position: FloatArray | None
    orientation: FloatArray | None
    pixel_spacing: FloatArray | None
    thickness: float | None
    slope: float | None
    intercept: float | None
    padding: tuple[int, int] | None
    frame_of_reference: str
    patient_and_study: tuple[str, str]
    instance_number: int | None
    phase: dict[str, str]

    @property
    def identity(self) -> tuple[str, int | None]:
        """What a DICOM result refers to: SOP Instance UID and frame."""
        return self.sop_instance_uid, self.frame


def read_headers(file: Path) -> list[SliceHeader]:
    """One header for every image of a file; none if it holds no CT, MR or PET image but another object.

    Raises:
        InputError: ``TOO_BIG`` (a file over 2 GB, or absurdly many frames), ``BOMB`` (a deflated data set that grows
            beyond 64 MB).
        Exception: whatever the library raises on a damaged file; ``EOFError`` on one that ends before its pixels.
    """
    import pydicom

    _refuse_bombs(file)
    with file.open("rb") as stream:
        data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_ELEMENTS)  # type: ignore[arg-type]
        left = file.stat().st_size - stream.tell()
    sop_class = str(data.get("SOPClassUID") or "")
    modality = SLICE_CLASSES.get(sop_class) or MULTI_FRAME_CLASSES.get(sop_class)
    if modality is None and not sop_class and data.get("Modality") in ("CT", "MR", "PT"):
        modality = str(data.Modality)  # some anonymisers blank the class
    if modality is None:
        if (
            not sop_class
            and "Modality" not in data
            and data.file_meta.get("MediaStorageSOPClassUID") != MEDIA_DIRECTORY
        ):
            raise EOFError("the file ends before it says what it is")
        return []
    if left < _PIXELS_HEADER and data.file_meta.TransferSyntaxUID != _DEFLATED:
        raise EOFError("the file ends before its pixels")
    frames = int(_number(data, "NumberOfFrames", 1.0) or 0)
    groups = data.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        return [_header(file, data, modality, _Values(data), None, frames)]
    if frames > MOST_FRAMES or len(groups) > MOST_FRAMES:
        raise too_big(f"A multi-frame object has more than {MOST_FRAMES} frames.")
    if len(groups) != frames:
        raise ValueError("as many functional groups as frames are needed")
    shared = data.get("SharedFunctionalGroupsSequence")
    common = shared[0] if shared else None
    return [
        _header(file, data, modality, _Values(data, group, common), number, frames)
        for number, group in enumerate(groups, start=1)
    ]


def is_image_class(uid: str) -> bool:
    """Whether a SOP class is one of those read here."""
    return uid in SLICE_CLASSES or uid in MULTI_FRAME_CLASSES


def is_uid(uid: str) -> bool:
    """True for a well-formed unique identifier (PS3.5 chapter 9), and for none at all."""
    return not uid or (len(uid) <= 64 and bool(_UID.match(uid)))


class _Values:
    """Elements of a frame: in its own functional groups, in the shared ones, or in the data set itself."""

    def __init__(self, data: Any, own: Any = None, shared: Any = None) -> None:
        self._data = data
        self._groups = [group for group in (own, shared) if group is not None]

    def get(self, name: str) -> Any:
        for sequence, element in _IN_GROUPS.get(name, ()):
            for group in self._groups:
                items = group.get(sequence)
                if items and items[0].get(element) is not None:
                    return items[0][element].value
        return self._data[name].value if name in self._data else None


def _header(file: Path, data: Any, modality: str, values: _Values, frame: int | None, frames: int) -> SliceHeader:
    slope, intercept = _number(values, "RescaleSlope", 1.0), _number(values, "RescaleIntercept", 0.0)
    if data.get("ModalityLUTSequence"):
        slope = None  # values by table: nothing here could rescale them
    number = _number(data, "InstanceNumber", None)
    return SliceHeader(
        path=file,
        sop_class_uid=str(data.get("SOPClassUID") or ""),
        sop_instance_uid=str(data.get("SOPInstanceUID") or ""),
        series_uid=str(data.get("SeriesInstanceUID") or ""),
        modality=modality,
        transfer_syntax=str(data.file_meta.TransferSyntaxUID),
        frame=frame,
        frames=frames,
        rows=int(_number(data, "Rows", 0.0) or 0),
        columns=int(_number(data, "Columns", 0.0) or 0),
        bits=int(_number(data, "BitsAllocated", 0.0) or 0),
        is_grey=_number(data, "SamplesPerPixel", 1.0) == 1
        and str(data.get("PhotometricInterpretation") or "MONOCHROME2") in ("MONOCHROME1", "MONOCHROME2"),
        is_localizer="LOCALIZER" in (_text(data, "ImageType") + "\\" + _text(values, "ImageType")).upper().split("\\"),
        position=_numbers(values, "ImagePositionPatient", 3),
        orientation=_numbers(values, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(values, "PixelSpacing", 2),
        thickness=_number(values, "SliceThickness", None) or _number(values, "SpacingBetweenSlices", None),
        slope=slope,
        intercept=intercept,
        padding=_padding(data),
        frame_of_reference=_text(data, "FrameOfReferenceUID"),
        patient_and_study=(_text(data, "PatientID"), _text(data, "StudyInstanceUID")),
        instance_number=None if number is None else int(number),
        phase={name: _text(values, name) for name in PHASE_ELEMENTS},
    )


def _padding(data: Any) -> tuple[int, int] | None:
    """Stored values that mark padding (PS3.3 C.7.5.1.1.2), in the signedness of the pixels."""
    first = _number(data, "PixelPaddingValue", None)
    if first is None:
        return None
    last = _number(data, "PixelPaddingRangeLimit", None)
    ends = [int(first), int(first if last is None else last)]
    bits, signed = int(_number(data, "BitsAllocated", 16.0) or 16), _number(data, "PixelRepresentation", 0.0) == 1
    if bits <= 32:
        # Written with the wrong one of US and SS, the same sixteen bits mean another number.
        ends = [(end + (1 << bits)) % (1 << bits) for end in ends]
        if signed:
            ends = [end - (1 << bits) if end >= 1 << (bits - 1) else end for end in ends]
    return min(ends), max(ends)


def _refuse_bombs(file: Path) -> None:
    if file.stat().st_size > LARGEST_FILE:
        raise too_big("A DICOM file is larger than 2 GB.")
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    with file.open("rb") as stream:
        # Preamble and mark, then the group length element itself, then as many bytes of meta information as it says.
        stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        while chunk := inflater.unconsumed_tail or stream.read(1 << 16):
            total += len(inflater.decompress(chunk, 1 << 20))
            if total > LARGEST_INFLATED:
                raise InputError(
                    "BOMB",
                    "A deflated DICOM file grows beyond the limit when it is opened.",
                    "Do not open files from a source you do not trust.",
                )


def _text(data: Any, name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def _numbers(data: _Values, name: str, count: int) -> FloatArray | None:
    """A numeric element with several values; None if it is missing, of another length, or not finite."""
    try:
        values = np.array([float(value) for value in data.get(name)], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def _number(data: Any, name: str, missing: float | None) -> float | None:
    """A numeric element with one value; ``missing`` if it is absent or empty, None if it is not a finite number."""
    try:
        value = data.get(name)
        if value is None or value == "":
            return missing
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
