"""Networks of every architecture, small enough to run many times in a test: same classes, small numbers."""

from __future__ import annotations

from typing import Any

import torch
from MedSAMSegmentLib.checkpoints import LoadedModel
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.models.specification import ModelSpec

HEAD = {"hidden_dim": 32, "transformer": {"mlp_dim": 48, "heads": 4}, "mask_decoder": {"iou_head_dim": 16}}
MEMORY = {"memory_dim": 8, "memory_attention": {"layers": 2, "mlp_dim": 40, "heads": 2, "dropout": 0.0}}
VIT = {"embed_dim": 24, "depth": 2, "heads": 2, "global_attention_blocks": [1], "window": 3, "position_grid": 4}
TINY_VIT = {"channels": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 3], "windows": [3, 3, 4, 3]}
HIERA = {
    "embed_dim": 8,
    "stages": [1, 1, 2, 1],
    "global_attention_blocks": [3],
    "windows": [4, 4, 6, 3],
    "background_size": [3, 3],
}

SMALL: dict[str, dict[str, Any]] = {
    "sam": {**HEAD, "trunk": VIT},
    "sam-tiny-vit": {**HEAD, "trunk": {**TINY_VIT, "classes": 0}},
    "sam2": {**HEAD, **MEMORY, "trunk": HIERA},
    "efficient-tam": {**HEAD, **MEMORY, "trunk": VIT},
    "embedded": {
        "channels": [8, 16, 16, 24],
        "blocks": [1, 1, 1, 1],
        "dim": 32,
        "decoder_widths": [16, 8],
        "memory_dim": 16,
    },
}

ARCHITECTURES = tuple(SMALL)


def entry(**changes: Any) -> dict[str, Any]:
    """A complete catalog entry of a small network (SAM 2 unless another architecture is named)."""
    architecture = changes.get("architecture", "sam2")
    return {
        "name": "small",
        "title": "a small one",
        "architecture": architecture,
        "hyper_parameters": SMALL.get(architecture, {}),
        "image_size": 96,
        "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        "checkpoint": {"file_name": "small.safetensors"},
        "licence": {"identifier": "Apache-2.0", "summary": "Free."},
        "needs_box": architecture == "embedded",
        **changes,
    }


def small_network(seed: int = 0, architecture: str = "sam2", **groups: Any) -> Any:
    """With random weights that make every part matter; one with an object score always sees an object."""
    torch.manual_seed(seed)
    parameters = {**SMALL[architecture], **groups}
    network: Any = build_model(ModelSpec.from_dict(entry(architecture=architecture, hyper_parameters=parameters)))
    for name, parameter in network.named_parameters():
        if "norm" not in name and not name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    if hasattr(network, "sam_mask_decoder"):
        torch.nn.init.constant_(network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    return network.requires_grad_(False)


def small_model(architecture: str, seed: int = 0, **changes: Any) -> LoadedModel:
    """A small network with its specification, as ``load_model`` returns it."""
    spec = ModelSpec.from_dict(entry(architecture=architecture, **changes))
    return LoadedModel(spec, small_network(seed, architecture), f"{architecture} {seed}", torch.device("cpu"))
