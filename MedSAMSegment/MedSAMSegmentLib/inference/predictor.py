"""What the tracker asks of a network, whatever its architecture.

A :class:`SlicePredictor` turns one picture of a slice into features (once, cached), and features + prompts + memories
into a mask.  It keeps no state between calls: which slices are remembered is the tracker's business.  Pictures,
prompts and logits all live in the coordinates of one :class:`~MedSAMSegmentLib.inference.crop.CropFrame`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from ..errors import CheckpointError
from .crop import CropFrame, CropSettings
from .provenance import ModelIdentity
from .runtime_choice import TORCH, RuntimeUse, choose_runtime
from .runtimes import check_runtime

if TYPE_CHECKING:
    from ..checkpoints import LoadedModel


@dataclass(frozen=True)
class BoxCoordinates:
    """The affine map from crop pixels of one slice to the box's own coordinates (-1 and 1 are its faces).

    ``origin`` is the local coordinate of crop point (0, 0) of the *frame's own* size; ``per_u``, ``per_v`` and
    ``per_slice`` are what one crop pixel to the right, one down and one slice up add; all (3,).
    """

    origin: np.ndarray
    per_u: np.ndarray
    per_v: np.ndarray
    per_slice: np.ndarray
    frame_size: int

    def centres(self, size: int) -> np.ndarray:
        """(size,) the frame's own coordinates of pixel centres along a side, for the frame cut into ``size`` pixels."""
        return (np.arange(size) + 0.5) * (self.frame_size / size) - 0.5

    def grid(self, size: int) -> np.ndarray:
        """(size, size, 3) float32: local coordinates of all pixel centres of the frame cut into ``size`` pixels.

        Inside the box all three lie in [-1, 1]; ``1 - |c|`` times half the box's size is the distance in mm to the
        nearer of the two faces across that axis (negative outside).
        """
        centres = self.centres(size)
        u, v = centres[None, :, None], centres[:, None, None]
        return (self.origin + u * self.per_u + v * self.per_v).astype(np.float32)


@dataclass(frozen=True)
class SlicePrompt:
    """Everything known about one slice before the network looks at it.

    Attributes:
        slice_index: which slice.
        frame: the crop all coordinates below refer to.
        prompted: the user said something about this slice, or its rectangle is to be trusted like a drawn box;
            otherwise the slice is merely tracked.
        rectangle: (u0, v0, u1, v1) of the 3-D box on this slice, or of the rectangle drawn there, in crop coordinates
            (pixel centres on integers); ``None`` where there is neither.  SAM-like networks use it on prompted slices
            only.
        box_coordinates: where every crop pixel lies in the (rotated) 3-D box, or in the rectangle drawn on the slice;
            known on every slice.
        rectangle_is_drawn: the user drew the rectangle on this very slice, or on slices before and after it.
        points: (n, 2) clicks (u, v) in crop coordinates.
        labels: (n,) bool, positive clicks.
        mask: (size, size) float32 0..1, the cross-section drawn by the user (to be returned as the result), or none.
        below, above: (s, s) low-resolution logits of the slices with index - 1 and index + 1, where they are known.
        own: (s, s) low-resolution logits of this very slice before the user corrected it, or none.
        all_candidates: the user wants to see every mask that the network has to offer.
    """

    slice_index: int
    frame: CropFrame
    prompted: bool
    rectangle: tuple[float, float, float, float] | None
    box_coordinates: BoxCoordinates
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    mask: np.ndarray | None = None
    below: torch.Tensor | None = None
    above: torch.Tensor | None = None
    own: torch.Tensor | None = None
    all_candidates: bool = False
    rectangle_is_drawn: bool = False

    @cached_property
    def local(self) -> np.ndarray:
        """``box_coordinates`` on the frame's own grid, (size, size, 3) float32."""
        return self.box_coordinates.grid(self.frame.size)


@dataclass(frozen=True)
class SlicePrediction:
    """What the network says about one slice.

    Attributes:
        logits: (s, s) float32 over the whole frame, at the network's own resolution; > 0 is the object.
        predicted_iou: the network's estimate of the mask's overlap with the truth, 0..1.
        object_score: a logit; > 0 when the object is on the slice.
        state: whatever ``remember`` needs later (an object pointer ...); opaque to the tracker.
        candidates: every mask offered, this one among them, as logits (s, s) and estimated overlap; empty where the
            network offers no choice.
    """

    logits: torch.Tensor
    predicted_iou: float
    object_score: float
    state: Any = None
    candidates: tuple[tuple[torch.Tensor, float], ...] = ()


@dataclass(frozen=True)
class BankEntry:
    """A remembered slice as seen from the slice that is being predicted.

    Attributes:
        memory: what ``remember`` returned.
        slices: signed number of slices from here to the remembered one.
        millimetres: the same distance, signed, in mm.
        rank: 0 for a prompted slice, 1 for the nearest tracked one, 2 for the next ...; one each, so that a network
            that numbers its memories can.
        conditioning: the remembered slice was prompted by the user.
    """

    memory: Any
    slices: int
    millimetres: float
    rank: int
    conditioning: bool


