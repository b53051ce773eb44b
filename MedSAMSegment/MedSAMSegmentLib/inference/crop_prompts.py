"""What a plan says about single slices, in the coordinates of the crop that the network sees."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..prompts.plan import SlicePlan
from .crop import CropFrame
from .predictor import BoxCoordinates, SlicePrompt

if TYPE_CHECKING:
    from ..volume import Geometry


@dataclass(frozen=True)
class CropPrompts:
    """A plan as seen from one crop.

    Attributes:
        geometry: of the scan.
        plan: what the user said.
        frame: the crop.
    """

    geometry: Geometry
    plan: SlicePlan
    frame: CropFrame

    def prompt(
        self,
        index: int,
        prompted: bool,
        below: torch.Tensor | None = None,
        above: torch.Tensor | None = None,
        own: torch.Tensor | None = None,
    ) -> SlicePrompt:
        """Everything known about a slice, see :class:`SlicePrompt`; clicks beyond the crop drop out."""
        plan, frame = self.plan, self.frame
        rectangle = None
        shown = plan.rectangle(index)
        if shown is not None:
            x0, y0, x1, y1 = shown
            corners = frame.to_crop(np.array([[x0, y0], [x1, y1]])).ravel()
            rectangle = (float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3]))
        clicks = plan.points.get(index, ())
        points = frame.to_crop(np.array([[click.x, click.y] for click in clicks]).reshape(-1, 2))
        seen = ((points >= -0.5) & (points <= frame.size - 0.5)).all(axis=1)
        mask = plan.masks.get(index)
        return SlicePrompt(
            slice_index=index,
            frame=frame,
            prompted=prompted,
            rectangle=rectangle,
            box_coordinates=self._coordinates(index, rectangle),
            points=points[seen],
            labels=np.array([click.positive for click in clicks], dtype=bool)[seen],
            mask=None if mask is None else frame.sample(mask),
            below=below,
            above=above,
            own=own,
            rectangle_is_drawn=plan.drawn_rectangle(index) is not None,
        )

    def _coordinates(self, index: int, rectangle: tuple[float, float, float, float] | None) -> BoxCoordinates:
        """Where the pixels of a slice lie in the box, or in the rectangle that was drawn there.

        Whoever draws a rectangle draws it tightly, as the box is tight in its middle.
        """
        coordinates = box_coordinates(self.geometry, self.plan, self.frame, index)
        if rectangle is None or self.plan.drawn_rectangle(index) is None:
            return coordinates
        u0, v0, u1, v1 = rectangle
        per_u, per_v = np.array([2.0 / (u1 - u0), 0.0, 0.0]), np.array([0.0, 2.0 / (v1 - v0), 0.0])
        origin = np.array([-(u0 + u1) / (u1 - u0), -(v0 + v1) / (v1 - v0), 0.0])
        return BoxCoordinates(origin, per_u, per_v, coordinates.per_slice, self.frame.size)


def box_coordinates(geometry: Geometry, plan: SlicePlan, frame: CropFrame, index: int) -> BoxCoordinates:
    """Where the crop pixels of slice ``index`` lie in the plan's box.

    Every step from a crop pixel to the box's own axes is affine, so four points tell the whole map.
    """
    corners = frame.to_slice(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    points = np.concatenate([corners, index + np.array([[0.0], [0.0], [0.0], [1.0]])], axis=1)
    local = np.asarray(plan.box.to_local(geometry.index_to_lps(plan.plane.to_index(points))), dtype=np.float64)
    per_u, per_v, per_slice = local[1:] - local[0]
    return BoxCoordinates(local[0], per_u, per_v, per_slice, frame.size)


def box_key(plan: SlicePlan) -> Hashable:
    """The box in a form that can be compared; rectangles and coordinates of all slices follow from it."""
    return tuple(np.concatenate([np.ravel(plan.box.centre), np.ravel(plan.box.axes), np.ravel(plan.box.size)]).tolist())


def prompt_key(plan: SlicePlan, index: int) -> Hashable:
    """What the user said about one slice, in a form that can be compared."""
    mask = plan.masks.get(index)
    drawn = None if mask is None else array_key(mask)
    return plan.points.get(index, ()), drawn, plan.rectangle(index)


def array_key(array: np.ndarray) -> bytes:
    """What an array holds, in a form that can be compared."""
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
