"""Private folders for pixels in passing: readable by nobody else, gone afterwards, swept up after a crash."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ....errors import OutputError

PREFIX = "medsamsegment-dicom-"
_LOCK = "lock"
#: A folder without a held lock may be just being made; older than this it is what a killed process left.
_YOUNG_SECONDS = 60.0


def folder_for_this_process() -> Path:
    """A new folder of mode 0700 that is removed when this process ends.

    Raises:
        OutputError: ``NO_TEMPORARY_FOLDER``.
    """
    folder, lock = _make()
    atexit.register(_remove, folder, lock)
    return folder / "files"


@contextmanager
def passing_folder() -> Iterator[Path]:
    """A new folder of mode 0700 that is removed when the block ends.

    Raises:
        OutputError: ``NO_TEMPORARY_FOLDER``.
    """
    folder, lock = _make()
    try:
        yield folder / "files"
    finally:
        _remove(folder, lock)


def sweep(parent: Path) -> None:
    """Removes what killed processes left: their folders' locks are free."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
                continue
            with open(folder / _LOCK, "ab") as stream:
                _try_lock(stream)
                shutil.rmtree(folder, ignore_errors=True)


def _make() -> tuple[Path, IO[bytes]]:
    parent = Path(tempfile.gettempdir())
    sweep(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = open(folder / _LOCK, "ab")  # noqa: SIM115  (held until the folder is removed)
        _try_lock(lock)
        (folder / "files").mkdir(0o700)
    except OSError as error:
        raise OutputError(
            "NO_TEMPORARY_FOLDER",
            f"There is no room for temporary files: {error.strerror}.",
            "Check the temporary folder, its permissions and the space left.",
        ) from None
    return folder, lock


def _remove(folder: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(folder / "files", ignore_errors=True)
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)


def _try_lock(stream: IO[bytes]) -> None:
    """Takes a lock that the system gives back when this process ends, however it ends; ``OSError`` if it is taken."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
