"""Every official checkpoint of the catalog's families loads strictly: names and shapes are those of its file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from MedSAMSegmentLib.checkpoints import list_models
from MedSAMSegmentLib.checkpoints.fitting import models_that_fit
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.models.specification import ModelSpec

PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", Path(__file__).resolve().parents[3] / "shared" / "parity"))
KEY_LISTS = sorted((PARITY / "keys").glob("*.json"))
OF_CELL_MODELS = ("cellpose", "cellsam", "microsam_unetr_decoder")
"""Key lists that begin so are of programs for cells, which the catalog does not have."""

LAYOUTS = {
    "sam-vit-b": "sam_vit_b",
    "sam-vit-l": "sam_vit_l",
    "sam-vit-h": "sam_vit_h",
    "medsam": "medsam_vit_b",
    "medicosam": "medicosam_vit_b",
    "lite-medsam": "lite_medsam",
    "lite-medsam-scribble": "lite_medsam",
    "mobile-sam": "mobile_sam_vit_t",
    "efficienttam-tiny-512": "medsam2_efficienttam_ti_512",
    "efficienttam-small-512": "medsam2_efficienttam_s_512",
    "medsam2-efficienttam-tiny-flare25-recist": "medsam2_efficienttam_ti_512",
    "medsam2-efficienttam-small-flare25-recist": "medsam2_efficienttam_s_512",
}
"""The key list of each model whose name does not tell it; see :func:`layout`."""


def layout(model: str) -> str:
    """ "sam2.0-base-plus" -> "sam2_hiera_base_plus"; the files of MedSAM2 all have one layout."""
    if model in LAYOUTS:
        return LAYOUTS[model]
    if model.startswith("medsam2"):
        return "medsam2_hiera_t512"
    family, size = model.split("-", 1)
    return f"{family.replace('sam2.0', 'sam2')}_hiera_{size.replace('-', '_')}"


@pytest.mark.skipif(not KEY_LISTS, reason=f"no key lists in {PARITY.name}/keys; set MEDSAM_PARITY_DIR")
@pytest.mark.parametrize(
    "spec", [spec for spec in list_models() if not spec.checkpoint.is_bundled], ids=lambda spec: spec.name
)
def test_the_official_file_of_every_model_loads_strictly(spec: ModelSpec) -> None:
    file = PARITY / "keys" / f"{layout(spec.name)}.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not among the key lists of {PARITY.name}")
    official = as_tensors(json.loads(file.read_text()))
    with torch.device("meta"):
        network = build_model(spec)
    network.load_state_dict(official, strict=True, assign=True)
    assert spec.name in models_that_fit(official)


@pytest.mark.parametrize("file", KEY_LISTS or [None], ids=lambda file: file.stem if file else "none")
def test_every_key_list_of_the_family_has_a_model(file: Path | None) -> None:
    if file is None:
        pytest.skip(f"no key lists in {PARITY.name}/keys; set MEDSAM_PARITY_DIR")
    fitting = models_that_fit(as_tensors(json.loads(file.read_text())))
    assert bool(fitting) != file.stem.startswith(OF_CELL_MODELS)


def as_tensors(shapes: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Tensors without values of these shapes."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
