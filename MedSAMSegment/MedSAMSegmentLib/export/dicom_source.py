"""What DICOM results take from the images they were made on: patient, study, frame of reference and planes.

Only elements that belong into a derived object are taken.  A value that breaks the standard is left out rather than
copied, and none of them ever appears in a message.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MedSAMSegmentError, OutputError
from ..volume import Volume
from ..volume.acquisition import ImagePlane, acquired_planes, mask_on_planes, read_source_header, slice_of_plane
from ..volume.upright import upright_geometry
from .deidentify import NOT_GUARANTEED, Deidentification, Identity, check_deidentified, identity_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: How a source was de-identified already.
_IDENTITY_REMOVED = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
#: Patient and study, PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2, C.7.2.3.
PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    *_IDENTITY_REMOVED,
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialTimePointID",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
)
_SERIES_AND_EQUIPMENT = (
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "DimensionOrganizationType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
#: Elements a derived object must have, even if empty (type 2).
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "Manufacturer",
)

#: Off the normal by more than this, in degrees, a stack leans.
_LEANING = 0.5
#: Steps that are further than this from a whole multiple of the smallest, as a share of it, are uneven.
_UNEVEN = 0.05


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The acquired images behind a volume.

    Attributes:
        volume: the scan.
        planes: one for every image or frame the scan was read from, in order along the normal.
        headers: cleaned data sets without pixels: one for every plane, or a single one of a multi-frame object with
            the frames of the planes, in their order.
        left_out: how many header values broke the standard and were not copied.
        deidentification: what ``planes`` and ``headers`` were de-identified with; ``None`` if they were not.
        identity: what results must not say then.
    """

    volume: Volume
    planes: list[ImagePlane]
    headers: list[Dataset]
    left_out: int
    deidentification: Deidentification | None = None
    identity: Identity | None = None

    def uid(self, uid: str) -> str:
        """An identifier of the source's as results may name it."""
        return uid if self.deidentification is None else self.deidentification.uid(uid)

    def finish(self, data: Dataset) -> None:
        """The last thing done to a result before it is written: de-identified in place where that was asked for."""
        if self.deidentification is not None:
            self.deidentification.apply_to_result(data)
            return
        # highdicom copies the first of them alone, which is against the standard.
        for keyword in _IDENTITY_REMOVED:
            if keyword in self.first:
                data[keyword] = self.first[keyword]

    def check_written(self, path: Path) -> None:
        """Read a result back and look for the patient where there should be none.

        Raises:
            OutputError: ``NOT_DEIDENTIFIED``.
        """
        if self.identity is not None:
            import pydicom

            check_deidentified(pydicom.dcmread(path), self.identity)

    def on_upright_grid(self) -> DicomSource:
        """The source with planes of an even, upright grid, which no image was acquired on.

        Raises:
            InputError: ``BAD_AFFINE``.
        """
        from ..volume.readers.segments.rtstruct import image_planes

        return replace(self, planes=image_planes(upright_geometry(self.volume.geometry)))

    @property
    def is_acquired(self) -> bool:
        """Whether the planes are those of images."""
        return self.planes[0].instance is not None

    @property
    def first(self) -> Dataset:
        """The first header, with patient and study."""
        return self.headers[0]

    @property
    def is_multi_frame(self) -> bool:
        """Whether the planes are frames of one object."""
        return self.planes[0].instance is not None and self.planes[0].instance.frame_number is not None

    @cached_property
    def step(self) -> float:
        """Distance of neighbouring planes along their normal, mm: of which all are multiples, else the usual one."""
        steps = self._steps
        if not steps.size:
            return self.volume.geometry.spacing[2]
        finest = float(steps.min())
        return finest if _are_multiples(steps, finest) else float(np.median(steps))

    @cached_property
    def _steps(self) -> np.ndarray:
        return np.diff([float(self.planes[0].distance(plane.position)) for plane in self.planes])

    @property
    def is_uneven(self) -> bool:
        """Whether the planes do not fit into one even stack, not even with some of its slices missing."""
        return bool(self._steps.size) and not _are_multiples(self._steps, self.step)

    @property
    def is_leaning(self) -> bool:
        """Whether the planes are shifted against each other (gantry tilt)."""
        way = self.planes[-1].position - self.planes[0].position
        length = float(np.linalg.norm(way))
        if length == 0:
            return False
        cosine = abs(float(way @ self.planes[0].normal)) / length
        return bool(np.degrees(np.arccos(min(cosine, 1.0))) > _LEANING)

    @cached_property
    def is_resampled(self) -> bool:
        """Whether the scan's grid was made from the acquired planes instead of being them."""
        return any(slice_of_plane(self.volume.geometry, plane) is None for plane in self.planes)

    def on_planes(self, mask: np.ndarray) -> np.ndarray:
        """A mask (k, j, i) on the acquired planes, (planes, rows, columns)."""
        return mask_on_planes(mask, self.volume.geometry, self.planes)

    def notes(self) -> list[str]:
        """What the user should know about this source, one sentence each."""
        notes = []
        if self.left_out:
            notes.append(f"{self.left_out} header value(s) that break the DICOM standard were not copied.")
        if self.deidentification is not None:
            notes.append(NOT_GUARANTEED)
        if self.is_resampled:
            notes.append("The masks were carried from the scan's grid to the acquired slices by the nearest voxel.")
        return notes


