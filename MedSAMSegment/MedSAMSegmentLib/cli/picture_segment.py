"""Two-dimensional pictures, as the official image programs segment them: whole, in colour, from boxes and clicks.

For MedSAM this is what its ``MedSAM_Inference.py`` computes, for SAM and SAM 2 what their image predictors do.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CancelledError, UsageError
from .candidates import OfferedMask
from .console import Output, cancel_on_interrupt

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel
    from ..models.specification import ModelSpec
    from ..volume import Geometry
    from .prompted import PromptedObject


def check_understood(spec: ModelSpec, objects: list[PromptedObject]) -> None:
    """Refuse prompts that the weights were not trained with.  Raises ``UsageError`` (``PROMPT_NOT_TRAINED``)."""
    from ..inference.image_predictor import only_scribbles

    if "box" not in spec.prompts:
        raise only_scribbles(spec)
    if "points" not in spec.prompts and any(item.points for item in objects):
        raise UsageError(
            "PROMPT_NOT_TRAINED",
            f"The model '{spec.name}' was trained with boxes only: it does not understand clicks.",
            "Give a --box instead, or choose a model that was trained with clicks.",
        )


def segment_picture(
    output: Output,
    model: LoadedModel,
    image: np.ndarray,
    geometry: Geometry,
    objects: list[PromptedObject],
    multimask: bool,
) -> tuple[list[OfferedMask], float, CancelledError | None]:
    """All objects of one picture.

    Args:
        output: shows the progress.
        model: of the SAM family.
        image: (H, W) or (H, W, 3) uint8.
        geometry: of the picture as a scan.
        objects: with boxes and clicks only.
        multimask: three masks for each object instead of one.

    Returns:
        Masks (one an object without ``multimask``), seconds, and the cancellation if there was one.

    Raises:
        UsageError: ``EMPTY_PROMPT``.
        InferenceError: the network failed.
    """
    from ..inference.image_predictor import ImagePredictor
    from ..inference.runner import typed_failures

    found: list[OfferedMask] = []
    cancelled: CancelledError | None = None
    started = time.perf_counter()
    with cancel_on_interrupt() as cancel, output.progress("segmenting") as progress, typed_failures():
        predictor = ImagePredictor(model)
        encoded = predictor.encode(image)
        for number, item in enumerate(objects, start=1):
            if cancel():
                cancelled = CancelledError(hint="What was done so far is kept.")
                break
            candidates = predictor.predict(encoded, **_prompts(item, geometry), multimask=multimask)
            masks = predictor.masks(encoded, candidates)[0]
            scores = predictor.scores(candidates)[0]
            for rank, index in enumerate(np.argsort(-scores, kind="stable"), start=int(multimask)):
                found.append(OfferedMask(item.name, rank, 0, masks[index], float(scores[index])))
            progress(number, len(objects), item.name)
    return found, time.perf_counter() - started, cancelled


def describe_picture(found: list[OfferedMask], seconds: float) -> list[dict[str, Any]]:
    """The objects for machines, with the fields of a volume's."""
    return [
        {
            "name": item.name,
            "complete": True,
            "voxels": int(np.count_nonzero(item.mask)),
            "key_slice": 0,
            "slices_for_review": [],
            "scores": {"0": round(item.score, 4)},
            "seconds": {"total": round(seconds / len(found), 4)},
        }
        for item in found
    ]


def _prompts(item: PromptedObject, geometry: Geometry) -> dict[str, Any]:
    """Box and clicks in pixels, as :class:`ImagePredictor` takes them."""
    prompts: dict[str, Any] = {}
    if item.box is not None:
        (x0, y0, x1, y1) = item.box.slice_rectangles(geometry, 0)[0]
        # Edges become first and last pixel; rounding takes away what the way through millimetres added.
        prompts["boxes"] = np.round([[x0 + 0.5, y0 + 0.5, x1 - 0.5, y1 - 0.5]], 6)
    if item.points:
        places = [geometry.lps_to_index(np.array(position))[:2] for position, _ in item.points]
        prompts["points"] = np.round([places], 6)
        prompts["labels"] = np.array([[int(inside) for _, inside in item.points]])
    return prompts
