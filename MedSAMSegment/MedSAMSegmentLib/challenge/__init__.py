"""The file layouts of the CVPR segmentation challenges: a folder of ``.npz`` cases in, a folder of ``.npz`` masks out.

So that the organisers' own evaluation programs run on what this project segments: "Segment Anything in Medical Images
on Laptop" (CVPR 2024) and "Foundation Models for Interactive 3D Biomedical Image Segmentation" (CVPR 2025).
"""

from .case import ChallengeCase, Click, PromptedLabel, read_case
from .solver import Solver, write_segmentation

__all__ = ["ChallengeCase", "Click", "PromptedLabel", "Solver", "read_case", "write_segmentation"]
