"""DICOM Segmentation objects (PS3.3 A.51), made by highdicom and read back before they get their name.

Three kinds: BINARY, one bit a pixel, segments may overlap; LABELMAP (PS3.3 A.51 as of 2024), one number a pixel,
run-length encoded, small for many segments; FRACTIONAL, the network's probabilities.  Masks are written on the acquired
planes, whatever grid the scan was segmented on.

What highdicom leaves to its caller is settled here: the true distance of slices (readers lose slices where Slice
Thickness is wrong), laterality, UTF-8, empty mandatory elements, labels that fit, and that planes and masks belong
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError, UsageError
from ..volume import Volume
from ..volume.acquisition import ImagePlane
from .atomic import atomic_path
from .dicom_source import DicomSource, decimal, dicom_source, making, new_uid, plain_text, require
from .objects import ExportedObject, check_objects, coloured, label_map
from .options import Algorithm, WriteOptions
from .terminology import TISSUE, Code, Terminology

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

KINDS = ("BINARY", "LABELMAP", "FRACTIONAL", "UPRIGHT")

#: Stored number of probability 1.
_FULL = 255
#: A stack of masks larger than this is handed over for the occupied slices only.
_LARGEST_STACK = 1 << 30
#: Frames of a file lie where they should to within this, mm.
_PLACE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SegReference:
    """A written segmentation, as other objects refer to it.

    Attributes:
        data: the data set without pixels.
        numbers: segment number by object name.
        tracking: tracking UID by object name.
        notes: remarks for the user, one sentence each.
    """

    data: Any
    numbers: dict[str, int]
    tracking: dict[str, str]
    notes: tuple[str, ...]


def write_dicom_seg(
    path: str | Path,
    volume: Volume,
    objects: Sequence[ExportedObject],
    kind: str = "BINARY",
    options: WriteOptions | None = None,
) -> SegReference:
    """Write the objects as segments, in their order, with new identifiers.

    Args:
        path: ``.dcm``.
        volume: a scan read from DICOM.
        objects: what to write.
        kind: ``"BINARY"``, ``"LABELMAP"``, ``"FRACTIONAL"``, or ``"UPRIGHT"``: binary, but on an even, upright grid
            instead of the acquired planes, for programs that rebuild such a stack from leaning or uneven slices.  A
            label map has no overlap: a voxel of several objects goes where ``options.labels`` says, else to the
            smallest.  Probabilities are at least a half exactly where the mask is; an object without probabilities is
            written as 0 and 1.
        options: algorithm, creator and label map.

    Raises:
        InputError: the scan does not come from DICOM images a result can refer to.
        UsageError: nothing to write, a mask of another grid, or nothing but empty masks (``EMPTY_RESULT``).
        OutputError: ``MISSING_PACKAGE``, ``READ_BACK_FAILED``, or the file cannot be written; nothing is left behind.
    """
    require("highdicom")
    check_objects(volume, objects)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    options = options or WriteOptions()
    path = Path(path)
    if not any(item.mask.any() for item in objects):
        raise UsageError(
            "EMPTY_RESULT", "Every mask is empty, and a segmentation without any voxel is of no use.", "Segment again."
        )
    source = dicom_source(volume, options.deidentification)
    notes = [*source.notes(), *_coding_notes(objects)]
    if kind == "UPRIGHT":
        kind, source = "BINARY", source.on_upright_grid()
        notes.append("The upright segmentation has the nearest voxels of the masks; it is not on the acquired slices.")
    if source.is_leaning:
        notes.append(
            "The slices lean (gantry tilt): 3D Slicer and other programs that rebuild an upright stack misplace a DICOM"
            " segmentation of them. rtstruct:PATH.dcm is exact everywhere; upright:PATH.dcm is a segmentation for them."
        )
    if source.is_uneven:
        notes.append(
            "The slices are unevenly spaced: programs that rebuild an even stack may shift the segments;"
            " upright:PATH.dcm is a segmentation for them."
        )
    with making(path, "segmentation"):
        stored = _stored(source, objects, kind, options, notes)
        seg = _segmentation(source, objects, stored, kind, options)
        with atomic_path(path) as temporary:
            source.finish(seg)
            seg.save_as(temporary, enforce_file_format=True)
            _check(temporary, source, objects, stored, kind)
            source.check_written(temporary)
    names = [item.name for item in objects]
    return SegReference(
        _without_pixels(seg),
        {name: number for number, name in enumerate(names, start=1)},
        {name: str(seg.SegmentSequence[-len(names) + n].TrackingUID) for n, name in enumerate(names)},
        tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Stored:
    """What is stored: ``labels`` (planes, rows, columns) or ``stack`` (planes, rows, columns, objects) of 0..255 (0, 1
    where binary), for the planes from ``first`` on."""

    labels: np.ndarray | None
    stack: np.ndarray | None
    first: int = 0

    @property
    def array(self) -> np.ndarray:
        array = self.labels if self.labels is not None else self.stack
        assert array is not None
        return array

    def expected(self, plane: int, segment: int) -> np.ndarray | None:
        """What the frame of a plane and a segment (number from 1) must hold; ``None`` where no frame may be."""
        plane -= self.first
        if not 0 <= plane < len(self.array):
            return None
        if self.labels is not None:
            return (self.labels[plane] == segment).astype(np.uint8)
        assert self.stack is not None
        return self.stack[plane, ..., segment - 1]


def _stored(
    source: DicomSource, objects: Sequence[ExportedObject], kind: str, options: WriteOptions, notes: list[str]
) -> _Stored:
    overlapping = _overlapping_voxels(objects)
    if kind == "LABELMAP" and overlapping:
        notes.append(f"{overlapping} voxels are in several objects; in a label map each belongs to one.")
    if kind == "LABELMAP" or (kind == "BINARY" and not overlapping):
        labels = label_map(objects) if options.labels is None or kind == "BINARY" else options.labels
        return _Stored(source.on_planes(labels.astype(np.uint8 if len(objects) < 256 else np.uint16)), None)
    parts = [_numbers(source, item, kind) for item in objects]
    first, last = 0, len(source.planes)
    bytes_a_voxel = 4 if kind == "FRACTIONAL" else 1
    if not source.is_multi_frame and sum(part.size for part in parts) * bytes_a_voxel > _LARGEST_STACK:
        used = np.flatnonzero(np.any([part.any(axis=(1, 2)) for part in parts], axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
    return _Stored(None, np.stack([part[first:last] for part in parts], axis=-1), first)


def _overlapping_voxels(objects: Sequence[ExportedObject]) -> int:
    seen = np.zeros(objects[0].mask.shape, bool)
    twice = np.zeros_like(seen)
    for item in objects:
        twice |= seen & item.mask
        seen |= item.mask
    return int(np.count_nonzero(twice))


def _numbers(source: DicomSource, item: ExportedObject, kind: str) -> np.ndarray:
    """Stored numbers of one object on the planes, uint8."""
    if kind == "BINARY":
        return source.on_planes(item.mask.astype(np.uint8))
    if item.probabilities is None:
        return source.on_planes(item.mask.astype(np.uint8)) * np.uint8(_FULL)
    numbers = np.rint(np.clip(item.probabilities, 0, 1) * _FULL).astype(np.uint8)
    half = (_FULL + 1) // 2
    # Clean-up may have moved the mask's edge away from the level of one half; what a reader sees there is the mask.
    numbers = np.where(item.mask, np.maximum(numbers, half), np.minimum(numbers, half - 1))
    return source.on_planes(numbers.astype(np.uint8))


def _segmentation(
    source: DicomSource, objects: Sequence[ExportedObject], stored: _Stored, kind: str, options: WriteOptions
) -> Segmentation:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    algorithm = options.algorithm
    array, images = stored.array, source.headers
    places: dict[str, Any] = {}
    if not source.is_acquired:
        places = _places(source.planes[stored.first : stored.first + len(array)], source.step)
    elif not source.is_multi_frame:
        images = images[stored.first : stored.first + len(array)]
    if kind == "FRACTIONAL":
        array = array.astype(np.float32) / _FULL
    software = plain_text(algorithm.version) or "unknown"
    description = plain_text("MedSAMSegment: " + ", ".join(item.name for item in objects))
    seg = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=array,
        segmentation_type=kind,
        segment_descriptions=_descriptions(source, objects, algorithm),
        series_instance_uid=new_uid(),
        series_number=_series_number(source, 1000),
        series_description=description,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer="MedSAMSegment",
        manufacturer_model_name="MedSAMSegment",
        software_versions=[software, f"highdicom {highdicom.__version__}"],
        device_serial_number=software,
        max_fractional_value=_FULL,
        content_label="SEGMENTATION",
        content_description=description,
        content_creator_name=plain_text(options.person) or None,
        specific_character_set="ISO_IR 192",
        transfer_syntax_uid=RLELossless if kind == "LABELMAP" else ExplicitVRLittleEndian,
        omit_empty_frames=True,
        **places,
    )
    _add_modifiers(seg, objects)
    if places:
        # highdicom takes the source's distance of slices where pixels are as large as the source's.
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = measures.SpacingBetweenSlices = decimal(source.step)
    if source.is_multi_frame:
        _number_source_frames(seg, source)
    return seg


def _places(planes: Sequence[ImagePlane], step: float) -> dict[str, Any]:
    """Where frames lie that are on no source image, as highdicom takes it."""
    import highdicom

    first = planes[0]
    directions = [float(value) for value in (*first.row, *first.column)]
    return {
        "plane_positions": [
            highdicom.PlanePositionSequence("PATIENT", [float(value) for value in plane.position]) for plane in planes
        ],
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", directions),
        "pixel_measures": highdicom.PixelMeasuresSequence(first.spacing, step, step),
    }


def _number_source_frames(seg: Segmentation, source: DicomSource) -> None:
    """highdicom was shown the frames of the scan only, in their order; the references name them as the file does."""
    # Frames of several segments may share one item.
    images = {
        id(image): image
        for group in seg.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence") or ()
        for image in derivation.SourceImageSequence
    }
    for image in images.values():
        instance = source.planes[int(image.ReferencedFrameNumber) - 1].instance
        assert instance is not None
        image.ReferencedFrameNumber = instance.frame_number


def _series_number(source: DicomSource, offset: int) -> int:
    """A number that sorts the result after the series it was made from."""
    try:
        return offset + int(source.first.get("SeriesNumber") or 0) % 1000
    except (TypeError, ValueError):
        return offset


def _descriptions(
    source: DicomSource, objects: Sequence[ExportedObject], algorithm: Algorithm
) -> list[SegmentDescription]:
    import highdicom

    descriptions = []
    for number, (item, colour) in enumerate(zip(objects, coloured(objects), strict=True), start=1):
        label = plain_text(item.name) or f"object {number}"
        meaning = item.terminology or Terminology(TISSUE, TISSUE, colour)
        descriptions.append(
            highdicom.seg.SegmentDescription(
                number,
                label,
                concept(meaning.category),
                concept(meaning.type),
                algorithm.kind,
                algorithm_identification=algorithm_identification(algorithm),
                tracking_uid=source.uid(item.tracking_uid) or new_uid(),
                tracking_id=label,
                anatomic_regions=[concept(meaning.region)] if meaning.region else None,
                display_color=highdicom.color.CIELabColor.from_rgb(*colour),
            )
        )
    return descriptions


def concept(code: Code) -> Any:
    """A SNOMED CT code as highdicom takes it."""
    import highdicom

    return highdicom.sr.CodedConcept(code[0], "SCT", code[1][:64])


def algorithm_identification(algorithm: Algorithm) -> Any:
    """Algorithm Identification Sequence: model, version and checkpoint (PS3.3 table 10-19)."""
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.AlgorithmIdentificationSequence(
        name=plain_text(algorithm.name) or "unknown",
        family=codes.cid7162.ArtificialIntelligence,
        version=plain_text(algorithm.version) or "unknown",
        source="MedSAMSegment",
        parameters={"checkpoint": plain_text(algorithm.weights, 128)} if algorithm.weights else None,
    )


def _add_modifiers(seg: Segmentation, objects: Sequence[ExportedObject]) -> None:
    """Laterality, which highdicom's segment descriptions have no argument for."""
    described = {int(item.SegmentNumber): item for item in seg.SegmentSequence}
    for number, item in enumerate(objects, start=1):
        meaning = item.terminology
        if meaning is None:
            continue
        if meaning.type_modifier is not None:
            kind = described[number].SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [concept(meaning.type_modifier)]
        if meaning.region_modifier is not None:
            region = described[number].AnatomicRegionSequence[0]
            region.AnatomicRegionModifierSequence = [concept(meaning.region_modifier)]


