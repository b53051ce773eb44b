"""Every official checkpoint of the catalog's families loads strictly: names and shapes are those of its file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from MedSAMSegmentLib.checkpoints import find_model
from MedSAMSegmentLib.models.build import build_model

PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", Path(__file__).resolve().parents[3] / "shared" / "parity"))
LAYOUTS = {
    "sam-vit-b": "sam_vit_b",
    "sam-vit-l": "sam_vit_l",
    "sam-vit-h": "sam_vit_h",
    "medsam": "medsam_vit_b",
    "medicosam": "medicosam_vit_b",
    "lite-medsam": "lite_medsam",
    "mobile-sam": "mobile_sam_vit_t",
    "medsam2-efficienttam-tiny-flare25-recist": "medsam2_efficienttam_ti_512",
    "medsam2-efficienttam-small-flare25-recist": "medsam2_efficienttam_s_512",
    "efficienttam-tiny-512": "medsam2_efficienttam_ti_512",
    "efficienttam-small-512": "medsam2_efficienttam_s_512",
}


@pytest.mark.parametrize(("model", "layout"), LAYOUTS.items())
def test_official_checkpoints_would_load_strictly(model: str, layout: str) -> None:
    file = PARITY / "keys" / f"{layout}.json"
    if not file.exists():
        pytest.skip(f"no key lists in {PARITY.name}/keys; set MEDSAM_PARITY_DIR")
    with torch.device("meta"):
        state = build_model(find_model(model)).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == json.loads(file.read_text())
