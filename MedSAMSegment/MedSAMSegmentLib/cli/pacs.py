"""``medsamsegment pacs``: find, get and send, over DIMSE and DICOMweb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .console import Output, new_table
from .options import Json

if TYPE_CHECKING:
    from ..pacs.query import Match
    from ..pacs.queue import Entry
    from ..pacs.sending import Delivery

app = typer.Typer(
    help="Find series in an archive, get them, and send results there (docs/pacs.md).", no_args_is_help=True
)

Archive = Annotated[str, typer.Argument(help="The archive's name in the configuration.")]
Configuration = Annotated[
    Path | None,
    typer.Option(help="The file that describes the archives; default $MEDSAMSEGMENT_PACS, else pacs.toml."),
]
QueueFolder = Annotated[Path | None, typer.Option("--queue", help="Folder of the queue of what is to be sent.")]
Study = Annotated[str, typer.Option(help="Study Instance UID.")]


@app.command("check")
def check_command(archive: Archive, configuration: Configuration = None, json: Json = False) -> None:
    """Ask an archive whether it answers us."""
    from ..pacs.client import open_client
    from ..pacs.configuration import find_archive

    output = Output(json)
    known = find_archive(archive, configuration)
    open_client(known).check()
    if known.tls is None:
        output.note("The connection is not encrypted.")
    output.say("The archive answers.")
    output.emit({"archive": archive, "answers": True, "encrypted": known.tls is not None})


@app.command("find")
def find_command(
    archive: Archive,
    patient: Annotated[str, typer.Option(help="Patient ID; * and ? stand for anything.")] = "",
    name: Annotated[str, typer.Option(help="Patient's name; * and ? stand for anything.")] = "",
    date: Annotated[str, typer.Option(help="Study date: YYYYMMDD, or from-to as YYYYMMDD-YYYYMMDD.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number.")] = "",
    modality: Annotated[str, typer.Option(help="CT, MR, PT, SEG, …")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID: lists its series.")] = "",
    series: Annotated[str, typer.Option(help="Series Instance UID.")] = "",
    level: Annotated[
        str, typer.Option(help="study, series or image, where it is not what the other options say.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most matches.")] = 200,
    configuration: Configuration = None,
    json: Json = False,
) -> None:
    """List studies, or the series of a study, on stdout. This shows patients' data."""
    from rich.text import Text

    from ..pacs.backoff import with_retries
    from ..pacs.client import open_client
    from ..pacs.configuration import find_archive
    from ..pacs.query import COLUMNS, query_for

    output = Output(json)
    deeper = bool(study or series) or level.upper() in ("SERIES", "IMAGE")
    terms = {
        "PatientID": patient,
        "PatientName": name,
        "StudyDate": date,
        "AccessionNumber": accession,
        "Modality" if deeper else "ModalitiesInStudy": modality,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
    }
    query = query_for(terms, level.upper(), limit)
    known = find_archive(archive, configuration)
    client = open_client(known)
    matches: list[dict[str, str]] = with_retries(lambda: client.find(query), known.attempts, known.wait)
    if matches:
        # What was given is not repeated in every line.
        columns = [key for key in COLUMNS[query.level] if key not in (study and "StudyInstanceUID",)]
        columns = [column for column in columns if any(match[column] for match in matches)]
        table = new_table()
        for column in columns:
            table.add_column(_heading(column), overflow="fold", no_wrap=column.endswith("UID"))
        for match in matches:
            table.add_row(*(Text(match[column]) for column in columns))
        _print_wide(output, table, matches, columns)
    if not matches:
        output.note("Nothing was found.")
    elif len(matches) == limit:
        output.note(f"There may be more than these {limit}: --limit shows more.")
    output.emit({"archive": archive, "level": query.level.lower(), "matches": matches})


@app.command("get")
def get_command(
    archive: Archive,
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder to be made for the files.")],
    study: Study,
    series: Annotated[
        str, typer.Option(help="Series Instance UID; not needed where the study has one CT, MR or PET series.")
    ] = "",
    configuration: Configuration = None,
    json: Json = False,
) -> None:
    """Get a series into a new folder, which can then be segmented: complete, or not at all."""
    from ..pacs.backoff import with_retries
    from ..pacs.client import open_client
    from ..pacs.configuration import find_archive
    from ..pacs.fetching import choose_series, fetch_series

    output = Output(json)
    known = find_archive(archive, configuration)
    client = open_client(known)
    series = series or with_retries(lambda: choose_series(client, study), known.attempts, known.wait)
    with output.progress("fetching") as update:
        count = fetch_series(
            client,
            study,
            series,
            output_folder,
            attempts=known.attempts,
            wait=known.wait,
            progress=lambda done, total: update(done, total, ""),
        )
    output.say(f"{count} objects are in {output_folder}, a folder only you may read.")
    output.emit({"archive": archive, "folder": str(output_folder), "objects": count})


