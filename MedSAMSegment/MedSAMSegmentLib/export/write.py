"""One call for every format: the name of the file says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError, UsageError
from ..volume import Volume
from .atomic import atomic_path
from .contact_sheet import write_contact_sheet
from .nifti import write_nifti
from .objects import ExportedObject, check_objects, coloured, label_map
from .options import WriteOptions
from .seg_nrrd import write_seg_nrrd
from .tile import Layer

if TYPE_CHECKING:
    from .deidentify import Deidentification

#: What a target may begin with, the suffix its path then has, and the format it means.
_PREFIXES = {
    "sheet": (".png", "sheet"),
    "seg": (".dcm", "BINARY"),
    "labelmap": (".dcm", "LABELMAP"),
    "fractional": (".dcm", "FRACTIONAL"),
    "upright": (".dcm", "UPRIGHT"),
    "rtstruct": (".dcm", "rtstruct"),
    "sr": (".dcm", "sr"),
}
_SUFFIXES = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".seg.nrrd": "seg.nrrd",
    ".png": "png",
    ".dcm": "BINARY",
    ".csv": "measurements",
    ".json": "measurements",
}
SEGMENTATIONS = ("BINARY", "LABELMAP", "FRACTIONAL")
"""Formats that are DICOM segmentations, named as their Segmentation Type."""

DICOM_FORMATS = (*SEGMENTATIONS, "UPRIGHT", "rtstruct", "sr")
"""Formats that need a scan read from DICOM."""

FORMATS = (
    ".nii.gz, .nii, .seg.nrrd, .png, .dcm (DICOM segmentation), .csv or .json (measurements), or one of "
    "labelmap:, fractional:, upright:, rtstruct: or sr: in front of a .dcm"
)


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        paths: the files, in the order asked for.
        notes: what the user should know, one sentence each.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def output_format(target: str | Path) -> tuple[str, Path]:
    """The format and the path a user means.

    Args:
        target: a path with one of the suffixes of :data:`FORMATS`. ``sheet:PATH.png`` asks for the contact sheet also
            where ``.png`` would be the mask of a 2-D picture; ``labelmap:``, ``fractional:``, ``upright:``,
            ``rtstruct:`` and ``sr:`` say which DICOM object a ``.dcm`` is.

    Returns:
        ``"nifti"``, ``"seg.nrrd"``, ``"png"``, ``"sheet"``, ``"measurements"``, ``"BINARY"``, ``"LABELMAP"``,
        ``"FRACTIONAL"``, ``"UPRIGHT"``, ``"rtstruct"`` or ``"sr"``; and the path.

    Raises:
        UsageError: ``UNKNOWN_OUTPUT_FORMAT``.
    """
    text = str(target)
    prefix, colon, rest = text.partition(":")
    if colon and prefix in _PREFIXES:
        suffix, kind = _PREFIXES[prefix]
        if rest.lower().endswith(suffix):
            return kind, Path(rest)
    else:
        for suffix, kind in _SUFFIXES.items():
            if text.lower().endswith(suffix):
                return kind, Path(text)
    raise UsageError(
        "UNKNOWN_OUTPUT_FORMAT", f"{text!r} has no suffix of a format that can be written.", f"Use {FORMATS}."
    )


def check_output(target: str | Path) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        UsageError: ``UNKNOWN_OUTPUT_FORMAT``.
        OutputError: ``NO_FOLDER`` when its folder does not exist, ``WRITE_FAILED`` when the name is that of a folder,
            ``MISSING_PACKAGE`` when a library the format needs is not installed.
    """
    kind, path = output_format(target)
    if not path.parent.is_dir():
        raise OutputError("NO_FOLDER", f"The folder {path.parent} does not exist.", "Create it or choose another one.")
    if path.is_dir():
        raise OutputError("WRITE_FAILED", f"{path} is a folder.", "Give a file name.")
    if kind in DICOM_FORMATS:
        from .dicom_source import require

        require("contourpy" if kind == "rtstruct" else "highdicom")


def check_outputs(targets: Sequence[str | Path]) -> None:
    """Refuse outputs before any work is done for them.

    Raises:
        UsageError: as :func:`check_output`, ``SAME_FILE`` when two formats would go to one file,
            ``REPORT_WITHOUT_SEGMENTATION`` when a structured report has no segmentation to refer to.
        OutputError: as :func:`check_output`.
    """
    kinds: dict[Path, str] = {}
    for target in targets:
        check_output(target)
        kind, path = output_format(target)
        if kinds.setdefault(path.absolute(), kind) != kind:
            raise UsageError("SAME_FILE", f"Two results would be written to {path}.", "Give each its own file.")
    _check_report(list(kinds.values()))


