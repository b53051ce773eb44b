"""Automatic mask generation: everything a network finds on one picture, asked with a grid of points.

Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), section 4 and appendix B, and its continuation in SAM 2
(arXiv:2408.00714).  Each point of a regular grid is a prompt and gets three masks, from part to whole.  Kept is what
the network itself estimates well, what hardly changes when the cut-off moves, and of duplicates the best one.  Crops of
the picture, each with a grid of its own, find smaller things.

    predictor = ImagePredictor(load_model("sam-vit-b"))
    found = find_masks(predictor, image, AutomaticSettings.published(predictor.spec))
    found[0].mask(), found[0].predicted_iou

Memory does not grow with the number of points: they go through the decoder in batches, only masks that pass the first
filter are enlarged, a few at a time, and what is kept is kept as a small block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import CancelledError, UsageError
from .automatic_filters import Crop, crop_boxes, keep_best, point_grid, touches_cut_edge, without_small_regions
from .image_predictor import EncodedImage, MaskCandidates

if TYPE_CHECKING:
    from ..models.specification import ModelSpec

Progress = Callable[[int, int], None]
"""Called as ``progress(batches of points done, batches of all)``."""

Cancel = Callable[[], bool]
"""Asked after every batch; ``True`` stops."""

# Between two rounds SAM 2's program confines logits to this.
_LARGEST_LOGIT = 32.0

# Masks enlarged to the picture's size at a time: 16 of 1024 x 1024 pixels take 64 MiB.
_ENLARGED_AT_A_TIME = 16

FAMILY_OF_SAM2 = ("sam2", "efficient-tam")
_SAM_MINIMUM_IOU, _SAM2_MINIMUM_IOU = 0.88, 0.8


@dataclass(frozen=True)
class AutomaticSettings:
    """How masks are looked for and which are kept; the defaults are those published with SAM.

    Attributes:
        points_per_side: the grid has the square of this many points.
        points_per_batch: so many points go through the decoder at once.
        predicted_iou_threshold: the network's estimate of a mask's overlap with the truth must be above this; 0 asks
            for nothing.
        stability_score_threshold: the overlap of the masks at cut-offs ``stability_score_offset`` above and below the
            usual one must be at least this; 0 asks for nothing.
        stability_score_offset: logits.
        box_nms_threshold: of two masks of one picture whose boxes overlap (intersection over union) by more than this,
            the one with the lower estimate goes.
        crop_layers: crops of the picture are looked at, too: 2 x 2 in the first layer, 4 x 4 in the second ...
        crop_nms_threshold: as ``box_nms_threshold`` between crops; the smaller crop's mask stays.
        crop_overlap_ratio: overlap of the first layer's crops as a part of the picture's shorter side.
        crop_points_downscale_factor: each layer's grid has this many times fewer points a side than the one before.
        minimum_region_area: holes and islands of fewer pixels are removed from the masks; 0 leaves them as they are.
        refine: every mask is shown to the network once more with its point, before any filter (SAM 2's ``use_m2m``).
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou_threshold: float = _SAM_MINIMUM_IOU
    stability_score_threshold: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_threshold: float = 0.7
    crop_layers: int = 0
    crop_nms_threshold: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_points_downscale_factor: int = 1
    minimum_region_area: int = 0
    refine: bool = False

    def __post_init__(self) -> None:
        counts = {
            "points per side": (self.points_per_side, 1),
            "points per batch": (self.points_per_batch, 1),
            "crop layers": (self.crop_layers, 0),
            "downscale factor": (self.crop_points_downscale_factor, 1),
            "minimum region area": (self.minimum_region_area, 0),
        }
        for what, (value, least) in counts.items():
            if value < least:
                raise _bad(f"The {what} must be at least {least}, not {value}.")
        fractions = {
            "box overlap": self.box_nms_threshold,
            "overlap between crops": self.crop_nms_threshold,
            "overlap of crops": self.crop_overlap_ratio,
            "stability score": self.stability_score_threshold,
        }
        for what, number in fractions.items():
            if not 0 <= number <= 1:
                raise _bad(f"The {what} must be a number from 0 to 1, not {number:g}.")
        if not 0 <= self.predicted_iou_threshold < float("inf") or not 0 <= self.stability_score_offset < float("inf"):
            raise _bad("Thresholds must not be negative.")

    @classmethod
    def published(cls, spec: ModelSpec) -> AutomaticSettings:
        """The defaults published with the model's family."""
        second = spec.architecture in FAMILY_OF_SAM2
        return cls(predicted_iou_threshold=_SAM2_MINIMUM_IOU if second else _SAM_MINIMUM_IOU)


@dataclass(frozen=True, eq=False)
class FoundMask:
    """One mask of a picture.

    Attributes:
        shape: (rows, columns) of the picture.
        rows, columns: the smallest block that holds the mask.
        pixels: bool, the mask inside that block.
        predicted_iou: the network's estimate of its overlap with the truth.
        stability_score: 0..1, see :class:`AutomaticSettings`.
        point: (x, y) of the point that asked for it.
        crop: the part of the picture the network was shown.
    """

    shape: tuple[int, int]
    rows: slice
    columns: slice
    pixels: np.ndarray
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop: Crop

    @property
    def area(self) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1: first and last column and row."""
        return self.columns.start, self.rows.start, self.columns.stop - 1, self.rows.stop - 1

    @property
    def confidence(self) -> float:
        """Estimated overlap (at most 1) x stability, 0..1."""
        return min(max(self.predicted_iou, 0.0), 1.0) * self.stability_score

    def mask(self) -> np.ndarray:
        """(rows, columns) bool of the whole picture."""
        whole = np.zeros(self.shape, dtype=bool)
        whole[self.rows, self.columns] = self.pixels
        return whole

    def with_mask(self, mask: np.ndarray) -> FoundMask:
        """The same find with another, non-empty mask (rows, columns) of the whole picture."""
        rows, columns = _block(mask)
        return replace(self, rows=rows, columns=columns, pixels=np.ascontiguousarray(mask[rows, columns]))


class PointPredictor(Protocol):
    """What is asked of a network; :class:`~MedSAMSegmentLib.inference.image_predictor.ImagePredictor` is one."""

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Look at a picture."""
        ...

    def predict(
        self,
        encoded: EncodedImage,
        points: np.ndarray,
        labels: np.ndarray,
        *,
        mask_logits: Tensor | None = None,
        multimask: bool = False,
    ) -> MaskCandidates:
        """Masks (B, M, h, w) for B prompts: points (B, N, 2) in pixels of the picture and labels (B, N), and the
        logits (B, 1, h, w) of earlier answers.
        """
        ...

    def at_image_size(self, logits: Tensor, shape: tuple[int, int]) -> Tensor:
        """Those masks' logits at the picture's size."""
        ...


def find_masks(
    predictor: PointPredictor,
    image: np.ndarray,
    settings: AutomaticSettings | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[FoundMask]:
    """Every mask the network finds on a picture.

    Args:
        predictor: the network.
        image: (rows, columns) or (rows, columns, 3) uint8.
        settings: see there; default SAM's.
        progress, cancel: see above.

    Returns:
        Masks, which may overlap: parts and wholes are both kept.  Without crops the best estimate comes first; with
        crops, masks of the smallest crops.

    Raises:
        CancelledError: ``cancel`` said so.
        InputError: ``WRONG_IMAGE``.
    """
    settings = settings or AutomaticSettings()
    rows, columns = image.shape[:2]
    shape = (int(rows), int(columns))
    crops = crop_boxes(shape, settings.crop_layers, settings.crop_overlap_ratio)
    grids = [_grid(layer, settings) for layer, _ in crops]
    batches = [-(-len(grid) // settings.points_per_batch) for grid in grids]
    done = 0
    found: list[FoundMask] = []
    for (_, crop), grid in zip(crops, grids, strict=True):
        in_crop: list[FoundMask] = []
        for masks in _masks_of_crop(predictor, image, crop, grid, settings):
            in_crop += masks
            done += 1
            if progress is not None:
                progress(done, sum(batches))
            if cancel is not None and cancel():
                raise CancelledError()
        kept = keep_best(
            _boxes(in_crop), np.array([item.predicted_iou for item in in_crop]), settings.box_nms_threshold
        )
        found += [in_crop[index] for index in kept]
    if len(crops) > 1:
        sizes = np.array([(item.crop[2] - item.crop[0]) * (item.crop[3] - item.crop[1]) for item in found])
        found = [found[index] for index in keep_best(_boxes(found), -sizes, settings.crop_nms_threshold)]
    if settings.minimum_region_area > 0:
        found = _smoothed(found, settings)
    return found


def _grid(layer: int, settings: AutomaticSettings) -> np.ndarray:
    side = settings.points_per_side // settings.crop_points_downscale_factor**layer
    return point_grid(max(side, 1))


def _masks_of_crop(
    predictor: PointPredictor, image: np.ndarray, crop: Crop, grid: np.ndarray, settings: AutomaticSettings
) -> Iterator[list[FoundMask]]:
    """The masks of one crop that pass all filters but that for duplicates, batch by batch of points."""
    x0, y0, x1, y1 = crop
    encoded = predictor.encode(image[y0:y1, x0:x1])
    points = grid * (x1 - x0, y1 - y0)
    shape = (int(image.shape[0]), int(image.shape[1]))
    for start in range(0, len(points), settings.points_per_batch):
        batch = points[start : start + settings.points_per_batch]
        labels = np.ones((len(batch), 1), np.int64)
        candidates = predictor.predict(encoded, batch[:, None], labels, multimask=True)
        if settings.refine:
            candidates = _refined(predictor, encoded, batch, candidates)
        yield _passing(predictor, candidates, batch, encoded.shape, crop, shape, settings)


def _refined(
    predictor: PointPredictor, encoded: EncodedImage, points: np.ndarray, candidates: MaskCandidates
) -> MaskCandidates:
    """One mask for each candidate, from its point and its logits; as many prompts at once as there were points."""
    per_point = candidates.logits.shape[1]
    places = np.repeat(points, per_point, axis=0)[:, None]
    earlier = candidates.logits.flatten(0, 1)[:, None].clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    answers = []
    for start in range(0, len(places), len(points)):
        few = slice(start, start + len(points))
        labels = np.ones((len(places[few]), 1), np.int64)
        answers.append(predictor.predict(encoded, places[few], labels, mask_logits=earlier[few], multimask=False))
    logits = torch.cat([answer.logits for answer in answers])
    ious = torch.cat([answer.ious for answer in answers])
    return MaskCandidates(logits.unflatten(0, (-1, per_point))[:, :, 0], ious.unflatten(0, (-1, per_point))[:, :, 0])


def _passing(
    predictor: PointPredictor,
    candidates: MaskCandidates,
    points: np.ndarray,
    crop_shape: tuple[int, int],
    crop: Crop,
    shape: tuple[int, int],
    settings: AutomaticSettings,
) -> list[FoundMask]:
    """The candidates that are well estimated, stable, not empty and not cut off by the crop."""
    ious = candidates.ious.flatten().float()
    chosen = torch.arange(len(ious), device=ious.device)
    if settings.predicted_iou_threshold > 0:
        chosen = chosen[ious > settings.predicted_iou_threshold]
    logits = candidates.logits.flatten(0, 1)
    per_point = candidates.logits.shape[1]
    passing = []
    for few in chosen.split(_ENLARGED_AT_A_TIME):
        enlarged = predictor.at_image_size(logits[few][:, None], crop_shape)[:, 0]
        stability = _stability(enlarged, settings.stability_score_offset)
        for index, mask, score in zip(few.tolist(), (enlarged > 0).cpu().numpy(), stability.tolist(), strict=True):
            if not mask.any() or (
                settings.stability_score_threshold > 0 and not score >= settings.stability_score_threshold
            ):
                continue
            rows, columns = _block(mask)
            found = FoundMask(
                shape=shape,
                rows=slice(rows.start + crop[1], rows.stop + crop[1]),
                columns=slice(columns.start + crop[0], columns.stop + crop[0]),
                pixels=np.ascontiguousarray(mask[rows, columns]),
                predicted_iou=float(ious[index]),
                stability_score=float(score),
                point=(float(points[index // per_point][0] + crop[0]), float(points[index // per_point][1] + crop[1])),
                crop=crop,
            )
            if not touches_cut_edge(np.array([found.box]), crop, shape)[0]:
                passing.append(found)
    return passing


def _stability(logits: Tensor, offset: float) -> Tensor:
    """(B,) overlap of the masks (B, rows, columns) at logits above ``offset`` and above ``-offset``; NaN if empty."""
    inner = (logits > offset).flatten(1).sum(dim=1)
    outer = (logits > -offset).flatten(1).sum(dim=1)
    return inner / outer


def _smoothed(found: list[FoundMask], settings: AutomaticSettings) -> list[FoundMask]:
    """Masks without small holes and islands; of what became alike, a mask that needed no change stays."""
    cleaned, unchanged = [], []
    for item in found:
        mask, changed = without_small_regions(item.mask(), settings.minimum_region_area)
        cleaned.append(item.with_mask(mask) if changed else item)
        unchanged.append(float(not changed))
    threshold = max(settings.box_nms_threshold, settings.crop_nms_threshold)
    return [cleaned[index] for index in keep_best(_boxes(cleaned), np.array(unchanged), threshold)]


def _boxes(masks: list[FoundMask]) -> np.ndarray:
    return np.array([item.box for item in masks], np.float64).reshape(-1, 4)


def _block(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns that hold a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _bad(message: str) -> UsageError:
    return UsageError("BAD_SETTING", message, "See medsamsegment auto --help.")
