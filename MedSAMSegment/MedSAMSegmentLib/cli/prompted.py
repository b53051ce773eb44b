"""One object as the command line was told about it, in the coordinates of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..inference import Session
    from ..volume import OrientedBox

Position = tuple[float, float, float]
"""LPS mm."""


@dataclass(frozen=True, eq=False)
class PromptedObject:
    """One object to segment.

    Attributes:
        name: of the object.
        box: its box, or none.
        points: clicks as (position, inside?).
        scribbles: strokes as (positions, inside?).
        lines: longest diameters as (start, end).
        slice_boxes: rectangles as (slice of the segmented plane, (x0, y0, x1, y1) edges in continuous indices).
        masks: bool (k, j, i) on the scan's grid; every slice of it that is not empty counts as drawn.
    """

    name: str
    box: OrientedBox | None = None
    points: tuple[tuple[Position, bool], ...] = ()
    scribbles: tuple[tuple[tuple[Position, ...], bool], ...] = ()
    lines: tuple[tuple[Position, Position], ...] = ()
    slice_boxes: tuple[tuple[int, tuple[float, float, float, float]], ...] = ()
    masks: tuple[np.ndarray, ...] = ()

    @property
    def is_box_and_points(self) -> bool:
        """Whether nothing but a box and clicks is known."""
        return not (self.scribbles or self.lines or self.slice_boxes or self.masks)

    def add_to(self, session: Session) -> None:
        """Begin the object in a session, with all its prompts.

        Raises:
            InputError: prompts that do not meet the scan.
            UsageError: prompts that the model was not trained with, a name that is taken.
        """
        import numpy as np

        session.add_object(self.name, self.box)
        for index, rectangle in self.slice_boxes:
            session.add_slice_box(self.name, index, rectangle)
        for start, end in self.lines:
            session.add_line(self.name, start, end)
        for mask in self.masks:
            slices = np.moveaxis(mask, session.plane.axis, 0)
            for index in np.flatnonzero(slices.any(axis=(1, 2))).tolist():
                session.add_mask(self.name, index, slices[index])
        for path, inside in self.scribbles:
            session.add_scribble(self.name, path, inside)
        for position, inside in self.points:
            session.add_points(self.name, [position], inside)
