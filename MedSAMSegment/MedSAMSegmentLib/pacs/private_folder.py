"""Folders for patients' data in passing: nobody else's eyes, gone afterwards, swept up after a crash."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import OutputError

PREFIX = ".medsamsegment-"
_LOCK = ".lock"


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """An empty folder of mode 0700 under a random name, removed with all it holds when the block ends.

    Folders that an earlier process left behind when it was killed are removed first: each holds a lock that only a
    living process keeps.

    Raises:
        OutputError: ``NO_FOLDER``, ``DISK_FULL``, ``WRITE_FAILED``.
    """
    if not parent.is_dir():
        raise OutputError("NO_FOLDER", f"The folder {parent} does not exist.", "Create it or choose another one.")
    sweep(parent)
    try:
        outer = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise write_failed(parent, error) from None
    try:
        with locked(outer / _LOCK):
            inner = outer / "files"
            inner.mkdir(0o700)
            yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what killed processes left behind in this folder."""
    for folder in parent.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        lock = folder / _LOCK
        # A folder without its lock has just been made, or is being removed: it is left alone.
        if lock.is_file():
            with suppress(OSError), locked(lock):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes back when this process ends, however it ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    with open(path, "ab") as stream:
        _lock(stream)
        yield


def keep(folder: Path, target: Path) -> None:
    """Give a finished private folder its name: it appears complete, or not at all.

    Raises:
        OutputError: ``FOLDER_NOT_EMPTY``, ``WRITE_FAILED``.
    """
    try:
        for path in folder.iterdir():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            target.rmdir()
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise not_empty(target) from None
        raise write_failed(target, error) from None


def not_empty(target: Path) -> OutputError:
    return OutputError("FOLDER_NOT_EMPTY", f"{target} exists already.", "Name a new folder.")


def write_failed(path: Path, error: OSError) -> OutputError:
    """What stopped a file from being written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("DISK_FULL", f"There is no space left to write {path}.", "Free some space and try again.")
    reason = error.strerror or type(error).__name__
    return OutputError("WRITE_FAILED", f"{path} could not be written: {reason}.", "Choose another folder or name.")


def _lock(stream: IO[bytes]) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(*error.args) from None
