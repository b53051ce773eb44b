"""Which models there are, where their weights come from, and how a file of weights is opened safely.

    from MedSAMSegmentLib import checkpoints

    checkpoints.download("medsam2", consent=ask, progress=show)     # or checkpoints.import_file("medsam2", path)
    model = checkpoints.load_model("medsam2")
    model.network, model.spec, model.weights_sha256

Importing this package imports no torch and speaks to no network; loading a model imports torch, and only ``download``
uses the network, after ``consent`` said yes.
"""

from __future__ import annotations

from .catalog import find_model, list_models
from .download import DownloadTerms, download
from .folder import Cache, CachedFile, cache, clean, models_folder
from .importing import import_file
from .loading import LoadedModel, cached_checkpoint, load_model
from .transfer import TransferSettings
from .verification import Verification, verify

__all__ = [
    "Cache",
    "CachedFile",
    "DownloadTerms",
    "LoadedModel",
    "TransferSettings",
    "Verification",
    "cache",
    "cached_checkpoint",
    "clean",
    "download",
    "find_model",
    "import_file",
    "list_models",
    "load_model",
    "models_folder",
    "verify",
]
