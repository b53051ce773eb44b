"""What a user draws (boxes, points, masks, scribbles, diameters) and the plan of slices it becomes.

Pure numpy; nothing here knows a network.
"""

from .on_slices import SlicePoint, SlicePrompts, prompts_on_slices
from .plan import SlicePlan, plan_slices
from .plane import PLANE_NAMES, SlicePlane
from .types import BoxPrompt, LinePrompt, MaskPrompt, PointPrompt, ScribblePrompt, SliceBoxPrompt

__all__ = [
    "PLANE_NAMES",
    "BoxPrompt",
    "LinePrompt",
    "MaskPrompt",
    "PointPrompt",
    "ScribblePrompt",
    "SliceBoxPrompt",
    "SlicePlan",
    "SlicePlane",
    "SlicePoint",
    "SlicePrompts",
    "plan_slices",
    "prompts_on_slices",
]
