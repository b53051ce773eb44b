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
from .sample_data import load_phantom

_ORGAN = "left kidney"
_SMALLEST_DICE = 0.85


class MedSAMSegmentSelfTest(ScriptedLoadableModuleTest):
    """The module's own test class derives from it."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self, **options: Any) -> None:
        for test in (
            self.test_box_becomes_segment,
            self.test_rotated_scan_gives_the_same_mask,
            self.test_failure_leaves_the_scene_as_it_was,
        ):
            self.setUp()
            test()
            self.tearDown()

    def test_box_becomes_segment(self) -> None:
        """One box on the computed scan gives its organ; voxels stay as they are, and undo takes the segment back."""
        self._needs_torch()
        volume, roi, truth = self._scene()
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
        finally:
            logic.close()
        self.delayDisplay("A box became a segment")

    def test_rotated_scan_gives_the_same_mask(self) -> None:
        """Scan and box under one rotation: the same voxels."""
        self._needs_torch()
        volume, roi, _truth = self._scene()
        logic = SceneSegmenter()
        try:
            masks = []
            for angle in (0.0, 30.0):
                transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
                turn = np.eye(4)
                c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
                turn[:2, :2] = [[c, -s], [s, c]]
                transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
                volume.SetAndObserveTransformNodeID(transform.GetID())
                roi.SetAndObserveTransformNodeID(transform.GetID())
                segmentation, (segment,) = logic.segment(volume, [roi])
                masks.append(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume) > 0)
            different = np.count_nonzero(masks[0] != masks[1])
            self.assertLess(different, 0.01 * np.count_nonzero(masks[0]))
        finally:
            logic.close()
        self.delayDisplay("The rotated scan gave the same mask")

    def test_failure_leaves_the_scene_as_it_was(self) -> None:
        """A model that does not exist: an error that says so, and nothing in the scene."""
        volume, roi, _truth = self._scene()
        nodes = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
        logic = SceneSegmenter()
        try:
            with self.assertRaises(MedSAMSegmentError):
                logic.segment(volume, [roi], model="no such model")
        finally:
            logic.close()
        self.assertEqual(nodes, slicer.util.getNodesByClass("vtkMRMLDisplayableNode"))
        self.delayDisplay("A failure left the scene as it was")

    def _needs_torch(self) -> None:
        if importlib.util.find_spec("torch") is None:
            self.skipTest("PyTorch is not installed; the module's button installs it")

    def _scene(self) -> tuple[Any, Any, np.ndarray]:
        """The computed scan, a ROI around an organ, and the organ."""
        from ..phantom import make_phantom

        phantom = make_phantom()
        truth = phantom.mask(_ORGAN)
        k, j, i = np.nonzero(truth)
        low = np.array([i.min() - 2.5, j.min() - 2.5, k.min() - 0.5, 1.0])
        high = np.array([i.max() + 2.5, j.max() + 2.5, k.max() + 0.5, 1.0])
        to_ras = TO_LPS @ phantom.volume.geometry.affine
        a, b = (to_ras @ low)[:3], (to_ras @ high)[:3]
        volume = load_phantom()
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", _ORGAN)
        roi.SetCenter(*((a + b) / 2))
        roi.SetSize(*np.abs(b - a))
        return volume, roi, truth
