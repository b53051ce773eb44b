"""What the module checks of itself inside Slicer: the computed scan, a box, a segment.  Uses no network."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from ..errors import MedSAMSegmentError
from .bridge_geometry import TO_LPS
from .logic import SceneSegmenter
from .sample_data import add_volume

_ORGAN = "left kidney"
_SMALLEST_DICE = 0.85


class MedSAMSegmentSelfTest(ScriptedLoadableModuleTest):
    """The module's own test class derives from it."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self, **options: Any) -> None:
        for test in (self.test_box_becomes_segment, self.test_failure_leaves_the_scene_as_it_was):
            self.setUp()
            test()
            self.tearDown()

    def test_box_becomes_segment(self) -> None:
        """One box on the computed scan gives its organ, also turned; voxels stay as they are; undo takes it back."""
        if importlib.util.find_spec("torch") is None:
            self.skipTest("PyTorch is not installed; the module's button installs it")
        volume, roi, truth = _scene()
        before = np.array(slicer.util.arrayFromVolume(volume))
        logic = SceneSegmenter()
        try:
            segmentation, (segment,) = logic.segment(volume, [roi])
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume) > 0
            dice = 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))
            self.assertGreater(dice, _SMALLEST_DICE)
            self.assertTrue(np.array_equal(before, slicer.util.arrayFromVolume(volume)))
            logic.undo(segmentation)
            self.assertFalse(np.any(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)))
            self.delayDisplay("A box became a segment")

            transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
            transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(_turned(30.0)))
            for node in (volume, roi):
                node.SetAndObserveTransformNodeID(transform.GetID())
            segmentation, (segment,) = logic.segment(volume, [roi])
            turned = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume) > 0
            self.assertLess(np.count_nonzero(turned != mask), 0.01 * np.count_nonzero(mask))
            self.delayDisplay("The turned scan gave the same segment")
        finally:
            logic.close()

    def test_failure_leaves_the_scene_as_it_was(self) -> None:
        """A model that does not exist: an error that says so, and nothing in the scene."""
        volume, roi, _truth = _scene()
        nodes = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
        logic = SceneSegmenter()
        try:
            with self.assertRaises(MedSAMSegmentError):
                logic.segment(volume, [roi], model="no such model")
        finally:
            logic.close()
        self.assertEqual(nodes, slicer.util.getNodesByClass("vtkMRMLDisplayableNode"))
        self.delayDisplay("A failure left the scene as it was")


def _turned(degrees: float) -> np.ndarray:
    """4x4 rotation about the body's axis."""
    matrix = np.eye(4)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return matrix


def _scene() -> tuple[Any, Any, np.ndarray]:
    """The computed scan, a ROI around an organ, and the organ."""
    from ..phantom import make_phantom

    phantom = make_phantom()
    truth = phantom.mask(_ORGAN)
    k, j, i = np.nonzero(truth)
    low = np.array([i.min() - 2.5, j.min() - 2.5, k.min() - 0.5, 1.0])
    high = np.array([i.max() + 2.5, j.max() + 2.5, k.max() + 0.5, 1.0])
    to_ras = TO_LPS @ phantom.volume.geometry.affine
    a, b = (to_ras @ low)[:3], (to_ras @ high)[:3]
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", _ORGAN)
    roi.SetCenter(*((a + b) / 2))
    roi.SetSize(*np.abs(b - a))
    return add_volume(phantom.volume), roi, truth
