"""What a weight file is: which published file, whose architecture, and how it differs from what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from ..models.specification import ModelSpec
from .catalog import find_model, list_models
from .fitting import check_fits, mismatches
from .integrity import Sums, check_pinned, check_published, known_hash, sums_of
from .loading import cached_checkpoint
from .weight_file import read_weights


@dataclass(frozen=True)
class Verification:
    """The result of :func:`verify` for a file that some model of the catalog can load."""

    path: Path
    bytes: int
    sha256: str
    tensors: int
    fits: tuple[str, ...]
    """Models whose network takes the file strictly: every tensor, none left over."""
    published_as: str
    """The model whose published hash the file has; empty if none."""
    known_from: str
    """How the file is recognised, or why it cannot be."""


def verify(file_or_model: str | Path, *, model: str | None = None) -> Verification:
    """Open a weight file and load it strictly; nothing is changed and nothing is sent.

    Args:
        file_or_model: a model of the catalog (its file on this computer), or a file.
        model: for a file: the model it shall fit; default any.

    Raises:
        UsageError: ``UNKNOWN_MODEL``.
        CheckpointError: the file is missing, damaged, unsafe, altered, changed since it was first used, or
            ``CHECKPOINT_WRONG_ARCHITECTURE`` with the first tensors that differ from ``model``, or from the model it
            is most like.
    """
    names = [spec.name for spec in list_models()]
    own = find_model(str(file_or_model)) if str(file_or_model) in names else None
    asked = find_model(model) if model else own
    path = cached_checkpoint(own) if own else Path(file_or_model).expanduser()
    weights = read_weights(path)
    sums = sums_of(path)
    if own and not own.checkpoint.is_bundled:
        hint = f"Delete '{path}' and get it again."
        check_published(own, sums, path.name, hint)
        check_pinned(own, sums, path.name, hint)
    different = mismatches(weights)
    fits = tuple(name for name, problems in different.items() if not problems)
    most_alike = min(different, key=lambda name: len(different[name]))
    if asked and asked.name not in fits:
        check_fits(asked, weights, path.name)
    if not fits:
        check_fits(find_model(most_alike), weights, path.name)
    published = _published(sums)
    return Verification(
        path=path,
        bytes=sums.bytes,
        sha256=sums.sha256,
        tensors=len(weights),
        fits=fits,
        published_as=published.name if published else "",
        known_from=_known_from(published, own),
    )


def _published(sums: Sums) -> ModelSpec | None:
    """The model whose published file this is."""
    for spec in list_models():
        if not known_hash(spec):
            continue
        try:
            check_published(spec, sums, "", "")
        except CheckpointError:
            continue
        return spec
    return None


def _known_from(published: ModelSpec | None, own: ModelSpec | None) -> str:
    if published:
        return published.checkpoint.provenance
    if own and own.checkpoint.is_bundled:
        return "comes with this program"
    if own:
        return "no hash is published; it is the file that was first used on this computer"
    return "no published hash: a file tuned by its owner, or one whose publisher states none"
