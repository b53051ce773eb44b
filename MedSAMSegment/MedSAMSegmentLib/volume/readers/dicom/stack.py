"""Chooses one series and proves that its slices form one regular grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....errors import InputError
from ...geometry import FloatArray, Geometry
from ..common import LARGEST_VOLUME, too_big
from .headers import PHASE_ELEMENTS, FoundFiles, SliceHeader

LARGEST_MATRIX = 8192
LARGEST_PIXEL = 100.0

#: Largest difference of a direction cosine between slices, and from orthonormal.
_ORIENTATION_TOLERANCE = 1e-3
#: Largest departure of one step from the usual one, as a fraction of it.
_SPACING_TOLERANCE = 0.05
#: More steps than this of two or more slices mean uneven spacing, not lost slices.
_MOST_GAPS = 3
#: Two slices closer than this fraction of the usual step are at one position.
_SAME_POSITION = 0.01
#: Largest angle between the direction of the stack and the normal of its slices, in degrees.
_TILT_TOLERANCE = 0.5
#: Largest sideways departure of a slice from the straight stack, in pixels.
_SIDEWAYS_TOLERANCE = 0.5
#: A series with fewer images than this beside one large series is taken for a scout and left out.
_SMALL_SERIES = 3


@dataclass(frozen=True)
class SeriesSummary:
    """What a user needs to choose a series.

    Attributes:
        number: counted from 1, in the order of the files.
        uid: Series Instance UID, for programs.
        modality: ``"CT"``, ``"MR"`` or ``"PT"``.
        images: number of files.
        rows, columns: matrix of the first image.
    """

    number: int
    uid: str
    modality: str
    images: int
    rows: int
    columns: int


@dataclass(frozen=True)
class SliceStack:
    """Slices in order along +normal, their grid, and remarks for the user."""

    slices: list[SliceHeader]
    geometry: Geometry
    notes: list[str]


def summarise_series(found: FoundFiles) -> list[SeriesSummary]:
    """One line a series, in the order of their files."""
    return [
        SeriesSummary(number, uid, headers[0].modality, len(headers), headers[0].rows, headers[0].columns)
        for number, (uid, headers) in enumerate(found.series.items(), start=1)
    ]


def choose_series(found: FoundFiles, wanted: str | int | None) -> list[SliceHeader]:
    """The headers of one series.

    Raises:
        InputError: ``NO_SERIES``, ``BAD_UID`` (nothing but malformed identifiers), ``AMBIGUOUS``.
    """
    summaries = summarise_series(found)
    if not summaries:
        raise _nothing_found(found)
    listing = "; ".join(
        f"{s.number}: {s.modality}, {s.images} image{'s' if s.images > 1 else ''} of {s.columns} x {s.rows}"
        for s in summaries
    )
    if wanted is not None:
        for summary in summaries:
            if str(wanted) in (str(summary.number), summary.uid):
                return found.series[summary.uid]
        raise InputError("NO_SERIES", "There is no such series in this folder.", f"Choose one of these: {listing}.")
    if len(summaries) == 1:
        return found.series[summaries[0].uid]
    large = [s for s in summaries if s.images >= _SMALL_SERIES]
    if len(large) == 1:
        return found.series[large[0].uid]
    raise InputError(
        "AMBIGUOUS",
        f"The folder holds {len(summaries)} series: {listing}.",
        "Choose one by its number, or give the folder of one series.",
    )


def build_stack(headers: list[SliceHeader], found: FoundFiles) -> SliceStack:
    """Orders the slices of a series and checks everything a regular grid needs.

    Raises:
        InputError: ``NO_SERIES`` (localizers only), ``MULTI_FRAME``, ``NO_GEOMETRY``, ``BAD_PIXELS``, ``BAD_SPACING``,
            ``BAD_RESCALE``, ``MIXED``, ``BAD_ORIENTATION``, ``TOO_BIG``, ``DUP_POSITION``, ``MULTI_PHASE``, ``GAP``,
            ``NON_UNIFORM_SPACING``, ``GANTRY_TILT``, ``UNREADABLE``.
    """
    slices = [header for header in headers if not header.is_localizer]
    if not slices:
        raise InputError(
            "NO_SERIES", "The series holds localizer images only.", "Choose the folder of the scan itself."
        )
    for header in slices:
        _check_slice(header)
    _check_alike(slices)
    orientation = slices[0].orientation
    assert orientation is not None  # _check_slice refused slices without one
    row, column = orientation[:3], orientation[3:]
    _check_orthonormal(row, column)
    if slices[0].rows * slices[0].columns * len(slices) > LARGEST_VOLUME:
        raise too_big(f"The series has {len(slices)} images of {slices[0].columns} x {slices[0].rows} pixels.")

    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    positions = np.array([header.position for header in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[n] for n in order], positions[order]
    step = _step(slices, positions, normal, found.doubtful)
    if found.doubtful:
        raise InputError(
            "UNREADABLE",
            f"{found.doubtful} file(s) beside the series could not be read and may belong to it.",
            "Copy the folder again, or move files that are no images out of it.",
        )
    spacing = slices[0].pixel_spacing
    assert spacing is not None
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * spacing[1], column * spacing[0], step
    affine[:3, 3] = positions[0]
    geometry = Geometry((len(slices), slices[0].rows, slices[0].columns), affine)
    return SliceStack(slices, geometry, _notes(headers, slices, found))


def _nothing_found(found: FoundFiles) -> InputError:
    if found.skipped["uid"]:
        return InputError(
            "BAD_UID",
            f"{found.skipped['uid']} DICOM file(s) have a malformed unique identifier.",
            "Export the scan again, from another program if need be.",
        )
    if found.root.is_file() and found.skipped["unreadable"]:
        return InputError("UNREADABLE", f"{found.root.name} is a damaged DICOM file.", "Copy or export it again.")
    reasons = [
        text.format(found.skipped[key])
        for key, text in (
            ("other", "{} DICOM object(s) of another kind"),
            ("unreadable", "{} damaged file(s)"),
            ("link", "{} symbolic link(s), which are not followed"),
        )
        if found.skipped[key]
    ]
    there = f"; found were {', '.join(reasons)}" if reasons else ""
    return InputError(
        "NO_SERIES",
        f"There is no CT, MR or PET image in {found.root.name}{there}.",
        "Choose the folder that holds the images of the scan.",
    )


def _check_slice(header: SliceHeader) -> None:
    if header.frames != 1:
        raise InputError(
            "MULTI_FRAME",
            "The scan is an enhanced (multi-frame) DICOM object, which this version does not read.",
            "Export it as single-frame images, or convert it to NIfTI.",
        )
    if header.position is None or header.orientation is None or header.pixel_spacing is None:
        raise InputError(
            "NO_GEOMETRY",
            "An image lacks a position, an orientation or a pixel spacing, or one that is a number.",
            "Export the scan again with its geometry; screen captures have none.",
        )
    if not header.is_grey or not (0 < header.rows <= LARGEST_MATRIX and 0 < header.columns <= LARGEST_MATRIX):
        raise InputError(
            "BAD_PIXELS",
            "An image is in colour, has no size or an impossible one.",
            "Choose the original greyscale series.",
        )
    if (header.pixel_spacing <= 0).any() or (header.pixel_spacing > LARGEST_PIXEL).any():
        raise InputError(
            "BAD_SPACING", "The pixel spacing of an image is not positive, or is absurd.", "Export the scan again."
        )
    if header.slope is None or header.intercept is None or header.slope == 0:
        raise InputError(
            "BAD_RESCALE", "The rescale slope of an image is zero or not a number.", "Export the scan again."
        )


def _check_alike(slices: list[SliceHeader]) -> None:
    first = slices[0]
    for header in slices[1:]:
        if (header.rows, header.columns) != (first.rows, first.columns):
            raise _mixed("matrix size")
        if header.patient_and_study != first.patient_and_study:
            raise _mixed("patient or study")
        if header.frame_of_reference != first.frame_of_reference:
            raise _mixed("frame of reference")
        if header.modality != first.modality:
            raise _mixed("modality")
        if np.abs(header.pixel_spacing - first.pixel_spacing).max() > 1e-5:  # type: ignore[operator]
            raise _mixed("pixel spacing")
        if np.abs(header.orientation - first.orientation).max() > _ORIENTATION_TOLERANCE:  # type: ignore[operator]
            raise _mixed("orientation")


def _mixed(what: str) -> InputError:
    return InputError(
        "MIXED", f"The images of the series differ in {what}.", "Choose a folder with the images of one scan only."
    )


def _check_orthonormal(row: FloatArray, column: FloatArray) -> None:
    errors = (row @ column, np.linalg.norm(row) - 1, np.linalg.norm(column) - 1)
    if max(abs(float(error)) for error in errors) > _ORIENTATION_TOLERANCE:
        raise InputError(
            "BAD_ORIENTATION",
            "The directions of rows and columns are not perpendicular unit vectors.",
            "Export the scan again.",
        )


def _step(slices: list[SliceHeader], positions: FloatArray, normal: FloatArray, doubtful: int) -> FloatArray:
    """The LPS vector from one slice to the next."""
    if len(slices) == 1:
        thickness = slices[0].thickness
        return normal * (thickness if thickness is not None and thickness > 0 else 1.0)
    steps = np.diff(positions @ normal)
    apart = steps[steps > 1e-3]
    usual = float(np.median(apart)) if apart.size else 0.0
    repeated = steps < _SAME_POSITION * usual if usual else np.ones(len(steps), dtype=bool)
    if repeated.any():
        places = np.concatenate([[0.0], np.cumsum(~repeated)])
        raise _repeated_positions(slices, places, int(np.count_nonzero(repeated)))
    ratios = steps / usual
    if np.abs(ratios - 1).max() > _SPACING_TOLERANCE:
        gaps = np.count_nonzero(np.rint(ratios) > 1)
        if gaps <= _MOST_GAPS and np.abs(ratios - np.rint(ratios)).max() < _SPACING_TOLERANCE:
            missing = int(np.rint(ratios).sum()) - len(ratios)
            lost = f"; {doubtful} file(s) could not be read" if doubtful else ""
            raise InputError(
                "GAP", f"{missing} slice(s) are missing inside the series{lost}.", "Copy or export the series again."
            )
        raise InputError(
            "NON_UNIFORM_SPACING",
            f"The slices are {steps.min():.3g} to {steps.max():.3g} mm apart, not evenly.",
            "Choose a reconstruction with even slices, or resample the scan.",
        )
    step: FloatArray = (positions[-1] - positions[0]) / (len(positions) - 1)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > _TILT_TOLERANCE:
        raise InputError(
            "GANTRY_TILT",
            f"The stack leans {tilt:.1f} degrees against its slices (gantry tilt), which this version does not read.",
            "Choose a reconstruction without tilt, or resample the scan to upright slices.",
        )
    straight = positions[0] + np.arange(len(positions))[:, None] * step
    offsets = positions - straight
    sideways = np.linalg.norm(offsets - (offsets @ normal)[:, None] * normal, axis=1).max()
    if sideways > _SIDEWAYS_TOLERANCE * slices[0].pixel_spacing.min():  # type: ignore[union-attr]
        raise _mixed("position sideways")
    return step


def _repeated_positions(slices: list[SliceHeader], places: FloatArray, count: int) -> InputError:
    """Why several slices lie at one position: phases of one series, or plain repetition.

    Args:
        slices: in order along the normal.
        places: for each slice the number of its position.
        count: how many slices repeat another one's position.
    """
    _, repetitions = np.unique(places, return_counts=True)
    phases = int(repetitions[0]) if len(set(repetitions.tolist())) == 1 else 0
    for element in PHASE_ELEMENTS:
        groups: dict[str, list[float]] = {}
        for header, place in zip(slices, places, strict=True):
            groups.setdefault(header.phase[element], []).append(float(place))
        # A phase visits each position once; a value that differs from slice to slice says nothing.
        if len(groups) > 1 and all(1 < len(group) == len(set(group)) for group in groups.values()):
            phases = len(groups)
            break
    if phases:
        return InputError(
            "MULTI_PHASE",
            f"The series holds {phases} phases, echoes or time points at the same positions.",
            "Export one of them as a series of its own.",
        )
    return InputError(
        "DUP_POSITION",
        f"{count} slice(s) lie at the position of another one.",
        "Remove repeated slices, or choose one reconstruction.",
    )


def _notes(headers: list[SliceHeader], slices: list[SliceHeader], found: FoundFiles) -> list[str]:
    counts = (
        (len(headers) - len(slices), "{} localizer image(s) were left out."),
        (found.skipped["copy"], "{} identical copies of files were left out."),
        (found.skipped["other"], "{} DICOM object(s) of another kind were passed over."),
        (len(found.series) - 1, "{} small series beside it were passed over."),
    )
    notes = [text.format(count) for count, text in counts if count]
    if len(slices) == 1:
        notes.append("One slice only; its thickness is the one its header gives.")
    return notes