class SlicePredictor(Protocol):
    """A promptable 2-D network with (optionally) a memory; see the module's docstring.

    Attributes:
        identity: architecture, weights and kind of device in one string; part of the cache's key.
        crop: how it wants to see an object.
        neighbours: slices on each side that are shown with the slice itself, as further channels.
        memory_capacity: how many tracked (not prompted) slices it can recall; 0 for a network without memory.
        local_contrast: of a window that was not chosen by the user, it wants to see only the part that the crop fills.
        revises: whether it can improve on a tracked slice, shown the masks of the slice and of both its neighbours.
        key_candidates: of so many slices about the box's middle, tracking begins on the one it is surest of.
        understands: prompts it was trained with, of ``"box"``, ``"points"`` and ``"mask"``.
        needs_box: it must be told the object's size; clicks alone are not enough.
    """

    identity: str
    crop: CropSettings
    neighbours: int
    memory_capacity: int
    local_contrast: bool
    revises: bool
    key_candidates: int
    understands: tuple[str, ...]
    needs_box: bool

    def encode(self, picture: np.ndarray) -> Any:
        """Features of a picture (2 * neighbours + 1, size, size) float32 in 0..1, lowest slice index first."""
        ...

    def predict(self, features: Any, prompt: SlicePrompt, bank: Sequence[BankEntry]) -> SlicePrediction:
        """The mask of one object on one slice.  Prompted entries of ``bank`` come first, then nearest first."""
        ...

    def remember(self, features: Any, prompt: SlicePrompt, prediction: SlicePrediction) -> Any:
        """What later slices should recall of this one."""
        ...


@runtime_checkable
class PredictsTogether(Protocol):
    """A predictor that is quicker with several slices at a time.

    Attributes:
        slices_at_once: this many keep the machine busy.
        slices_in_piece: this many of them are one core's work.
        idle_cores: so many have nothing to do while the network works on one thing only.
    """

    slices_in_piece: int

    @property
    def slices_at_once(self) -> int: ...

    @property
    def idle_cores(self) -> int: ...

    def encode_batch(self, pictures: Sequence[np.ndarray]) -> list[Any]:
        """``encode`` of pictures of one size."""
        ...

    def predict_batch(self, features: Sequence[Any], prompts: Sequence[SlicePrompt]) -> list[SlicePrediction]:
        """``predict`` without memories of slices with neither clicks nor a drawn mask, all knowing the same masks."""
        ...


@runtime_checkable
class SeesRectangles(Protocol):
    """A predictor with a part of its own for slices of which no more is known than a rectangle.

    Attributes:
        sees_rectangles: ``False`` where its weights lack that part.
    """

    @property
    def sees_rectangles(self) -> bool: ...

    def in_rectangles(self, pictures: Sequence[np.ndarray], prompts: Sequence[SlicePrompt]) -> list[SlicePrediction]:
        """``predict`` of such slices, from pictures as ``encode`` wants them."""
        ...


def open_predictor(
    model: str | LoadedModel | SlicePredictor,
    device: str,
    checkpoint: str | os.PathLike[str] | None,
    runtime: str = "auto",
) -> tuple[SlicePredictor, ModelIdentity, RuntimeUse]:
    """A predictor and who it is, from a name of the catalog, a loaded model or a predictor.

    Args:
        model: see above.
        device: where a model given by name runs.
        checkpoint: the user's own weights for a model given by name.
        runtime: see :func:`~MedSAMSegmentLib.inference.runtime_choice.choose_runtime`; a predictor brings its own.

    Raises:
        UsageError, CheckpointError: an unknown name, a missing or damaged checkpoint, a runtime that is not there.
    """
    from ..checkpoints import LoadedModel, load_model

    check_runtime(runtime)

    if isinstance(model, str):
        model = load_model(model, checkpoint, device)
    if isinstance(model, LoadedModel):
        identity = ModelIdentity(model.spec.name, model.spec.architecture, model.weights_sha256)
        used = choose_runtime(model, runtime)
        return make_predictor(model), identity, used
    return model, ModelIdentity("", "", model.identity), TORCH


def make_predictor(loaded: LoadedModel) -> SlicePredictor:
    """The predictor of a loaded model, by its architecture.

    Args:
        loaded: from ``checkpoints.load_model``; its network is already on its device.

    Raises:
        CheckpointError: ``ARCHITECTURE_NOT_TRACKED`` when no predictor is written for that architecture.
        UsageError: ``PROMPT_NOT_TRAINED`` for a model that knows scribbles on pictures only.
    """
    if "box" not in loaded.spec.prompts:
        from .image_predictor import only_scribbles

        raise only_scribbles(loaded.spec)
    architecture = loaded.spec.architecture
    if architecture == "embedded":
        from .embedded import EmbeddedPredictor

        return EmbeddedPredictor(loaded)
    if architecture in ("sam2", "efficient-tam"):
        from .sam2_predictor import Sam2Predictor

        return Sam2Predictor(loaded)
    if architecture in ("sam", "sam-tiny-vit"):
        from .sam_predictor import SamPredictor

        return SamPredictor(loaded)
    raise CheckpointError(
        "ARCHITECTURE_NOT_TRACKED",
        f"Models of the architecture {architecture!r} cannot segment volumes yet.",
        "Choose another model: medsamsegment models list.",
    )
