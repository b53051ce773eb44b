"""``medsamsegment models``: which models there are, what each may be used for, and getting their weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CheckpointError, UsageError
from .console import Output, cancel_on_interrupt, new_table
from .options import Json

if TYPE_CHECKING:
    from ..checkpoints import CachedFile, DownloadTerms, Verification
    from ..models.specification import ModelSpec

_HELP = "List the models, get their weights, and check files of weights."

app = typer.Typer(help=_HELP, invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A name of medsamsegment models list.")]
AcceptChange = Annotated[
    bool,
    typer.Option("--accept-change", help="Take a file that differs from the one used before (no hash is published)."),
]


@app.callback(help=_HELP)
def _default(context: typer.Context, json: Json = False) -> None:
    """List the models where no command is given."""
    if context.invoked_subcommand is None:
        list_command(json)


@app.command("list")
def list_command(json: Json = False) -> None:
    """List the models by name; weights marked "here" are on this computer."""
    from rich.text import Text

    from ..checkpoints import list_models

    output = Output(json)
    specs = list_models()
    table = new_table()
    for heading in ("name", "what it is", "picture", "weights", "licence"):
        table.add_column(heading, no_wrap=heading in ("name", "weights"))
    for spec in specs:
        table.add_row(
            spec.name,
            Text(spec.title),
            str(spec.image_size),
            "here" if _path(spec) else "not here",
            spec.licence.identifier,
        )
    output.say(table)
    output.emit({"models": [_as_dict(spec) for spec in specs]})


@app.command("info")
def info_command(name: Name, json: Json = False) -> None:
    """Show everything that is known of a model: licence, origin and size of its weights, preprocessing."""
    from ..checkpoints import find_model

    output = Output(json)
    spec = find_model(name)
    path = _path(spec)
    origin = spec.checkpoint
    rows = {
        "name": spec.name,
        "title": spec.title,
        "architecture": spec.architecture,
        "picture": f"{spec.image_size} x {spec.image_size}, {spec.preprocessing.resize}",
        "licence": f"{spec.licence.identifier}. {spec.licence.summary}",
        "weights": path or f"not on this computer ({origin.file_name})",
        "offered at": origin.url or "comes with this program",
        "mirrors": " ".join(origin.mirrors),
        "size": f"{origin.bytes:,} bytes" if origin.bytes else _megabytes(origin.about_bytes, exact=False),
        "SHA-256": origin.sha256,
        "MD5": origin.md5,
        "XXH128": origin.xxh128,
        "known from": origin.provenance,
        "notes": spec.notes,
    }
    output.say(_facts(rows))
    output.emit(_as_dict(spec))


@app.command("download")
def download_command(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to licence and transfer without being asked.")] = False,
    accept_change: AcceptChange = False,
    json: Json = False,
) -> None:
    """Fetch a model's weights from its publisher, after showing licence, size and origin; goes on where it was."""
    from ..checkpoints import download

    output = Output(json)

    def agreed(terms: DownloadTerms) -> bool:
        _show_terms(terms)
        return yes or _confirmed("Download it and accept the licence?", "the download")

    with cancel_on_interrupt() as cancelled, _transfer_progress(name) as update:
        path = download(name, consent=agreed, progress=update, cancel=cancelled, accept_change=accept_change)
    output.say(f"The weights of '{name}' are here: {path}")
    output.emit({"model": name, "path": str(path), "bytes": path.stat().st_size})


@app.command("import")
def import_command(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The published file, brought from elsewhere.")],
    accept_change: AcceptChange = False,
    json: Json = False,
) -> None:
    """Check a weight file that you have and copy it to where its model is looked up; needs no network."""
    from ..checkpoints import import_file

    output = Output(json)
    path = import_file(name, file, accept_change=accept_change)
    output.say(f"The weights of '{name}' are here: {path}")
    output.emit({"model": name, "path": str(path), "bytes": path.stat().st_size})


@app.command("verify")
def verify_command(
    name_or_file: Annotated[
        str | None, typer.Argument(help="A model, or a file of weights. Default: all weights on this computer.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that a file shall fit.")] = None,
    json: Json = False,
) -> None:
    """Check weights: whole, safe to open, the published file, and every tensor as the model needs it."""
    from ..checkpoints import verify

    output = Output(json)
    if name_or_file is None:
        _verify_all(output)
        return
    report = verify(name_or_file, model=model)
    rows = {
        "file": str(report.path),
        "size": f"{report.bytes:,} bytes, {report.tensors} tensors, none missing, none left over",
        "SHA-256": report.sha256,
        "published as": report.published_as,
        "known from": report.known_from,
        "loads as": ", ".join(report.fits),
    }
    output.say(_facts(rows))
    output.emit(_verification(report))


