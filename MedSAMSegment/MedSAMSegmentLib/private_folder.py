"""Folders for patients' data in passing: nobody else's eyes, gone afterwards, swept up after a crash.

A folder has mode 0700 and a random name, and holds a lock that only a living process keeps.  Whoever makes the next
folder in the same place first removes those whose locks are free.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import OutputError, write_failed

PREFIX = ".medsamsegment-"
_LOCK = "lock"
#: A folder without a lock may be just being made; older than this it is what a killed process left.
_YOUNG_SECONDS = 60.0
#: Another process may sweep a folder between its making and its locking.
_ATTEMPTS = 5


class PrivateFolder:
    """An empty folder of mode 0700, kept until it is removed or this process is gone.

    Args:
        parent: where to make it; the system's temporary folder by default.

    Attributes:
        path: the folder with its lock.
        files: the folder inside it for the data.

    Raises:
        OutputError: ``NO_FOLDER``, ``DISK_FULL``, ``NO_TEMPORARY_FOLDER``.
    """

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        place = Path(tempfile.gettempdir() if parent is None else parent)
        if not place.is_dir():
            raise OutputError("NO_FOLDER", f"The folder {place} does not exist.", "Create it or choose another one.")
        sweep(place)
        try:
            self.path, self._lock = _make(place)
            self.files = self.path / "files"
            self.files.mkdir(0o700)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise write_failed(place, error) from None
            raise OutputError(
                "NO_TEMPORARY_FOLDER",
                f"There is no room for temporary files: {error.strerror}.",
                "Check the temporary folder, its permissions and the space left.",
            ) from None

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.files, ignore_errors=True)
        # Windows does not remove open files.
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def private_folder(parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """The files' folder of a :class:`PrivateFolder` that is removed when the block ends; raises as that."""
    folder = PrivateFolder(parent)
    try:
        yield folder.files
    finally:
        folder.remove()


def sweep(parent: Path) -> None:
    """Remove what killed processes of this user left behind in a folder."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                continue
            if (folder / _LOCK).is_file():
                with locked(folder / _LOCK):
                    shutil.rmtree(folder, ignore_errors=True)
            elif time.time() - status.st_mtime < _YOUNG_SECONDS:
                continue
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


def keep(files: Path, target: Path) -> None:
    """Give a finished folder of files its name: it appears complete, or not at all.

    Raises:
        OutputError: ``FOLDER_NOT_EMPTY``, ``DISK_FULL``, ``WRITE_FAILED``.
    """
    try:
        for path in files.iterdir():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            target.rmdir()
        os.rename(files, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise not_empty(target) from None
        raise write_failed(target, error) from None


def not_empty(target: Path) -> OutputError:
    """A folder that should be new is there already."""
    return OutputError("FOLDER_NOT_EMPTY", f"{target} exists already.", "Name a new folder.")


def _make(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder and its lock, held."""
    for _ in range(_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = open(path / _LOCK, "ab")  # noqa: SIM115  (held until the folder is removed)
        except FileNotFoundError:
            continue
        with suppress(BlockingIOError):
            _lock(lock)
            if (path / _LOCK).exists():
                return path, lock
        lock.close()
    raise FileExistsError(errno.EEXIST, "other programs remove what is made there")


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
