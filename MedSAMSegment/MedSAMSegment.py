"""The module that 3D Slicer finds: what it is called, and where its parts are, which are all in MedSAMSegmentLib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from MedSAMSegmentLib.slicer import install, sample_data
from MedSAMSegmentLib.slicer.logic import SceneSegmenter
from MedSAMSegmentLib.slicer.panel import MedSAMSegmentPanel
from MedSAMSegmentLib.slicer.self_test import MedSAMSegmentSelfTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

_HELP = "https://github.com/MedSAMSegment/SlicerMedSAMSegment/blob/main/docs/tutorial.md"


class MedSAMSegment(ScriptedLoadableModule):
    """Draw one box on a CT or MRI, get a 3-D segment."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MedSAMSegment"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "Markups", "SampleData"]
        self.parent.contributors = ["The MedSAMSegment founders"]
        self.parent.helpText = _(
            "Draw one box around a structure on a CT or MRI and get its 3-D segment: offline, on any computer. "
            'Sample Data offers a computed CT to try it on. <a href="{address}">Tutorial</a>. '
            "For research; not for clinical decisions."
        ).format(address=_HELP)
        self.parent.acknowledgementText = _(
            "The networks are of the SAM family: Segment Anything (Kirillov et al. 2023), SAM 2 (Ravi et al. 2024), "
            "MedSAM (Ma et al. 2024), MedSAM2 (Ma et al. 2025). The embedded one was trained on computed volumes only."
        )
        slicer.app.connect("startupCompleted()", self._started)

    def _started(self) -> None:
        sample_data.register(self.resourcePath("Icons"))
        install.resume()


class MedSAMSegmentWidget(MedSAMSegmentPanel):
    """The panel."""


class MedSAMSegmentLogic(ScriptedLoadableModuleLogic):
    """Segmenting by script, with no GUI::

    logic = MedSAMSegmentLogic()
    segmentationNode, segmentIDs = logic.segment(volumeNode, [roiNode])
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self._segmenter = SceneSegmenter()

    def segment(
        self,
        volumeNode: Any,
        objects: Sequence[Any],
        segmentationNode: Any | None = None,
        inside: Mapping[Any, Any] | None = None,
        outside: Mapping[Any, Any] | None = None,
        **options: Any,
    ) -> tuple[Any, list[str]]:
        """Segment what ROI nodes, line nodes or painted segments point at.

        See ``MedSAMSegmentLib.slicer.logic.SceneSegmenter.segment`` for all options, what is returned and the errors.
        """
        return self._segmenter.segment(volumeNode, objects, segmentationNode, inside=inside, outside=outside, **options)

    def undo(self, segmentationNode: Any) -> None:
        """Take back the latest segment that was written into the segmentation."""
        self._segmenter.undo(segmentationNode)

    def close(self) -> None:
        """End the worker process now and not with Slicer."""
        self._segmenter.close()


class MedSAMSegmentTest(MedSAMSegmentSelfTest):
    """The self test of the module, without a network; run it in Slicer's Testing menu or by ctest."""
