"""DICOM results of Slicer's segments by this program's own writers, which run in a process of their own.

Slicer's Python has neither highdicom nor the time: the masks, their names and the images they belong to are handed over
in a private folder, and :mod:`.dicom_writer` writes, reads back and compares.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..errors import InputError, MedSAMSegmentError, OutputError
from ..private_folder import private_folder
from .bridge_geometry import TO_LPS, index_to_node
from .bridge_segments import segment_block, segment_tag
from .worker_command import worker_command

_LOOK_SECONDS = 0.05


def export_dicom(
    targets: Sequence[str],
    segmentation_node: Any,
    volume_node: Any,
    segment_ids: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
    python: str | None = None,
    waiting: Callable[[], None] | None = None,
) -> tuple[str, ...]:
    """Write segments as DICOM objects on the images that a volume was loaded from.

    Args:
        targets: as ``medsamsegment segment -o`` takes them: ``seg.dcm``, ``labelmap:seg.dcm``, ``rtstruct:rt.dcm``,
            ``sr:report.dcm`` beside a segmentation, ``measurements.csv``.
        segmentation_node: a vtkMRMLSegmentationNode.
        volume_node: the scan, loaded from DICOM.
        segment_ids: which segments; all by default.
        files: the DICOM files of the scan; by default those that Slicer's DICOM database, or else the volume's storage
            node, knows.
        python: the interpreter; by default Slicer's.
        waiting: called many times a second until it is done, to keep the GUI alive.

    Returns:
        Remarks for the user, one sentence each.

    Raises:
        InputError: ``NO_RESULTS``, ``NOT_FROM_DICOM``, ``SOURCE_GONE``, ``GEOMETRY_MISMATCH``, and those of
            :func:`~.bridge_segments.segment_block` and of reading the images.
        OutputError: the files could not be written, or did not read back; ``EXPORT_FAILED`` where the process ended
            without a word.
    """
    segmentation = None if segmentation_node is None else segmentation_node.GetSegmentation()
    count = 0 if segmentation is None else segmentation.GetNumberOfSegments()
    chosen = [segmentation.GetNthSegmentID(n) for n in range(count)] if segment_ids is None else list(segment_ids)
    if not chosen:
        raise InputError("NO_RESULTS", "There is nothing to export.", "Segment an object first.")
    images = source_files(volume_node) if files is None else list(files)
    with private_folder() as folder:
        segments = []
        for number, segment_id in enumerate(chosen):
            mask, offset = segment_block(segmentation_node, segment_id, volume_node)
            name = f"mask-{number}.npy"
            with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                np.save(stream, mask, allow_pickle=False)
            segments.append({"mask": name, "offset": list(offset), **_described(segmentation.GetSegment(segment_id))})
        width, height, depth = volume_node.GetImageData().GetDimensions()
        order = {
            "targets": list(targets),
            "images": [str(path) for path in images],
            "shape": [depth, height, width],
            "affine": (TO_LPS @ index_to_node(volume_node)).tolist(),
            "segments": segments,
        }
        (folder / "order.json").write_text(json.dumps(order), "utf-8")
        return _written(folder, python, waiting)


def source_files(volume_node: Any) -> list[str]:
    """The DICOM files that a volume was loaded from.

    Raises:
        InputError: ``NOT_FROM_DICOM``, ``SOURCE_GONE``.
    """
    uids = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files: list[str] = []
    if uids and database is not None:
        files = [str(database.fileForInstance(uid) or "") for uid in uids]
    elif volume_node.GetStorageNode() is not None:
        storage = volume_node.GetStorageNode()
        files = [storage.GetFullNameFromFileName()]
        files += [storage.GetFullNameFromNthFileName(n) for n in range(storage.GetNumberOfFileNames())]
        files = [path for path in dict.fromkeys(files) if path and _is_dicom(path)]
    if not files:
        raise InputError(
            "NOT_FROM_DICOM",
            "The scan was not read from DICOM, so there is no study that a DICOM result could belong to.",
            "Export .seg.nrrd or NIfTI instead.",
        )
    if not all(os.path.isfile(path) for path in files):
        raise InputError(
            "SOURCE_GONE",
            "The images of the scan are not in Slicer's DICOM database any more.",
            "Import them again in the DICOM module.",
        )
    return files


def _is_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return path.lower().endswith(".dcm")


def _described(segment: Any) -> dict[str, Any]:
    """Name, colour and tags of a segment as plain values."""
    return {
        "name": segment.GetName(),
        "colour": [round(part * 255) for part in segment.GetColor()],
        "terminology": segment_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName()),
        "algorithm": segment_tag(segment, "DICOM.SegmentAlgorithmName"),
        "algorithm_type": segment_tag(segment, "DICOM.SegmentAlgorithmType"),
        "tracking_uid": segment_tag(segment, "TrackingUniqueIdentifier"),
    }


def _written(folder: Path, python: str | None, waiting: Callable[[], None] | None) -> tuple[str, ...]:
    """Run the writer and take its answer."""
    hidden = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    command = worker_command(str(folder), python, "dicom_writer")
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, creationflags=hidden
        )
    except OSError:
        raise _failed() from None
    with process:
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=_LOOK_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if waiting is not None:
                        waiting()
        except BaseException:
            process.kill()
            raise
    try:
        answer = json.loads(output)
    except ValueError:
        raise _failed() from None
    if "error" in answer:
        error = answer["error"]
        raise MedSAMSegmentError(error["code"], error["message"], error["hint"])
    return tuple(answer["notes"])


def _failed() -> OutputError:
    return OutputError(
        "EXPORT_FAILED", "The process that writes DICOM files ended early.", "Install what is missing, or try again."
    )
