"""Single pictures go the official way: the masks of the official programs come out."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints import LoadedModel, find_model
from MedSAMSegmentLib.checkpoints.loading import network_with_weights
from MedSAMSegmentLib.errors import UsageError
from MedSAMSegmentLib.inference.automatic import AutomaticSettings, find_masks
from MedSAMSegmentLib.inference.image_predictor import ImagePredictor, check_takes_points

PARITY = Path(os.environ.get("MEDSAM_PARITY_DIR", Path(__file__).resolve().parents[2].parent / "shared" / "parity"))
needs_golden = pytest.mark.skipif(
    not (PARITY / "golden").is_dir(), reason=f"no golden arrays in {PARITY.name}; set MEDSAM_PARITY_DIR"
)


@lru_cache
def tool(name: str) -> ModuleType:
    """A module of the parity folder, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"picture_parity_{name}", PARITY / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def golden_case(golden: str, model: str) -> tuple[ImagePredictor, Any, dict[str, np.ndarray]]:
    """A predictor with the golden weights, the golden arrays, and the inputs they were made from."""
    info = json.loads((PARITY / "golden" / f"{golden}.json").read_text())
    weights = tool("weights").make_weights(str(PARITY / "keys" / f"{info['weights']}.json"), info["weights_seed"])
    spec = find_model(model)
    network = network_with_weights(spec, {k: torch.from_numpy(v.copy()) for k, v in weights.items()}, golden)
    predictor = ImagePredictor(LoadedModel(spec, network.requires_grad_(False), golden, torch.device("cpu")))
    arrays = tool("golden").Golden(golden, folder=str(PARITY / "golden"))
    return predictor, arrays, tool("inputs").make_inputs(info["inputs_seed"])


@needs_golden
def test_boxes_and_points_give_the_official_masks_of_sam() -> None:
    predictor, golden, inputs = golden_case("mobile_sam_vit_t", "mobile-sam")
    encoded = predictor.encode(inputs["image"])
    points, labels, box = inputs["points"][None], inputs["point_labels"][None], inputs["box"][None]
    for stage, prompt in (
        ("box", {"boxes": box}),
        ("points", {"points": points, "labels": labels}),
        ("box_points", {"points": points, "labels": labels, "boxes": box}),
    ):
        single = predictor.predict(encoded, **prompt)
        golden.check(f"{stage}/single_low_res", single.logits[0].numpy())
        golden.check(f"{stage}/single_mask", predictor.masks(encoded, single)[0])
        several = predictor.predict(encoded, **prompt, multimask=True)
        golden.check(f"{stage}/multi_iou", several.ious[0].numpy())
        golden.check(f"{stage}/multi_low_res", several.logits[0].numpy())


@needs_golden
def test_a_grid_of_points_works_on_a_network() -> None:
    """The masks are those each point gives by itself, whatever the batches."""
    predictor, _, inputs = golden_case("mobile_sam_vit_t", "mobile-sam")
    image = inputs["image"]
    loose = {
        "points_per_side": 3,
        "predicted_iou_threshold": 0.0,
        "stability_score_threshold": 0.0,
        "box_nms_threshold": 1.0,
    }
    found = find_masks(predictor, image, AutomaticSettings(**loose, points_per_batch=4))
    assert 1 < len(found) <= 27 and all(item.area == item.mask().sum() > 0 for item in found)
    ious = [item.predicted_iou for item in found]
    assert ious == sorted(ious, reverse=True)
    best = found[0]
    encoded = predictor.encode(image)
    alone = predictor.predict(encoded, np.array([[best.point]]), np.array([[1]]), multimask=True)
    masks = predictor.masks(encoded, alone)[0]
    assert any((mask != best.mask()).mean() < 1e-3 for mask in masks)


@pytest.mark.parametrize(("model", "code"), [("medsam", "PROMPT_NOT_TRAINED"), ("embedded", "NO_IMAGE_MODEL")])
def test_models_that_cannot_be_asked_with_points_say_so(model: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_takes_points(find_model(model))
    assert caught.value.code == code and caught.value.hint
    check_takes_points(find_model("sam2.1-tiny"))