def check_source(
    targets: Sequence[str | Path],
    volume: Volume,
    deidentification: Deidentification | None = None,
    names: Sequence[str] = (),
) -> None:
    """Refuse DICOM outputs of a scan that they could not refer to, before any work is done for them.

    Args:
        targets: see :func:`output_format`.
        volume: the scan.
        deidentification: as in :class:`~.options.WriteOptions`.
        names: of the objects, as far as they are known.

    Raises:
        InputError: ``NO_DICOM_SOURCE``, ``SOURCE_GONE``, ``NO_FRAME_OF_REFERENCE``, ``NO_STUDY``.
        UsageError: ``LABEL_IDENTIFIES``.
    """
    if any(output_format(target)[0] in DICOM_FORMATS for target in targets):
        from .dicom_source import dicom_source

        source = dicom_source(volume, deidentification)
        if source.identity is not None:
            from .deidentify import check_labels

            check_labels(names, source.identity)


def write_results(
    targets: Sequence[str | Path],
    volume: Volume,
    objects: Sequence[ExportedObject],
    options: WriteOptions | None = None,
) -> Written:
    """Write segmented objects in all formats asked for.

    ``.nii(.gz)`` is a label map, ``.seg.nrrd`` a Slicer segmentation, ``.png`` a contact sheet (of a scan with a single
    slice the label map as a palette picture), ``.dcm`` a DICOM segmentation, ``.csv`` and ``.json`` measurements.

    Args:
        targets: see :func:`output_format`; a target given twice is written once.
        volume: the scan.
        objects: what to write.
        options: label map, contact sheet, algorithm and creator.

    Raises:
        UsageError: unknown format, nothing to write, a mask that does not fit the scan, a structured report without a
            segmentation.
        InputError: a DICOM result of a scan it could not refer to.
        OutputError: a file cannot be written. It leaves nothing behind, an existing file keeps its content, and results
            written before it stay.
    """
    options = options or WriteOptions()
    wanted = [output_format(target) for target in dict.fromkeys(map(str, targets))]
    check_objects(volume, objects)
    _check_report([kind for kind, _ in wanted])
    if options.deidentification is not None:
        check_source(targets, volume, options.deidentification, [item.name for item in objects])
    notes: list[str] = []
    reference = None
    # Segmentations first: a structured report refers to one.
    for kind, path in sorted(wanted, key=lambda pair: pair[0] not in SEGMENTATIONS):
        if kind in SEGMENTATIONS:
            from .dicom_seg import write_dicom_seg

            segmentation = write_dicom_seg(path, volume, objects, kind, options)
            reference = reference or segmentation
            notes += segmentation.notes
        elif kind == "UPRIGHT":
            from .dicom_seg import write_dicom_seg

            notes += write_dicom_seg(path, volume, objects, kind, options).notes
        elif kind == "sr":
            from .structured_report import write_structured_report

            assert reference is not None  # _check_report saw to it
            notes += write_structured_report(path, volume, objects, reference, options)
        elif kind == "rtstruct":
            from .rtstruct import write_rtstruct

            notes += write_rtstruct(path, volume, objects, options)
        elif kind == "measurements":
            from .measurements import write_measurements

            write_measurements(path, volume, objects, options.algorithm)
        elif kind == "nifti":
            write_nifti(path, volume, objects, options.labels)
        elif kind == "seg.nrrd":
            write_seg_nrrd(path, volume, objects)
        elif kind == "png" and volume.voxels.shape[0] == 1:
            _write_picture_mask(path, objects, label_map(objects) if options.labels is None else options.labels)
        else:
            layers = [
                Layer(item.name, item.mask, colour, item.box, scores=dict(item.scores))
                for item, colour in zip(objects, coloured(objects), strict=True)
            ]
            write_contact_sheet(path, volume, layers, options.sheet)
    return Written(tuple(path for _, path in wanted), tuple(dict.fromkeys(notes)))


def write_result(
    target: str | Path, volume: Volume, objects: Sequence[ExportedObject], options: WriteOptions | None = None
) -> Path:
    """Write segmented objects in one format; as :func:`write_results`, and returns the path."""
    return write_results([target], volume, objects, options).paths[0]


def _check_report(kinds: Sequence[str]) -> None:
    if "sr" in kinds and not set(kinds) & set(SEGMENTATIONS):
        raise UsageError(
            "REPORT_WITHOUT_SEGMENTATION",
            "A structured report refers to a segmentation, and none is written.",
            "Write one beside it: -o FILE.dcm",
        )


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
