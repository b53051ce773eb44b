"""DICOM in a zip archive: unpacked into a private folder, under names of this program, within limits."""

from __future__ import annotations

import atexit
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ....errors import InputError, MedSAMSegmentError
from ....private_folder import PrivateFolder

MOST_MEMBERS = 20_000
LARGEST_MEMBER = 2 << 30
LARGEST_TOTAL = 16 << 30
#: Images shrink to a half, empty ones to a twentieth; data that shrink further than this are no images.
LARGEST_RATIO = 150
#: Below this an archive may shrink as far as it likes.
_HARMLESS = 64 << 20
_PIECE = 1 << 20

#: Unpacked archives of this process, by path, size and time of change.
_unpacked: dict[tuple[str, int, int], Path] = {}


def unpack(archive: Path) -> Path:
    """The folder with the files of an archive; it stays until this process ends, as results refer to the images.

    Names inside the archive are used for nothing: files are numbered.

    Raises:
        InputError: ``UNSAFE_ARCHIVE`` (a name that leads out of the archive, encryption), ``BOMB``, ``TOO_MANY_FILES``,
            ``UNREADABLE`` (damaged), ``NO_SPACE``.
        OutputError: ``NO_TEMPORARY_FOLDER``, ``DISK_FULL``.
    """
    status = archive.stat()
    key = (str(archive.resolve()), status.st_size, status.st_mtime_ns)
    known = _unpacked.get(key)
    if known is not None and known.is_dir():
        return known
    try:
        with zipfile.ZipFile(archive) as source:
            members = _checked(source, status.st_size)
            folder = PrivateFolder()
            atexit.register(folder.remove)
            _unpack(source, members, folder.files, status.st_size)
    except MedSAMSegmentError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise InputError("UNREADABLE", f"{archive.name} is a damaged archive.", "Copy or export it again.") from None
    except OSError:
        raise InputError(
            "NO_SPACE", f"{archive.name} cannot be unpacked.", "Free some space in the temporary folder."
        ) from None
    _unpacked[key] = folder.files
    return folder.files


def _checked(source: zipfile.ZipFile, stored: int) -> list[zipfile.ZipInfo]:
    """The files of an archive; refuses before anything is unpacked."""
    infos = source.infolist()
    if len(infos) > MOST_MEMBERS:
        raise InputError(
            "TOO_MANY_FILES", f"The archive holds more than {MOST_MEMBERS} files.", "Unpack the study you need."
        )
    members = []
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]) or "\0" in info.filename:
            raise _unsafe("holds a file name that leads out of it")
        if info.flag_bits & 1:
            raise _unsafe("is encrypted")
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        hidden = name.name.startswith(".") or "__MACOSX" in name.parts
        if not (info.is_dir() or is_link or hidden):
            members.append(info)
    if any(info.file_size > LARGEST_MEMBER for info in members):
        raise _bomb()
    _check_growth(sum(info.file_size for info in members), stored)
    return members


def _unpack(source: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, stored: int) -> None:
    """Writes members under numbers; counts what comes out, as an archive may lie about it."""
    needed = sum(info.file_size for info in members)
    if shutil.disk_usage(folder).free < needed + _HARMLESS:
        raise InputError(
            "NO_SPACE", "There is too little space to unpack the archive.", "Free some space in the temporary folder."
        )
    total = 0
    for number, info in enumerate(sorted(members, key=lambda member: member.filename)):
        # The suffix of images only, so that a damaged one is known to have been meant as an image.
        suffix = ".dcm" if info.filename.lower().endswith((".dcm", ".ima")) else ""
        with source.open(info) as member, open(folder / f"{number:06d}{suffix}", "xb") as target:
            while piece := member.read(_PIECE):
                total += len(piece)
                if total > needed:
                    raise _bomb()
                _check_growth(total, stored)
                target.write(piece)


def _check_growth(size: int, stored: int) -> None:
    if size > LARGEST_TOTAL or (size > _HARMLESS and size > LARGEST_RATIO * stored):
        raise _bomb()


def _bomb() -> InputError:
    return InputError(
        "BOMB",
        "The archive grows beyond the limit when it is unpacked.",
        "Do not open files from a source you do not trust; unpack a large study yourself.",
    )


def _unsafe(what: str) -> InputError:
    return InputError("UNSAFE_ARCHIVE", f"The archive {what}.", "Unpack it with a program you trust, and look inside.")
