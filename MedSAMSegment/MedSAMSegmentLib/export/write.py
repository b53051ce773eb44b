"""One call for every format: the name of the file says which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import OutputError, UsageError
from ..volume import Volume, Window
from .atomic import atomic_path
from .contact_sheet import write_contact_sheet
from .nifti import write_nifti
from .objects import ExportedObject, check_objects, coloured, label_map
from .seg_nrrd import write_seg_nrrd
from .tile import Layer

SHEET_PREFIX = "sheet:"
FORMATS = ".nii.gz, .nii, .seg.nrrd or .png"


def output_format(target: str | Path) -> tuple[str, Path]:
    """The format and the path a user means.

    Args:
        target: a path ending in ``.nii.gz``, ``.nii``, ``.seg.nrrd`` or ``.png``; ``sheet:PATH.png`` asks for the
            contact sheet also where ``.png`` would be the mask of a 2-D picture.

    Returns:
        ``("nifti" | "seg.nrrd" | "png" | "sheet", path)``.

    Raises:
        UsageError: ``UNKNOWN_OUTPUT_FORMAT``.
    """
    text = str(target)
    if text.startswith(SHEET_PREFIX):
        path = Path(text[len(SHEET_PREFIX) :])
        if path.name.lower().endswith(".png"):
            return "sheet", path
    else:
        path = Path(text)
        for suffix, kind in ((".nii.gz", "nifti"), (".nii", "nifti"), (".seg.nrrd", "seg.nrrd"), (".png", "png")):
            if path.name.lower().endswith(suffix):
                return kind, path
    raise UsageError(
        "UNKNOWN_OUTPUT_FORMAT", f"{text!r} has no suffix of a format that can be written.", f"Use {FORMATS}."
    )


def check_output(target: str | Path) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: ``UNKNOWN_OUTPUT_FORMAT``.
        OutputError: ``NO_FOLDER`` when its folder does not exist, ``WRITE_FAILED`` when the name is that of a folder.
    """
    _, path = output_format(target)
    if not path.parent.is_dir():
        raise OutputError("NO_FOLDER", f"The folder {path.parent} does not exist.", "Create it or choose another one.")
    if path.is_dir():
        raise OutputError("WRITE_FAILED", f"{path} is a folder.", "Give a file name.")


def write_result(
    target: str | Path,
    volume: Volume,
    objects: Sequence[ExportedObject],
    *,
    labels: np.ndarray | None = None,
    axis: int | None = None,
    window: Window | None = None,
    title: str = "",
    subtitle: str = "",
) -> Path:
    """Write segmented objects in the format the name asks for.

    ``.nii(.gz)`` is a label map, ``.seg.nrrd`` a Slicer segmentation, ``.png`` a contact sheet; of a scan with a single
    slice ``.png`` is the label map as a palette picture.

    Args:
        target: see :func:`output_format`.
        volume: the scan.
        objects: what to write.
        labels: label map ``(k, j, i)`` for formats without overlap; default :func:`objects.label_map`.
        axis, window, title, subtitle: of the contact sheet.

    Returns:
        The path written.

    Raises:
        UsageError: unknown format, nothing to write, or a mask that does not fit the scan.
        OutputError: the file cannot be written; nothing is left behind and an existing file keeps its content.
    """
    kind, path = output_format(target)
    check_objects(volume, objects)
    if kind == "nifti":
        write_nifti(path, volume, objects, labels)
    elif kind == "seg.nrrd":
        write_seg_nrrd(path, volume, objects)
    elif kind == "png" and volume.voxels.shape[0] == 1:
        _write_picture_mask(path, objects, label_map(objects) if labels is None else labels)
    else:
        colours = coloured(objects)
        layers = [
            Layer(item.name, item.mask, colour, item.box, scores=dict(item.scores))
            for item, colour in zip(objects, colours, strict=True)
        ]
        write_contact_sheet(path, volume, layers, axis=axis, window=window, title=title, subtitle=subtitle)
    return path


def _write_picture_mask(path: Path, objects: Sequence[ExportedObject], labels: np.ndarray) -> None:
    """A PNG whose stored numbers are the labels and whose palette shows them in the objects' colours."""
    from PIL import Image

    if len(objects) > 255:
        raise UsageError(
            "TOO_MANY_OBJECTS", f"A PNG mask holds 255 objects, not {len(objects)}.", "Write .nii.gz instead."
        )
    picture = Image.fromarray(np.ascontiguousarray(labels[0].astype(np.uint8)))
    palette = [(0, 0, 0), *coloured(objects)]
    picture.putpalette([channel for colour in palette for channel in colour])
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
