"""What a user draws (boxes, points, masks) and the plan of slices it becomes.

Pure numpy; nothing here knows a network.
"""

from .plan import SlicePlan, SlicePoint, plan_slices
from .plane import PLANE_NAMES, SlicePlane
from .types import BoxPrompt, MaskPrompt, PointPrompt

__all__ = [
    "PLANE_NAMES",
    "BoxPrompt",
    "MaskPrompt",
    "PointPrompt",
    "SlicePlan",
    "SlicePlane",
    "SlicePoint",
    "plan_slices",
]
