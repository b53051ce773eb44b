"""``medsamsegment models``: which models there are, and what each may be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CheckpointError
from .console import Output, new_table
from .options import Json

if TYPE_CHECKING:
    from ..models.specification import ModelSpec

app = typer.Typer(help="List the models and show what is known of them.", invoke_without_command=True)


@app.callback()
def _default(context: typer.Context, json: Json = False) -> None:
    """List the models and show what is known of them."""
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
def info_command(
    name: Annotated[str, typer.Argument(help="A name of medsamsegment models list.")], json: Json = False
) -> None:
    """Show everything that is known of a model: licence, origin and size of its weights, preprocessing."""
    from rich.text import Text

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
        "size": f"{origin.bytes:,} bytes" if origin.bytes else "",
        "SHA-256": origin.sha256,
        "known from": origin.provenance,
        "notes": spec.notes,
    }
    table = new_table(headings=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        if value:
            table.add_row(key, Text(value))
    output.say(table)
    output.emit(_as_dict(spec))


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
