"""Downloading the weights of a model, with the user's consent, from the publisher or a mirror."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, OutputError
from ..models.specification import Licence, ModelSpec
from .catalog import find_model
from .fitting import check_fits
from .folder import locked, part_of, writable_models_folder
from .integrity import check_pinned, check_published, known_hash, pin, remember, sums_of
from .transfer import Cancel, Progress, Transfer, TransferSettings, host_of
from .weight_file import read_weights

MIRROR_VARIABLE = "MEDSAMSEGMENT_MIRROR"
"""Environment variable with the address of a hospital's own copy, ``https://server/folder``; it is tried first."""

_SPARE_BYTES = 50_000_000
"""Left free on the disk."""


@dataclass(frozen=True)
class DownloadTerms:
    """What the user must know before anything is sent: shown and agreed to, or nothing happens."""

    model: str
    title: str
    file_name: str
    licence: Licence
    hosts: tuple[str, ...]
    """Computers that would be asked, in this order, each only if the one before fails; they may redirect."""
    bytes: int | None
    bytes_are_exact: bool
    folder: Path
    checked_by: str
    """How the file will be recognised, in a sentence."""


Consent = Callable[[DownloadTerms], bool]


def download(
    model: str | ModelSpec,
    *,
    consent: Consent,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    accept_change: bool = False,
    settings: TransferSettings | None = None,
) -> Path:
    """Fetch the weights of a model into the folder of weights, and check them; nothing if they are here and good.

    Another process that downloads the same file is waited for.  An interrupted download goes on where it was.

    Args:
        model: name in the catalog, or a specification.
        consent: is shown the licence, the size and the hosts and must answer true before anything is sent.
        progress: called with the bytes here and the bytes in all (none if unknown).
        cancel: polled; true stops the download, which can be resumed.
        accept_change: take a file that differs from the one used before (only where no hash is published).

    Returns:
        The weight file.

    Raises:
        UsageError: ``UNKNOWN_MODEL``.
        CheckpointError: ``DOWNLOAD_DECLINED``, ``DOWNLOAD_BROWSER_ONLY``, another ``DOWNLOAD_*`` that says what went
            wrong at the publisher's, or what :func:`..weight_file.read_weights` and the checks of the file raise.
        CancelledError: ``cancel`` said so.
        OutputError: ``NO_FOLDER``, ``DISK_FULL``, ``WRITE_FAILED``.
    """
    spec = find_model(model) if isinstance(model, str) else model
    if spec.checkpoint.is_bundled:
        raise CheckpointError("DOWNLOAD_NOT_NEEDED", f"The weights of '{spec.name}' come with this program.")
    folder = writable_models_folder()
    path = folder / spec.checkpoint.file_name
    if _is_good(spec, path):
        return path
    sources = _sources(spec)
    if not sources:
        raise CheckpointError(
            "DOWNLOAD_BROWSER_ONLY",
            f"The publisher of '{spec.name}' offers its weights only on a page for browsers.",
            f"Open {spec.checkpoint.url}, save '{spec.checkpoint.file_name}', then run "
            f"'medsamsegment models import {spec.name} FILE'.",
        )
    if not consent(_terms(spec, sources, folder)):
        raise CheckpointError("DOWNLOAD_DECLINED", "Nothing was downloaded, as you wished.")
    with locked(path.name, cancel):
        if _is_good(spec, path):  # another process was faster
            return path
        part = part_of(path)
        _check_space(spec, part, folder)
        failures: list[CheckpointError] = []
        for url in sources:
            known = bool(known_hash(spec))
            size = spec.checkpoint.bytes
            transfer = Transfer(url, part, size, known, settings or TransferSettings(), progress, cancel)
            try:
                transfer.run()
                _accept(spec, transfer, path, accept_change)
            except CheckpointError as error:
                failures.append(error)
                continue
            return path
        raise _all_failed(failures)


def _accept(spec: ModelSpec, transfer: Transfer, path: Path, accept_change: bool) -> None:
    """Check what came and give it its name; what is wrong is deleted."""
    part = transfer.part
    again = "Try again, or get the file elsewhere and use 'medsamsegment models import'."
    name = f"{path.name} from {transfer.host}"
    try:
        sums = sums_of(part)
        check_published(spec, sums, name, again)
        if not accept_change:
            hint = "If the publisher replaced it and you trust the new file, download it with --accept-change."
            check_pinned(spec, sums, name, hint)
        if not known_hash(spec):
            check_fits(spec, read_weights(part), name)
    except CheckpointError:
        transfer.forget()
        raise
    try:
        os.replace(part, path)
    except OSError as error:
        raise OutputError("WRITE_FAILED", f"{path} could not be written: {error.strerror}.", "") from error
    transfer.forget()
    if accept_change and not known_hash(spec):
        pin(spec, sums.sha256, sums.bytes)
    else:
        remember(spec, sums)


def _is_good(spec: ModelSpec, path: Path) -> bool:
    """The file is here and is the right one."""
    if not path.is_file():
        return False
    with suppress(CheckpointError):
        sums = sums_of(path)
        check_published(spec, sums, path.name, "")
        check_pinned(spec, sums, path.name, "")
        if not known_hash(spec):
            check_fits(spec, read_weights(path), path.name)
            remember(spec, sums)
        return True
    return False


def _sources(spec: ModelSpec) -> tuple[str, ...]:
    origin = spec.checkpoint
    own = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    return (
        *((f"{own}/{origin.file_name}",) if own else ()),
        *((origin.url,) if not origin.browser_only else ()),
        *origin.mirrors,
    )


def _terms(spec: ModelSpec, sources: tuple[str, ...], folder: Path) -> DownloadTerms:
    origin = spec.checkpoint
    checked_by = (
        f"Its {known_hash(spec)} sum is compared ({origin.provenance})."
        if known_hash(spec)
        else "No hash is published: this first file is remembered, and a later change is refused."
    )
    return DownloadTerms(
        model=spec.name,
        title=spec.title,
        file_name=origin.file_name,
        licence=spec.licence,
        hosts=tuple(dict.fromkeys(host_of(url) for url in sources)),
        bytes=origin.bytes or origin.about_bytes,
        bytes_are_exact=origin.bytes is not None,
        folder=folder,
        checked_by=checked_by,
    )


def _check_space(spec: ModelSpec, part: Path, folder: Path) -> None:
    size = spec.checkpoint.bytes or spec.checkpoint.about_bytes or 0
    here = part.stat().st_size if part.is_file() else 0
    needed = size - here + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            "DISK_FULL",
            f"'{folder}' has {free / 1e6:,.0f} MB free; the download needs {needed / 1e6:,.0f} MB.",
            "Free some space, or name another folder in the environment variable MEDSAMSEGMENT_MODELS.",
        )


def _all_failed(failures: list[CheckpointError]) -> CheckpointError:
    """The publisher's failure, and those of the mirrors behind it."""
    first, *others = failures
    more = "".join(f" A mirror failed, too: {other.message}" for other in others)
    return CheckpointError(first.code, first.message + more, first.hint)
