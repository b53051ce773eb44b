"""A computed abdominal CT with known truth, for trying the program out, for pictures and for tests.

No patient is behind it: every organ is a formula, so any grid (thick slices, oblique, left-handed) can be scanned, the
truth is exact, and the same seed gives the same voxels.

    phantom = make_phantom(seed=0)
    phantom.volume            # a CT, 64 x 256 x 256, contrast in the portal venous phase
    phantom.mask("liver")     # truth, (k, j, i) bool
"""

from .body import ORGANS
from .scanner import Phantom, make_phantom, phantom_geometry

__all__ = ["ORGANS", "Phantom", "make_phantom", "phantom_geometry"]
