"""DICOM CT, MR and PET series, read strictly: a stack is exactly what its files say, or refused with a code.

File names, instance numbers and slice thickness are never trusted; slices are ordered by their position along the
normal of the image plane (PS3.3 C.7.6.2). The steps, one a file: ``files`` finds the images (``archive`` and
``medium`` behind a zip and a DICOMDIR), ``headers`` reads what matters of them, ``series`` chooses one, ``phases``
tells its phases apart, ``stack`` proves that its slices are one stack and ``regular`` makes uneven ones even,
``pixels`` decodes them: compressed ones by a child process (``decoding``, ``decoder``) with limits of memory and time.
No message holds a value of a data element: names of patients turn up in the strangest ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ....errors import InputError
from ...geometry import Geometry
from ...volume import SourceInstance, Volume
from ..common import reading
from .files import FoundFiles, scan_files
from .headers import SliceHeader
from .pixels import DamagedSlice, decode_stack
from .series import SeriesSummary, choose_series, summarise_series
from .stack import SliceStack, build_stack

__all__ = ["SeriesReport", "SeriesSummary", "inspect_series", "list_series", "read_dicom"]

#: With so many files that cannot be decoded a series is refused whatever the user said.
_MOST_DAMAGED = 16


@dataclass(frozen=True)
class SeriesReport:
    """A series as ``info`` lists it, judged by its headers alone.

    Attributes:
        summary: what it is.
        geometry: the grid it would be read on; None when it is refused.
        phases: how many phases, echoes or time points it holds; 0 when that is not known.
        problem: why it is refused; None when its headers are in order.
        notes: remarks, one sentence each.
    """

    summary: SeriesSummary
    geometry: Geometry | None
    phases: int
    problem: InputError | None
    notes: tuple[str, ...] = ()


def list_series(path: Path) -> list[SeriesSummary]:
    """The CT, MR and PET series under a folder, behind a DICOMDIR or in a zip, in the order of their numbers.

    Raises:
        InputError: as :func:`read_dicom` for finding files.
    """
    with reading(path, "DICOM"):
        return summarise_series(scan_files(path))


def inspect_series(path: Path, skip_unreadable: bool = False) -> list[SeriesReport]:
    """Every series with what reading it would give, without reading a pixel.

    Raises:
        InputError: as :func:`read_dicom` for finding files.
    """
    with reading(path, "DICOM"):
        found = scan_files(path)
        return [_report(summary, found, skip_unreadable) for summary in summarise_series(found)]


def read_dicom(
    path: Path, series: str | int | None = None, phase: int | None = None, skip_unreadable: bool = False
) -> Volume:
    """A series of a folder (its subfolders included), of a medium or an archive, or of one file.

    Args:
        path: a folder, a DICOMDIR, a zip archive or a file (a single-frame one is a volume of one slice). Symbolic
            links inside a folder are not followed.
        series: the series to take: its number in the list of :func:`list_series`, or its Series Instance UID.
        phase: of a series with several phases, echoes or time points at the same positions the one to take, counted
            from 1.
        skip_unreadable: leave out files that cannot be read, and fill missing slices from their neighbours.

    Returns:
        The acquired slices along +normal, so i, j, k are right-handed. Rescaled values: HU for CT; padding has the
        lowest of the others. Leaning stacks (gantry tilt) keep their slices, on a sheared grid. Unevenly spaced planes
        are put on an even grid, of which they are slices wherever their distances allow. ``source`` holds one instance
        a slice of the grid, that of the nearest plane where the slice was interpolated, or is None where the files
        carry no unique SOP Instance UID.

    Raises:
        InputError: finding: ``UNREADABLE_DIRECTORY``, ``NO_SERIES``, ``AMBIGUOUS``, ``BAD_UID``, ``TOO_MANY_FILES``,
            ``TOO_BIG``, ``BOMB``, ``UNSAFE_ARCHIVE``, ``UNSAFE_PATH``, ``NO_SPACE``; slices: ``NO_GEOMETRY``,
            ``BAD_ORIENTATION``, ``BAD_SPACING``, ``BAD_RESCALE``, ``BAD_PIXELS`` (colour, impossible size),
            ``MULTI_FRAME`` (frames without positions); stack: ``MIXED``, ``DUP_POSITION``, ``MULTI_PHASE``,
            ``NO_PHASE``, ``GAP``, ``NON_UNIFORM_SPACING``; files: ``UNREADABLE`` (a file that may belong to the series
            cannot be read), ``TRUNCATED``, ``PIXELS`` (damaged, or a compression this installation cannot decode),
            ``DECODING_LIMIT`` (decoding took too much time or memory), ``DECODING_FAILED``, ``UNREADABLE_FILE``.
        OutputError: ``NO_TEMPORARY_FOLDER``.
    """
    with reading(path, "DICOM"):
        found = scan_files(path)
        _, headers = choose_series(found, series)
        stack, voxels, padded = _decoded(headers, found, phase, skip_unreadable)
        if stack.resampling is not None:
            voxels = stack.resampling.apply(voxels)
    notes = list(stack.notes)
    if padded:
        notes.append(f"{padded} voxels outside what was imaged (padding) were set to the lowest value of the others.")
    source = _source(stack)
    if source is None:
        notes.append("Its images carry no unique SOP Instance UID, so no DICOM result can refer to them.")
    name = path.stem if path.is_file() and path.suffix else path.name
    if name.upper() == "DICOMDIR":
        name = path.resolve().parent.name
    return Volume(voxels, stack.geometry, stack.slices[0].modality, name, tuple(notes), source)


def _decoded(
    headers: list[SliceHeader], found: FoundFiles, phase: int | None, skip_unreadable: bool
) -> tuple[SliceStack, NDArray[Any], int]:
    """The stack, the voxels of its planes, and how many of them are padding; begins anew without a damaged file."""
    for _ in range(_MOST_DAMAGED):
        stack = build_stack(headers, found, phase, skip_unreadable)
        try:
            voxels, padded = decode_stack(stack.slices)
        except DamagedSlice as damage:
            if not skip_unreadable or damage.code in ("DECODING_LIMIT", "DECODING_FAILED"):
                raise
            headers = [header for header in headers if header.path != damage.header.path]
            found.skipped["unreadable"] += 1
            if not headers:
                raise
        else:
            return stack, voxels, padded
    raise InputError(
        "UNREADABLE",
        f"{_MOST_DAMAGED} files of the series are damaged, too many to go on without them.",
        "Copy or export the series again.",
    )


def _source(stack: SliceStack) -> tuple[SourceInstance, ...] | None:
    identities = [header.identity for header in stack.slices]
    if not all(uid for uid, _ in identities) or len(set(identities)) != len(identities):
        return None
    planes = [_instance(header) for header in stack.slices]
    nearest = range(len(planes)) if stack.resampling is None else stack.resampling.nearest.tolist()
    return tuple(planes[n] for n in nearest)


def _instance(header: SliceHeader) -> SourceInstance:
    return SourceInstance(str(header.path), header.sop_class_uid, header.sop_instance_uid, header.frame)


def _report(summary: SeriesSummary, found: FoundFiles, skip_unreadable: bool) -> SeriesReport:
    headers = found.series[summary.uid]
    try:
        stack = build_stack(headers, found, None, skip_unreadable)
    except InputError as error:
        if error.code != "MULTI_PHASE":
            return SeriesReport(summary, None, 0, error)
        try:
            first = build_stack(headers, found, 1, skip_unreadable)
        except InputError as second:
            return SeriesReport(summary, None, 0, second)
        return SeriesReport(summary, first.geometry, first.phases, error)
    return SeriesReport(summary, stack.geometry, stack.phases, None, tuple(stack.notes))
