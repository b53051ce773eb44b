"""The catalog: ``catalog.json`` as model specifications.

The file keeps what many entries share (sizes of an architecture, preprocessing, licence) under a name; an entry says
the name instead of the content.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UsageError
from ..models.specification import ModelSpec

_FILE = Path(__file__).with_name("catalog.json")
_SHARED = {"preprocessing": "preprocessing", "licence": "licences", "hyper_parameters": "hyper_parameters"}
"""Field of an entry -> the section of the file that its name points into."""


@lru_cache(maxsize=1)
def list_models() -> tuple[ModelSpec, ...]:
    """Every model of the catalog, the default one first.

    Raises:
        CheckpointError: ``INVALID_MODEL_SPEC`` if the catalog is damaged.
    """
    return read_catalog(_FILE)


def find_model(name: str) -> ModelSpec:
    """The specification of one model.

    Raises:
        UsageError: ``UNKNOWN_MODEL``.
    """
    models = {spec.name: spec for spec in list_models()}
    if name not in models:
        similar = difflib.get_close_matches(name, models, n=1)
        hint = f"Did you mean '{similar[0]}'?" if similar else f"Known models: {', '.join(models)}."
        raise UsageError("UNKNOWN_MODEL", f"There is no model '{name}'.", hint)
    return models[name]


def read_catalog(path: Path) -> tuple[ModelSpec, ...]:
    """Read a catalog file and check every entry.

    Raises:
        CheckpointError: ``INVALID_MODEL_SPEC`` names the entry and the field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [_with_shared(entry, content) for entry in content["models"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "INVALID_MODEL_SPEC", f"The model catalog '{path.name}' cannot be read ({error}).", "Reinstall the package."
        ) from error
    specs = tuple(ModelSpec.from_dict(entry) for entry in entries)
    names = [spec.name for spec in specs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise CheckpointError("INVALID_MODEL_SPEC", f"The model catalog lists '{min(twice)}' twice.")
    return specs


def _with_shared(entry: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with names replaced by the shared content they stand for."""
    result = dict(entry)
    for name, section in _SHARED.items():
        if isinstance(result.get(name), str):
            result[name] = content[section][result[name]]
    return result
