"""``medsamsegment evaluate``: measure models and classical methods on scans with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CancelledError, OutputError, UsageError
from .console import Output, cancel_on_interrupt
from .options import Checkpoint, Device, FullSlice, Json, NoCleanup, Plane, Strategy, Window

if TYPE_CHECKING:
    from ..evaluation import Manifest, Method, Report
    from ..evaluation.sheets import WorstCases

BASELINE_NAMES = "filled-box, ellipsoid, otsu, random-walker, random-walker-core, histogram-prior"


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="JSON list of cases; evaluation/manifest.py describes it.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"A model's name, or a classical method: {BASELINE_NAMES}. Several allowed."),
    ] = None,
    jitter: Annotated[
        list[int] | None, typer.Option(min=0, help="Move in-plane box sides by up to so many voxels; several allowed.")
    ] = None,
    prompt: Annotated[
        str,
        typer.Option(
            help="What is drawn: box; on its largest slice: rectangle, diameter, slice (all of it); or rectangles on "
            "five slices."
        ),
    ] = "box",
    clicks: Annotated[
        int, typer.Option(min=0, help="Then click so many times on the largest error of every object.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the jitter.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for JSON, CSV, plots, pictures.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the data, in place of the manifest's.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Only this group; several allowed.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only cases whose name holds this text.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Of the surface Dice, mm.")] = 2.0,
    worst: Annotated[int, typer.Option(min=0, help="Pictures of so many worst objects a group.")] = 3,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    window: Window = "auto",
    strategy: Strategy = "auto",
    plane: Plane = "auto",
    full_slice: FullSlice = False,
    no_cleanup: NoCleanup = False,
    json: Json = False,
) -> int:
    """Segment every object of a manifest from one box (or what --prompt says) and compare with the truth.

    Prints Dice and surface Dice by group; with -o also writes results.json, objects.csv, box plots and pictures of the
    worst cases.
    """
    from ..evaluation import Correctable, load_manifest
    from ..evaluation.drawn import check_prompt
    from ..evaluation.methods import find_method

    printer = Output(json)
    cases = load_manifest(manifest, root).select(group or (), case or ())
    if output is not None:
        _make_folder(output)
    names = list(dict.fromkeys(method or ["embedded"]))
    amounts = list(dict.fromkeys(jitter or [0]))
    options = {
        "window": window,
        "strategy": strategy,
        "plane": plane,
        "full_slice": full_slice,
        "cleanup": not no_cleanup,
    }
    methods = {name: find_method(name, device=device, checkpoint=checkpoint, **options) for name in names}
    for name, chosen in methods.items():
        if (clicks or prompt != "box") and not isinstance(chosen, Correctable):
            hint = "Leave --clicks and --prompt out for it."
            raise UsageError("NOT_INTERACTIVE", f"{name} knows boxes only, and cannot be corrected by clicks.", hint)
    for amount in amounts:
        check_prompt(prompt, amount)
    runs = _Runs(printer, cases, prompt, clicks, seed, tolerance, worst if output is not None else 0)
    try:
        with cancel_on_interrupt() as cancel:
            for amount in amounts:
                for name in names:
                    runs.run(name, methods[name], amount, cancel)
    except ImportError as error:
        raise UsageError(
            "MISSING_PACKAGE",
            f"Evaluation needs the package {error.name}, which is not installed.",
            "Install it with: pip install 'medsamsegment[evaluation]'",
        ) from error
    return runs.finish(output)


class _Runs:
    """The reports made so far, and what is kept to draw the worst cases."""

    def __init__(
        self, printer: Output, cases: Manifest, prompt: str, clicks: int, seed: int, tolerance: float, worst: int
    ) -> None:
        self.printer = printer
        self.cases = cases
        self.prompt = prompt
        self.clicks = clicks
        self.seed = seed
        self.tolerance = tolerance
        self.reports: list[Report] = []
        self.kept = worst
        self.worst: dict[str, WorstCases] = {}

    def run(self, name: str, method: Method, jitter: int, cancel: Any) -> None:
        from ..evaluation import Correctable, evaluate_clicks
        from ..evaluation import evaluate as run_evaluation
        from ..evaluation.sheets import WorstCases

        if cancel():
            return
        worst = WorstCases(self.kept)
        boxes = "tight boxes" if jitter == 0 else f"boxes ± {jitter}"
        title = f"{name}, {boxes if self.prompt == 'box' else self.prompt}"
        with self.printer.progress(title) as progress:
            common: dict[str, Any] = {
                "jitter": jitter,
                "seed": self.seed,
                "tolerance_mm": self.tolerance,
                "name": name,
                "settings": getattr(method, "settings", None),
                "progress": lambda done, total, case: progress(done, total, f"{title}: {case}"),
                "observer": worst.add,
                "cancel": cancel,
            }
            if isinstance(method, Correctable) and (self.clicks or self.prompt != "box"):
                self.reports += evaluate_clicks(self.cases, method, self.clicks, prompt=self.prompt, **common)
            else:
                self.reports.append(run_evaluation(self.cases, method, **common))
        self.worst[f"{name}-jitter{jitter}"] = worst

    def finish(self, output: Path | None) -> int:
        """Print, write, and say how it ended."""
        from rich.text import Text

        from ..evaluation.table import results_table

        reports = [report for report in self.reports if report.scores]
        complete = len(reports) == len(self.reports) and all(report.complete for report in reports)
        by_jitter: dict[int, list[Report]] = {}
        for report in reports:
            by_jitter.setdefault(report.jitter, []).append(report)
        for same in by_jitter.values():
            self.printer.say(results_table(same))
        files = _write(output, reports, by_jitter, self.worst) if output is not None and reports else []
        for path in files:
            self.printer.say(Text(str(path)))
        summary = {"reports": [report.as_dict() for report in reports], "outputs": [str(path) for path in files]}
        if not complete:
            cancelled = CancelledError(hint="The objects measured so far are reported.")
            self.printer.error(cancelled, **summary)
            return cancelled.exit_status
        self.printer.emit(summary)
        return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "NO_FOLDER", f"The folder {folder} cannot be made: {error.strerror}.", "Choose another one with -o."
        ) from error


def _write(
    folder: Path, reports: list[Report], by_jitter: dict[int, list[Report]], worst: dict[str, WorstCases]
) -> list[Path]:
    from ..evaluation.plots import write_box_plots
    from ..evaluation.report import write_csv, write_json

    files = [folder / "results.json", folder / "objects.csv"]
    write_json(reports, files[0])
    write_csv(reports, files[1])
    for amount, same in by_jitter.items():
        path = folder / f"box-plots-jitter{amount}.png"
        write_box_plots(same, path)
        files.append(path)
    for name, kept in worst.items():
        pictures = folder / "worst" / name
        if kept.kept():
            _make_folder(pictures)
            files += kept.write(pictures)
    return files
