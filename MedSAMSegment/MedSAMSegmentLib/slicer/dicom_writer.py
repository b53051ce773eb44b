"""The process behind :mod:`.dicom_export`: reads the images, puts the masks on them, writes and compares.

Its folder holds ``order.json`` and the masks; its answer is one JSON object on standard output.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MedSAMSegmentError
from ..export import Algorithm, ExportedObject, WriteOptions, write_results
from ..export.dicom_source import sorted_planes
from ..export.terminology import stored_terminology
from ..volume import Geometry, Volume, read_volume
from ..volume.acquisition import acquired_planes, mask_from_planes
from ..volume.readers.segments.label_files import slicer_codes
from ..volume.readers.segments.placement import place
from ..volume.readers.segments.rtstruct import image_planes

#: Directions agree when the cosine between them is at least this.
_ALONG = 0.9999


def main() -> None:
    """Do the order of the folder that the command line names."""
    try:
        answer: dict[str, Any] = {"notes": write_order(Path(sys.argv[1]))}
    except MedSAMSegmentError as error:
        answer = {"error": error.as_dict()}
    except Exception as error:
        # Only the kind of the error: its text could quote what a file holds.
        text = f"Something went wrong that this program did not foresee ({type(error).__name__})."
        answer = {"error": {"code": "UNEXPECTED", "message": text, "hint": "Report it."}}
    sys.stdout.write(json.dumps(answer) + "\n")


def write_order(folder: Path) -> list[str]:
    """Write what ``order.json`` in a folder asks for; returns remarks for the user.

    Raises:
        MedSAMSegmentError: as :func:`.dicom_export.export_dicom`.
    """
    order = json.loads((folder / "order.json").read_text("utf-8"))
    volume = read_volume(_gathered(order["images"], folder / "images"), skip_unreadable=True)
    shape = order["shape"]
    grid = Geometry((shape[0], shape[1], shape[2]), np.array(order["affine"]))
    objects = []
    for item in order["segments"]:
        block, offset = np.load(folder / item["mask"], allow_pickle=False), item["offset"]
        mask = np.zeros(shape, bool)
        mask[tuple(slice(first, first + size) for first, size in zip(offset, block.shape, strict=True))] = block
        colour = tuple(item["colour"])
        objects.append(
            ExportedObject(
                item["name"],
                on_scan(mask, grid, volume),
                colour=colour,
                tracking_uid=item["tracking_uid"],
                codes=stored_terminology(slicer_codes(item["terminology"]), colour),
            )
        )
    options = WriteOptions(algorithm=_algorithm(order["segments"]))
    return list(write_results(order["targets"], volume, objects, options).notes)


def on_scan(mask: np.ndarray, grid: Geometry, volume: Volume) -> np.ndarray:
    """A mask of a volume in Slicer on the grid of the same scan, read from its files.

    Slicer lays leaning and uneven slices out as an even, upright stack.  A mask is drawn on the pixels of slices, so
    where both have the same slices it goes from slice to slice, whatever place Slicer gave them.

    Args:
        mask: bool (k, j, i).
        grid: of the volume in Slicer, LPS.
        volume: the scan.

    Raises:
        InputError: ``GEOMETRY_MISMATCH``.
    """
    planes = sorted_planes(acquired_planes(volume))
    first, shape = planes[0], (len(planes), *planes[0].shape)
    directions = grid.direction
    along = float(directions[:, 2] @ first.normal)
    alike = min(float(directions[:, 0] @ first.row), float(directions[:, 1] @ first.column)) > _ALONG
    if mask.shape == shape and alike:
        return mask_from_planes(mask if along > 0 else mask[::-1], planes, volume.geometry)
    frames = [(plane, part.view(np.uint8)) for plane, part in zip(image_planes(grid), mask, strict=True) if part.any()]
    placed, exact = place(frames, volume.geometry, ())
    if not exact:
        raise InputError(
            "GEOMETRY_MISMATCH",
            "The volume's voxels are not those of its DICOM images: it was cropped to parts of voxels or resampled.",
            "Segment the volume as it was loaded, or export .seg.nrrd.",
        )
    return placed.astype(bool)


def _gathered(images: Sequence[str], folder: Path) -> Path:
    """The images of the scan in a folder of their own: where they lie there may be others."""
    folder.mkdir(0o700)
    for number, path in enumerate(images):
        name = folder / f"{number:06d}.dcm"
        try:
            os.link(path, name)
        except OSError:
            shutil.copyfile(path, name)
    return folder


def _algorithm(segments: Sequence[Mapping[str, Any]]) -> Algorithm:
    """What made the masks, as :func:`.bridge_segments.mark_algorithm` noted it; hand-drawn ones say nothing."""
    marked = next((item for item in segments if item["algorithm"]), None)
    if marked is None:
        return Algorithm("3D Slicer Segment Editor")
    name, _, version = str(marked["algorithm"]).rpartition(" ")
    return Algorithm(name or version, version if name else "", automatic=marked["algorithm_type"] == "AUTOMATIC")
