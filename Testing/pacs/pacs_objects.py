"""A small CT series, and what is made of it: segmentations, contours, measurements, as other programs write them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

#: Distinctive, so that it can be looked for in everything that must not hold it.
NAME, PATIENT = "Müstermann^Änne", "SECRET-17"


@dataclass
class Study:
    """A CT series on disk with its data sets in slice order, and a label map [k, j, i] of two organs."""

    folder: Path
    slices: list[Dataset]
    labels: np.ndarray

    @property
    def uid(self) -> str:
        return str(self.slices[0].StudyInstanceUID)

    @property
    def series(self) -> str:
        return str(self.slices[0].SeriesInstanceUID)

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.dcm"))


def write_study(folder: Path, count: int = 6, rows: int = 40, columns: int = 48, syntax: UID | None = None) -> Study:
    """An axial CT of noise, and where its organs are."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k in range(count):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SpecificCharacterSet = "ISO_IR 192"
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientName, data.PatientID = NAME, PATIENT
        data.PatientBirthDate, data.PatientSex = "19700101", "F"
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20261121", "101500", "1", "A-77"
        data.StudyDescription, data.SeriesDescription = "Abdomen", "Portal venous"
        data.ReferringPhysicianName = data.Manufacturer = ""
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, k + 1
        data.ImageType, data.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
        data.ImagePositionPatient, data.ImageOrientationPatient = [-15, -20, 2.5 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.SpacingBetweenSlices = [0.8, 0.7], 2.5, 2.5
        data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = -1024, 1, "HU"
        data.PixelData = rng.integers(0, 3000, (rows, columns)).astype("<u2").tobytes()
        data["PixelData"].VR = "OW"
        if syntax is not None:
            data.compress(syntax, generate_instance_uid=False)
        save(data, folder / f"IM{k:03d}.dcm")
        slices.append(data)
    labels = np.zeros((count, rows, columns), np.uint8)
    labels[1:4, 5:21, 6:30] = 1
    labels[2:5, 22:35, 10:41] = 2
    return Study(folder, slices, labels)


def save(data: Dataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def write_segmentation(study: Study, path: Path, labelmap: bool = False) -> Path:
    """By highdicom: BINARY, or LABELMAP compressed by RLE; two segments, the second with a gap in its numbers."""
    import highdicom as hd
    from pydicom.uid import RLELossless

    segments = [
        hd.seg.SegmentDescription(
            number,
            label,
            codes.SCT.Organ,
            code,
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            hd.AlgorithmIdentificationSequence("MedSAMSegment", codes.DCM.ArtificialIntelligence, "0.1"),
        )
        for number, label, code in ((1, "Leber ü", codes.SCT.Liver), (2, "Kidney", codes.SCT.Kidney))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = hd.seg.Segmentation(
            study.slices,
            study.labels,
            hd.seg.SegmentationTypeValues.LABELMAP if labelmap else hd.seg.SegmentationTypeValues.BINARY,
            segments,
            series_instance_uid=generate_uid(),
            series_number=50,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="MedSAMSegment",
            manufacturer_model_name="test",
            software_versions="0.1",
            device_serial_number="1",
            transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian,
        )
    return save(segmentation, path)


def write_contours(study: Study, path: Path) -> Path:
    """An RT structure set with one circle of many points, implicit VR."""
    data = _derived(study, RTStructureSetStorage, "RTSTRUCT")
    data.StructureSetLabel, data.StructureSetDate, data.StructureSetTime = "TEST", "20261121", "101500"
    frame = Dataset()
    frame.FrameOfReferenceUID = study.slices[0].FrameOfReferenceUID
    data.ReferencedFrameOfReferenceSequence = [frame]
    roi = Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID = 1, frame.FrameOfReferenceUID
    roi.ROIName, roi.ROIGenerationAlgorithm = "Leber ü", "AUTOMATIC"
    data.StructureSetROISequence = [roi]
    circle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    # 16 characters a number: too long for the two length bytes of an explicit value representation.
    outline = np.stack([20 * np.cos(circle), 20 * np.sin(circle), np.full_like(circle, 5)], axis=1).ravel()
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(circle)
    contour.ContourData = [f"{value:.10f}"[:16] for value in outline]
    drawn = Dataset()
    drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = 1, [255, 0, 0], [contour]
    data.ROIContourSequence = [drawn]
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    data.RTROIObservationsSequence = [observation]
    return save(data, path)


def write_report(study: Study, path: Path, segmentation: Path) -> Path:
    """A structured report (TID 1500) by highdicom with a volume measured in the segmentation."""
    import highdicom as hd
    from pydicom import dcmread

    segments = dcmread(segmentation)
    evidence = [*study.slices, segments]
    reference = hd.sr.ReferencedSegment(
        segments.SOPClassUID, segments.SOPInstanceUID, 1, source_series=hd.sr.SourceSeriesForSegmentation(study.series)
    )
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=reference,
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="Leber ü"),
        measurements=[hd.sr.Measurement(codes.SCT.Volume, 4321.5, codes.UCUM.CubicMillimeter)],
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(generate_uid()))
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer),
        hd.sr.CodedConcept("77477000", "SCT", "Computed tomography"),
        imaging_measurements=[group],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = hd.sr.Comprehensive3DSR(
            evidence, report[0], generate_uid(), 60, generate_uid(), 1, "MedSAMSegment", is_complete=True
        )
    return save(document, path)


def _derived(study: Study, kind: str, modality: str) -> Dataset:
    first = study.slices[0]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = kind, generate_uid(), generate_uid()
    for keyword in (
        *("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
        *("StudyID", "AccessionNumber", "ReferringPhysicianName", "Manufacturer"),
    ):
        setattr(data, keyword, first[keyword].value)
    data.Modality, data.SeriesNumber, data.InstanceNumber = modality, 70, 1
    return data
