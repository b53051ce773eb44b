"""Scans and boxes in patient space: geometry, voxels, rotated boxes, intensity windows and the readers of all formats.

Importing this package costs NumPy only; the libraries that read files are imported when a file is read.
"""

from .box import OrientedBox
from .geometry import Geometry
from .markups import read_roi, write_roi
from .readers import read_labelmap, read_volume
from .volume import SourceInstance, Volume
from .window import CT_PRESETS, IntensityRange, Window

__all__ = [
    "CT_PRESETS",
    "Geometry",
    "IntensityRange",
    "OrientedBox",
    "SourceInstance",
    "Volume",
    "Window",
    "read_labelmap",
    "read_roi",
    "read_volume",
    "write_roi",
]
