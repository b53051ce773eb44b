"""A SAM 2 small enough to run many times in a test: same classes, small numbers."""

from __future__ import annotations

from typing import Any

import torch
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.models.sam2 import SAM2
from MedSAMSegmentLib.models.specification import ModelSpec

SMALL = {
    "hidden_dim": 32,
    "memory_dim": 8,
    "trunk": {
        "embed_dim": 8,
        "stages": [1, 1, 2, 1],
        "global_attention_blocks": [3],
        "windows": [4, 4, 6, 3],
        "background_size": [3, 3],
    },
    "transformer": {"mlp_dim": 48, "heads": 4},
    "mask_decoder": {"iou_head_dim": 16},
    "memory_attention": {"layers": 2, "mlp_dim": 40, "heads": 2, "dropout": 0.0},
}


def entry(**changes: Any) -> dict[str, Any]:
    """A complete catalog entry of the small network, with some fields replaced."""
    return {
        "name": "small",
        "title": "a small one",
        "architecture": "sam2",
        "hyper_parameters": SMALL,
        "image_size": 96,
        "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        "checkpoint": {"file_name": "small.safetensors"},
        "licence": {"identifier": "Apache-2.0", "summary": "Free."},
        **changes,
    }


def small_network(seed: int = 0, **groups: Any) -> SAM2:
    """With random weights that make every part matter."""
    torch.manual_seed(seed)
    network = build_model(ModelSpec.from_dict(entry(hyper_parameters={**SMALL, **groups})))
    for name, parameter in network.named_parameters():
        if "norm" not in name and not name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    torch.nn.init.constant_(network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 5.0)
    return network.requires_grad_(False)
