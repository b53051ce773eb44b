"""Measurements as a DICOM structured report (PS3.16 TID 1500) that refers to the segmentation they were made on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, UsageError
from ..volume import Volume
from .atomic import atomic_path
from .dicom_seg import SegReference, concept
from .dicom_source import DicomSource, dicom_source, making, new_uid, plain_text, require
from .measurements import Measurement, measure
from .objects import ExportedObject, check_objects
from .options import WriteOptions
from .terminology import ALTERED, TISSUE, Terminology

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: LOINC codes of the examination a report is about, by modality.
_PROCEDURES = {
    "CT": ("25045-6", "CT unspecified body region"),
    "MR": ("25056-3", "MRI unspecified body region"),
    "PT": ("44136-0", "PET unspecified body region"),
}
_MEASUREMENT_GROUP = "125007"
_SOFTWARE_UID = "2.25.152979768715674653829514989274144316223"
"""Identity of this program as an observer; a UUID of its own (PS3.5 B.2)."""


def write_structured_report(
    path: str | Path,
    volume: Volume,
    objects: Sequence[ExportedObject],
    segmentation: SegReference,
    options: WriteOptions | None = None,
) -> tuple[str, ...]:
    """Write one measurement group for every object that has a voxel.

    Args:
        path: ``.dcm``.
        volume: the scan.
        objects: those of the segmentation.
        segmentation: what :func:`~.dicom_seg.write_dicom_seg` returned for them.
        options: algorithm and creator.

    Returns:
        Remarks for the user, one sentence each.

    Raises:
        InputError, UsageError, OutputError: as :func:`~.dicom_seg.write_dicom_seg`.
    """
    require("highdicom")
    check_objects(volume, objects)
    options = options or WriteOptions()
    path = Path(path)
    measured = [(item, measure(volume, item)) for item in objects]
    measured = [(item, result) for item, result in measured if result.voxels]
    if not measured:
        raise UsageError("EMPTY_RESULT", "Every mask is empty, so there is nothing to report.", "Segment again.")
    source = dicom_source(volume, options.deidentification)
    with making(path, "structured report"):
        report = _report(source, measured, segmentation, options)
        with atomic_path(path) as temporary:
            source.finish(report)
            report.save_as(temporary, enforce_file_format=True)
            _check(temporary, report, segmentation, [item.name for item, _ in measured])
            source.check_written(temporary)
    return tuple(source.notes())


def _report(
    source: DicomSource,
    measured: Sequence[tuple[ExportedObject, Measurement]],
    segmentation: SegReference,
    options: WriteOptions,
) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    sr = highdicom.sr
    device = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=_SOFTWARE_UID,
            name="MedSAMSegment",
            manufacturer_name="MedSAMSegment",
            model_name=plain_text(options.algorithm.name) or "unknown",
            serial_number=plain_text(options.algorithm.version) or "unknown",
        ),
    )
    person = None
    if plain_text(options.person):
        person = sr.ObserverContext(
            codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(plain_text(options.person))
        )
    code, meaning = _PROCEDURES.get(source.volume.modality, ("18748-4", "Diagnostic imaging study"))
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_person_context=person, observer_device_context=device),
        procedure_reported=sr.CodedConcept(code, "LN", meaning),
        imaging_measurements=[_group(source, item, result, segmentation, options) for item, result in measured],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[*source.headers, segmentation.data],
        content=content[0],
        series_instance_uid=new_uid(),
        series_number=3000 + int(source.first.get("SeriesNumber") or 0) % 1000,
        series_description="MedSAMSegment measurements",
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer="MedSAMSegment",
        is_complete=True,
        specific_character_set="ISO_IR 192",
    )


def _group(
    source: DicomSource,
    item: ExportedObject,
    result: Measurement,
    segmentation: SegReference,
    options: WriteOptions,
) -> Any:
    """TID 1411: one segment, what it is, where it is, and its numbers."""
    import highdicom

    sr = highdicom.sr
    meaning = item.terminology or Terminology(TISSUE, TISSUE, (0, 0, 0))
    location = meaning.region if meaning.category == ALTERED else meaning.type
    sites = None
    if location is not None and location != TISSUE:
        side = concept(meaning.side) if meaning.side else None
        sites = [sr.FindingSite(concept(location), laterality=side)]
    algorithm = options.algorithm
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=segmentation.tracking[item.name], identifier=plain_text(item.name) or "object"
        ),
        referenced_segment=sr.ReferencedSegment(
            str(segmentation.data.SOPClassUID),
            str(segmentation.data.SOPInstanceUID),
            segmentation.numbers[item.name],
            source_series=sr.SourceSeriesForSegmentation(str(source.first.SeriesInstanceUID)),
        ),
        finding_type=concept(meaning.type),
        finding_category=concept(meaning.category),
        finding_sites=sites,
        algorithm_id=sr.AlgorithmIdentification(
            name=plain_text(algorithm.name) or "unknown",
            version=plain_text(algorithm.version) or "unknown",
            parameters=[f"checkpoint: {plain_text(algorithm.weights, 128)}"] if algorithm.weights else None,
        ),
        measurements=_numbers(source.volume.modality, result),
    )


def _numbers(modality: str, result: Measurement) -> list[Any]:
    import highdicom
    from pydicom.sr.codedict import codes

    def number(name: Any, value: float, unit: Any, derivation: Any = None) -> Any:
        return highdicom.sr.Measurement(name, round(value, 3), unit, derivation=derivation)

    assert result.long_axis_mm is not None and result.short_axis_mm is not None
    assert result.diameter_3d_mm is not None and result.intensities is not None
    numbers = [
        number(codes.SCT.Volume, result.volume_mm3, codes.UCUM.CubicMillimeter),
        number(codes.SCT.LongAxis, result.long_axis_mm, codes.UCUM.Millimeter),
        number(codes.SCT.ShortAxis, result.short_axis_mm, codes.UCUM.Millimeter),
        number(codes.IBSI.Maximum3DDiameterOfAMesh, result.diameter_3d_mm, codes.UCUM.Millimeter),
    ]
    # Values of PET are in the scanner's unit, which a volume does not keep: no number without its unit.
    quantities = {
        "CT": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit),
        "MR": (codes.DCM.MRSignalIntensity, codes.UCUM.NoUnits),
    }
    if modality in quantities:
        quantity, unit = quantities[modality]
        values = result.intensities
        for value, derivation in (
            (values.mean, codes.SCT.Mean),
            (values.deviation, codes.SCT.StandardDeviation),
            (values.minimum, codes.SCT.Minimum),
            (values.maximum, codes.SCT.Maximum),
            (values.percentiles[50], codes.SCT.Median),
        ):
            numbers.append(number(quantity, value, unit, derivation))
    return numbers


def _check(path: Path, report: Dataset, segmentation: SegReference, names: Sequence[str]) -> None:
    """Compare the groups of the file, their segments and numbers, with what was meant.

    Raises:
        OutputError: ``READ_BACK_FAILED``.
    """
    import pydicom

    read = pydicom.dcmread(path)
    expected = [(str(segmentation.data.SOPInstanceUID), segmentation.numbers[name]) for name in names]
    groups = measurement_groups(read)
    if [(uid, number) for uid, number, _ in groups] != expected or groups != measurement_groups(report):
        raise OutputError(
            "READ_BACK_FAILED",
            "The structured report did not read back number for number, so it was not kept.",
            "Write measurements as .csv or .json instead.",
        )


def measurement_groups(report: Dataset) -> list[tuple[str, int, list[tuple[str, str, float]]]]:
    """The measurement groups of a report: UID and number of their segment, and name, unit and value of every number."""
    groups = []
    for container in _items(report, "CONTAINER", _MEASUREMENT_GROUP):
        reference, numbers = ("", 0), []
        for item in container.get("ContentSequence") or ():
            if item.ValueType == "IMAGE":
                image = item.ReferencedSOPSequence[0]
                if "ReferencedSegmentNumber" in image:
                    reference = (str(image.ReferencedSOPInstanceUID), int(image.ReferencedSegmentNumber))
            elif item.ValueType == "NUM":
                value = item.MeasuredValueSequence[0]
                numbers.append(
                    (
                        str(item.ConceptNameCodeSequence[0].CodeValue),
                        str(value.MeasurementUnitsCodeSequence[0].CodeValue),
                        float(value.NumericValue),
                    )
                )
        groups.append((*reference, numbers))
    return groups


def _items(node: Any, value_type: str, code: str) -> list[Any]:
    """Content items of one type and concept, at any depth."""
    found = []
    for item in node.get("ContentSequence") or ():
        names = item.get("ConceptNameCodeSequence")
        if item.ValueType == value_type and names and str(names[0].CodeValue) == code:
            found.append(item)
        found += _items(item, value_type, code)
    return found
