"""Whether a weight file is the one it should be: size, published hash, or the hash it had when it was first used."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, OutputError
from ..models.specification import ModelSpec
from .folder import pin, pinned_sha256

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Sums:
    """Size and check sums of a file."""

    bytes: int
    sha256: str
    md5: str


def sums_of(path: Path) -> Sums:
    """Size, SHA-256 and MD5 of a file, read once.

    Raises:
        CheckpointError: ``CHECKPOINT_MISSING``, ``CHECKPOINT_UNREADABLE``.
    """
    # MD5 is compared with what publishers state, not relied on against forgery.
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except FileNotFoundError as error:
        hint = "Check the path."
        raise CheckpointError("CHECKPOINT_MISSING", f"There is no weight file '{path}'.", hint) from error
    except OSError as error:
        hint = "Check that it is a file and that you may read it."
        message = f"The weight file '{path.name}' cannot be read ({error.strerror})."
        raise CheckpointError("CHECKPOINT_UNREADABLE", message, hint) from error
    return Sums(size, sha256.hexdigest(), md5.hexdigest())


def has_known_hash(spec: ModelSpec) -> bool:
    """Whether the catalog says which file it must be."""
    return bool(spec.checkpoint.sha256 or spec.checkpoint.md5)


def check_published(spec: ModelSpec, sums: Sums, name: str, hint: str) -> None:
    """Compare a file with what the catalog knows of it.

    Raises:
        CheckpointError: ``CHECKPOINT_TRUNCATED``, ``CHECKPOINT_WRONG_SIZE``, ``CHECKPOINT_ALTERED``.
    """
    known = spec.checkpoint
    if known.bytes is not None and sums.bytes < known.bytes:
        raise CheckpointError("CHECKPOINT_TRUNCATED", f"'{name}' has {sums.bytes:,} of {known.bytes:,} bytes.", hint)
    if known.bytes is not None and sums.bytes > known.bytes:
        message = f"'{name}' has {sums.bytes:,} bytes instead of {known.bytes:,}."
        raise CheckpointError("CHECKPOINT_WRONG_SIZE", message, hint)
    expected, found = (known.sha256, sums.sha256) if known.sha256 else (known.md5, sums.md5)
    if expected and expected != found:
        kind = "SHA-256" if known.sha256 else "MD5"
        raise CheckpointError(
            "CHECKPOINT_ALTERED",
            f"'{name}' is not the file that '{spec.name}' was published with: its {kind} sum is {found[:12]}…, "
            f"not {expected[:12]}….",
            hint,
        )


def check_pinned(spec: ModelSpec, sums: Sums, name: str, hint: str) -> None:
    """Compare a file whose hash nobody published with the one that was used before.

    Raises:
        CheckpointError: ``CHECKPOINT_CHANGED``, ``PINS_DAMAGED``.
    """
    pinned = "" if has_known_hash(spec) else pinned_sha256(spec)
    if pinned and pinned != sums.sha256:
        raise CheckpointError(
            "CHECKPOINT_CHANGED",
            f"'{name}' is not the file that was used for '{spec.name}' before: its SHA-256 sum is "
            f"{sums.sha256[:12]}…, not {pinned[:12]}….",
            hint,
        )


def remember(spec: ModelSpec, sums: Sums) -> None:
    """Pin a file that was found good, unless its hash is published or pinned already.

    In a folder shared read-only by an administrator nothing is pinned: nobody but the administrator can change it.
    """
    if not has_known_hash(spec) and not pinned_sha256(spec):
        with suppress(OutputError):
            pin(spec, sums.sha256, sums.bytes)
