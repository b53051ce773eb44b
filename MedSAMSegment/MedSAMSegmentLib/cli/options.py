"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Scan = Annotated[
    Path,
    typer.Argument(help="DICOM folder, .nii(.gz), .nrrd, .mha, .mgz, MedSAM .npz, or a PNG, JPEG or TIFF picture."),
]
Series = Annotated[
    str | None, typer.Option(help="Series of a DICOM folder: its number in the list of a refusal, or its UID.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
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
