"""Session files: prompts, settings and the identity of scan and model, as readable JSON.

They hold no voxels and no computed masks: running the session again makes the same ones.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, InputError, MedSAMSegmentError, OutputError
from ..prompts import BoxPrompt, LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt, SliceBoxPrompt
from ..prompts.runs import decode_runs, encode_runs
from ..version import SOFTWARE_VERSION
from .history import ObjectState, Prompts
from .provenance import ModelIdentity
from .settings import Settings

if TYPE_CHECKING:
    from .session import Session

FORMAT = "MedSAMSegment session"
VERSION = 2
READABLE_VERSIONS = (1, 2)
"""The first version knew objects with a box, clicks and drawn masks only."""


@dataclass(frozen=True)
class StoredSession:
    """What a session file says; ``objects`` are not segmented yet."""

    volume: str
    model: ModelIdentity
    settings: Settings
    objects: Mapping[str, ObjectState]

    def check_volume(self, fingerprint: str) -> None:
        """Raises ``InputError`` (``OTHER_SCAN``)."""
        if fingerprint != self.volume:
            raise InputError(
                "OTHER_SCAN",
                "The session was made on another scan: geometry or voxels differ.",
                "Open it with the scan it was saved with.",
            )

    def check_model(self, model: ModelIdentity) -> None:
        """Another model by name is the user's choice; the same one must have the same weights.

        Raises:
            CheckpointError: ``OTHER_WEIGHTS``.
        """
        if model.name == self.model.name and model.weights != self.model.weights:
            raise CheckpointError(
                "OTHER_WEIGHTS",
                f"The session was made with other weights of the model {self.model.name!r}; its masks would differ.",
                "Use the weights it was made with, or begin a new session.",
            )


def session_content(session: Session) -> dict[str, Any]:
    """What a session file says, as plain values fit for JSON; :func:`stored_session` reads it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "software": SOFTWARE_VERSION,
        "volume": session.fingerprint,
        "model": session.model.as_dict(),
        "settings": session.settings.as_dict(),
        "objects": [_object_as_dict(name, state) for name, state in session.states.items()],
    }


def write_session(path: str | os.PathLike[str], session: Session) -> None:
    """Write a session file; it appears whole or not at all.

    Raises:
        OutputError: ``SESSION_NOT_WRITTEN``.
    """
    target = Path(path)
    text = json.dumps(session_content(session), indent=1)
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
        os.replace(temporary, target)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise OutputError(
            "SESSION_NOT_WRITTEN",
            f"The session file could not be written: {error.strerror}.",
            "Check the folder, its permissions and the space left.",
        ) from error


def read_session(path: str | os.PathLike[str]) -> StoredSession:
    """Read a session file.  Raises ``InputError`` (``BAD_SESSION_FILE``)."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(f"The session file cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _bad("The file is not a session file: it is not JSON.") from error
    return stored_session(content)


def stored_session(content: Any) -> StoredSession:
    """Read :func:`session_content`'s form.  Raises ``InputError`` (``BAD_SESSION_FILE``)."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _bad("The file is not a session file.")
    if content.get("version") not in READABLE_VERSIONS:
        raise _bad(f"The session file has the version {content.get('version')!r}; this program reads up to {VERSION}.")
    try:
        model = content["model"]
        return StoredSession(
            volume=str(content["volume"]),
            model=ModelIdentity(str(model["name"]), str(model["architecture"]), str(model["weights"])),
            settings=Settings.from_dict(content["settings"]),
            objects={str(item["name"]): _object_from_dict(item) for item in content["objects"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError, MedSAMSegmentError) as error:
        reason = error.message if isinstance(error, MedSAMSegmentError) else f"{type(error).__name__}: {error}"
        raise _bad(f"The session file is damaged ({reason}).") from error


def _object_as_dict(name: str, state: ObjectState) -> dict[str, Any]:
    return {
        "name": name,
        "box": None if state.box is None else BoxPrompt(state.box).as_dict(),
        "rounds": [
            {
                "points": [point.as_dict() for point in prompts.points],
                "masks": [mask.as_dict() for mask in prompts.masks],
                "boxes": [box.as_dict() for box in prompts.boxes],
                "scribbles": [scribble.as_dict() for scribble in prompts.scribbles],
                "lines": [line.as_dict() for line in prompts.lines],
                "accepted": [
                    {"slice": index, **({"released": True} if mask is None else encode_runs(mask))}
                    for index, mask in prompts.accepted.items()
                ],
                "reach": prompts.reach,
            }
            for prompts in state.rounds
        ],
    }


def _object_from_dict(data: Mapping[str, Any]) -> ObjectState:
    rounds = tuple(
        Prompts(
            points=tuple(PointPrompt.from_dict(point) for point in item["points"]),
            masks=tuple(MaskPrompt.from_dict(mask) for mask in item["masks"]),
            boxes=tuple(SliceBoxPrompt.from_dict(box) for box in item.get("boxes", ())),
            scribbles=tuple(ScribblePrompt.from_dict(scribble) for scribble in item.get("scribbles", ())),
            lines=tuple(LinePrompt.from_dict(line) for line in item.get("lines", ())),
            accepted=MappingProxyType(
                {int(one["slice"]): None if one.get("released") else decode_runs(one) for one in item["accepted"]}
            ),
            reach=_reach(item.get("reach")),
        )
        for item in data["rounds"]
    )
    if not rounds:
        raise ValueError("an object without rounds")
    box = None if data["box"] is None else BoxPrompt.from_dict(data["box"]).box
    return ObjectState(box, rounds, closed=len(rounds))


def _reach(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    first, last = value
    return int(first), int(last)


def _bad(message: str) -> InputError:
    return InputError("BAD_SESSION_FILE", message, "Choose a file that was saved as a session.")
