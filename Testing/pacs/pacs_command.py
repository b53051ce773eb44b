"""What tests of ``medsamsegment pacs`` speak of: its answers, what it sends, tables of its configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from command_outcome import Outcome
from orthanc_server import AE_TITLE, PASSWORD, USER
from pacs_objects import Study


@dataclass(frozen=True)
class Objects:
    """A study, and one file of each kind made of it."""

    study: Study
    binary: Path
    labelmap: Path
    contours: Path
    report: Path

    @property
    def results(self) -> list[Path]:
        return [self.binary, self.labelmap, self.contours, self.report]


Pacs = Callable[..., Outcome]


def dimse_table(name: str, port: int, **more: object) -> str:
    """A table of the configuration for a DIMSE archive on this computer."""
    return table(name, protocol="dimse", host="127.0.0.1", port=port, **{"ae_title": AE_TITLE, "tls": False, **more})


def web_table(name: str, url: str, **more: object) -> str:
    """A table of the configuration for a DICOMweb archive."""
    return table(name, protocol="dicomweb", url=url, **{"tls": False, "user": USER, "password": PASSWORD, **more})


def table(name: str, **keys: object) -> str:
    keys = {"timeout": 20, "wait": 0.1, **keys}
    return f"[archives.{name}]\n" + "".join(
        f"{key} = {value if isinstance(value, str) and value.startswith('{') else json.dumps(value)}\n"
        for key, value in keys.items()
    )
