"""What commands make of a session's results: files, a table for people and a summary for machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Output, new_table

if TYPE_CHECKING:
    from ..inference import Session
    from ..volume import Window


def write_results(session: Session, targets: list[str], scan: Path) -> list[Path]:
    """Write every output once; objects the run did not reach are left out.

    Raises:
        OutputError: a file cannot be written.
    """
    from ..export import write_result
    from ..inference import labelmap

    results = session.results
    if not results:
        return []
    labels = labelmap(results)
    title = scan.name or scan.resolve().name
    subtitle = f"{session.model.name} · " + ", ".join(f"{r.name} {r.millilitres:.1f} ml" for r in results.values())
    return [
        write_result(
            target,
            session.volume,
            exported_objects(session),
            labels=labels,
            axis=session.plane.axis,
            window=shown_window(session),
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


def shown_window(session: Session) -> Window:
    """The grey values for pictures of the result: those the user chose; else those the network was shown.

    Where each object was shown the contrast of its own crop, the window holds them all.
    """
    from ..volume import Window

    tracks = [state.track for state in session.states.values() if state.track is not None]
    ranges = [track.window for track in tracks] or [session.intensities]
    if session.settings.window != "auto":
        ranges = [session.intensities]
    low, high = min(shown.low for shown in ranges), max(shown.high for shown in ranges)
    return Window.parse(f"{(low + high) / 2}/{high - low}")


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


def show_results(output: Output, session: Session, written: list[Path]) -> None:
    """A table of the objects, and the files."""
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
            output.note(f"Nothing was found where {result.name!r} was prompted.")
    output.say(table)
    for path in written:
        output.say(Text(str(path)))
