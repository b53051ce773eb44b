"""Proves that the slices of a series are one stack, and lays the grid of the volume over it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ....errors import InputError
from ...geometry import FloatArray, Geometry
from ..common import LARGEST_VOLUME, too_big
from .files import FoundFiles
from .headers import SliceHeader
from .phases import Places, in_order, split_phases
from .regular import SPACING_TOLERANCE, Resampling, is_even, regular_grid

LARGEST_MATRIX = 8192
LARGEST_PIXEL = 100.0
_BITS = (8, 16, 32)

#: Largest difference of a direction cosine between slices, and from orthonormal.
_ORIENTATION_TOLERANCE = 1e-3
#: More steps than this of two or more slices mean uneven spacing, not lost slices.
_MOST_GAPS = 3
#: Largest angle between the direction of the stack and the normal of its slices, in degrees, that is no tilt.
_TILT_TOLERANCE = 0.5
#: Largest sideways departure of a slice from the straight stack, in pixels.
_SIDEWAYS_TOLERANCE = 0.5


@dataclass(frozen=True)
class SliceStack:
    """Slices in order along +normal, and the grid of the volume.

    Attributes:
        slices: the planes to decode.
        geometry: the grid; its slices are the planes unless ``resampling`` is given.
        resampling: how the slices of the grid come from uneven planes.
        phases: how many phases the series has.
        notes: remarks for the user.
    """

    slices: list[SliceHeader]
    geometry: Geometry
    resampling: Resampling | None = None
    phases: int = 1
    notes: list[str] = field(default_factory=list)


def build_stack(
    headers: list[SliceHeader],
    found: FoundFiles,
    phase: int | None = None,
    skip_unreadable: bool = False,
) -> SliceStack:
    """Orders the slices of a series and checks everything a grid needs.

    Args:
        headers: of one series.
        found: what else is there.
        phase: of several phases the one to take, counted from 1.
        skip_unreadable: go on without files that cannot be read, and fill slices that are missing.

    Raises:
        InputError: ``NO_SERIES`` (localizers only), ``MULTI_FRAME``, ``NO_GEOMETRY``, ``BAD_PIXELS``, ``BAD_SPACING``,
            ``BAD_RESCALE``, ``MIXED``, ``BAD_ORIENTATION``, ``TOO_BIG``, ``DUP_POSITION``, ``MULTI_PHASE``,
            ``NO_PHASE``, ``GAP``, ``NON_UNIFORM_SPACING``, ``UNREADABLE``.
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
    _check_size(slices[0], len(slices))

    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    doubtful = found.doubtful(slices[0].series_uid)
    places, phases, notes = _one_phase(in_order(slices, normal), normal, phase)
    slices = places.slices
    resampling = _resampling(places.heights, 0 if skip_unreadable else doubtful, skip_unreadable)
    if doubtful and not skip_unreadable:
        raise InputError(
            "UNREADABLE",
            f"{doubtful} file(s) beside the series could not be read and may belong to it.",
            "Copy the folder again, move files that are no images out of it, or go on without them: --skip-unreadable.",
        )
    step = _step(places, normal)
    spacing = slices[0].pixel_spacing
    assert spacing is not None
    depth = len(slices)
    if resampling is not None:
        depth = len(resampling.heights)
        step = step * (resampling.heights[1] - resampling.heights[0])
        _check_size(slices[0], depth)
    elif depth > 1:
        step = step * ((places.heights[-1] - places.heights[0]) / (depth - 1))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * spacing[1], column * spacing[0], step
    affine[:3, 3] = slices[0].position
    geometry = Geometry((depth, slices[0].rows, slices[0].columns), affine)
    notes += _notes(headers, slices, found)
    if doubtful:
        notes.append(f"{doubtful} file(s) that could not be read were left out: slices may be missing at the ends.")
    if resampling is not None:
        notes.append(_resampled_note(places.heights, resampling))
    notes += _tilt_note(step, normal)
    return SliceStack(slices, geometry, resampling, phases, notes)


def _check_slice(header: SliceHeader) -> None:
    if header.frame is None and header.frames != 1:
        raise InputError(
            "MULTI_FRAME",
            "The scan is a multi-frame object that does not say where each frame lies.",
            "Export it as single-frame images, or as an enhanced object.",
        )
    if header.position is None or header.orientation is None or header.pixel_spacing is None:
        raise InputError(
            "NO_GEOMETRY",
            "An image lacks a position, an orientation or a pixel spacing, or one that is a number.",
            "Export the scan again with its geometry; screen captures have none.",
        )
    if (
        not header.is_grey
        or not (0 < header.rows <= LARGEST_MATRIX and 0 < header.columns <= LARGEST_MATRIX)
        or header.bits not in _BITS
    ):
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
            "BAD_RESCALE",
            "The rescale slope of an image is zero or not a number, or its values need a lookup table.",
            "Export the scan again.",
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


