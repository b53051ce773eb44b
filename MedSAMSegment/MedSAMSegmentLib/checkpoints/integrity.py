"""Whether a weight file is the one it should be: size, published hash, or the hash it had when it was first used."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, OutputError
from ..models.specification import ModelSpec
from .folder import pin, pinned_sha256

_BLOCK = 1 << 20

_STRONGEST_FIRST = {"sha256": "SHA-256", "md5": "MD5", "xxh128": "XXH128"}


@dataclass(frozen=True)
class Sums:
    """Size and check sums of a file; ``xxh128`` is empty where the package xxhash is not installed."""

    bytes: int
    sha256: str
    md5: str
    xxh128: str


def sums_of(path: Path) -> Sums:
    """Size and check sums of a file, read once.

    Raises:
        CheckpointError: ``CHECKPOINT_MISSING``, ``CHECKPOINT_UNREADABLE``.
    """
    # MD5 and XXH128 are compared with what publishers state, not relied on against forgery.
    sums: dict[str, Any] = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    if _has_xxhash():
        import xxhash

        sums["xxh128"] = xxhash.xxh128()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                for each in sums.values():
                    each.update(block)
                size += len(block)
    except FileNotFoundError as error:
        hint = "Check the path."
        raise CheckpointError("CHECKPOINT_MISSING", f"There is no weight file '{path}'.", hint) from error
    except OSError as error:
        hint = "Check that it is a file and that you may read it."
        message = f"The weight file '{path.name}' cannot be read ({error.strerror})."
        raise CheckpointError("CHECKPOINT_UNREADABLE", message, hint) from error
    return Sums(size, **{"xxh128": "", **{kind: each.hexdigest() for kind, each in sums.items()}})


def known_hash(spec: ModelSpec) -> str:
    """The kind of sum by which the catalog says which file it must be, the strongest one; empty if it says none.

    A sum that cannot be computed here counts as not said.
    """
    return next((_STRONGEST_FIRST[kind] for kind in _comparable(spec)), "")


def _comparable(spec: ModelSpec) -> Iterator[str]:
    return (kind for kind in _STRONGEST_FIRST if getattr(spec.checkpoint, kind) and (kind != "xxh128" or _has_xxhash()))


def _has_xxhash() -> bool:
    """3D Slicer does not bring it, and for the few files it is needed for nobody is asked to install more."""
    return importlib.util.find_spec("xxhash") is not None


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
    for kind in _comparable(spec):
        expected, found = getattr(known, kind), getattr(sums, kind)
        if expected != found:
            raise CheckpointError(
                "CHECKPOINT_ALTERED",
                f"'{name}' is not the file that '{spec.name}' was published with: its {_STRONGEST_FIRST[kind]} sum is "
                f"{found[:12]}…, not {expected[:12]}….",
                hint,
            )


def check_pinned(spec: ModelSpec, sums: Sums, name: str, hint: str) -> None:
    """Compare a file whose hash nobody published with the one that was used before.

    Raises:
        CheckpointError: ``CHECKPOINT_CHANGED``, ``PINS_DAMAGED``.
    """
    pinned = "" if known_hash(spec) else pinned_sha256(spec)
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
    if not known_hash(spec) and not pinned_sha256(spec):
        with suppress(OutputError):
            pin(spec, sums.sha256, sums.bytes)
