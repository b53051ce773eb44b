"""``medsamsegment terminology``: what names of objects mean in standard codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import Output, new_table
from .options import Json


def terminology(
    name: Annotated[str, typer.Argument(help="Name of a structure or lesion, or a part of one, with or without side.")],
    limit: Annotated[int, typer.Option(help="Show at most so many.")] = 10,
    json: Json = False,
) -> int:
    """Look up the SNOMED CT code that a --label is written with in DICOM files and in Slicer segmentations.

    Example: medsamsegment terminology "left kidney"
    """
    from ..export.terminology import search_terminology, terminology_for

    output = Output(json)
    found = search_terminology(name, limit)
    meaning = terminology_for(name)
    output.emit(
        {
            "name": name,
            "used": None
            if meaning is None
            else {
                "category": _code(meaning.category),
                "type": _code(meaning.type),
                "type_modifier": _code(meaning.type_modifier),
                "region": _code(meaning.region),
                "region_modifier": _code(meaning.region_modifier),
            },
            "found": [
                {"name": term.name, **(_code(term.code) or {}), "paired": term.paired, "synonyms": list(term.synonyms)}
                for term in found
            ],
        }
    )
    if meaning is None:
        output.note(f"{name!r} as a label gets no code of its own; it would be coded as tissue.")
    else:
        parts = [meaning.type, meaning.region, meaning.side]
        words = ", ".join(f"{part[1]} ({part[0]})" for part in parts if part is not None)
        output.note(f"{name!r} as a label is coded: {words}.")
    if found:
        table = new_table()
        for heading in ("name", "SNOMED CT", "meaning", "also"):
            table.add_column(heading)
        for term in found:
            sides = "left or right; " if term.paired else ""
            table.add_row(term.name, term.code[0], term.code[1], sides + ", ".join(term.synonyms))
        output.say(table)
    return 0


def _code(code: tuple[str, str] | None) -> dict[str, Any] | None:
    return None if code is None else {"code": code[0], "scheme": "SCT", "meaning": code[1]}
