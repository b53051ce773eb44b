"""What commands make of a session's results: files, a table for people and a summary for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .console import Output, new_table

if TYPE_CHECKING:
    from ..export import Algorithm, ExportedObject, Written
    from ..export.deidentify import Deidentification
    from ..inference import Session
    from ..volume import Window
    from ..volume.readers.segments import StoredSegment


def write_session(
    session: Session,
    targets: Sequence[str],
    scan: Path,
    creator: str = "",
    priors: Mapping[str, StoredSegment] = MappingProxyType({}),
    deidentification: Deidentification | None = None,
) -> Written:
    """Write every output once; objects the run did not reach are left out.

    Args:
        session: with results.
        targets: as ``--output`` takes them.
        scan: what the session's scan was read from, for titles.
        creator: person who made the masks, for DICOM.
        priors: stored segments that objects of the same name continue.
        deidentification: for DICOM files; titles name no scan then, as folders are called by patients.

    Raises:
        OutputError: a file cannot be written.
    """
    from ..export import SheetStyle, WriteOptions, Written, output_format, write_results
    from ..inference import labelmap

    results = session.results
    if not results:
        return Written((), ())
    subtitle = f"{session.model.name} · " + ", ".join(f"{r.name} {r.millilitres:.1f} ml" for r in results.values())
    title = (scan.name or scan.resolve().name) if deidentification is None else "de-identified"
    options = WriteOptions(
        labelmap(results),
        SheetStyle(session.plane.axis, shown_window(session), title, subtitle),
        algorithm_of(session),
        creator,
        deidentification,
    )
    fractional = any(output_format(target)[0] == "FRACTIONAL" for target in targets)
    return write_results(targets, session.volume, exported_objects(session, fractional, priors), options)


def algorithm_of(session: Session) -> Algorithm:
    """What computes the session's masks, as DICOM objects record it."""
    from ..export import Algorithm
    from ..version import SOFTWARE_VERSION

    return Algorithm(session.model.name, SOFTWARE_VERSION, session.model.weights)


def exported_objects(
    session: Session, probabilities: bool = False, priors: Mapping[str, StoredSegment] = MappingProxyType({})
) -> list[ExportedObject]:
    """The session's results as the writers take them.

    Args:
        session: with results.
        probabilities: whether to add the network's probabilities, a whole volume an object.
        priors: stored segments that objects continue; they keep tracking identity, colour and codes.
    """
    from ..export import ExportedObject
    from ..export.terminology import stored_terminology

    objects = []
    for name, result in session.results.items():
        prior = priors.get(name)
        objects.append(
            ExportedObject(
                name,
                result.mask,
                session.box(name),
                result.scores,
                colour=prior.colour if prior else None,
                probabilities=result.probabilities() if probabilities else None,
                tracking_uid=prior.tracking_uid if prior else "",
                codes=stored_terminology(prior.codes, prior.colour) if prior else None,
            )
        )
    return objects


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


def summarise(session: Session, scan: Path, written: Sequence[Path], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The machine-readable outcome; ``notes`` are remarks beside those of the scan."""
    return {
        "scan": str(scan),
        "model": session.model.as_dict(),
        "runtime": session.runtime.name,
        "settings": session.settings.as_dict(),
        "notes": [*session.volume.notes, *notes],
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


def show_results(output: Output, session: Session, written: Sequence[Path]) -> None:
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
