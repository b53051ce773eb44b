"""Checks JSON against a schema and names the place of the first fault.

Of JSON Schema (draft 2020-12) it knows what this program's own schemas use: ``type``, ``enum``, ``required``,
``properties``, ``additionalProperties: false``, ``items``, ``minItems``, ``maxItems``, ``minLength``, ``minimum`` and
``$ref`` to ``#/$defs``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "number": "a number",
    "integer": "a whole number",
}


def first_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What is wrong, such as ``objects[0].points[1].position must have 3 entries``, or ``None``."""
    return _fault(value, schema, schema, "")


def _fault(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    if "$ref" in schema:
        return _fault(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    here = place or "the file"
    if "enum" in schema and value not in schema["enum"]:
        return f"{here} must be one of {', '.join(schema['enum'])}"
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        return f"{here} must be {_TYPES[kind]}"
    if kind == "object":
        return _object_fault(value, schema, root, place)
    if kind == "array":
        return _array_fault(value, schema, root, place)
    if kind == "string" and len(value) < schema.get("minLength", 0):
        return f"{here} must not be empty"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{here} must be at least {schema['minimum']}"
    return None


def _object_fault(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], place: str
) -> str | None:
    here = place or "the file"
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{here} needs {name!r}"
    if schema.get("additionalProperties") is False:
        for name in value:
            if name not in properties:
                return f"{here} has {name!r}, which is none of {', '.join(properties)}"
    for name, part in properties.items():
        if name in value:
            fault = _fault(value[name], part, root, f"{place}.{name}" if place else name)
            if fault is not None:
                return fault
    return None


def _array_fault(value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not least <= len(value) <= most:
        return f"{place} must have {'' if least == most else 'at least '}{least} entries"
    for number, item in enumerate(value):
        fault = _fault(item, schema.get("items", {}), root, f"{place}[{number}]")
        if fault is not None:
            return fault
    return None


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        numeric = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return numeric and (kind == "number" or float(value).is_integer())
    types = {"object": dict, "array": list, "string": str, "boolean": bool}
    return isinstance(value, types[kind])
