"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..volume import Volume

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Scan = Annotated[
    Path,
    typer.Argument(
        help="DICOM folder, DICOMDIR or .zip; .nii(.gz), .nrrd, .mha, .mgz, MedSAM .npz; a PNG, JPEG or TIFF picture."
    ),
]
Series = Annotated[
    str | None, typer.Option(help="Series of a DICOM folder: its number in the list of medsamsegment info, or its UID.")
]
Phase = Annotated[
    int | None, typer.Option(help="Phase, echo or time point of a DICOM series that holds several, counted from 1.")
]
SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable", help="Leave out DICOM files that cannot be read, and fill missing slices between others."
    ),
]
Upright = Annotated[
    bool, typer.Option("--upright", help="Put a scan with gantry tilt on an upright grid; nothing changes for others.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Runtime = Annotated[
    str,
    typer.Option(
        help="What computes the heavy parts of large models: auto (the faster exact one, measured once), torch,"
        " openvino; torch-bf16 and openvino-bf16 are faster on processors with bfloat16 and change masks a little."
    ),
]
DiskCache = Annotated[
    int,
    typer.Option(
        min=0,
        help="Keep encoded slices on disk, up to so many MB: with a large model on a processor, a scan opened again"
        " is answered at once. 0: nothing is kept; medsamsegment models clean --encoded removes it.",
    ),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Your own weights for the model's architecture.")]
Window = Annotated[
    str, typer.Option(help="Grey values: auto, percentile, a CT preset such as liver or lung, or LEVEL/WIDTH.")
]
Strategy = Annotated[str, typer.Option(help="auto, propagate, per-slice or hybrid.")]
Plane = Annotated[str, typer.Option(help="auto (as acquired), axial, sagittal or coronal.")]
FullSlice = Annotated[bool, typer.Option("--full-slice", help="Show the model whole slices, not the box with context.")]
Official = Annotated[
    bool, typer.Option("--official", help="Do exactly what the model's published program does, to compare with it.")
]
NoCleanup = Annotated[bool, typer.Option("--no-cleanup", help="Keep the model's mask as it is.")]


def series_of(text: str | None) -> str | int | None:
    """A series option as the reader takes it: numbers count the listed series, anything else is a UID."""
    return int(text) if text is not None and text.isdigit() else text


def read_scan(
    scan: Path,
    series: str | None = None,
    phase: int | None = None,
    skip_unreadable: bool = False,
    upright: bool = False,
) -> Volume:
    """The scan that the options of a command name.

    Raises:
        MedSAMSegmentError: as :func:`~MedSAMSegmentLib.volume.read_volume`.
    """
    from ..volume import read_volume

    volume = read_volume(scan, series_of(series), phase=phase, skip_unreadable=skip_unreadable)
    if upright:
        from ..volume.upright import upright as stand_up

        volume = stand_up(volume)
    return volume
