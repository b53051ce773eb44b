"""What this computer knows of its runtimes: small JSON files in the user's cache, beside the weights.

Everything is kept under a key that names the processor with its instruction sets, the number of threads and all
versions, so that whatever was found elsewhere, or before an update, is found out anew.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..version import SOFTWARE_VERSION
from .processor import processor_flags, processor_name


def runtime_folder() -> Path:
    """Where converted graphs and the records are kept: beside the models, in the user's cache."""
    from ..checkpoints.folder import models_folder

    return models_folder().parent / "runtimes"


def on_this_computer(what: str) -> str:
    """A key for what is true of this computer with these versions only."""
    import torch

    vectors = sorted(flag for flag in processor_flags() if flag.startswith(("avx", "amx")))
    return " | ".join(
        [
            " ".join([processor_name(), *vectors]),
            f"{torch.get_num_threads()} threads",
            what,
            f"torch {torch.__version__}",
            f"openvino {openvino_version()}",
            networks_version(),
        ]
    )


def openvino_version() -> str:
    """Of the installed OpenVINO; "none" without it."""
    with suppress(PackageNotFoundError):
        return version("openvino")
    return "none"


@cache
def networks_version() -> str:
    """Of this package and of the very code of its networks, so that no graph outlives the code it was made from."""
    digest = sha256()
    for path in sorted(Path(__file__).parents[1].joinpath("models").glob("*.py")):
        digest.update(path.read_bytes())
    return f"{SOFTWARE_VERSION}-{digest.hexdigest()[:8]}"


def recall(name: str) -> dict[str, Any]:
    """The content of a record; nothing where the file is missing or damaged."""
    try:
        content = json.loads((runtime_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def record(name: str, key: str, value: Any) -> None:
    """Add to a record, or replace in it; a computer that cannot remember finds out again."""
    from ..export.atomic import atomic_path

    path = runtime_folder() / name
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({**recall(name), key: value}, indent=1), encoding="utf-8")
