"""The folder of weight files on this computer: where it is, what lies in it, and who may write to it at a time.

Files without a published hash are remembered by the SHA-256 they had when they were first used (``pins.json``); a file
that changes afterwards is refused.  Pins outlive the files: a later download must be the same file again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import CancelledError, CheckpointError, OutputError
from ..models.specification import ModelSpec
from .catalog import list_models

FOLDER_VARIABLE = "MEDSAMSEGMENT_MODELS"
"""Environment variable that names another folder for the weight files."""

_PINS = "pins.json"
_LOCKS = ".locks"
_PART = ".part"
_PART_STATE = ".part.json"
_SECONDS_BETWEEN_TRIES = 0.1


@dataclass(frozen=True)
class CachedFile:
    """One weight file of the folder, or what is there of one."""

    model: str
    """Name in the catalog."""
    path: Path
    bytes: int
    complete: bool
    """False for an interrupted download, which can be resumed."""


@dataclass(frozen=True)
class Cache:
    """What the folder of weight files holds."""

    folder: Path
    files: tuple[CachedFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all of it."""
        return sum(file.bytes for file in self.files)


def user_cache_folder() -> Path:
    """This program's folder in the user's cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("medsamsegment", appauthor=False))


def models_folder() -> Path:
    """Where weight files are looked up: ``$MEDSAMSEGMENT_MODELS``, or a folder in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return user_cache_folder() / "models"


def writable_models_folder() -> Path:
    """The folder, made where it is not there yet.

    Raises:
        OutputError: ``NO_FOLDER``.
    """
    folder = models_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "NO_FOLDER",
            f"The folder of weights '{folder}' cannot be made ({error.strerror}).",
            f"Name a folder that you may write to in the environment variable {FOLDER_VARIABLE}.",
        ) from error
    return folder


def part_of(path: Path) -> Path:
    """Where a download collects what will become ``path``."""
    return path.with_name(path.name + _PART)


def state_of(part: Path) -> Path:
    """Where a download keeps what it must know to resume ``part``."""
    return part.with_name(part.name.removesuffix(_PART) + _PART_STATE)


def cache() -> Cache:
    """The weight files of the catalog's models on this computer, without the one that comes with the package."""
    folder = models_folder()
    files = []
    for spec in list_models():
        if spec.checkpoint.is_bundled:
            continue
        path = folder / spec.checkpoint.file_name
        for candidate, complete in ((path, True), (part_of(path), False)):
            if candidate.is_file():
                files.append(CachedFile(spec.name, candidate, candidate.stat().st_size, complete))
    return Cache(folder, tuple(files))


def clean(models: list[str] | None = None, interrupted_only: bool = False) -> tuple[CachedFile, ...]:
    """Delete weight files from the folder; other files in it are not touched.

    Args:
        models: names of the catalog; default all.
        interrupted_only: delete only what interrupted downloads left.

    Returns:
        What was deleted.

    Raises:
        OutputError: ``DELETE_FAILED``; what was deleted before stays deleted.
    """
    removed = []
    for file in cache().files:
        if (models is not None and file.model not in models) or (interrupted_only and file.complete):
            continue
        name = file.path.name.removesuffix(_PART)
        with locked(name):
            try:
                file.path.unlink(missing_ok=True)
                if not file.complete:
                    state_of(file.path).unlink(missing_ok=True)
            except OSError as error:
                hint = "Close programs that use it and check the permissions of its folder."
                message = f"'{file.path}' could not be deleted ({error.strerror})."
                raise OutputError("DELETE_FAILED", message, hint) from error
        removed.append(file)
    return tuple(removed)


def pinned_sha256(spec: ModelSpec) -> str:
    """SHA-256 that the model's file had when it was first used here; empty if it never was.

    Raises:
        CheckpointError: ``PINS_DAMAGED``.
    """
    return str(_read_pins().get(spec.checkpoint.file_name, {}).get("sha256", ""))


def pin(spec: ModelSpec, sha256: str, size: int) -> None:
    """Remember a file that was found good.

    Raises:
        CheckpointError: ``PINS_DAMAGED``.
        OutputError: the folder cannot be written to.
    """
    from ..export.atomic import atomic_path

    folder = writable_models_folder()
    with locked(_PINS):
        pins = _read_pins()
        first_used = time.strftime("%Y-%m-%d", time.gmtime())
        pins[spec.checkpoint.file_name] = {"sha256": sha256, "bytes": size, "first_used": first_used}
        with atomic_path(folder / _PINS) as temporary:
            temporary.write_text(json.dumps({"version": 1, "files": pins}, indent=1, sort_keys=True), encoding="utf-8")


@contextlib.contextmanager
def locked(name: str, cancel: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold the lock of one file of the folder; waits while another process or thread holds it.

    The operating system gives the lock back when a process ends, however it ends.

    Raises:
        CancelledError: ``cancel`` said so while waiting.
        OutputError: ``NO_FOLDER`` when the folder cannot be written to.
    """
    locks = writable_models_folder() / _LOCKS
    try:
        locks.mkdir(exist_ok=True)
        file = (locks / name).open("a+b")
    except OSError as error:
        hint = f"Name a folder that you may write to in the environment variable {FOLDER_VARIABLE}."
        message = f"The folder of weights '{locks.parent}' cannot be written to ({error.strerror})."
        raise OutputError("NO_FOLDER", message, hint) from error
    with file:
        while not _try_lock(file):
            if cancel is not None and cancel():
                raise CancelledError
            time.sleep(_SECONDS_BETWEEN_TRIES)
        try:
            yield
        finally:
            _unlock(file)


def _read_pins() -> dict[str, Any]:
    path = models_folder() / _PINS
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not all(isinstance(entry, dict) for entry in pins.values()):
            raise ValueError("not a table of files")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Delete it if you trust the weight files beside it: they are then remembered as they are now."
        raise CheckpointError(
            "PINS_DAMAGED", f"The list of known weight files '{path}' cannot be read.", hint
        ) from error
    return dict(pins)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