def _are_multiples(steps: np.ndarray, unit: float) -> bool:
    ratios = steps / unit
    return bool(np.abs(ratios - np.rint(ratios)).max() <= _UNEVEN)


def dicom_source(volume: Volume, deidentification: Deidentification | None = None) -> DicomSource:
    """Reads the headers of the images a volume came from.

    Args:
        volume: the scan.
        deidentification: applied to headers and references, so that results belong to the likewise de-identified scan.

    Raises:
        InputError: ``NO_DICOM_SOURCE``, ``SOURCE_GONE``, ``NO_FRAME_OF_REFERENCE``, ``NO_STUDY``.
    """
    with quiet():
        planes = sorted_planes(acquired_planes(volume))
        paths = dict.fromkeys(plane.instance.path for plane in planes if plane.instance is not None)
        headers, left_out = [], 0
        identity = None if deidentification is None else Identity()
        for number, path in enumerate(paths):
            original = read_source_header(path)
            header, bad = _clean(original, everything=number == 0)
            if deidentification is not None and identity is not None:
                own = identity_of(original)
                identity |= own
                deidentification.apply(header, own)
            headers.append(header)
            left_out += bad
    first = headers[0]
    if not first.get("FrameOfReferenceUID"):
        raise InputError(
            "NO_FRAME_OF_REFERENCE",
            "The scan's images name no frame of reference, so no DICOM result can be placed in it.",
            "Write .seg.nrrd or .nii.gz instead.",
        )
    if not first.get("StudyInstanceUID") or not first.get("SeriesInstanceUID"):
        raise InputError(
            "NO_STUDY",
            "The scan's images name no study or series that a DICOM result could belong to.",
            "Write .seg.nrrd or .nii.gz instead.",
        )
    if deidentification is not None:
        planes = [_renamed(plane, deidentification) for plane in planes]
    source = DicomSource(volume, planes, headers, left_out, deidentification, identity)
    _harmonise(source)
    return source


def _renamed(plane: ImagePlane, deidentification: Deidentification) -> ImagePlane:
    """A plane whose image has the identifier that it is de-identified to."""
    assert plane.instance is not None  # planes of a source always know their image
    uid = deidentification.uid(plane.instance.sop_instance_uid)
    return replace(plane, instance=replace(plane.instance, sop_instance_uid=uid))


def sorted_planes(planes: Sequence[ImagePlane]) -> list[ImagePlane]:
    """Planes in order along the normal of the first."""
    return sorted(planes, key=lambda plane: float(planes[0].distance(plane.position)))