def _coding_notes(objects: Sequence[ExportedObject]) -> list[str]:
    unknown = [item.name for item in objects if item.terminology is None]
    if not unknown:
        return []
    names = ", ".join(map(repr, unknown[:3])) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
    return [
        f"No standard code is known for {names}, coded as tissue; medsamsegment terminology NAME shows the known names."
    ]


def _check(path: Path, source: DicomSource, objects: Sequence[ExportedObject], stored: _Stored, kind: str) -> None:
    """Compare the file, voxel by voxel and plane by plane, with what it should hold.

    The reader is this project's own and shares nothing with the library that wrote the file.

    Raises:
        OutputError: ``READ_BACK_FAILED``.
    """
    from ..volume.readers.segments.dicom_seg import open_segmentation

    opened = open_segmentation(path)
    corners = np.array([plane.corners() for plane in source.planes])
    names = [entry.name for entry in opened.segments]
    if names != [plain_text(item.name) or f"object {n}" for n, item in enumerate(objects, start=1)]:
        raise _read_back_failed(path)
    if opened.frame_of_reference != str(source.first.FrameOfReferenceUID) or opened.kind != kind:
        raise _read_back_failed(path)
    seen = 0
    for frame, pixels in opened.pixels():
        distances = np.abs(corners - frame.plane.corners()).max(axis=(1, 2))
        plane = int(distances.argmin())
        instance = source.planes[plane].instance
        if distances[plane] > _PLACE_TOLERANCE:
            raise _read_back_failed(path)
        if instance is not None and (instance.sop_instance_uid, instance.frame_number) not in frame.sources:
            raise _read_back_failed(path)
        segments = range(1, len(objects) + 1) if frame.segment is None else (frame.segment,)
        if frame.segment is None and pixels.max(initial=0) > len(objects):
            raise _read_back_failed(path)
        for segment in segments:
            part = (pixels == segment).astype(np.uint8) if frame.segment is None else pixels
            expected = stored.expected(plane, segment)
            if expected is None or not np.array_equal(part, expected):
                raise _read_back_failed(path)
            seen += int(np.count_nonzero(part))
    # Frames that are missing altogether show in the sum.
    if seen != int(np.count_nonzero(stored.array)):
        raise _read_back_failed(path)


def _read_back_failed(path: Path) -> OutputError:
    return OutputError(
        "READ_BACK_FAILED",
        f"What was written as {path.suffix} did not read back voxel for voxel, so it was not kept.",
        "Write .seg.nrrd instead, and report this scan's make and model.",
    )


def _without_pixels(seg: Segmentation) -> Any:
    from pydicom.dataset import Dataset

    data = Dataset()
    for element in seg:
        if element.tag.group != 0x7FE0:
            data.add(element)
    return data