@app.command("send")
def send_command(
    archive: Archive,
    files: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files. Without any, what waits in the queue is sent.")
    ] = None,
    queue: QueueFolder = None,
    configuration: Configuration = None,
    json: Json = False,
) -> int:
    """Send DICOM files through the queue, once each, and check what arrived.

    A LABELMAP segmentation the archive does not take is sent as BINARY. What cannot be sent now stays in the queue.
    """
    from ..pacs.binary_form import write_binary_form
    from ..pacs.client import open_client
    from ..pacs.configuration import find_archive
    from ..pacs.objects import read_facts
    from ..pacs.queue import VERIFIED, SendQueue
    from ..pacs.sending import Sender

    output = Output(json)
    known = find_archive(archive, configuration)
    # All files are looked at before any is put into the queue, and none where the archive cannot be used at all.
    facts = [read_facts(path) for path in files or []]
    client = open_client(known)
    waiting = SendQueue(_queue_folder(queue))
    there = 0
    for path, fact in zip(files or [], facts, strict=True):
        there += waiting.add(archive, path, fact).state == VERIFIED
    if there:
        output.note(f"{there} of these were sent and verified before; they are not sent again.")
    with output.progress("sending") as update:
        deliveries = Sender(known, client, waiting, write_binary_form).run(update)
    if known.verify != "content":
        output.note(f"As configured (verify = {known.verify}), what was sent is not read back.")
    left = sum(entry.state != VERIFIED for entry in waiting.entries(archive))
    summary = {
        "archive": archive,
        "verified": sum(delivery.error is None for delivery in deliveries),
        "already_there": there,
        "left": left,
        "objects": [_delivery(delivery) for delivery in deliveries],
    }
    replaced = sum(delivery.replaced and delivery.error is None for delivery in deliveries)
    if replaced:
        output.note(
            f"The archive takes no LABELMAP: {replaced} object(s) went under new identifiers, segmentations as BINARY,"
            " reports referring to that."
        )
    failed = [delivery.error for delivery in deliveries if delivery.error is not None]
    output.say(f"{summary['verified']} sent and verified, {left} left in the queue.")
    if not failed:
        output.emit(summary)
        return 0
    output.error(failed[0], **summary)
    return failed[0].exit_status


@app.command("queue")
def queue_command(
    queue: QueueFolder = None,
    forget: Annotated[
        list[int] | None, typer.Option(help="Take the entry of this number out of the queue, unsent or sent.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what was sent and what waits, by number and code; no patients' data."""
    from datetime import datetime

    from ..pacs.queue import SendQueue

    output = Output(json)
    waiting = SendQueue(_queue_folder(queue))
    if forget:
        with waiting.exclusive():
            known = {entry.id: entry for entry in waiting.entries()}
            for number in forget:
                if number not in known:
                    raise UsageError(
                        "NO_SUCH_ENTRY", f"The queue has no entry {number}.", "See: medsamsegment pacs queue"
                    )
                waiting.forget(known[number])
    entries = waiting.entries()
    table = new_table()
    for heading in ("number", "archive", "state", "attempts", "last failure", "changed"):
        table.add_column(heading, no_wrap=True)
    for entry in entries:
        changed = datetime.fromtimestamp(entry.changed).isoformat(" ", "seconds")
        table.add_row(str(entry.id), entry.archive, entry.state, str(entry.attempts), entry.code, changed)
    output.say(table if entries else "The queue is empty.")
    output.emit({"queue": str(waiting.folder), "entries": [_entry(entry) for entry in entries]})


def _queue_folder(given: Path | None) -> Path:
    if given is not None:
        return given
    from platformdirs import user_state_path

    return user_state_path("medsamsegment", appauthor=False) / "pacs-queue"


def _heading(keyword: str) -> str:
    return {
        "NumberOfStudyRelatedInstances": "objects",
        "NumberOfSeriesRelatedInstances": "objects",
        "ModalitiesInStudy": "modalities",
        "StudyInstanceUID": "study UID",
        "SeriesInstanceUID": "series UID",
        "SOPInstanceUID": "object UID",
        "SOPClassUID": "class UID",
        "PatientBirthDate": "born",
        "PatientID": "patient",
        "PatientName": "name",
        "StudyDate": "date",
        "StudyDescription": "description",
        "AccessionNumber": "accession",
        "SeriesNumber": "series",
        "Modality": "modality",
        "SeriesDescription": "description",
        "InstanceNumber": "number",
    }[keyword]


def _print_wide(output: Output, table: Any, matches: Sequence[Match], columns: list[str]) -> None:
    """As wide as its content: UIDs are there to be copied, and a folded one cannot be."""
    from rich.cells import cell_len
    from rich.console import Console

    if output.json:
        return
    widths = [max(cell_len(text) for text in (_heading(column), *(m[column] for m in matches))) for column in columns]
    Console(width=sum(widths) + 3 * len(columns)).print(table, highlight=False)


def _delivery(delivery: Delivery) -> dict[str, Any]:
    error = delivery.error
    return {
        **_entry(delivery.entry),
        "sent_now": delivery.sent,
        "replaced": delivery.replaced,
        "error": error.as_dict() if error is not None else None,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.id,
        "archive": entry.archive,
        "state": entry.state,
        "attempts": entry.attempts,
        "code": entry.code,
    }
