"""Which models there are, where their weights come from, and how a file of weights is opened safely.

    from MedSAMSegmentLib.checkpoints import list_models, load_model

    model = load_model("medsam2", checkpoint="MedSAM2_latest.pt")
    model.network, model.spec, model.weights_sha256

Importing this package imports no torch; loading a model does.
"""

from __future__ import annotations

from .catalog import find_model, list_models
from .loading import LoadedModel, cached_checkpoint, load_model, models_folder

__all__ = ["LoadedModel", "cached_checkpoint", "find_model", "list_models", "load_model", "models_folder"]
