"""Taking a weight file that the user has into the folder of weights, for computers without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import CheckpointError
from .catalog import find_model
from .fitting import check_fits
from .folder import locked, part_of, pin, state_of, writable_models_folder
from .integrity import check_pinned, check_published, known_hash, remember, sums_of
from .weight_file import read_weights


def import_file(model: str, file: str | Path, *, accept_change: bool = False) -> Path:
    """Check a weight file and copy it to where its model is looked up; the file itself is left as it is.

    Args:
        model: name in the catalog.
        file: the published file, under whatever name.
        accept_change: take a file that differs from the one used before (only where no hash is published).

    Returns:
        The copy.

    Raises:
        UsageError: ``UNKNOWN_MODEL``.
        CheckpointError: the file is missing, damaged, unsafe, of another architecture or not the published one; or
            ``IMPORT_NOT_NEEDED`` for the model that comes with the package.
        OutputError: ``NO_FOLDER``, ``DISK_FULL``, ``WRITE_FAILED``; an earlier copy stays.
    """
    from ..export.atomic import atomic_path

    spec = find_model(model)
    if spec.checkpoint.is_bundled:
        hint = "Name your own file with --checkpoint FILE."
        raise CheckpointError("IMPORT_NOT_NEEDED", f"The weights of '{model}' come with this program.", hint)
    source = Path(file).expanduser()
    weights = read_weights(source)
    check_fits(spec, weights, source.name)
    del weights
    sums = sums_of(source)
    tuned = f"A file that you tuned yourself is used with --model {model} --checkpoint FILE."
    check_published(spec, sums, source.name, tuned)
    if not accept_change:
        hint = f"If you trust the new file, import it with --accept-change. {tuned}"
        check_pinned(spec, sums, source.name, hint)
    target = writable_models_folder() / spec.checkpoint.file_name
    with locked(target.name):
        if not (target.exists() and target.samefile(source)):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
                if sums_of(temporary).sha256 != sums.sha256:
                    message = f"'{source.name}' changed while it was copied."
                    raise CheckpointError("CHECKPOINT_CHANGED", message, "Import it again.")
        for leftover in (part_of(target), state_of(part_of(target))):
            leftover.unlink(missing_ok=True)
    if accept_change and not known_hash(spec):
        pin(spec, sums.sha256, sums.bytes)
    else:
        remember(spec, sums)
    return target
