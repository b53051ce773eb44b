"""A SAM whose answers are known: inside a box, and inside an earlier mask's surroundings, bright is object.

It is prompted and read like the real network, so that everything a predictor does around one can be tested exactly.
"""

from __future__ import annotations

import torch
from MedSAMSegmentLib.checkpoints import LoadedModel
from MedSAMSegmentLib.models.sam import SAM, SAMMask
from MedSAMSegmentLib.models.specification import ModelSpec
from small_networks import entry
from torch import Tensor

SIZE = 64
_GREYS = torch.linspace(0, 1, 11)


class ThresholdSam(SAM):
    """The embedding of a pixel says how near it is to each of eleven greys; a click's grey is what it means."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.stride = 1
        self.asked: list[dict[str, Tensor | None]] = []

    def encode_image(self, image: Tensor) -> Tensor:
        return torch.exp(-(((image[:, :1] - _GREYS.view(1, -1, 1, 1)) / 0.1) ** 2))

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask: bool = False,
    ) -> SAMMask:
        self.asked.append({"points": points, "labels": labels, "mask": mask_input})
        grey = (embedding[0] * _GREYS.view(-1, 1, 1)).sum(0) / embedding[0].sum(0)
        v, u = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        found = grey > 0.5 if mask_input is None else mask_input[0, 0, ::4, ::4] > 0
        places = [] if points is None else zip(points[0].tolist(), labels[0].tolist(), strict=True)
        corners = []
        for (x, y), kind in places:
            if kind >= 2:
                corners.append((x, y))
            else:
                alike = (grey - grey[round(y), round(x)]).abs() < 0.1
                found = found & ~alike if kind == 0 else alike if mask_input is None and not corners else found | alike
        if corners:
            (x0, y0), (x1, y1) = corners
            within = (u >= x0 - 0.5) & (u <= x1 + 0.5) & (v >= y0 - 0.5) & (v <= y1 + 0.5)
            found = (grey > 0.5) & within if mask_input is not None else found & within
        logits = torch.where(found, 6.0, -6.0).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
        ious = torch.tensor([[0.9]])
        if multimask:
            logits, ious = torch.cat([logits, -logits, logits * 0.5], dim=1), torch.tensor([[0.9, 0.2, 0.5]])
        return SAMMask(logits[:, :1], ious[:, :1], logits, ious)


def threshold_model(**changes) -> LoadedModel:
    """The network as a loaded model; ``changes`` are fields of its specification."""
    rules = {"mean": [0], "std": [1]}
    spec = ModelSpec.from_dict(
        entry(architecture="sam", hyper_parameters={}, image_size=SIZE, preprocessing=rules, **changes)
    )
    return LoadedModel(spec, ThresholdSam(), "threshold", torch.device("cpu"))
