"""DICOM RT Structure Sets (PS3.3 A.19): closed planar contours on the acquired images, read back before they are kept.

Contours lie on the images' own planes, so leaning and uneven stacks are exact.  The contours of a region fill, by the
even-odd rule at pixel centres, to the mask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError, UsageError
from ..volume import Volume
from ..volume.acquisition import ImagePlane
from .atomic import atomic_path
from .contours import keyholed, outlines
from .dicom_source import PATIENT_AND_STUDY, DicomSource, decimal, dicom_source, making, new_uid, plain_text, require
from .objects import ExportedObject, check_objects, coloured
from .options import WriteOptions
from .terminology import Code, Colour

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, and still what Referenced Study SOP Class names in structure sets."""


def write_rtstruct(
    path: str | Path, volume: Volume, objects: Sequence[ExportedObject], options: WriteOptions | None = None
) -> tuple[str, ...]:
    """Write the objects as regions of interest, in their order, with new identifiers.

    Args:
        path: ``.dcm``.
        volume: a scan read from DICOM.
        objects: what to write; an empty mask becomes a region without contours.
        options: algorithm and creator.

    Returns:
        Remarks for the user, one sentence each.

    Raises:
        InputError: the scan does not come from DICOM images a result can refer to.
        UsageError: nothing to write, a mask of another grid, or nothing but empty masks (``EMPTY_RESULT``).
        OutputError: ``MISSING_PACKAGE``, ``READ_BACK_FAILED``, or the file cannot be written; nothing is left behind.
    """
    require("contourpy")
    check_objects(volume, objects)
    options = options or WriteOptions()
    path = Path(path)
    if not any(item.mask.any() for item in objects):
        raise UsageError(
            "EMPTY_RESULT", "Every mask is empty, and a structure set without a contour is of no use.", "Segment again."
        )
    source = dicom_source(volume, options.deidentification)
    with making(path, "structure set"):
        masks = [source.on_planes(item.mask) for item in objects]
        data = _structure_set(source, objects, masks, options)
        with atomic_path(path) as temporary:
            source.finish(data)
            data.save_as(temporary, enforce_file_format=True)
            _check(temporary, source, objects, masks)
            source.check_written(temporary)
    return tuple(source.notes())


def _structure_set(
    source: DicomSource, objects: Sequence[ExportedObject], masks: Sequence[np.ndarray], options: WriteOptions
) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    now = datetime.now()
    first = source.first
    data = Dataset()
    data.file_meta = FileMetaDataset()
    # A contour of a few thousand points does not fit into the two length bytes of an explicit Decimal String.
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.InstanceCreationDate, data.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.SOPClassUID, data.SOPInstanceUID = _STRUCTURE_SET, new_uid()
    data.Modality = "RTSTRUCT"
    data.Manufacturer = data.ManufacturerModelName = "MedSAMSegment"
    data.SoftwareVersions = plain_text(options.algorithm.version) or "unknown"
    for keyword in PATIENT_AND_STUDY:
        if keyword in first:
            data[keyword] = first[keyword]
    data.SeriesInstanceUID = new_uid()
    data.SeriesNumber = 2000 + int(first.get("SeriesNumber") or 0) % 1000
    data.InstanceNumber = 1
    data.SeriesDate, data.SeriesTime = data.InstanceCreationDate, data.InstanceCreationTime
    data.SeriesDescription = plain_text("MedSAMSegment: " + ", ".join(item.name for item in objects))
    data.OperatorsName = plain_text(options.person)
    data.FrameOfReferenceUID = first.FrameOfReferenceUID
    data.PositionReferenceIndicator = first.PositionReferenceIndicator
    data.StructureSetLabel = "SEGMENTATION"
    data.StructureSetName = "MedSAMSegment"
    data.StructureSetDescription = _made_by(options)
    data.StructureSetDate, data.StructureSetTime = data.InstanceCreationDate, data.InstanceCreationTime
    data.ApprovalStatus = "UNAPPROVED"
    data.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    data.StructureSetROISequence = []
    data.ROIContourSequence = []
    data.RTROIObservationsSequence = []
    for number, (item, mask, colour) in enumerate(zip(objects, masks, coloured(objects), strict=True), start=1):
        data.StructureSetROISequence.append(_region(source, number, item, options))
        data.ROIContourSequence.append(_contours(source, number, mask, colour))
        data.RTROIObservationsSequence.append(_observation(number, item))
    return data