def _clean(data: Any, everything: bool) -> tuple[Dataset, int]:
    """The elements a derived object needs, as unicode text; how many were left out."""
    from pydicom import config
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.valuerep import PersonName, validate_value

    clean, bad = Dataset(), 0
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*PATIENT_AND_STUDY, *_SERIES_AND_EQUIPMENT, *_IMAGE) if everything else (*_MINIMAL, *_IMAGE):
        if keyword not in data:
            continue
        try:
            element = data[keyword]
            value = element.value
            if isinstance(value, PersonName):
                value = PersonName(str(value))
            if element.VR in _TEXT and value not in (None, ""):
                for part in value if isinstance(value, (list, tuple)) else [value]:
                    validate_value(element.VR, str(part), config.RAISE)
            clean.add(DataElement(tag_for_keyword(keyword), element.VR, value))
        except Exception:
            bad += 1
    for keyword in _MAY_BE_EMPTY:
        if keyword not in clean:
            setattr(clean, keyword, "")
    return clean, bad


_TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT")
_MINIMAL = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")


def _harmonise(source: DicomSource) -> None:
    """One orientation for all headers, and the true distance of the planes.

    Readers of segmentations take Slice Thickness for the distance of slices, and lose slices where it is not.
    """
    from pydicom.dataset import Dataset

    distance = f"{source.step:.8g}"
    reference = source.planes[0]
    orientation = [f"{value:.10f}" for value in (*reference.row, *reference.column)]
    if source.is_multi_frame:
        first = source.first
        numbers = [plane.instance.frame_number or 0 for plane in source.planes if plane.instance is not None]
        # Other phases and what else lies at the same places have no part in the result.
        first.PerFrameFunctionalGroupsSequence = [first.PerFrameFunctionalGroupsSequence[n - 1] for n in numbers]
        first.NumberOfFrames = len(numbers)
        for frame in first.PerFrameFunctionalGroupsSequence:
            for group in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
                if group in frame:
                    del frame[group]
        shared = first.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence = [Dataset()]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        shared.PixelMeasuresSequence = [Dataset()]
        shared.PixelMeasuresSequence[0].PixelSpacing = [decimal(value) for value in reference.spacing]
        shared.PixelMeasuresSequence[0].SliceThickness = distance
        shared.PixelMeasuresSequence[0].SpacingBetweenSlices = distance
        return
    for header, plane in zip(source.headers, source.planes, strict=True):
        header.ImagePositionPatient = [decimal(value) for value in plane.position]
        header.ImageOrientationPatient = orientation
        header.PixelSpacing = [decimal(value) for value in plane.spacing]
        header.SliceThickness = header.SpacingBetweenSlices = distance


def decimal(value: float) -> str:
    """A number as Decimal String: at most 16 characters (PS3.5 6.2), here to a tenth of a nanometre or better."""
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    if len(text) > 16:
        text = f"{value:.9g}"
    return "0" if text in ("-0", "") else text


def plain_text(text: str, length: int = 64) -> str:
    """Text as a DICOM short string takes it: no backslash, no control characters, not too long."""
    cleaned = "".join(" " if char == "\\" or not char.isprintable() else char for char in text)
    return " ".join(cleaned.split())[:length].strip()


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps DICOM libraries silent: their warnings quote what the headers hold."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    states = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, state in zip(loggers, states, strict=True):
                logger.disabled = state


@contextmanager
def making(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a DICOM library raises while it makes an object into a typed error without its text.

    Raises:
        OutputError: ``NOT_WRITTEN``, ``TOO_BIG``; typed and system errors pass through.
    """
    try:
        with quiet():
            yield
    except (MedSAMSegmentError, OSError):
        raise
    except MemoryError:
        raise OutputError(
            "TOO_BIG", f"The {what} does not fit into memory.", "Write fewer objects a file, or labelmap:PATH.dcm."
        ) from None
    except Exception as error:
        raise OutputError(
            "NOT_WRITTEN",
            f"The {what} {path.name} could not be made from the headers of this scan ({type(error).__name__}).",
            "Write .seg.nrrd or .nii.gz instead, and report the scanner's make and model.",
        ) from None


def require(package: str) -> None:
    """Raises ``OutputError`` (``MISSING_PACKAGE``) where an optional library is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise OutputError(
            "MISSING_PACKAGE",
            f"Writing DICOM results needs the package {package}, which is not installed.",
            "Run: pip install 'medsamsegment[dicom]'",
        )


def new_uid() -> str:
    """A unique identifier made from a random UUID (PS3.5 B.2): no registered root, nothing about the machine in it."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))
