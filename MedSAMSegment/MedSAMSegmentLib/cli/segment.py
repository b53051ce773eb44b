"""``medsamsegment segment``: boxes on a scan become masks in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CancelledError, UsageError
from .console import Output, cancel_on_interrupt, new_table
from .options import (
    Checkpoint,
    Device,
    FullSlice,
    Json,
    NoCleanup,
    Plane,
    Scan,
    Series,
    Strategy,
    Window,
    series_of,
)

if TYPE_CHECKING:
    from ..inference import Session
    from ..volume import Volume


def segment(
    scan: Scan,
    outputs: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            help="File to write, several allowed: .nii.gz or .nii (label map), .seg.nrrd (Slicer), .png (contact sheet;"
            " of a 2-D picture the mask, and sheet:FILE.png the contact sheet).",
        ),
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(help="x0,y0,z0,x1,y1,z1; by default voxel ranges i0,j0,k0,i1,j1,k1, upper end exclusive."),
    ] = None,
    space: Annotated[str, typer.Option(help="What --box counts in: ijk, or mm in lps or ras.")] = "ijk",
    roi: Annotated[list[Path] | None, typer.Option(help="3D Slicer ROI file (.mrk.json).")] = None,
    prompts: Annotated[list[Path] | None, typer.Option(help="JSON file with named boxes and clicks.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Name of an object; one for each --box, then --roi.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model, see medsamsegment models.")] = None,
    checkpoint: Checkpoint = None,
    window: Window = "auto",
    device: Device = "auto",
    strategy: Strategy = "propagate",
    plane: Plane = "auto",
    full_slice: FullSlice = False,
    no_cleanup: NoCleanup = False,
    session: Annotated[
        Path | None,
        typer.Option(help="With boxes: save prompts and settings here. Without: repeat the session saved here."),
    ] = None,
    series: Series = None,
    json: Json = False,
) -> int:
    """Segment what the boxes hold and write the masks.

    Example: medsamsegment segment scan.nii.gz --box 120,80,30,190,150,52 --label liver -o liver.seg.nrrd -o liver.png
    """
    from ..export import check_output
    from ..volume import Window as IntensityWindow
    from ..volume import read_volume
    from .boxes import check_space, collect_objects

    output = Output(json)
    prompted = bool(box or roi or prompts)
    if not prompted and session is None:
        raise UsageError("NO_BOX", "There is nothing to segment.", "Give a --box, a --roi, --prompts or a --session.")
    choices = _Choices(model, checkpoint, window, device, strategy, plane, full_slice, no_cleanup)
    if not prompted:
        choices.refuse_settings()
    # Whatever can be refused without reading the scan is refused first.
    check_space(space)
    IntensityWindow.parse(window)
    for target in outputs:
        check_output(target)

    volume = read_volume(scan, series_of(series))
    for text in volume.notes:
        output.note(text)
    if session is not None and not prompted:
        from ..inference import Session

        job = Session.load(session, volume, model, device, checkpoint)
    else:
        objects = collect_objects(volume.geometry, box or (), space, roi or (), prompts or (), label or ())
        job = choices.session(volume)
        for item in objects:
            job.add_object(item.name, item.box)
            for position, inside in item.points:
                job.add_points(item.name, [position], inside)
        if session is not None:
            job.save(session)
    cancelled = _run(output, job)
    written = _write(job, outputs, scan)
    summary = summarise(job, scan, written)
    if cancelled is not None:
        output.error(cancelled, **summary)
        return cancelled.exit_status
    _show(output, job, written)
    output.emit(summary)
    return 0


@dataclass(frozen=True)
class _Choices:
    """The options that decide how a session segments."""

    model: str | None
    checkpoint: Path | None
    window: str
    device: str
    strategy: str
    plane: str
    full_slice: bool
    no_cleanup: bool

    def refuse_settings(self) -> None:
        """A session file brings its own settings.  Raises ``UsageError`` (``OPTION_CONFLICT``)."""
        given = {
            "--window": self.window != "auto",
            "--strategy": self.strategy != "propagate",
            "--plane": self.plane != "auto",
            "--full-slice": self.full_slice,
            "--no-cleanup": self.no_cleanup,
        }
        conflict = next((name for name, is_given in given.items() if is_given), None)
        if conflict is not None:
            raise UsageError(
                "OPTION_CONFLICT", f"{conflict} is decided by the session file.", "Leave it out, or give new boxes."
            )

    def session(self, volume: Volume) -> Session:
        from ..inference import Session

        return Session(
            volume,
            self.model or "embedded",
            self.device,
            checkpoint=self.checkpoint,
            window=self.window,
            plane=self.plane,
            strategy=self.strategy,
            full_slice=self.full_slice,
            cleanup=not self.no_cleanup,
        )


def _run(output: Output, session: Session) -> CancelledError | None:
    """Segment every object; a cancelled run keeps what is done."""
    with cancel_on_interrupt() as cancel, output.progress("segmenting") as progress:
        try:
            session.segment(None, progress, cancel)
        except CancelledError as error:
            return error
    return None


def _write(session: Session, targets: list[str], scan: Path) -> list[Path]:
    """Write every output once; objects the run did not reach are left out."""
    from ..export import write_result
    from ..inference import labelmap
    from ..volume import Window as IntensityWindow

    results = session.results
    if not results:
        return []
    labels = labelmap(results)
    low, high = session.intensities
    window = IntensityWindow.parse(f"{(low + high) / 2}/{high - low}")
    title = scan.name or scan.resolve().name
    subtitle = f"{session.model.name} · " + ", ".join(f"{r.name} {r.millilitres:.1f} ml" for r in results.values())
    return [
        write_result(
            target,
            session.volume,
            exported_objects(session),
            labels=labels,
            axis=session.plane.axis,
            window=window,
            title=title,
            subtitle=subtitle,
        )
        for target in dict.fromkeys(targets)
    ]


def exported_objects(session: Session) -> list[Any]:
    """The session's results as the writers take them."""
    from ..export import ExportedObject

    return [
        ExportedObject(name, result.mask, session.box(name), result.scores) for name, result in session.results.items()
    ]


def summarise(session: Session, scan: Path, written: list[Path]) -> dict[str, Any]:
    """The machine-readable outcome."""
    return {
        "scan": str(scan),
        "model": session.model.as_dict(),
        "settings": session.settings.as_dict(),
        "notes": list(session.volume.notes),
        "objects": [
            {
                "name": result.name,
                "complete": result.complete,
                "voxels": result.voxels,
                "millilitres": round(result.millilitres, 4),
                "key_slice": result.key_slice,
                "slices_for_review": list(result.slices_for_review()),
                "scores": {str(index): round(score, 4) for index, score in sorted(result.scores.items())},
                "seconds": {stage: round(value, 4) for stage, value in result.timings.items()},
            }
            for result in session.results.values()
        ],
        "outputs": [str(path) for path in written],
    }


def _show(output: Output, session: Session, written: list[Path]) -> None:
    from rich.text import Text

    table = new_table()
    for heading in ("object", "voxels", "ml", "seconds", "look again at slice"):
        table.add_column(heading, justify="left" if heading == "object" else "right")
    for result in session.results.values():
        table.add_row(
            Text(result.name),
            f"{result.voxels:,}",
            f"{result.millilitres:.1f}",
            f"{result.timings.get('total', 0.0):.1f}",
            ", ".join(map(str, result.slices_for_review())),
        )
        if result.voxels == 0:
            output.note(f"Nothing was found in the box of {result.name!r}.")
    output.say(table)
    for path in written:
        output.say(Text(str(path)))