def _check_size(header: SliceHeader, count: int) -> None:
    if header.rows * header.columns * count > LARGEST_VOLUME:
        raise too_big(f"The series has {count} images of {header.columns} x {header.rows} pixels.")


def _one_phase(places: Places, normal: FloatArray, wanted: int | None) -> tuple[Places, int, list[str]]:
    """The slices of one phase, how many phases there are, and what to tell of it."""
    if not places.repeated:
        if wanted not in (None, 1):
            raise InputError("NO_PHASE", "The series has a single phase.", "Leave --phase out.")
        return places, 1, []
    phases = split_phases(places)
    if phases is None:
        raise InputError(
            "DUP_POSITION",
            f"{places.repeated} slice(s) lie at the position of another one, and nothing tells them apart.",
            "Remove repeated slices, or choose one reconstruction.",
        )
    count = len(phases.slices)
    sizes = {len(group) for group in phases.slices}
    each = f" of {sizes.pop()} slices" if len(sizes) == 1 else ""
    if wanted is None:
        raise InputError(
            "MULTI_PHASE",
            f"The series holds {count} phases{each} at the same positions, told apart by {phases.by}.",
            f"Choose one with --phase 1 to {count}, lowest first, or export one as a series of its own.",
        )
    if not 1 <= wanted <= count:
        raise InputError("NO_PHASE", f"The series has {count} phases.", f"Choose one with --phase 1 to {count}.")
    chosen = in_order(phases.slices[wanted - 1], normal)
    return chosen, count, [f"Phase {wanted} of {count}, told apart by {phases.by}."]


def _resampling(heights: FloatArray, doubtful: int, fill: bool) -> Resampling | None:
    """Nothing for evenly spaced planes, else how to make even ones of them."""
    if len(heights) == 1 or is_even(heights):
        return None
    steps = np.diff(heights)
    ratios = steps / float(np.median(steps))
    gaps = int(np.count_nonzero(np.rint(ratios) > 1))
    lost = gaps <= _MOST_GAPS and float(np.abs(ratios - np.rint(ratios)).max()) < SPACING_TOLERANCE
    if lost and gaps and not fill:
        missing = int(np.rint(ratios).sum()) - len(ratios)
        unread = f"; {doubtful} file(s) could not be read" if doubtful else ""
        raise InputError(
            "GAP",
            f"{missing} slice(s) are missing inside the series{unread}.",
            "Copy or export the series again, or fill them from their neighbours: --skip-unreadable.",
        )
    grid = regular_grid(heights)
    if grid is None:
        raise InputError(
            "NON_UNIFORM_SPACING",
            f"The slices are {steps.min():.3g} to {steps.max():.3g} mm apart, too unevenly for a grid.",
            "Choose a reconstruction with even slices, or resample the scan.",
        )
    return grid


def _step(places: Places, normal: FloatArray) -> FloatArray:
    """The LPS vector along the stack that climbs one millimetre along the normal; for one slice its thickness."""
    slices = places.slices
    if len(slices) == 1:
        thickness = slices[0].thickness
        return normal * (thickness if thickness is not None and thickness > 0 else 1.0)
    positions = np.array([header.position for header in slices])
    climb: FloatArray = (positions[-1] - positions[0]) / (places.heights[-1] - places.heights[0])
    offsets = positions - positions[0] - (places.heights - places.heights[0])[:, None] * climb
    sideways = float(np.linalg.norm(offsets, axis=1).max())
    if sideways > _SIDEWAYS_TOLERANCE * slices[0].pixel_spacing.min():  # type: ignore[union-attr]
        raise _mixed("position sideways")
    return climb


def _resampled_note(heights: FloatArray, resampling: Resampling) -> str:
    steps = np.diff(heights)
    grid = resampling.heights[1] - resampling.heights[0]
    return (
        f"The slices are {steps.min():.3g} to {steps.max():.3g} mm apart: {resampling.interpolated} of"
        f" {len(resampling.heights)} slices of the grid, {grid:.3g} mm apart, were interpolated."
    )


def _tilt_note(step: FloatArray, normal: FloatArray) -> list[str]:
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt <= _TILT_TOLERANCE:
        return []
    return [
        f"The stack leans {tilt:.1f} degrees against its slices (gantry tilt); they were kept as acquired."
        " Use --upright for an upright grid."
    ]


def _notes(headers: list[SliceHeader], slices: list[SliceHeader], found: FoundFiles) -> list[str]:
    localizers = sum(header.is_localizer for header in headers)
    counts = (
        (localizers, "{} localizer image(s) were left out."),
        (found.skipped["copy"], "{} identical copies of files were left out."),
        (found.skipped["other"], "{} DICOM object(s) of another kind were passed over."),
        (len(found.series) - 1, "{} other series beside it were passed over."),
    )
    notes = [text.format(count) for count, text in counts if count]
    if len(slices) == 1:
        notes.append("One slice only; its thickness is the one its header gives.")
    return notes
