"""``medsamsegment challenge``: a folder of challenge cases becomes a folder of segmentations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import CancelledError, InputError, MedSAMSegmentError, OutputError
from .console import Output, cancel_on_interrupt, new_table
from .options import Checkpoint, Device, Json, Official


def challenge(
    inputs: Annotated[Path, typer.Argument(help="Folder of .npz cases (imgs, boxes, clicks, scribbles, spacing).")],
    outputs: Annotated[Path, typer.Argument(help="Folder for .npz files of the same names (segs); made if need be.")],
    model: Annotated[str, typer.Option(help="Name of a model, see medsamsegment models.")] = "embedded",
    checkpoint: Checkpoint = None,
    official: Official = False,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Segment cases of the CVPR 2024 and 2025 challenges, for the organisers' evaluation programs.

    Reads imgs, boxes (of pictures, of volumes, or on the middle slice), clicks, scribbles (of pictures) and prev_pred;
    writes segs. A case that cannot be used is reported, and the rest goes on.

    Example: medsamsegment challenge imgs segs --model lite-medsam --official
    """
    from ..challenge import Solver, read_case, write_segmentation
    from ..checkpoints import load_model

    output = Output(json)
    cases = sorted(inputs.glob("*.npz")) if inputs.is_dir() else []
    if not cases:
        raise InputError("NO_CASES", f"There are no .npz files in {inputs}.", "Give the folder that holds the cases.")
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "NO_FOLDER", f"The folder {outputs} cannot be made: {error.strerror}.", "Choose another one."
        ) from error
    if outputs.resolve() == inputs.resolve():
        raise OutputError("SAME_FOLDER", "The segmentations would replace the cases.", "Choose another folder.")

    solver = Solver(load_model(model, checkpoint, device), official)
    solved: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    cancelled: CancelledError | None = None
    with cancel_on_interrupt() as cancel, output.progress("segmenting") as progress:
        for number, path in enumerate(cases):
            progress(number, len(cases), path.name)
            started = time.perf_counter()
            try:
                case = read_case(path)
                write_segmentation(outputs / path.name, solver.solve(case, cancel=cancel))
            except CancelledError as error:
                cancelled = error
                break
            except MedSAMSegmentError as error:
                failed.append({"case": path.name, "error": error.as_dict(), "exit_status": error.exit_status})
                output.note(f"{path.name}: {error.code} {error.message}")
                if isinstance(error, OutputError):
                    break
                continue
            seconds = time.perf_counter() - started
            solved.append({"case": path.name, "labels": len(case.labels), "seconds": round(seconds, 3)})
            if cancel():
                cancelled = CancelledError(hint="What was done so far is kept.")
                break
    summary = {"model": model, "official": official, "folder": str(outputs), "cases": solved, "failed": failed}
    _show(output, solved, outputs)
    if cancelled is not None:
        output.error(cancelled, **summary)
        return cancelled.exit_status
    if failed:
        worst = failed[0]
        failure = InputError(
            "CASES_FAILED",
            f"{len(failed)} of {len(cases)} cases could not be segmented, the first of them {worst['case']}.",
            "Each is named above with its reason; the others are done.",
        )
        output.error(failure, **summary)
        return max(entry["exit_status"] for entry in failed)
    output.emit(summary)
    return 0


def _show(output: Output, solved: list[dict[str, Any]], folder: Path) -> None:
    from rich.text import Text

    if not solved:
        return
    table = new_table()
    for heading in ("case", "labels", "seconds"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for entry in solved:
        table.add_row(Text(entry["case"]), str(entry["labels"]), f"{entry['seconds']:.1f}")
    output.say(table)
    output.say(Text(str(folder)))
