"""The Segment Editor effect "MedSAM box": draw a box, and what is in it goes to the selected segment.

Masking, overwrite mode, editable intensity range and undo are the Segment Editor's own.  The network runs in a worker
process; the editor can be used meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from MedSAMSegmentLib.errors import CancelledError, MedSAMSegmentError
from MedSAMSegmentLib.slicer import panel_scene as scene
from MedSAMSegmentLib.slicer.bridge_segments import Block, mark_algorithm, segment_changes
from MedSAMSegmentLib.slicer.panel_parameters import PanelParameters, worker_options
from MedSAMSegmentLib.slicer.single_box import SingleBox
from SegmentEditorEffects import *  # noqa: F403  (Slicer's base class comes this way)
from slicer.i18n import tr as _

_ROLE = "effect-box"
_COLOUR = (1.0, 0.85, 0.1)


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):  # noqa: F405
    """See the module's text."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "MedSAM box"
        scriptedEffect.title = _("MedSAM box")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)  # noqa: F405
        self._worker: SingleBox | None = None
        self._box: Any = None

    # ---- what the Segment Editor asks ------------------------------------------------------------------------------

    def clone(self) -> Any:
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(Path(__file__).as_posix())
        return effect

    def icon(self) -> Any:
        return qt.QIcon(str(Path(__file__).with_name("SegmentEditorEffect.png")))

    def helpText(self) -> str:
        return _(
            "<html>Draw a box around a structure; what the network finds in it goes to the selected segment."
            "<ul><li>Masking, editable intensity range and undo hold as for every effect.</li>"
            "<li>Model, device and window are those of the module MedSAMSegment, where results can be corrected, "
            "too.</li></ul></html>"
        )

    def setupOptionsFrame(self) -> None:
        self.drawButton = qt.QPushButton(_("Draw box"))
        self.drawButton.setToolTip(_("Click two opposite corners in a slice view, then pull the faces of the box."))
        self.drawButton.connect("clicked(bool)", lambda checked=False: self.drawBox())
        self.segmentButton = qt.QPushButton(_("Segment"))
        self.segmentButton.setToolTip(_("Segment what is in the box."))
        self.segmentButton.connect("clicked(bool)", lambda checked=False: self.segmentOrCancel())
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.drawButton)
        buttons.addWidget(self.segmentButton)
        self.scriptedEffect.addOptionsWidget(buttons)
        self.replaceCheckBox = qt.QCheckBox(_("Replace what the segment holds"))
        self.replaceCheckBox.setToolTip(_("Otherwise the result is added to the segment."))
        self.replaceCheckBox.connect("toggled(bool)", lambda checked: self.updateMRMLFromGUI())
        self.scriptedEffect.addOptionsWidget(self.replaceCheckBox)
        self.messageLabel = qt.QLabel()
        self.messageLabel.setWordWrap(True)
        self.scriptedEffect.addOptionsWidget(self.messageLabel)
        self._refresh()

    def createCursor(self, widget: Any) -> Any:
        return slicer.util.mainWindow().cursor

    def setMRMLDefaults(self) -> None:
        self.scriptedEffect.setParameterDefault("Replace", 0)

    def updateGUIFromMRML(self) -> None:
        blocked = self.replaceCheckBox.blockSignals(True)
        self.replaceCheckBox.setChecked(bool(self.scriptedEffect.integerParameter("Replace")))
        self.replaceCheckBox.blockSignals(blocked)

    def updateMRMLFromGUI(self) -> None:
        self.scriptedEffect.setParameter("Replace", int(self.replaceCheckBox.isChecked()))

    def deactivate(self) -> None:
        """Another effect was chosen, or the editor was left: nothing goes on behind one's back."""
        if self._worker is not None:
            self._worker.shut_down()
            self._worker = None
        self._remove_box()
        self._say("")

    # ---- what the user does ----------------------------------------------------------------------------------------

    def drawBox(self) -> None:
        """Let the user draw a box in the place of the one before."""
        self._remove_box()
        self._box = scene.new_markup("ROI", _ROLE, _("MedSAM box"), _COLOUR)
        # The last point is set after this.
        defined = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
        self._box.AddObserver(defined, lambda caller, event: qt.QTimer.singleShot(0, self._drawn))
        scene.place(self._box)
        self._say(_("Draw the box, then press Segment."))

    def segmentOrCancel(self) -> None:
        """Segment what is in the box; while that is going on, stop it."""
        if self._worker is not None and self._worker.busy:
            self._worker.cancel()
            return
        if self._box is None or self._box.GetScene() is None or min(self._box.GetSize()) <= 0:
            self._say(_("Draw a box first."))
            return
        if not self.scriptedEffect.confirmCurrentSegmentVisible():
            return
        scene.stop_placing()
        self._drawn()
        editor = self.scriptedEffect.parameterSetNode()
        volume, segmentation = editor.GetSourceVolumeNode(), editor.GetSegmentationNode()
        segment = editor.GetSelectedSegmentID()

        def found(mask: Block, algorithm: str) -> None:
            # The user may have closed the scene or deleted the segment meanwhile.
            if segmentation.GetScene() is not None and segmentation.GetSegmentation().GetSegment(segment) is not None:
                self._apply(segmentation, segment, volume, mask, algorithm)
            self._refresh()

        def failed(error: MedSAMSegmentError) -> None:
            cancelled = isinstance(error, CancelledError)
            self._say(_("Stopped.") if cancelled else f"{error.message} {error.hint}".strip())

        def progress(fraction: float) -> None:
            self._say(_("Segmenting: {percent:.0f} %").format(percent=100 * fraction))

        if self._worker is None:
            from MedSAMSegmentLib.slicer.worker_process import QtTransport

            self._worker = SingleBox(QtTransport())
        try:
            self._worker.segment(volume, self._box, self._options(), found, failed, progress)
            self._say(_("Segmenting ..."))
        except MedSAMSegmentError as error:
            self._say(f"{error.message} {error.hint}".strip())

    def _drawn(self) -> None:
        """A box that was drawn on one slice gets its depth as soon as it is complete."""
        interaction = scene.interaction_node()
        placing = interaction.GetCurrentInteractionMode() == interaction.Place
        if self._box is not None and not placing:
            scene.give_depth(self._box)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _apply(self, segmentation: Any, segment: str, volume: Any, mask: Block, algorithm: str) -> None:
        """Give the mask to the segment, as one step of the editor's own undo."""
        try:
            editor = self.scriptedEffect.parameterSetNode()
            removed, added = segment_changes(segmentation, segment, volume, mask, editor)
        except MedSAMSegmentError as error:
            self._say(f"{error.message} {error.hint}".strip())
            return
        effect, modes = self.scriptedEffect, slicer.qSlicerSegmentEditorAbstractEffect
        if not self.scriptedEffect.integerParameter("Replace"):
            removed = None
        effect.saveStateForUndo()
        for image, mode in ((removed, modes.ModificationModeRemove), (added, modes.ModificationModeAdd)):
            if image is not None:
                effect.modifySegmentByLabelmap(segmentation, segment, image, mode)
        mark_algorithm(segmentation.GetSegmentation().GetSegment(segment), algorithm)
        self._say("" if mask[0].size else _("Nothing was found in the box. Draw it tighter."))

    def _options(self) -> dict[str, Any]:
        """Model, device, window and settings as in the panel."""
        node = slicer.mrmlScene.GetSingletonNode("MedSAMSegment", "vtkMRMLScriptedModuleNode")
        if node is None:
            return {"model": "embedded", "checkpoint": "", "device": "auto", "settings": {}}
        return worker_options(PanelParameters(node))

    def _remove_box(self) -> None:
        if self._box is not None and self._box.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._box)
        self._box = None

    def _say(self, text: str) -> None:
        self.messageLabel.setText(text)
        self._refresh()

    def _refresh(self) -> None:
        busy = self._worker is not None and self._worker.busy
        self.segmentButton.setText(_("Cancel") if busy else _("Segment"))
        self.drawButton.setEnabled(not busy)
