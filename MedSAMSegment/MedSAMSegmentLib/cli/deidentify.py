"""``medsamsegment deidentify``: a series without its patient, for results made with the same key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import Output
from .options import Json, Phase, Scan, Series, SkipUnreadable, read_scan

Key = Annotated[
    Path | None,
    typer.Option(
        "--deidentify",
        metavar="KEY",
        help="De-identify the DICOM files that are written (Basic Profile of DICOM PS3.15, not guaranteed). KEY is a"
        " file with a secret, made if there is none: files made with the same one belong together.",
    ),
]


def deidentify(
    scan: Scan,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the images.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", help="File with the secret, made if there is none; the same one gives the same new identifiers."
        ),
    ],
    series: Series = None,
    phase: Phase = None,
    skip_unreadable: SkipUnreadable = False,
    json: Json = False,
) -> int:
    """Copy a DICOM series without what says who the patient is (Basic Profile of DICOM PS3.15, not guaranteed).

    Pixels stay as they are. Results written by segment --deidentify with the same key belong to this copy.

    Example: medsamsegment deidentify DIR --key project.key -o anonymous
    """
    from ..export.deidentified_series import write_deidentified_series
    from ..export.deidentify import NOT_GUARANTEED, read_key

    console = Output(json)
    volume = read_scan(scan, series, phase, skip_unreadable)
    with console.progress("de-identifying") as progress:
        count = write_deidentified_series(output, volume, read_key(key), lambda done, total: progress(done, total, ""))
    notes = [
        NOT_GUARANTEED,
        "Pixels were not changed: faces can be made of scans of the head, and text may be burned in.",
        f"Keep {key.name} as you keep the patients' names, or delete it.",
    ]
    for note in notes:
        console.note(note)
    console.say(f"{output} ({count} files)")
    console.emit({"scan": str(scan), "output": str(output), "files": count, "notes": notes})
    return 0