def _made_by(options: WriteOptions) -> str:
    algorithm = options.algorithm
    parts = [algorithm.name, algorithm.version, f"checkpoint {algorithm.weights}" if algorithm.weights else ""]
    return plain_text("Made by " + ", ".join(part for part in parts if part), 1024)


def _frame_of_reference(source: DicomSource) -> Dataset:
    first = source.first
    images = {plane.instance: _image(plane) for plane in source.planes}.values()
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=list(images))
    study = _item(
        ReferencedSOPClassUID=_STUDY_COMPONENT,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _region(source: DicomSource, number: int, item: ExportedObject, options: WriteOptions) -> Dataset:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.first.FrameOfReferenceUID,
        ROIName=plain_text(item.name) or f"object {number}",
        ROIGenerationAlgorithm=options.algorithm.kind,
        ROIGenerationDescription=_made_by(options)[:64].strip(),
    )


def _contours(source: DicomSource, number: int, mask: np.ndarray, colour: Colour) -> Dataset:
    region = _item(ROIDisplayColor=list(colour), ReferencedROINumber=number)
    contours = []
    for plane, image in zip(source.planes, mask, strict=True):
        for outer, holes in outlines(image):
            polygon = keyholed(outer, holes)
            points = plane.to_lps(polygon[:, 0], polygon[:, 1])
            contours.append(
                _item(
                    ContourImageSequence=[_image(plane)],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourNumber=len(contours) + 1,
                    ContourData=[decimal(value) for value in points.ravel()],
                )
            )
    if contours:
        region.ContourSequence = contours
    return region


def _observation(number: int, item: ExportedObject) -> Dataset:
    meaning = item.terminology
    # Which target volume a tumour is, is for a radiation oncologist to say.
    kind = "ORGAN" if meaning is not None and meaning.region is None and meaning.category[0] == "123037004" else ""
    observation = _item(
        ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=kind, ROIInterpreter=""
    )
    if meaning is not None:
        code = _code(meaning.type)
        if meaning.type_modifier is not None:
            code.SegmentedPropertyTypeModifierCodeSequence = [_code(meaning.type_modifier)]
        observation.RTROIIdentificationCodeSequence = [code]
    return observation


def _code(code: Code) -> Dataset:
    return _item(CodeValue=code[0], CodingSchemeDesignator="SCT", CodeMeaning=code[1][:64])


def _image(plane: ImagePlane) -> Dataset:
    instance = plane.instance
    assert instance is not None  # planes of a source always know their image
    image = _item(ReferencedSOPClassUID=instance.sop_class_uid, ReferencedSOPInstanceUID=instance.sop_instance_uid)
    if instance.frame_number is not None:
        image.ReferencedFrameNumber = instance.frame_number
    return image


def _item(**values: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _check(path: Path, source: DicomSource, objects: Sequence[ExportedObject], masks: Sequence[np.ndarray]) -> None:
    """Fill the contours of the file again and compare with the masks.

    Raises:
        OutputError: ``READ_BACK_FAILED``.
    """
    from ..volume.readers.segments.rtstruct import open_structure_set, rasterise

    opened = open_structure_set(path)
    names = [plain_text(item.name) or f"object {number}" for number, item in enumerate(objects, start=1)]
    same = [roi.name for roi in opened.rois] == names and opened.skipped == 0
    if not same or not all(
        np.array_equal(rasterise(roi, source.planes), mask) for roi, mask in zip(opened.rois, masks, strict=True)
    ):
        raise OutputError(
            "READ_BACK_FAILED",
            "The structure set did not read back voxel for voxel, so it was not kept.",
            "Write a DICOM segmentation instead, and report this scan's make and model.",
        )
