"""DICOM CT, MR and PET series, read strictly: a stack is either exactly what its files say, or refused with a code.

File names, instance numbers and slice thickness are never trusted; slices are ordered by their position along the
normal of the image plane (PS3.3 C.7.6.2). Three steps, one a file: ``headers`` finds the files and reads what matters
of them, ``stack`` chooses the series and proves that its slices form a regular grid, ``pixels`` decodes them. No
message holds a value of a data element: names of patients turn up in the strangest ones.
"""

from __future__ import annotations

from pathlib import Path

from ...volume import SourceInstance, Volume
from ..common import reading
from .headers import scan_files
from .pixels import decode_stack
from .stack import SeriesSummary, build_stack, choose_series, summarise_series

__all__ = ["SeriesSummary", "list_series", "read_dicom"]


def list_series(path: Path) -> list[SeriesSummary]:
    """The CT, MR and PET series under a folder, in the order of their numbers.

    Raises:
        InputError: ``UNREADABLE_DIRECTORY``, ``TOO_MANY_FILES``, ``BOMB``, ``UNREADABLE_FILE``.
    """
    with reading(path, "DICOM"):
        return summarise_series(scan_files(path))


def read_dicom(path: Path, series: str | int | None = None) -> Volume:
    """A series of a folder (its subfolders included), or one single-frame file as a volume of one slice.

    Args:
        path: folder or file. Symbolic links inside a folder are not followed.
        series: the series to take: its number in the list of :func:`list_series`, or its Series Instance UID.

    Returns:
        The acquired slices along +normal, so i, j, k are right-handed. Rescaled values: HU for CT. ``source`` holds one
        instance a slice, or None where the files carry no unique SOP Instance UID.

    Raises:
        InputError: finding: ``UNREADABLE_DIRECTORY``, ``NO_SERIES``, ``AMBIGUOUS``, ``BAD_UID``, ``TOO_MANY_FILES``,
            ``TOO_BIG``, ``BOMB``; slices: ``NO_GEOMETRY``, ``BAD_ORIENTATION``, ``BAD_SPACING``, ``BAD_RESCALE``,
            ``BAD_PIXELS`` (colour, impossible size), ``MULTI_FRAME``; stack: ``MIXED``, ``DUP_POSITION``,
            ``MULTI_PHASE``, ``GAP``, ``NON_UNIFORM_SPACING``, ``GANTRY_TILT``; files: ``UNREADABLE`` (a file that may
            belong to the series cannot be read), ``TRUNCATED``, ``PIXELS`` (damaged, or a compression this installation
            cannot decode), ``UNREADABLE_FILE``.
    """
    with reading(path, "DICOM"):
        found = scan_files(path)
        chosen = choose_series(found, series)
        stack = build_stack(chosen, found)
        voxels = decode_stack(stack.slices)
    uids = [header.sop_instance_uid for header in stack.slices]
    notes = list(stack.notes)
    source = None
    if all(uids) and len(set(uids)) == len(uids):
        source = tuple(SourceInstance(str(s.path), s.sop_class_uid, s.sop_instance_uid) for s in stack.slices)
    else:
        notes.append("Its images carry no unique SOP Instance UID, so no DICOM result can refer to them.")
    return Volume(
        voxels,
        stack.geometry,
        stack.slices[0].modality,
        path.stem if path.is_file() else path.name,
        tuple(notes),
        source,
    )
