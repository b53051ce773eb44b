"""What the worker process can be asked about weights and devices, with or without a scan.

Every function returns the fields of a reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from .protocol import PROGRESS_SECONDS

if TYPE_CHECKING:
    from ..checkpoints import DownloadTerms


def download_terms(model: str) -> dict[str, Any]:
    """What the user must know before a download; nothing is sent.  No ``hosts``: the weights are here.

    Raises:
        CheckpointError: the model cannot be downloaded.
    """
    from ..checkpoints import download

    seen: list[DownloadTerms] = []

    def look(terms: DownloadTerms) -> bool:
        seen.append(terms)
        return False

    try:
        download(model, consent=look)
    except CheckpointError as error:
        if error.code != "DOWNLOAD_DECLINED":
            raise
    if not seen:
        return {"hosts": []}
    terms = seen[0]
    return {
        "title": terms.title,
        "hosts": list(terms.hosts),
        "bytes": terms.bytes,
        "licence": terms.licence.identifier,
        "summary": terms.licence.summary,
        "folder": str(terms.folder),
        "checked_by": terms.checked_by,
    }


def fetch_weights(
    model: str, hosts: Sequence[str], progress: Callable[[float], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Download the weights of a model.

    Args:
        hosts: to which the user has agreed; others are not asked.
        progress: told now and then how much of the file is here, 0..1.
        cancelled: asked all the time.

    Raises:
        CheckpointError: the download failed, or would need another host.
        CancelledError: what is here stays for the next time.
    """
    from ..checkpoints import download

    last = 0.0

    def tell(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            progress(done / total if total else 0.0)

    path = download(model, consent=lambda terms: set(terms.hosts) <= set(hosts), progress=tell, cancel=cancelled)
    return {"file": Path(path).name}


def check_weights(model: str, file: str) -> dict[str, Any]:
    """Whether a file of weights fits a model: it is built and loaded, strictly.

    Raises:
        CheckpointError: it does not, or is no safe file.
    """
    from ..checkpoints import load_model

    return {"weights": load_model(model, file, "cpu").weights_sha256}


def devices() -> dict[str, Any]:
    """The devices this computer offers, with the names of its graphics cards."""
    import torch

    found = [{"name": "cpu", "title": "CPU"}]
    for index in range(torch.cuda.device_count()):
        found.append({"name": f"cuda:{index}", "title": torch.cuda.get_device_name(index)})
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "title": "Apple GPU"})
    return {"devices": found}
