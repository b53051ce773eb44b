"""All-or-nothing file writing: a file appears complete under its name, or the folder stays as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError, write_failed


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file name beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary name keeps all suffixes (``.nii.gz``), since writers choose the format by them.  On any error the
    temporary file is removed and an existing ``path`` keeps its old content.

    Raises:
        OutputError: ``NO_FOLDER`` when the folder does not exist, ``DISK_FULL`` when there is no space left,
            ``WRITE_FAILED`` for any other reason the system or the writing library gives.
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise OutputError("NO_FOLDER", f"The folder {folder} does not exist.", "Create it or choose another one.")
    if path.is_dir():
        raise OutputError("WRITE_FAILED", f"{path} is a folder.", "Give a file name.")
    try:
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="".join(path.suffixes[-2:]), dir=folder)
        os.close(handle)
    except OSError as error:
        raise write_failed(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        # mkstemp makes files private to the user; a result gets the permissions any new file would have.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Bring the data to the disk, so that a full disk shows before the old file is replaced."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
