"""Hidden module that adds the effect "MedSAM box" to the Segment Editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

_EFFECT = Path(__file__).parent / "SegmentEditorMedSAMBoxLib" / "SegmentEditorEffect.py"


class SegmentEditorMedSAMBox(ScriptedLoadableModule):
    """Registers the effect once Slicer has started."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "SegmentEditorMedSAMBox"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "MedSAMSegment"]
        self.parent.contributors = ["The MedSAMSegment founders"]
        self.parent.hidden = True
        self.parent.helpText = _("The Segment Editor effect of MedSAMSegment: draw a box, get what is in it.")
        self.parent.acknowledgementText = _("See the module MedSAMSegment.")
        slicer.app.connect("startupCompleted()", self._register)

    def _register(self) -> None:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(_EFFECT.as_posix())
        effect.self().register()
