"""The list of evaluation cases: which image, which label map, which objects.

A manifest is a JSON file::

    {
      "format": "medsamsegment-evaluation/1",
      "name": "a title",
      "root": "../data",                      (optional: folder of the paths, relative to the manifest; default its own)
      "cases": [
        {
          "name": "patient-1",                (unique)
          "group": "CT organ",                (results are averaged by group)
          "image": "patient-1/ct.nii.gz",
          "label": "patient-1/labels.nii.gz", (or {"path": ..., "components_above": ...}, see LabelSource)
          "millimetres": true,                (optional: false when the pixel size is unknown; no surface score then)
          "objects": [{"name": "kidneys", "labels": [2, 3]}]       (one object is the union of its label values)
        }
      ]
    }

Paths are relative to ``root``.  An unreadable or inconsistent manifest raises ``InputError`` (``BAD_MANIFEST``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

FORMAT = "medsamsegment-evaluation/1"


@dataclass(frozen=True)
class LabelSource:
    """Where the ground truth of a case is stored.

    Attributes:
        path: the label map, relative to the manifest's root.
        components_above: when given, the file is a picture of one class: pixels above this value are foreground and
            every connected component (all neighbours, corners included) becomes a label, numbered in scan order from 1.
    """

    path: str
    components_above: float | None = None

    def as_json(self) -> str | dict[str, Any]:
        if self.components_above is None:
            return self.path
        return {"path": self.path, "components_above": self.components_above}


@dataclass(frozen=True)
class TruthObject:
    """One object to segment: the union of some values of the case's label map."""

    name: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One scan with the objects drawn on it; see the module's docstring for the fields."""

    name: str
    group: str
    image: str
    label: LabelSource
    objects: tuple[TruthObject, ...]
    millimetres: bool = True

    def as_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": self.name,
            "group": self.group,
            "image": self.image,
            "label": self.label.as_json(),
        }
        if not self.millimetres:
            entry["millimetres"] = False
        entry["objects"] = [{"name": item.name, "labels": list(item.labels)} for item in self.objects]
        return entry


@dataclass(frozen=True)
class Manifest:
    """Cases and the folder their paths are relative to."""

    name: str
    root: Path
    cases: tuple[Case, ...]

    def path(self, relative: str) -> Path:
        """Absolute or root-joined path of one of the manifest's files."""
        return self.root / relative

    def select(self, groups: Sequence[str] = (), cases: Sequence[str] = ()) -> Manifest:
        """The manifest limited to some groups and to cases whose name contains one of the given texts.

        Empty selections keep everything.  Raises ``InputError`` (``EMPTY_SELECTION``) when nothing is left.
        """
        kept = tuple(
            case
            for case in self.cases
            if (not groups or case.group in groups) and (not cases or any(text in case.name for text in cases))
        )
        if not kept:
            known = ", ".join(sorted({case.group for case in self.cases}))
            raise InputError("EMPTY_SELECTION", "No case of the manifest matches.", f"Its groups are: {known}.")
        return Manifest(self.name, self.root, kept)

    def write(self, path: str | Path) -> None:
        """Save as JSON; ``root`` is stored relative to the file so that the pair can be moved together."""
        import os

        from ..export.atomic import atomic_path

        path = Path(path)
        document = {
            "format": FORMAT,
            "name": self.name,
            "root": Path(os.path.relpath(self.root.resolve(), path.resolve().parent)).as_posix(),
            "cases": [case.as_json() for case in self.cases],
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load_manifest(path: str | Path, root: str | Path | None = None) -> Manifest:
    """Read and check a manifest.

    Args:
        path: the JSON file.
        root: folder of the data, in place of the one the manifest names.

    Raises:
        InputError: ``NOT_FOUND`` when the file is missing, ``BAD_MANIFEST`` when it cannot be used.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("NOT_FOUND", f"The manifest {path} does not exist.", "Check the path.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _bad(f"{path} is not a readable JSON file ({type(error).__name__})") from error
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise _bad(f'{path} does not say "format": "{FORMAT}"')
    entries = document.get("cases")
    if not isinstance(entries, list) or not entries:
        raise _bad(f'{path} has no "cases"')
    cases = tuple(_case(entry, number) for number, entry in enumerate(entries))
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise _bad("Two cases have the same name")
    folder = Path(root) if root is not None else path.parent / str(document.get("root", "."))
    return Manifest(str(document.get("name", path.stem)), folder, cases)


def _case(entry: Any, number: int) -> Case:
    if not isinstance(entry, Mapping):
        raise _bad(f"Case {number} is not an object")
    where = f"Case {entry.get('name', number)!r}"
    for field in ("name", "group", "image"):
        if not isinstance(entry.get(field), str) or not entry[field]:
            raise _bad(f'{where} has no "{field}"')
    objects = entry.get("objects")
    if not isinstance(objects, list) or not objects:
        raise _bad(f'{where} has no "objects"')
    return Case(
        entry["name"],
        entry["group"],
        entry["image"],
        _label(entry.get("label"), where),
        tuple(_object(item, where) for item in objects),
        bool(entry.get("millimetres", True)),
    )


def _label(entry: Any, where: str) -> LabelSource:
    if isinstance(entry, str) and entry:
        return LabelSource(entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
        raise _bad(f'{where} has no "label"')
    threshold = entry.get("components_above")
    if threshold is not None and not isinstance(threshold, int | float):
        raise _bad(f'{where}: "components_above" is not a number')
    return LabelSource(entry["path"], threshold)


def _object(entry: Any, where: str) -> TruthObject:
    labels = entry.get("labels") if isinstance(entry, Mapping) else None
    if not isinstance(labels, list) or not labels or not all(type(value) is int and value > 0 for value in labels):
        raise _bad(f'{where}: every object needs "labels", a list of positive integers')
    return TruthObject(str(entry.get("name", "")) or f"label {labels[0]}", tuple(labels))


def _bad(message: str) -> InputError:
    return InputError("BAD_MANIFEST", f"{message}.", "See MedSAMSegmentLib/evaluation/manifest.py for the format.")
