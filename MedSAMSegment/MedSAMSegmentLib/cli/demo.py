"""``medsamsegment demo``: from a computed CT to masks, files and a picture, offline, in under a minute."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CancelledError, OutputError
from .console import Output, cancel_on_interrupt, new_table
from .options import Device, Json

if TYPE_CHECKING:
    from ..inference import Session
    from ..phantom import Phantom
    from ..volume import OrientedBox

OBJECTS = ("liver", "liver tumour", "left kidney", "spleen")


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("medsamsegment-demo"),
    model: Annotated[str, typer.Option(help="Name of a model, see medsamsegment models.")] = "embedded",
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Another seed, another abdomen.", min=0)] = 0,
    json: Json = False,
) -> int:
    """Segment a computed abdominal CT from one box an organ, and compare the masks with the truth.

    Writes the scan, the boxes, the masks (NIfTI and Slicer segmentation) and a picture.
    """
    from ..inference import Session
    from ..phantom import make_phantom

    printer = Output(json)
    started = time.perf_counter()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "NO_FOLDER", f"The folder {output} cannot be made: {error.strerror}.", "Choose another one with -o."
        ) from error
    phantom = make_phantom(seed)
    boxes = {name: tight_box(phantom, name) for name in OBJECTS}
    session = Session(phantom.volume, model, device)
    for name, box in boxes.items():
        session.add_object(name, box)
    cancelled: CancelledError | None = None
    with cancel_on_interrupt() as cancel, printer.progress("segmenting") as progress:
        try:
            session.segment(None, progress, cancel)
        except CancelledError as error:
            cancelled = error
    scores = {name: _dice(session, phantom, name) for name in session.results}
    files = _write(session, phantom, output, scores)
    seconds = time.perf_counter() - started
    summary = {
        "model": session.model.as_dict(),
        "seed": seed,
        "dice": {name: round(value, 4) for name, value in scores.items()},
        "files": {kind: str(path) for kind, path in files.items()},
        "seconds": round(seconds, 2),
    }
    if cancelled is not None:
        printer.error(cancelled, **summary)
        return cancelled.exit_status
    _show(printer, session, scores, files, seconds)
    printer.emit(summary)
    return 0


def tight_box(phantom: Phantom, name: str) -> OrientedBox:
    """The box a careful user draws: just around the structure, two voxels larger in the plane."""
    import numpy as np

    from ..volume import OrientedBox

    mask = phantom.mask(name)
    ranges = []
    for axis, margin in ((2, 2), (1, 2), (0, 0)):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append((max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, mask.shape[axis])))
    (i0, i1), (j0, j1), (k0, k1) = ranges
    return OrientedBox.from_index_range(phantom.volume.geometry, i0, j0, k0, i1, j1, k1)


def _dice(session: Session, phantom: Phantom, name: str) -> float:
    import numpy as np

    mask, truth = session.results[name].mask, phantom.mask(name)
    return 2.0 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def _write(session: Session, phantom: Phantom, folder: Path, scores: dict[str, float]) -> dict[str, Path]:
    from ..export import SheetStyle, WriteOptions, write_nifti_array, write_results
    from ..inference import labelmap
    from ..volume import write_roi
    from .results import exported_objects, shown_window

    files = {"scan": folder / "phantom.nii.gz", "boxes": folder / "boxes.mrk.json", "session": folder / "session.json"}
    write_nifti_array(files["scan"], phantom.volume.voxels, phantom.volume.geometry, "computed phantom")
    write_roi(files["boxes"], [(name, session.box(name)) for name in OBJECTS])
    session.save(files["session"])
    if not session.results:
        return files
    masks = {
        "mask": folder / "mask.nii.gz",
        "segmentation": folder / "segmentation.seg.nrrd",
        "picture": folder / "picture.png",
    }
    sheet = SheetStyle(
        session.plane.axis,
        shown_window(session),
        f"{session.volume.name} · {session.model.name}",
        "Dice " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()),
    )
    options = WriteOptions(labelmap(session.results), sheet)
    write_results(list(masks.values()), session.volume, exported_objects(session), options)
    return files | masks


def _show(printer: Output, session: Session, scores: dict[str, float], files: dict[str, Path], seconds: float) -> None:
    from rich.text import Text

    table = new_table("one box an organ, compared with the truth")
    for heading in ("organ", "Dice", "ml", "seconds"):
        table.add_column(heading, justify="left" if heading == "organ" else "right")
    for name, value in scores.items():
        result = session.results[name]
        table.add_row(name, f"{value:.3f}", f"{result.millilitres:.1f}", f"{result.timings.get('total', 0.0):.1f}")
    printer.say(table)
    for kind, path in files.items():
        printer.say(Text.assemble((f"{kind:13s}", "dim"), str(path)))
    printer.say(Text(f"done in {seconds:.1f} s", style="dim"))
    printer.note(
        f"Now your own scan: medsamsegment info SCAN, then medsamsegment segment SCAN --box … -o mask.nii.gz\n"
        f"or this one again: medsamsegment segment {files['scan']} --roi {files['boxes']} -o mask.nii.gz"
    )