@app.command("clean")
def clean_command(
    names: Annotated[list[str] | None, typer.Argument(help="Models whose weights are deleted. Default: all.")] = None,
    interrupted: Annotated[
        bool, typer.Option("--interrupted", help="Only what interrupted downloads left behind.")
    ] = False,
    encoded: Annotated[
        bool, typer.Option("--encoded", help="Instead of weights: slices kept by --disk-cache, OpenVINO's networks.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without being asked.")] = False,
    json: Json = False,
) -> None:
    """Show what downloaded and imported weights take on the disk, and delete them."""
    from ..checkpoints import cache, clean, find_model

    output = Output(json)
    if encoded:
        if names or interrupted:
            raise UsageError("OPTION_CONFLICT", "--encoded is about no model.", "Leave the others out.")
        _clean_kept(output, yes)
        return
    for name in names or []:
        find_model(name)
    content = cache()
    chosen = [
        file for file in content.files if (not names or file.model in names) and not (interrupted and file.complete)
    ]
    table = new_table()
    for heading in ("model", "size", "file"):
        table.add_column(heading, no_wrap=heading != "file", justify="right" if heading == "size" else "left")
    for file in chosen:
        table.add_row(file.model, _megabytes(file.bytes), file.path.name + ("" if file.complete else " (interrupted)"))
    if chosen:
        output.say(table)
    output.say(f"{content.folder}: {_megabytes(content.bytes)} in {len(content.files)} files")
    removed: tuple[CachedFile, ...] = ()
    if chosen and (yes or _confirmed(f"Delete {len(chosen)} of them?", "the deletion")):
        removed = clean(names or None, interrupted)
        output.say(f"Deleted: {_megabytes(sum(file.bytes for file in removed))} in {len(removed)} files")
    files = [{"model": file.model, "path": str(file.path), "bytes": file.bytes} for file in removed]
    output.emit({"folder": str(content.folder), "deleted": files})


def _clean_kept(output: Output, yes: bool) -> None:
    """What was kept to be faster the next time."""
    from ..inference import EncodedOnDisk, encoded_folder
    from ..inference.openvino_graph import converted_graphs
    from ..inference.runtime_record import runtime_folder

    kept, graphs = EncodedOnDisk(encoded_folder(), 0), converted_graphs()
    converted = sum(path.stat().st_size for path in graphs)
    size, removed = kept.bytes + converted, 0
    output.say(f"{kept.folder}: {_megabytes(kept.bytes)} of encoded slices")
    output.say(f"{runtime_folder()}: {_megabytes(converted)} of converted networks")
    if size and (yes or _confirmed("Delete them?", "the deletion")):
        kept.clear()
        for path in graphs:
            path.unlink(missing_ok=True)
        removed = size
        output.say(f"Deleted: {_megabytes(size)}")
    output.emit({"folders": [str(kept.folder), str(runtime_folder())], "deleted_bytes": removed})


def _verify_all(output: Output) -> None:
    """Every file on this computer; the first fault decides the exit status."""
    from ..checkpoints import cache, list_models, verify

    here = {file.model for file in cache().files if file.complete}
    results: list[dict[str, Any]] = []
    faults: list[CheckpointError] = []
    for spec in list_models():
        if not spec.checkpoint.is_bundled and spec.name not in here:
            continue
        try:
            report = verify(spec.name)
        except CheckpointError as error:
            faults.append(error)
            results.append({"model": spec.name, "ok": False, "error": error.as_dict()})
            output.say(f"{spec.name}: {error.code}")
        else:
            results.append({"model": spec.name, "ok": True, **_verification(report)})
            output.say(f"{spec.name}: as it should be ({report.tensors} tensors; {report.known_from})")
    if faults:
        output.error(faults[0], files=results)
        raise typer.Exit(CheckpointError.exit_status)
    output.emit({"files": results})


def _confirmed(question: str, what: str) -> bool:
    """The user's answer.

    Raises:
        UsageError: ``CONSENT_NEEDED`` where nobody can answer.
    """
    if not sys.stdin.isatty():
        raise UsageError("CONSENT_NEEDED", f"Nobody is there to agree to {what}.", "Add --yes if you agree.")
    return typer.confirm(question, err=True)


def _show_terms(terms: DownloadTerms) -> None:
    """What is agreed to, on stderr; also with ``--yes``, since it belongs in the log."""
    from .console import console

    others = f" (if that fails: {', '.join(terms.hosts[1:])})" if terms.hosts[1:] else ""
    rows = {
        "weights": f"{terms.title} ({terms.file_name})",
        "licence": f"{terms.licence.identifier}. {terms.licence.summary}",
        "size": _megabytes(terms.bytes, terms.bytes_are_exact) or "not known",
        "from": terms.hosts[0] + others,
        "to": str(terms.folder),
        "check": terms.checked_by,
        "sent": "the request for this file and nothing else; the server sees this computer's network address",
    }
    console().print(_facts(rows))


@contextmanager
def _transfer_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with size and speed on stderr; it appears with the first bytes, after the user was asked."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from .console import console

    stream = console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=stream, transient=True, disable=not stream.is_terminal)
    task = bar.add_task(name, total=None)

    def update(done: int, total: int | None) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        bar.stop()


def _facts(rows: dict[str, str]) -> Any:
    """A table of what is known, without empty lines."""
    from rich.text import Text

    table = new_table(headings=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        if value:
            table.add_row(key, Text(value))
    return table


def _verification(report: Verification) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "bytes": report.bytes,
        "sha256": report.sha256,
        "tensors": report.tensors,
        "fits": list(report.fits),
        "published_as": report.published_as,
        "known_from": report.known_from,
    }


def _megabytes(size: int | None, exact: bool = True) -> str:
    """A size in words; empty where it is not known."""
    return "" if size is None else f"{'' if exact else 'about '}{size / 1e6:,.1f} MB"


def _path(spec: ModelSpec) -> str:
    """Where the weights are on this computer; empty when they are not."""
    from ..checkpoints import cached_checkpoint

    try:
        return str(cached_checkpoint(spec))
    except CheckpointError:
        return ""


def _as_dict(spec: ModelSpec) -> dict[str, Any]:
    path = _path(spec)
    return {**spec.to_dict(), "available": bool(path), "path": path}
